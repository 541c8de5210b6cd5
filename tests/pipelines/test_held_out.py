"""Items cut from a corpus: balanced, apart from the training rows, the same again."""

import json
from collections import Counter

import polars as pl
import pytest

from meadow.errors import UsageError
from pipelines.held_out import asked_items, cut_items
from pipelines.study_config import HeldOutPart, StudyExam

SENTENCE = "the trial showed that patients who walked each day had fewer falls than others did"
WORDS = SENTENCE.split()


def frame(rows: int = 60) -> pl.DataFrame:
    """Sentences with three labels; every tenth one comes again with one word more."""
    found = []
    for n in range(rows):
        text = " ".join([*WORDS[n % 5 :], f"case {n}", f"ward {n * 7}", f"year {n * 13}"] * 2)
        for twin in range(2 if n % 10 == 0 else 1):
            found.append(
                {
                    "id": f"{n:030d}{twin:02d}",
                    "instruction": "Which?",
                    "input": text + (" again" if twin else ""),
                    "output": f"label {n % 3}",
                    "source": "s",
                    "license": "mit",
                }
            )
    return pl.DataFrame(found)


def exam(**part: object) -> StudyExam:
    return StudyExam(name="e", parts=(HeldOutPart(source="s", **part),))


def test_classes_are_balanced_and_the_draw_is_the_same_again() -> None:
    held = cut_items(frame(), [exam(per_class=8)], seed=1, template="bare")
    answers = Counter(item["answer"] for item in held.items["e"])
    assert set(answers.values()) == {8}
    assert all(len(item["options"]) == 3 for item in held.items["e"])
    assert held == cut_items(frame(), [exam(per_class=8)], seed=1, template="bare")
    assert held != cut_items(frame(), [exam(per_class=8)], seed=2, template="bare")


def test_relatives_of_an_item_leave_with_it() -> None:
    rows = frame()
    held = cut_items(rows, [exam(per_class=20)], seed=1, template="bare")
    gone = held.excluded(rows["id"], keep=1, seed=1)
    twins = {n for n in rows["id"] if n.endswith("01")}
    for twin in twins:
        assert (twin in gone) == (twin[:-2] + "00" in gone)
    assert len(gone) > len(held.taken)


def test_keeping_is_a_share_of_the_rows_that_are_no_relatives() -> None:
    rows = frame(200)
    held = cut_items(rows, [exam(per_class=20)], seed=1, template="bare")
    none = held.excluded(rows["id"], keep=1, seed=1)
    few = held.excluded(rows["id"], keep=0.2, seed=1)
    assert none < few
    assert 0.6 < len(few - none) / (rows.height - len(none)) < 0.95


def test_items_of_a_file_are_drawn_by_hash_among_the_short_ones(tmp_path) -> None:
    lines = [
        {"question": f"Which of these is {'really ' * (n % 3)}number {n}?", "answer": "A",
         "options": {"A": str(n), "B": "none"}}
        for n in range(60)
    ]  # fmt: skip
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    asked = StudyExam(name="e", files=("q.jsonl",), items=10, longest=40)
    found = asked_items(asked, [path], seed=1)
    assert len(found) == 10
    assert all(len(item.question) <= 40 for item in found)
    assert found == asked_items(asked, [path], seed=1) != asked_items(asked, [path], seed=2)
    assert len(asked_items(StudyExam(name="e", files=("q.jsonl",)), [path], seed=1)) == 60


def test_choice_items_hold_their_own_answer_among_others() -> None:
    rows = frame().with_columns(output=pl.format("The answer of {}. And more.", pl.col("id")))
    held = cut_items(rows, [exam(items=12, options=4)], seed=1, template="short")
    assert len(held.items["e"]) == 12
    for item in held.items["e"]:
        right = item["options"]["ABCD".index(item["answer"])]
        assert right == f"The answer of {item['id']}."
        assert len(set(item["options"])) == 4
        assert item["prompt"].count(item["question"]) == 1


def test_too_few_rows_are_named() -> None:
    with pytest.raises(UsageError, match="too few"):
        cut_items(frame(), [exam(per_class=500)], seed=1, template="bare")
