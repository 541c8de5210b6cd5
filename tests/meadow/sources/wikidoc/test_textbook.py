"""The living textbook: sections to questions and answers."""

from pathlib import Path

import pytest

from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources.wikidoc import pages as mediawiki
from meadow.sources.wikidoc.textbook import INSTRUCTION_2023, SOURCE, convert, convert_published

TEXT = "Uric acid crystals settle in the joints, the big toe first."


def section(heading: str, text: str = TEXT, title: str = "Gout", **more: object):
    raw = {
        "_where": "pages.jsonl:1", "title": title, "heading": heading, "level": 2, "parents": (),
        "text": text, "unread": (), "anchor": heading.replace(" ", "_"), "url": "https://w.example/wiki/Gout",
        "revision": "7", "timestamp": "2026-01-01T00:00:00Z", "site": "w.example", **more,
    }  # fmt: skip
    (found,) = convert(raw, Options())
    return found


def test_a_section_becomes_a_question_and_its_text_stays() -> None:
    record = section("Causes")
    assert isinstance(record, Record)
    assert record.input == "What causes Gout?"
    assert record.output == TEXT
    assert record.url == "https://w.example/wiki/Gout#Causes"
    assert record.source_id == "Gout#Causes"
    assert record.license == "cc-by-sa"
    assert record.authors[0].url == "https://w.example/wiki/Gout"
    assert record.rephrased_by is None


@pytest.mark.parametrize(
    ("heading", "text", "title", "reason"),
    [
        ("Gout in the arts", TEXT, "Gout", Reason.NO_HEADING_RULE),
        ("References", TEXT, "Gout", Reason.NOT_A_TARGET),
        ("Causes", "", "Gout", Reason.EMPTY_OUTPUT),
        ("Causes", "See below.", "Gout", Reason.TOO_SHORT),
        ("Causes", f"{TEXT} Its causes are:", "Gout", Reason.TRUNCATED),
        ("Causes", TEXT, "Gout (patient information)", Reason.NOT_A_TARGET),
    ],
)
def test_rejects(heading: str, text: str, title: str, reason: Reason) -> None:
    found = section(heading, text, title)
    assert isinstance(found, Reject)
    assert found.reason is reason
    assert heading in found.detail or "patient" in found.detail


def test_what_stands_below_the_references_is_no_text() -> None:
    found = section("Overview", parents=("Bibliography", "Books"))
    assert isinstance(found, Reject)
    assert found.reason is Reason.NOT_A_TARGET


def test_real_exports_are_conserved_and_clean(upstream: Path) -> None:
    folder = upstream / "mediawiki/xml"
    inputs = [Input(path, path.name) for path in sorted(folder.glob("*.bz2"))]
    rows_in = records = twice = 0
    ids = set()
    for raw in mediawiki.read(inputs, Options()):
        if isinstance(raw, Reject):
            # one page stands in both exports, at two revisions
            twice += raw.reason is Reason.DUPLICATE
        if isinstance(raw, dict):
            rows_in += 1
            (found,) = convert(raw, Options())
            if isinstance(found, Record):
                records += 1
                ids.add(found.id)
                assert found.output == raw["text"]
                assert found.input.endswith("?")
                assert "{topic}" not in found.input
    assert rows_in > 2000
    assert len(ids) == records > 100
    assert twice == 1


def test_origin_published_names_the_wiki_and_the_model() -> None:
    raw = {"_where": "r#0", "instruction": INSTRUCTION_2023, "input": "What is gout ?",
           "output": TEXT}  # fmt: skip
    (found,) = convert_published(raw, Options())
    assert isinstance(found, Record)
    assert found.input == "What is gout?"
    assert found.rephrased_by == "gpt-3.5-turbo"
    assert found.url
    assert found.authors
    (kept,) = convert_published(raw, Options(style=Style.PUBLISHED_2023))
    assert isinstance(kept, Record)
    assert kept.input == "What is gout ?"


def test_the_source_states_what_it_is() -> None:
    assert SOURCE.published_rows == 10_000
    assert SOURCE.upstream is not None
    assert all(file.optional for file in SOURCE.upstream.files)
