"""The living textbook: sections to questions and answers."""

from pathlib import Path

import pytest
from support.converted import converted, one

from meadow.schema import Reason, Record, Reject, Style
from meadow.sources.wikidoc.textbook import INSTRUCTION_2023, SOURCE

TEXT = "Uric acid crystals settle in the joints, the big toe first."


def section(heading: str, text: str = TEXT, title: str = "Gout", **more: object):
    raw = {
        "title": title, "heading": heading, "parents": (),
        "text": text, "unread": (), "anchor": heading.replace(" ", "_"), "url": "https://w.example/wiki/Gout",
        "revision": "7", "timestamp": "2026-01-01T00:00:00Z", "site": "w.example", **more,
    }  # fmt: skip
    return one(SOURCE.upstream, **raw)


def test_a_section_becomes_a_question_and_its_text_stays() -> None:
    record = section("Causes")
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
    assert found.reason is reason
    assert heading in found.detail or "patient" in found.detail


def test_what_stands_below_the_references_is_no_text() -> None:
    found = section("Overview", parents=("Bibliography", "Books"))
    assert found.reason is Reason.NOT_A_TARGET


def test_real_exports_are_conserved_and_clean(upstream: Path) -> None:
    found = converted(SOURCE.upstream, *sorted((upstream / "mediawiki/xml").glob("*.bz2")))
    records = [row for row in found if isinstance(row, Record)]
    assert len({row.id for row in records}) == len(records) > 100
    assert all(row.input.endswith("?") and "{topic}" not in row.input for row in records)
    # one page stands in both exports, at two revisions
    assert sum(isinstance(r, Reject) and r.reason is Reason.DUPLICATE for r in found) == 1


def test_origin_published_names_the_wiki_and_the_model() -> None:
    row = {"instruction": INSTRUCTION_2023, "input": "What is gout ?", "output": TEXT}
    found = one(SOURCE.published, **row)
    assert (found.input, found.rephrased_by) == ("What is gout?", "gpt-3.5-turbo")
    assert found.url
    assert found.authors
    assert one(SOURCE.published, style=Style.PUBLISHED_2023, **row).input == "What is gout ?"
