"""AfriMed-QA: one file that holds an exam and what may be learned from."""

import csv
import json

import pytest
from support.converted import converted, one

from meadow.exams.items import load_exam
from meadow.samples import FOLDER
from meadow.schema import Reason, Record
from meadow.sources.afrimed_qa import SOURCE

SAMPLE = FOLDER / "afrimed_qa/afri_med_qa_15k_v2.5_phase_2_15275.csv"


def test_no_exam_item_becomes_a_row() -> None:
    exam = load_exam("afrimed_qa", [SAMPLE])
    asked = {item.question for item in exam}
    assert len(asked) == exam.files[0]["items"] > 0
    rows = [row for row in converted(SOURCE.upstream, SAMPLE) if isinstance(row, Record)]
    assert not any(question in row.input for question in asked for row in rows)
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        tests = {row["sample_id"] for row in csv.DictReader(file) if row["split"] == "test"}
    assert len(tests) > len(asked)  # short answers are kept apart too
    assert not tests & {row.source_id for row in rows}


@pytest.mark.parametrize(("count", "output"), [(12, "L: 12"), (27, Reason.ANSWER_NOT_IN_OPTIONS)])
def test_more_options_than_letters_are_a_reject(count: int, output: object) -> None:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        raw = next(
            r for r in csv.DictReader(file) if (r["split"], r["question_type"]) == ("train", "mcq")
        )
    texts = {f"option{n}": str(n) for n in range(1, count + 1)}
    told = {"answer_options": json.dumps(texts), "correct_answer": f"option{count}"}
    row = one(SOURCE.upstream, **raw | told | {"answer_rationale": ""})
    assert (row.output if isinstance(row, Record) else row.reason) == output


def test_options_are_lettered_and_the_filling_goes() -> None:
    rows = {row.input: row for row in converted(SOURCE.upstream, SAMPLE) if isinstance(row, Record)}
    asked = "Is cholera treated with fluids before antibiotics?\nA: True\nB: False"
    assert rows[asked].output == "A: True\n\nWhat kills is the loss of water and salt."
