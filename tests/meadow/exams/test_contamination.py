"""Contamination: planted exam items are found at the right level, and stock phrases are not."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.exams.contamination import COLUMNS, find_contamination, rows_to_drop, summarise
from meadow.exams.items import ExamItem, item_id, load_exam
from meadow.exams.overlap import occurrences

LETTERS = "ABCDE"


def item(
    question: str, answer: str = "Aspirin", others: tuple[str, ...] = ("Heparin", "Iron")
) -> ExamItem:
    texts = (answer, *others)
    options = tuple(zip(LETTERS, texts, strict=False))
    return ExamItem("exam", item_id(question, options), question, options, "A")


def rows(*texts: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(f"row{n}", *text) for n, text in enumerate(texts)],
        schema=["id", "instruction", "input", "output"],
        orient="row",
    )


STEM = (
    "A 54-year-old man comes to the physician because of a two-day history of crushing chest pain "
    "that radiates to the left arm. Which of the following is the most appropriate drug?"
)


def levels(frame: pl.DataFrame, *items: ExamItem) -> list[tuple[str, str]]:
    return find_contamination(frame, items).select("row_id", "level").rows()


def test_verbatim_with_and_without_the_answer() -> None:
    frame = rows(("Answer.", STEM, "A: Aspirin"), ("Answer.", STEM, "B: Heparin"))
    found = find_contamination(frame, [item(STEM)])
    assert found.columns == list(COLUMNS)
    assert found.select("row_id", "level", "score").rows() == [
        ("row0", "stem+answer", 1.0), ("row1", "stem", 1.0)
    ]  # fmt: skip
    assert found["matched"][0] == "exact+13-gram+8-gram+near_duplicate+aligned"


def test_case_space_and_punctuation_do_not_hide_an_item() -> None:
    hidden = re.sub(r"[-,.?]", "  ", STEM.upper())
    assert levels(rows(("Answer.", hidden, "ASPIRIN")), item(STEM)) == [("row0", "stem+answer")]


def test_options_shuffled_and_the_answer_by_its_letter() -> None:
    listed = f"Q:{STEM}? \nA: Iron\nB: Aspirin\nC: Heparin"
    frame = rows(
        ("Choose.", listed, "B"), ("Choose.", listed, "A"), ("Choose.", listed, "B: Aspirin")
    )
    assert levels(frame, item(STEM)) == [
        ("row0", "stem+answer"), ("row1", "stem"), ("row2", "stem+answer")
    ]  # fmt: skip


def test_inside_a_longer_text_and_in_the_instruction() -> None:
    story = f"Here is a case from my notes. {STEM} I gave aspirin, and the patient recovered."
    frame = rows(("Tell me a story.", "", story), (STEM, "", "Aspirin"), (STEM, "", "Rest."))
    assert levels(frame, item(STEM)) == [
        ("row0", "stem+answer"), ("row1", "stem+answer"), ("row2", "stem")
    ]  # fmt: skip


def test_an_answer_inside_the_stem_alone_is_no_answer() -> None:
    stem = STEM.replace("Which of", "He takes aspirin every day. Which of")
    frame = rows(("Repeat.", "", f"My case: {stem}"))
    assert levels(frame, item(stem)) == [("row0", "stem")]


def test_a_stock_phrase_is_reported_as_a_score_only() -> None:
    stems = [
        f"{' '.join(f'word{n}x{k}' for k in range(40))}. Which of the following is the most likely "
        "underlying cause?"
        for n in range(30)
    ]
    phrase = " ".join(f"word3x{k}" for k in range(1, 10))
    frame = rows(
        ("Answer.", "Which of the following is the most likely underlying cause?", "Iron"),
        ("Answer.", phrase, "no"),
    )
    found = find_contamination(frame, [item(stem) for stem in stems])
    assert found["level"].to_list() == ["none"]
    assert found["row_id"].to_list() == ["row1"]
    assert 0 < found["score"][0] < 0.2


def test_short_stems_need_the_whole_field_or_their_options() -> None:
    stem = "Which statement is false"
    frame = rows(
        ("Answer.", stem, "Aspirin"),
        ("Answer.", f"In this text, which statement is false? {'more ' * 20}", "No idea"),
        ("Answer.", f"Q: {stem}?\nA: Iron\nB: Heparin\nC: Aspirin", "B"),
        ("Answer.", f"Q: {stem}?", "Aspirin"),
    )
    assert levels(frame, item(stem)) == [
        ("row0", "stem+answer"), ("row2", "stem"), ("row3", "stem+answer")
    ]  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_are_those_of_a_set_of_8_grams(seed: int) -> None:
    """The vectorised search against Python sets."""
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(600)]
    stems = [" ".join(draw.choices(words, k=draw.randint(8, 60))) for _ in range(25)]
    texts = [
        " ".join(draw.choices(words, k=5))
        + " " + " ".join(draw.choice(stems).split()[draw.randint(0, 20):])
        for _ in range(20)
    ]  # fmt: skip

    def grams(text: str) -> set[tuple[str, ...]]:
        split = re.findall(r"\w+", text.lower())
        return {tuple(split[i : i + 8]) for i in range(len(split) - 7)}

    items = [item(stem) for stem in dict.fromkeys(stems)]
    frame = rows(*(("Do.", text, "x") for text in texts))
    found = {
        (row["item_id"], row["row_id"]): row["score"]
        for row in find_contamination(frame, items).to_dicts()
        if row["level"] != "none"
    }
    for one in items:
        own = grams(one.question)
        for n, text in enumerate(texts):
            share = len(own & grams(text)) / len(own)
            if share >= 0.2:
                assert found.pop((one.item_id, f"row{n}")) == pytest.approx(share)
    assert not found  # no run of four is shared by chance


FRAMES = st.sampled_from([
    "Which of the following is the most likely diagnosis?",
    "What is the most appropriate next step in the management of this patient?",
])  # fmt: skip


def case(draw: random.Random) -> list[str]:
    """A made-up case of 58 words and more."""
    words = ("amber", "brisk", "copper", "dusk", "ember", "frost", "gravel", "harbour", "iris")
    return [draw.choice(words) + str(draw.randint(0, 40)) for _ in range(draw.randint(58, 70))]


def edited(words: list[str], every: int, draw: random.Random) -> str:
    """Every k-th word replaced by another word of the text."""
    return " ".join(
        draw.choice(words) if place % every == every - 1 else word
        for place, word in enumerate(words)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 10), FRAMES)
def test_an_edited_case_is_found_and_another_case_is_not(seed: int, every: int, frame: str) -> None:
    draw = random.Random(seed)
    cases = [[*case(draw), *frame.split()] for _ in range(12)]
    around = " ".join(case(draw))
    texts = [
        edited(cases[0], every, draw),
        f"{around} {edited(cases[1], every, draw)} {around}",
        " ".join([*cases[2][30:], *cases[2][:30]]),
        f"{around} {frame}",
    ]
    found = levels(rows(*(("Do.", text, "x") for text in texts)), *(
        item(" ".join(words)) for words in cases
    ))  # fmt: skip
    assert sorted({row for row, level in found if level != "none"}) == ["row0", "row1", "row2"]


def test_the_frame_of_a_question_is_nobodys() -> None:
    frame = "Which of the following is the most likely diagnosis?"
    long = ("a tear of the red gland at noon", "a knot in the long tail of mice", "the grey cough "
            "of the winter millers")  # fmt: skip
    one = item(frame, long[0], long[1:])
    listed = "\n".join(f"{label}: {text}" for label, text in zip(LETTERS, long, strict=False))
    texts = [("Answer.", frame, long[0]), ("Answer.", f"{frame}\n{listed}", "A"),
             ("Answer.", listed, "A")]  # fmt: skip
    assert levels(rows(*texts), one) == [("row1", "stem+answer"), ("row2", "options")]


def test_summary_and_rows_to_drop() -> None:
    frame = rows(("A.", STEM, "Aspirin"), ("A.", STEM, "Iron"), ("A.", "nothing", "here"))
    items = [item(STEM), item("Quite another question that nobody planted anywhere in here at all")]
    found = find_contamination(frame, items)
    summary = summarise(found, items)["exam"]
    assert summary["items"] == 2
    assert summary["rows"] == {"options": 0, "stem": 1, "stem+answer": 1}
    assert summary["items_found"] == {"options": 0, "stem": 0, "stem+answer": 1}
    assert rows_to_drop(found, "stem").to_list() == ["row0", "row1"]
    assert rows_to_drop(found, "stem+answer").to_list() == ["row0"]
    assert rows_to_drop(found, "none").to_list() == []
    # Idempotence: nothing is found in what is left.
    left = frame.filter(~pl.col("id").is_in(rows_to_drop(found, "stem").to_list()))
    assert set(find_contamination(left, items)["level"]) <= {"none"}


def test_no_rows_and_no_items() -> None:
    empty = rows().cast(pl.String)
    assert find_contamination(empty, [item(STEM)]).is_empty()
    assert find_contamination(rows(("a", "b", "c")), []).is_empty()


@pytest.mark.realdata
def test_planted_medqa_items_are_found_at_the_right_level(upstream: Path) -> None:
    items = load_exam("medqa", [upstream / "medqa" / "phrases_no_exclude_test.jsonl"])
    chatter = json.loads((upstream / "chatdoctor" / "chatdoctor5k.json").read_text())
    plain = [(row["instruction"], row["input"], row["output"]) for row in chatter]
    draw = random.Random(5)
    planted: list[tuple[str, str, str]] = []
    expected: list[tuple[str, str]] = []
    for number, one in enumerate(items[:400]):
        kind = number % 4
        answer = one.answer_text
        wrong = next(text for label, text in one.options if label != one.answer)
        if kind == 0:
            row, level = ("Answer.", one.question, answer), "stem+answer"
        elif kind == 1:
            texts = [text for _, text in one.options]
            draw.shuffle(texts)
            listed = "\n".join(
                f"{label}: {text}" for label, text in zip(LETTERS, texts, strict=False)
            )
            row, level = ("Choose.", f"Q:{one.question}\n{listed}", wrong), "stem"
        elif kind == 2:
            words = one.question.split()
            gone = set(draw.sample(range(len(words)), len(words) // 10))
            text = " ".join(word for place, word in enumerate(words) if place not in gone)
            row, level = ("Answer.", text, answer), "stem+answer"
        else:
            row, level = (
                ("Tell a case.", "", f"Once upon a time. {one.question} And so on."),
                "stem",
            )
        planted.append(row)
        expected.append((one.item_id, level))
    frame = rows(*planted, *plain)
    found = find_contamination(frame, items).filter(pl.col("level") != "none")
    mine = {(row["item_id"], row["row_id"]): row["level"] for row in found.to_dicts()}
    right = [mine.get((one, f"row{n}")) == level for n, (one, level) in enumerate(expected)]
    missing = [n for n, (one, _) in enumerate(expected) if (one, f"row{n}") not in mine]
    assert not missing
    # A wrong option may contain the right one ("Warfarin" in "Warfarin and heparin").
    assert sum(right) >= 0.97 * len(right)
    for _, row_id in mine:
        assert int(row_id.removeprefix("row")) < len(planted), "an ordinary row was flagged"


@pytest.mark.realdata
def test_a_case_in_a_column_of_its_own_drops_what_the_whole_question_drops(
    upstream: Path, tmp_path: Path
) -> None:
    """mediQ's form (sentences in `context`, the question beside them) against MedQA's."""
    lines = (upstream / "medqa" / "phrases_no_exclude_test.jsonl").read_text().splitlines()
    given = [json.loads(line) for line in lines]
    apart = []
    for number, row in enumerate(given):
        *context, question = re.split(r"(?<=[.?!])\s+", row["question"])
        apart.append({"id": number, "context": context, "question": question,
                      "options": row["options"], "answer": row["answer"],
                      "answer_idx": row["answer_idx"]})  # fmt: skip
    path = tmp_path / "apart.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in apart))
    whole = load_exam("medqa", [upstream / "medqa" / "phrases_no_exclude_test.jsonl"])
    split = load_exam("own", [path])
    assert len(split) == len(whole)
    chatter = json.loads((upstream / "chatdoctor" / "chatdoctor5k.json").read_text())
    draw = random.Random(3)
    texts = [("Answer.", row["question"], row["answer"]) for row in draw.sample(given, 60)]
    texts += [(row["instruction"], row["input"], row["output"]) for row in chatter]
    frame = rows(*texts)
    dropped = [
        set(rows_to_drop(find_contamination(frame, items), "stem").to_list())
        for items in (whole, split)
    ]
    assert dropped[0] == dropped[1]
    assert dropped[0] == {f"row{number}" for number in range(60)}


def test_occurrences() -> None:
    assert occurrences(["a", "b"], ["a", "b", "a", "b", "a"]) == 2
    assert occurrences([], ["a"]) == 0
    assert occurrences(["a"], []) == 0
