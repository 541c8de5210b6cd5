"""Exam items from every form that exams come in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meadow
from meadow.errors import FileError, UsageError
from meadow.exams.items import ALIASES, EXAMS, eligible, item_id, load_exam
from meadow.exams.usmle import IMAGES_2023, image_exclusions

SAMPLE = Path(meadow.__file__).parent / "samples" / "exam"


def write_usmle(folder: Path, counts: dict[str, int], skipped: dict[str, set[int]]) -> Path:
    """Step files in the real layout; question numbers in `skipped` are not used."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, count in counts.items():
        numbers: list[int] = []
        number = 0
        while len(numbers) < count:
            number += 1
            if number not in skipped.get(step, set()):
                numbers.append(number)
        rows = [
            {"no": n, "question": f"{step} case {n}", "options": {"A": f"a{n}", "B": f"b{n}"}}
            for n in numbers
        ]
        (folder / f"{step}.json").write_text(json.dumps(rows))
        solutions = {str(n): "ab"[n % 2] if n % 3 else "AB"[n % 2] for n in numbers}
        (folder / f"{step}_solutions.json").write_text(json.dumps(solutions))
    lists = {step: list(IMAGES_2023[step]) for step in counts}
    (folder / "question_with_images.json").write_text(json.dumps(lists))
    return folder


COUNTS = {"step1": 119, "step2": 120, "step3": 135}


def scored(folder: Path, reading: str) -> list[int]:
    items = eligible(load_exam("usmle_self_assessment", [folder], images=reading))  # type: ignore[arg-type]
    return [sum(item.step == step for item in items) for step in COUNTS]


@pytest.mark.parametrize("reading", ["by_number", "by_index", "readme"])
def test_the_2023_lists_leave_92_110_122(tmp_path: Path, reading: str) -> None:
    assert scored(write_usmle(tmp_path, COUNTS, {}), reading) == [92, 110, 122]


def test_two_listed_numbers_that_no_question_has(tmp_path: Path) -> None:
    folder = write_usmle(tmp_path, COUNTS, {"step3": {102, 118}})
    assert scored(folder, "by_number") == [92, 110, 124]
    assert scored(folder, "by_index") == [92, 110, 122]
    assert scored(folder, "readme") == [92, 110, 122]


def test_without_an_image_list_only_the_2023_sizes_are_known(tmp_path: Path) -> None:
    folder = write_usmle(tmp_path, COUNTS, {})
    (folder / "question_with_images.json").unlink()
    assert scored(folder, "by_number") == [92, 110, 122]
    small = write_usmle(tmp_path / "small", {"step1": 20}, {})
    (small / "question_with_images.json").unlink()
    with pytest.raises(FileError, match=r"question_with_images\.json is missing"):
        load_exam("usmle_self_assessment", [small])


def test_the_sample_exam() -> None:
    items = load_exam("usmle_self_assessment", [SAMPLE])
    assert [sum(item.step == f"step{n}" for item in items) for n in (1, 2, 3)] == [20, 20, 20]
    assert len(eligible(items)) == 54
    assert all(item.exclusion_reason and "image" in item.exclusion_reason
               for item in items if item.has_image)  # fmt: skip
    assert all(item.answer in item.labels and item.discipline for item in items)
    assert len({item.item_id for item in items}) == 60
    assert load_exam("usmle_self_assessment", sorted(SAMPLE.glob("*.json"))) == items


@given(
    count=st.integers(1, 60),
    listed=st.lists(st.integers(1, 80), unique=True, max_size=20),
    first=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_readings_agree_where_every_number_is_there(
    count: int, listed: list[int], first: int
) -> None:
    numbers = [str(n + first) for n in range(count)]
    by_number = image_exclusions(numbers, listed, "by_number")
    readme = image_exclusions(numbers, listed, "readme")
    assert set(by_number) <= set(readme)
    assert len(readme) == min(count, len(listed))
    assert all(0 <= i < count for i in image_exclusions(numbers, listed, "by_index"))
    if all(str(n) in numbers for n in listed):
        assert by_number == readme


def test_item_id_is_of_the_text_not_of_its_spaces() -> None:
    options = [("A", "one"), ("B", "two")]
    assert item_id("A  question\n?", options) == item_id(
        "A question ?", [("X", "one "), *options[1:]]
    )
    assert item_id("A question ?", options) != item_id("A question ?", options[::-1])


def documented(tmp_path: Path, rows: list[dict[str, object]], name: str = "x.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_documented_form_in_every_file_type(tmp_path: Path) -> None:
    rows = [
        {"question": "Q one?", "options": {"A": "x", "B": "y, z"}, "answer": "B", "step": "s"},
        {"question": "Q two?", "options": {"A": "13", "B": "14"}, "answer": "A", "step": "s"},
    ]
    jsonl = documented(tmp_path, rows)
    whole = tmp_path / "x.json"
    whole.write_text(json.dumps(rows))
    table = tmp_path / "x.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "A", "B", "answer", "step"])
        writer.writerows([["Q one?", "x", "y, z", "B", "s"], ["Q two?", "13", "14", "A", "s"]])
    parquet = tmp_path / "x.parquet"
    as_list = [{**r, "options": list(r["options"].values())} for r in rows]  # type: ignore[attr-defined]
    pq.write_table(pa.Table.from_pylist(as_list), parquet)
    expected = load_exam("mine", [jsonl])
    assert [item.answer_text for item in expected] == ["y, z", "13"]
    for path in (whole, table, parquet):
        assert load_exam("mine", [path]) == expected


def test_what_cannot_be_scored_stays_with_its_reason(tmp_path: Path) -> None:
    options = {"A": "x", "B": "y"}
    rows = [
        {"question": "Q?", "options": options, "answer": "A"},
        {"question": " Q? ", "options": options, "answer": "A"},
        {"question": "R?", "options": options, "answer": ""},
        {"question": "S?", "options": {"A": "x", "B": " "}, "answer": "A"},
        {"question": "T?", "options": options, "answer": "C"},
        {"question": "U?", "options": options, "answer": "b"},
        {"question": "V?", "options": options, "answer": "A", "image": True},
        {"question": "", "options": options, "answer": "A"},
    ]
    items = load_exam("mine", [documented(tmp_path, rows)])
    assert [item.exclusion_reason for item in items] == [
        None,
        "same question and options again",
        "no answer",
        "fewer than two options",
        "answer not among the options",
        None,
        "image",
        "no question",
    ]
    assert items[5].answer == "B"
    assert len({item.item_id for item in items}) == len(items)


@pytest.mark.parametrize(
    "text",
    ["{}", "[1]", "not json", '{"question": "Q?", "options": 5, "answer": "A"}', '{"question": 1}'],
)
def test_a_broken_line_fails_the_exam(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "Q?", "options": ["x", "y"], "answer": "A"}\n' + text + "\n")
    with pytest.raises(FileError) as caught:
        load_exam("mine", [path])
    assert "x.jsonl:2" in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not found"):
        load_exam("medqa", [tmp_path / "none.jsonl"])
    with pytest.raises(UsageError):
        load_exam("medqa", [])


def test_medmcqa_counts_from_zero_or_one(tmp_path: Path) -> None:
    def row(number: int, cop: int) -> dict[str, object]:
        texts = dict(zip(("opa", "opb", "opc", "opd"), "wxyz", strict=True))
        return {"id": str(number), "question": f"Q{number}", **texts, "cop": cop,
                "subject_name": "Anatomy"}  # fmt: skip

    for first in (0, 1):
        rows = [row(n, first + n % 4) for n in range(8)]
        items = load_exam("medmcqa", [documented(tmp_path, rows, f"{first}.jsonl")])
        assert [item.answer for item in items] == list("ABCDABCD")
        assert items[0].discipline == "Anatomy"
    with pytest.raises(FileError, match="index0 or index1"):
        load_exam("medmcqa", [documented(tmp_path, [row(1, 2)], "few.jsonl")])
    hidden = [{**row(n, n), "cop": -1} for n in range(3)]
    assert not eligible(load_exam("medmcqa", [documented(tmp_path, hidden, "test.jsonl")]))


def test_pubmedqa_and_medbullets(tmp_path: Path) -> None:
    record = {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "no"}
    path = tmp_path / "pubmedqa.json"
    path.write_text(json.dumps({"123": record}))
    (item,) = load_exam("pubmedqa", [path])
    assert (item.question, item.answer_text, item.number) == ("One.\nTwo.\nDoes it?", "no", "123")
    columns = {
        "question": {"0": "Q?", "1": "R?"},
        **{f"op{letter}": {"0": letter, "1": letter * 2} for letter in "abcd"},
        "answer_idx": {"0": "C", "1": "A"},
        "answer": {"0": "c", "1": "aa"},
    }
    path = tmp_path / "medbullets.json"
    path.write_text(json.dumps(columns))
    assert [item.answer_text for item in load_exam("medbullets", [path])] == ["c", "aa"]


@pytest.mark.realdata
def test_the_real_files(upstream: Path) -> None:
    test = load_exam("medqa", [upstream / "medqa" / "phrases_no_exclude_test.jsonl"])
    dev = load_exam("medqa", [upstream / "medqa" / "questions_US_dev.jsonl"])
    assert (len(eligible(test)), len(eligible(dev))) == (1273, 1272)
    assert {len(item.options) for item in test} == {4}
    assert {len(item.options) for item in dev} == {5}
    assert {item.step for item in test} == {"step1", "step2&3"}
    mmlu = load_exam("mmlu_medical", [upstream / "mmlu"])
    assert (len(mmlu), len(eligible(mmlu))) == (1089, 1011)
    assert all(isinstance(text, str) and text for item in mmlu for _, text in item.options)


def test_an_item_may_bring_its_own_prompt(tmp_path: Path) -> None:
    row = {"question": "The sky is green.", "options": ["yes", "no"], "answer": "B"}
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({**row, "prompt": "True?\nThe sky is green.\nAnswer:"}) + "\n")
    assert load_exam("own", [path])[0].prompt == "True?\nThe sky is green.\nAnswer:"
    path.write_text(json.dumps({**row, "prompt": "True?"}) + "\n")
    with pytest.raises(FileError, match="prompt"):
        load_exam("own", [path])


def test_the_help_of_mix_names_the_exams() -> None:
    from click.testing import CliRunner

    from meadow.cli.mix import mix

    shown = CliRunner().invoke(mix, ["--help"]).output
    assert [name for name in (*EXAMS, *ALIASES) if name not in shown] == []
