"""WikiDoc patient information: the published release, repaired; and pages."""

import json
from collections import Counter
from pathlib import Path

import pytest

from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources.wikidoc.patients import SOURCE, convert, convert_published

MEADOW = Options()
PUBLISHED = Options(style=Style.PUBLISHED_2023)


def one(question: str, answer: str, options: Options = MEADOW) -> Record | Reject:
    raw = {"_where": "x#0", "instruction": "i", "input": question, "output": answer}
    (found,) = convert_published(raw, options)
    assert isinstance(found, Record | Reject)
    return found


@pytest.fixture(scope="module")
def release(upstream: Path) -> Path:
    return upstream / "wikidoc/medical_meadow_wikidoc_patient_info.json"


@pytest.fixture(scope="module")
def converted(release: Path) -> dict[Style, list[Record | Reject]]:
    origin = SOURCE.published
    assert origin is not None
    found: dict[Style, list[Record | Reject]] = {}
    for style in Style:
        options = Options(style=style)
        found[style] = [
            item
            for raw in origin.read([Input(release, "release.json")], options)
            if isinstance(raw, dict)
            for item in origin.convert(raw, options)
            if isinstance(item, Record | Reject)
        ]
    return found


def test_every_row_is_a_record_or_a_reject_and_both_styles_keep_the_same(converted) -> None:
    kept = {
        style: [item.id for item in items if isinstance(item, Record)]
        for style, items in converted.items()
    }
    assert all(len(items) == 5942 for items in converted.values())
    assert kept[Style.MEADOW] == kept[Style.PUBLISHED_2023]
    reasons = Counter(item.reason for item in converted[Style.MEADOW] if isinstance(item, Reject))
    assert set(reasons) == {
        Reason.LINK_ONLY, Reason.NO_TOPIC, Reason.BOILERPLATE, Reason.EMPTY_OUTPUT, Reason.MEDIA,
        Reason.TRUNCATED,
    }  # fmt: skip


def test_style_2023_is_the_published_text_to_the_byte(converted, release: Path) -> None:
    published = {
        (row["instruction"], row["input"], row["output"])
        for row in json.loads(release.read_text("utf-8"))
    }
    for item in converted[Style.PUBLISHED_2023]:
        if isinstance(item, Record):
            assert (item.instruction, item.input, item.output) in published
            assert item.repairs == ()


def test_style_meadow_has_none_of_the_defects(converted) -> None:
    counts: Counter[str] = Counter()
    for item in converted[Style.MEADOW]:
        if isinstance(item, Record):
            counts.update(item.repairs)
            assert "%27" not in item.input
            assert not item.input.endswith(" ?")
            assert "  " not in item.input + item.output.replace("\n  ", "\n")
            assert "{{" not in item.output
            assert item.authors
            assert item.url
    assert counts["url_decoded_topic"] == 140
    assert set(counts) == {
        "url_decoded_topic", "space_before_question_mark", "double_space", "page_name_in_topic",
        "glued_list", "lower_case_i", "template_residue",
    }  # fmt: skip


def test_92_repeated_pairs_share_an_id(release: Path) -> None:
    rows = json.loads(release.read_text("utf-8"))
    ids = []
    for number, row in enumerate(rows):
        found = one(row["input"], row["output"])
        ids.append(found.id if isinstance(found, Record) else f"reject {number}")
    records = [item for item in ids if not item.startswith("reject")]
    repeated = Counter((row["input"], row["output"]) for row in rows)
    assert sum(count - 1 for count in repeated.values()) == 92
    # fifteen of them are among the rejects
    assert len(records) - len(set(records)) == 77


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Where to find Medical Care for Gout?", "Medical care for (X) can be found here.",
         Reason.LINK_ONLY),
        ("What causes?", "Uric acid does, as is known.", Reason.NO_TOPIC),
        ("What causes (disease name)?", "Uric acid does.", Reason.NO_TOPIC),
        ("What causes Gout?", "  ", Reason.EMPTY_OUTPUT),
        ("", "Uric acid.", Reason.EMPTY_INPUT),
        ("What causes Gout?", "{{#ev:youtube|x}}", Reason.EMPTY_OUTPUT),
        ("How do I insert an image?", "Click there.", Reason.BOILERPLATE),
        ("What are the symptoms of Gout?", "Here you can list the symptoms.", Reason.BOILERPLATE),
    ],
)  # fmt: skip
def test_rejects(question: str, answer: str, reason: Reason) -> None:
    for options in (MEADOW, PUBLISHED):
        found = one(question, answer, options)
        assert isinstance(found, Reject)
        assert found.reason is reason


def test_a_row_without_its_fields_is_a_reject() -> None:
    (found,) = convert_published({"_where": "x#0", "input": 3, "output": "y"}, MEADOW)
    assert isinstance(found, Reject)
    assert found.reason is Reason.MISSING_FIELD


def test_the_id_does_not_depend_on_the_style_and_the_topic_is_kept() -> None:
    question = "Who is at highest risk for Meckel%27s diverticulum ?"
    meadow, published = one(question, "Men.", MEADOW), one(question, "Men.", PUBLISHED)
    assert isinstance(meadow, Record)
    assert isinstance(published, Record)
    assert meadow.id == published.id
    assert meadow.input == "Who is at highest risk for Meckel's diverticulum?"
    assert published.input == question
    assert json.loads(meadow.meta)["topic"] == "Meckel's diverticulum"
    assert meadow.url is not None
    assert meadow.url.endswith("/Meckel%27s_diverticulum_(patient_information)")


def page(title: str, heading: str, text: str) -> dict[str, object]:
    return {
        "_where": "pages.jsonl:1", "title": title, "heading": heading, "level": 2, "parents": (),
        "text": text, "unread": (), "anchor": heading.replace(" ", "_"), "url": "https://w.example/T",
        "revision": "7", "timestamp": "", "site": "w.example",
    }  # fmt: skip


def test_pages_in_style_2023_read_as_the_release_does() -> None:
    raw = page(
        "Meckel's diverticulum (patient information)", "Who is at highest risk?", "Men are." * 9
    )
    (published,) = convert(raw, PUBLISHED)
    (meadow,) = convert(raw, MEADOW)
    assert isinstance(published, Record)
    assert isinstance(meadow, Record)
    assert published.input == "Who is at highest risk for Meckel%27s diverticulum ?"
    assert meadow.input == "Who is at highest risk for Meckel's diverticulum?"
    assert meadow.repairs == ()


def test_pages_of_the_textbook_are_passed_over() -> None:
    (found,) = convert(page("Gout", "Causes", "Uric acid."), MEADOW)
    assert isinstance(found, Reject)
    assert found.reason is Reason.NOT_A_TARGET
