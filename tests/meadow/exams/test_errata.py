"""Errata: the known ones are whole and public, and a file of one's own is applied beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import meadow
from meadow.errors import UsageError
from meadow.exams.errata import (
    corrections,
    question_key,
    read_errata,
    row_fault,
    row_faults,
)
from meadow.exams.items import load_exam
from meadow.prompt import exam_input
from meadow.samples import FOLDER

STEM = "Which of these  is the\nfaulty question?"
OWN = f"""
[[errata]]
name = "own-key"
about = ["own"]
address = "https://example.org/errata"
kind = "wrong key"
done = "answer"
question = "{question_key(STEM)}"
answer = "{question_key("Beta")}"
"""


def own(tmp_path: Path, text: str = OWN) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def exam(tmp_path: Path) -> Path:
    rows = [
        {"question": STEM, "options": {"A": "alpha", "B": "beta", "C": "gamma"}, "answer": "A"},
        {"question": "Where is the sound one?", "options": {"A": "x", "B": "y"}, "answer": "B"},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_known_errata_are_public_named_once_and_hold_no_text() -> None:
    known = read_errata(["known"])
    assert len({one.name for one in known}) == len(known) >= 13
    assert all(one.address.startswith("https://") for one in known)
    assert {"medqa", "medmcqa", "pubmed_causal", "mmlu_medical"} == {
        name for one in known for name in one.about
    }
    assert read_errata([]) == read_errata(["off"]) == ()


def test_a_key_is_of_the_words_not_of_case_or_space() -> None:
    assert question_key(STEM) == question_key("which of these is the FAULTY question?")
    assert question_key(STEM) != question_key(STEM + "!")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("kind =", "knid =", "kind"),
        ("[[errata]]", "[[errata]]\nrule = 'scored once'", "question or rule"),
        ('"answer"', '"left out"', "goes with done"),
        ("https://", "", "address"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        read_errata([own(tmp_path, OWN.replace(before, after, 1))])


def test_off_stands_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="off"):
        read_errata(["off", own(tmp_path)])


def test_an_item_gets_its_right_label_or_is_left_out(tmp_path: Path) -> None:
    items = load_exam("own", [exam(tmp_path)])
    errata = read_errata([own(tmp_path)])
    assert corrections(items, errata) == {items[0].item_id: ("own-key", "B")}
    other = read_errata([own(tmp_path, OWN.replace(question_key("Beta"), question_key("delta")))])
    assert corrections(items, other) == {items[0].item_id: ("own-key", "")}
    assert corrections(items, read_errata(["known"])) == {}


@pytest.mark.parametrize(
    ("question", "output", "expected"),
    [
        (STEM, "A: alpha", question_key(STEM)),
        (exam_input(STEM, [("A", "alpha"), ("B", "beta")]), "A: alpha", question_key(STEM)),
        (f"Q:{STEM}? \n{{'A': 'alpha', 'B': 'beta'}},", "A: alpha", question_key(STEM)),
        (f"{STEM} Really?", "A: alpha", None),
        (exam_input("Sound?", [("A", "Eye"), ("B", "ear"), ("C", "eye")]), "A: Eye",
         "doubled answer"),
        (exam_input("Sound?", [("A", "Eye"), ("B", "ear"), ("C", "eye")]), "B: ear", None),
        ("No options at all", "A long answer", None),
        ("", "", None),
    ],
)  # fmt: skip
def test_training_rows_are_known_by_question_or_rule(
    tmp_path: Path, question: str, output: str, expected: str | None
) -> None:
    assert row_fault(question, output, row_faults(read_errata([own(tmp_path)]))) == expected


def medqa_rows() -> list[dict[str, Any]]:
    path = next((FOLDER / "medqa").glob("*.jsonl"))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_build_and_a_mix_leave_faulty_rows_out_and_count_them(tmp_path: Path) -> None:
    faulty = medqa_rows()[0]["question"]
    text = OWN.replace(question_key(STEM), question_key(faulty))
    path = own(tmp_path, text)
    plain = meadow.build(["medqa"], raw=FOLDER, out=tmp_path / "plain")
    known = meadow.build(["medqa"], raw=FOLDER, out=tmp_path / "known", errata=["known"])
    mended = meadow.build(["medqa"], raw=FOLDER, out=tmp_path / "mended", errata=[path])
    assert known.rows() == plain.rows() == mended.rows() + 1
    assert mended.manifest.sources["medqa"].rejected["erratum"] == 1
    assert mended.manifest.settings["errata"]["own"] == [question_key(faulty)]
    card = (tmp_path / "mended" / "README.md").read_text(encoding="utf-8")
    assert "--errata ERRATA --out DIR" in card
    assert "errata of the maker's own (1 faults)" in card
    assert "--errata known --out DIR" in (tmp_path / "known" / "README.md").read_text("utf-8")
    assert "errata" not in plain.manifest.settings

    mixed = meadow.mix("full", corpus=plain, out=tmp_path / "mix", errata=[str(path)],
                       exam_sources=["medqa"])  # fmt: skip
    steps = {step.name: step.rejected for step in mixed.manifest.steps}
    assert steps["errata"] == {"erratum": 1}
    assert mixed.manifest.details["errata"]["rows"] == {"own-key": 1}
    assert str(tmp_path) not in (tmp_path / "mix" / "MANIFEST.json").read_text(encoding="utf-8")


@pytest.mark.realdata
@pytest.mark.skipif("MEADOW_UPSTREAM" not in os.environ, reason="MEADOW_UPSTREAM is not set")
def test_the_faults_of_mmlu_are_in_mmlu() -> None:
    items = load_exam("mmlu", [Path(os.environ["MEADOW_UPSTREAM"]) / "mmlu"])
    found = corrections(items, read_errata(["known"]))
    scored = [item for item in items if not item.exclusion_reason]
    assert len([item for item in scored if item.item_id in found]) == 9
    assert sorted(label for _, label in found.values() if label) == ["A", "C", "D"]
    again = [item for item in items if item.exclusion_reason]
    assert len(again) == 78  # as hendrycks/test#29 counts them
