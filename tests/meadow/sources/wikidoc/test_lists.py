"""Glued list items told apart."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.sources.wikidoc.lists import split_glued_lists


def test_a_list_after_a_colon() -> None:
    text = "Symptoms include:\nChest pain (at rest) Dizziness Swelling of the legs\nCall a doctor."
    assert split_glued_lists(text) == (
        "Symptoms include:\n- Chest pain (at rest)\n- Dizziness\n- Swelling of the legs\n"
        "Call a doctor.",
        1,
    )


@pytest.mark.parametrize(
    "line",
    [
        "Chest pain after a visit to the Alps",
        "Being African American",
        "Neurological conditions (stroke, dementia, Parkinson disease Alzheimer disease)",
        "One item only",
        "Disorders such as Von Willebrand disease",
        "Living in the Middle East or in Saint Louis",
        "It hurts. It swells. It itches.",
    ],
)
def test_weak_signs_leave_the_line(line: str) -> None:
    assert split_glued_lists(f"Such as:\n{line}") == (f"Such as:\n{line}", 0)


def test_a_line_without_announcement_needs_three_items_and_no_sentence() -> None:
    assert split_glued_lists("Nausea Weakness") == ("Nausea Weakness", 0)
    assert split_glued_lists("Bone pain Confusion Muscle weakness")[1] == 1
    assert split_glued_lists("It may hurt. See Gout Arthritis Pain")[1] == 0


def test_the_published_answers(upstream: Path) -> None:
    """A list that the release glued: the first row names thirteen symptoms of an allergy."""
    rows = json.loads(
        (upstream / "wikidoc/medical_meadow_wikidoc_patient_info.json").read_text("utf-8")
    )
    lines = split_glued_lists(rows[0]["output"])[0].split("\n")
    symptoms = [line for line in lines[1:] if line.startswith("- ")][:13]
    assert symptoms[0] == "- Breathing problems (coughing, shortness of breath)"
    assert symptoms[-1] == "- Wheezing"
    split = sum(split_glued_lists(row["output"])[1] > 0 for row in rows)
    assert 1900 < split < 2300


@given(st.text(alphabet="Aa b(c):.\n", max_size=200))
def test_idempotent(text: str) -> None:
    once, _ = split_glued_lists(text)
    assert split_glued_lists(once)[0] == once


@given(st.text(alphabet="Aa b(c):.\n1-", max_size=200))
def test_no_character_but_a_space_is_lost(text: str) -> None:
    found, _ = split_glued_lists(text)
    kept = found.replace("\n- ", "\n").removeprefix("- ")
    assert "".join(kept.split()) == "".join(text.replace("\n- ", "\n").removeprefix("- ").split())


def test_linear() -> None:
    watch = Stopwatch()
    split_glued_lists("List:\n" + "aa Bb " * 20_000)
    split_glued_lists("List:\n" + "(" * 50_000 + "a B" * 1000)
    assert watch.within(1)
