"""Stack Exchange pairs as records: texts one can read, licences and authors one can name."""

import json
import re
from pathlib import Path

import pytest

from meadow.api import open_corpus
from meadow.build.build import BuildSettings, build_corpus
from meadow.schema import Fact, Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources.stack_exchange.source import (
    SOURCE,
    author_of,
    convert,
    drop_duplicate_notice,
    license_of,
    site_url,
    split_tags,
)
from meadow.text.render import tag_pattern

SITES = {
    "jrfoster": "matheducators",
    "kevswanberg": "alcohol",
    "Jean-Low": "quantumcomputing",
    "Yoav-Shafir": "coffee",
    "sasiddiqui": "ai",
    "mattly": "conlang.meta.stackexchange.com",
    "stat4decision": "datascience.meta.stackexchange.com",
    "stevenrskelton": "meta.mathoverflow.net",
}


def raw(question: dict | None = None, answer: dict | None = None, **more: object) -> dict:
    return {
        "_where": "p:1",
        "site": "health",
        "question": {
            "Id": "1",
            "Title": "Why?",
            "Body": "<p>I wonder.</p>",
            "OwnerUserId": "7",
            "Tags": "<a><b>",
            "CreationDate": "2015-01-01T00:00:00",
            **(question or {}),
        },
        "answer": {
            "Id": "2",
            "Body": "<p>Because of the water.</p>",
            "OwnerUserId": "8",
            "CreationDate": "2019-01-01T00:00:00",
            "Score": "9",
            **(answer or {}),
        },
        "question_name": None,
        "answer_name": "Ann",
        **more,
    }


def converted(options: Options = Options(), **more: object) -> tuple[list, dict]:  # noqa: B008
    items = list(convert(raw(**more), options))
    facts = {(item.group, item.value): item.count for item in items if isinstance(item, Fact)}
    return [item for item in items if not isinstance(item, Fact)], facts


def test_a_pair_becomes_a_record() -> None:
    (record,), facts = converted()
    assert isinstance(record, Record)
    assert record.source_id == "health/2"
    assert record.subset == "health"
    assert record.input == "Why?\n\nI wonder."
    assert record.output == "Because of the water."
    assert record.license == "cc-by-sa-4.0"
    assert record.url == "https://health.stackexchange.com/questions/1"
    assert [(a.name, a.url, a.role) for a in record.authors] == [
        ("user 7", "https://health.stackexchange.com/users/7", "question_author"),
        ("Ann", "https://health.stackexchange.com/users/8", "answer_author"),
    ]
    meta = json.loads(record.meta)
    assert meta["question_license"] == "cc-by-sa-3.0"
    assert meta["answer_score"] == 9
    assert meta["tags"] == ["a", "b"]
    assert meta["changes"]
    assert facts == {
        ("authors_named_by", "user_number"): 1,
        ("authors_named_by", "display_name"): 1,
    }


def test_styles_share_ids_and_differ_in_the_instruction() -> None:
    (new,), _ = converted()
    (old,), _ = converted(Options(style=Style.PUBLISHED_2023))
    assert new.id == old.id
    assert (old.instruction, old.output) == ("Answer this question truthfully", new.output)


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        ({"ContentLicense": "CC BY-SA 3.0", "CreationDate": "2020-01-01"}, "cc-by-sa-3.0"),
        ({"ContentLicense": "CC BY-NC 4.0"}, None),
        ({"CreationDate": "2011-04-07T23:59:59"}, "cc-by-sa-2.5"),
        ({"CreationDate": "2011-04-08T00:00:00"}, "cc-by-sa-3.0"),
        ({"CreationDate": "2018-05-01T23:59:59"}, "cc-by-sa-3.0"),
        ({"CreationDate": "2018-05-02T00:00:00"}, "cc-by-sa-4.0"),
        ({}, "cc-by-sa"),
    ],
)
def test_licenses_by_statement_or_day(post: dict, expected: str | None) -> None:
    assert license_of(post) == expected


def test_an_unknown_license_is_a_reject() -> None:
    (reject,), _ = converted(answer={"ContentLicense": "All rights reserved"})
    assert isinstance(reject, Reject)
    assert reject.reason is Reason.LICENSE


def test_stated_and_computed_licenses_agree_on_real_posts(upstream: Path) -> None:
    compared = 0
    for path in (upstream / "stack_exchange").glob("*.xml"):
        for stated, created in (
            (re.search('ContentLicense="([^"]*)', line), re.search('CreationDate="([^"]*)', line))
            for line in path.read_text(encoding="utf-8").splitlines()
        ):
            if stated and created:
                by_day = license_of({"CreationDate": created[1]})
                assert license_of({"ContentLicense": stated[1]}) == by_day
                compared += 1
    assert compared > 100


@pytest.mark.parametrize(
    ("post", "name", "expected"),
    [
        ({"Id": "1", "OwnerUserId": "5"}, "Ann", ("Ann", "users/5", "display_name")),
        ({"Id": "1", "OwnerUserId": "5"}, None, ("user 5", "users/5", "user_number")),
        (
            {"Id": "1", "OwnerDisplayName": "user99"},
            None,
            ("user99", "a/1", "display_name_of_deleted_user"),
        ),
        ({"Id": "1", "OwnerUserId": "-1"}, None, ("Community", "users/-1", "community_user")),
        ({"Id": "1"}, None, ("anonymous", "a/1", "anonymous")),
    ],
)
def test_authors(post: dict, name: str | None, expected: tuple) -> None:
    author, how = author_of(post, name, "https://h", "answer_author")
    assert (author.name, author.url, how) == (expected[0], f"https://h/{expected[1]}", expected[2])


def test_images_are_counted_and_an_answer_that_is_one_goes() -> None:
    image = '<p><img src="x.png" alt="an x"></p>'
    (record,), facts = converted(
        answer={"Body": f"<p>See these two, which are all that I know of it:</p>{image}{image}"}
    )
    assert "x.png" not in record.output
    assert json.loads(record.meta)["images_dropped"] == 2
    assert record.repairs == ("dropped_images",)
    assert facts["images_dropped", "health"] == 2
    (reject,), _ = converted(question={"Body": f"<p>What is it?</p>{image}"})
    assert (reject.reason, reject.detail) == (Reason.MEDIA, "the question shows an image")
    (record,), _ = converted(
        Options(images="keep"), question={"Body": f"<p>What is it?</p>{image}"}
    )
    assert json.loads(record.meta)["flags"] == ["question_shows_an_image"]
    (reject,), _ = converted(answer={"Body": image})
    assert reject.reason is Reason.MEDIA
    (reject,), _ = converted(answer={"Body": "<p> </p>"})
    assert reject.reason is Reason.EMPTY_OUTPUT
    (reject,), _ = converted(question={"Body": "", "Title": ""})
    assert reject.reason is Reason.EMPTY_INPUT


@pytest.mark.parametrize(
    ("body", "reason"),
    [("<div>" * 100_000, Reason.TOO_DEEP), ("<p>x</p>" * 200_000, Reason.TOO_LARGE)],
)
def test_hostile_html_is_a_reject(body: str, reason: Reason) -> None:
    (reject,), _ = converted(answer={"Body": body})
    assert reject.reason is reason


def test_duplicate_notices_go() -> None:
    notice = (
        "<blockquote><p><strong>Possible Duplicate:</strong><br><a href='/q/9'>Other</a></p>"
        "</blockquote><p>My own text.</p><blockquote><p>a quotation</p></blockquote>"
    )
    (record,), _ = converted(question={"Body": notice})
    assert record.input == "Why?\n\nMy own text.\n\n> a quotation"
    assert record.repairs == ("removed_duplicate_notice",)
    assert drop_duplicate_notice("> a quotation\n\ntext") is None


def test_addresses_and_tags() -> None:
    assert site_url("biology") == "https://biology.stackexchange.com"
    assert site_url("mathoverflow.net") == "https://mathoverflow.net"
    assert split_tags("<a-b><c>") == split_tags("|a-b|c|") == ["a-b", "c"]
    assert split_tags("") == []


def test_archives_of_every_site_are_known() -> None:
    assert SOURCE.upstream is not None
    posts = [file for file in SOURCE.upstream.files if file.role == "data"]
    assert {file.subset for file in posts} == {
        "academia",
        "bioinformatics",
        "biology",
        "fitness",
        "health",
    }
    health = next(file for file in posts if file.subset == "health")
    assert health.name == "medicalsciences.stackexchange.com.7z"
    assert "health.stackexchange.com.7z" in health.also


_FENCE = re.compile(r"^(?:[> ]|[-*] |\d+\. )*(`{3,})[^\n]*\n.*?\n[> ]*\1[ ]*$", re.DOTALL | re.M)
_INLINE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_MARKUP = re.compile(
    rf"{tag_pattern('b|br|code|div|p|pre|span|su[bp]|table|t[dhr]')}|&(?:[a-zA-Z]{{2,8}}|#\d+);"
)


def test_the_real_dumps(upstream: Path, tmp_path: Path) -> None:
    """2,140 pairs; every row attributed; no tag and no entity outside code."""
    inputs = [
        Input(path, path.name, SITES[path.name.split("_")[0]])
        for path in sorted((upstream / "stack_exchange").glob("*.xml"))
    ]
    result = build_corpus(
        BuildSettings(sources=("stack_exchange",)), {"stack_exchange": inputs}, tmp_path / "corpus"
    )
    entry = result.manifest.sources["stack_exchange"]
    assert entry.rows_in == 2140
    assert entry.rows_in == entry.rows_out + sum(entry.rejected.values())
    assert entry.rejected == {"media": 90, "link_only": 1}
    assert sum(entry.facts["posts_read"].values()) == 9368
    rows = open_corpus(tmp_path / "corpus").to_arrow().to_pylist()
    assert len(rows) == entry.rows_out
    images = sum(json.loads(row["meta"]).get("images_dropped", 0) for row in rows)
    assert images > 150
    for row in rows:
        assert row["license"].startswith("cc-by-sa-")
        assert row["url"].startswith("https://")
        assert [author["role"] for author in row["authors"]] == ["question_author", "answer_author"]
        assert all(author["name"] and author["url"] for author in row["authors"])
        for text in (row["input"], row["output"]):
            assert not _MARKUP.search(_INLINE.sub("", _FENCE.sub("", text))), row["source_id"]
