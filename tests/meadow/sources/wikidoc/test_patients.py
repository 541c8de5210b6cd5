"""WikiDoc patient information: the published release, repaired; and pages."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.converted import converted as converted_by
from support.converted import one

from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Options
from meadow.sources.wikidoc.patients import SOURCE


def released(question: object, answer: str, style: Style = Style.MEADOW) -> Any:
    row = {"instruction": "i", "input": question, "output": answer}
    return one(SOURCE.published, style=style, **row)


@pytest.fixture(scope="module")
def release(upstream: Path) -> Path:
    return upstream / "wikidoc/medical_meadow_wikidoc_patient_info.json"


@pytest.fixture(scope="module")
def converted(release: Path) -> dict[Style, list[Record | Reject]]:
    return {
        style: converted_by(SOURCE.published, release, options=Options(style=style))
        for style in Style
    }


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
    rows = json.loads(release.read_text("utf-8"))
    published = {(row["instruction"], row["input"], row["output"]) for row in rows}
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


def test_92_repeated_pairs_share_an_id(converted, release: Path) -> None:
    rows = json.loads(release.read_text("utf-8"))
    repeated = Counter((row["input"], row["output"]) for row in rows)
    assert sum(count - 1 for count in repeated.values()) == 92
    ids = [item.id for item in converted[Style.MEADOW] if isinstance(item, Record)]
    # fifteen of them are among the rejects
    assert len(ids) - len(set(ids)) == 77


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
        (3, "y", Reason.MISSING_FIELD),
        ("How do I insert an image?", "Click there.", Reason.BOILERPLATE),
        ("What are the symptoms of Gout?", "Here you can list the symptoms.", Reason.BOILERPLATE),
    ],
)  # fmt: skip
def test_rejects(question: object, answer: str, reason: Reason) -> None:
    for style in Style:
        assert released(question, answer, style).reason is reason


def test_the_id_does_not_depend_on_the_style_and_the_topic_is_kept() -> None:
    question = "Who is at highest risk for Meckel%27s diverticulum ?"
    meadow, published = (released(question, "Men.", style) for style in Style)
    assert meadow.id == published.id
    assert meadow.input == "Who is at highest risk for Meckel's diverticulum?"
    assert published.input == question
    assert json.loads(meadow.meta)["topic"] == "Meckel's diverticulum"
    assert meadow.url.endswith("/Meckel%27s_diverticulum_(patient_information)")


def test_pages_in_style_2023_read_as_the_release_does() -> None:
    page = {
        "title": "Meckel's diverticulum (patient information)",
        "heading": "Who is at highest risk?", "parents": (), "text": "Men are." * 9,
        "unread": (), "anchor": "Who", "url": "https://w.example/T", "revision": "7",
        "timestamp": "", "site": "w.example",
    }  # fmt: skip
    meadow, published = (one(SOURCE.upstream, style=style, **page) for style in Style)
    assert published.input == "Who is at highest risk for Meckel%27s diverticulum ?"
    assert meadow.input == "Who is at highest risk for Meckel's diverticulum?"
    assert meadow.repairs == ()
    textbook = one(SOURCE.upstream, **page | {"title": "Gout", "heading": "Causes"})
    assert textbook.reason is Reason.NOT_A_TARGET
