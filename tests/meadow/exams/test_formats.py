"""Exam files in the shapes they are passed around in: each is read whole, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meadow.errors import FileError
from meadow.exams.items import Exam, eligible, load_exam

ROWS: list[dict[str, Any]] = [
    {"question": f"What stops the {colour} fever of the fens?",
     "options": {"A": "willow", "B": "salt", "C": "sleep"}, "answer": letter}
    for colour, letter in (("grey", "B"), ("blue", "A"), ("red", "C"))
]  # fmt: skip


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    if isinstance(content, list) and name.endswith(".jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def golds(exam: Exam) -> list[str]:
    return [item.answer_text for item in exam]


@pytest.mark.parametrize(
    "shape",
    [
        ROWS,
        {"data": ROWS},
        {"version": "2", "test": ROWS, "train": [{"question": "another split"}]},
        {"rows": [{"row_idx": i, "row": row, "truncated_cells": []} for i, row in enumerate(ROWS)]},
        {name: [row[name] for row in ROWS] for name in ROWS[0]},
        {name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]},
        {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(r.values()) for r in ROWS]},
        {f"q{i}": row for i, row in enumerate(ROWS)},
        {"schema": {"fields": []}, "data": [{"index": i, **row} for i, row in enumerate(ROWS)]},
    ],
    ids=["list", "data", "test", "server", "columns", "pandas", "split", "by key", "table"],
)
def test_every_wrapper_holds_the_same_exam(tmp_path: Path, shape: object) -> None:
    exam = load_exam("own", [written(tmp_path, "own.json", shape)])
    assert golds(exam) == ["salt", "willow", "sleep"]
    (file,) = exam.files
    assert (file["name"], file["rows"], file["items"], file["left_out"]) == ("own.json", 3, 3, {})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[]", "no question"),
        ("a.jsonl", "", "no question"),
        ("a.csv", "question,A,B,answer\n", "no question"),
        ("a.json", "7", "a list of questions was due"),
        ("a.json", {"meta": 1, "split": "test"}, "found the keys meta, split"),
        ("a.json", {"question": ["q", "r"], "answer": ["A"]}, "columns of one length"),
        ("a.json", {"columns": ["question"], "data": [["q", 1]]}, "rows of 1 columns"),
        ("a.json", '{"question": "q"}\n{"question":\n', "a.json:2"),
        ("a.jsonl", '{"question": "q", "options": ["x", "y"], "answer": "A"}\n{"questi', ":2"),
        ("a.csv", 'question,A,B,answer\nq,x,y,A\nr,x,y,"B\ns,x,y,A\n', "a.csv:3"),
        ("a.csv", "question,A,B,answer\nq,x,y,A\nr, or s,x,y,A\n", "5 fields where 4 were due"),
        ("a.csv", "question,A,B,answer\nq,x,A\n", "a.csv:2"),
        ("a.csv", "Which bone?,x,y,z,w,A\nWhich vein?,x,y,z,w,B\n", "has no header"),
        ("a.parquet", "no Parquet", "not a Parquet file"),
        ("a.jsonl", [{"stem_text": "q", "options": ["x", "y"], "answer": "A"}], "found stem_text"),
        ("a.jsonl", [{"question": "q", "options": ["x", "y"], "key": "A"}], "answer_idx"),
        ("a.jsonl", [{"question": "q", "option_list": ["x", "y"], "answer": "A"}], "no options"),
    ],
)
def test_what_is_no_whole_exam_is_refused(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    with pytest.raises(FileError) as caught:
        load_exam("own", [written(tmp_path, name, content)])
    assert message in str(caught.value)


def test_mmlu_keeps_the_test_questions_of_its_medical_subjects(tmp_path: Path) -> None:
    written(tmp_path, "anatomy_test.csv", "Bone one?,w,x,y,z,A\n\nBone two?,w,x,y,z,B\n")
    written(tmp_path, "anatomy_dev.csv", "Bone nought?,w,x,y,z,B\n")
    written(tmp_path, "marketing_test.csv", "Which price?,w,x,y,z,C\n")
    exam = load_exam("mmlu", [tmp_path])
    assert [(item.question, item.discipline) for item in exam] == [
        ("Bone one?", "anatomy"), ("Bone two?", "anatomy")
    ]  # fmt: skip
    assert {file["name"]: file["left_out"] for file in exam.files} == {
        "anatomy_test.csv": {},
        "anatomy_dev.csv": {"of another split than test": 1},
        "marketing_test.csv": {"another subject: marketing": 1},
    }
    subjects = ("anatomy", "marketing", "anatomy", "medical_genetics")
    table = [
        {"question": f"{name}?", "subject": name, "choices": ["w", "x"], "answer": index % 2}
        for index, name in enumerate(subjects)
    ]
    path = tmp_path / "all.parquet"
    pq.write_table(pa.Table.from_pylist(table), path)
    assert golds(load_exam("mmlu_medical", [path])) == ["w", "w", "x"]
    (tmp_path / "x.csv").write_text('Bone?,w,x,y,z,A\nVein?,w,x,y,z,"B\nNerve?,w,x,y,z,C\n')
    with pytest.raises(FileError, match="begins at line 2"):
        load_exam("mmlu", [tmp_path / "x.csv"])


def asked(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Exam:
    return load_exam("own", [written(folder, "own.jsonl", rows)], **options)


def one(
    answer: object, options: object = ("alpha", "beta", "gamma"), **more: Any
) -> dict[str, Any]:
    return {"question": f"Which ray is {len(str(answer))}, {answer}?", "options": options,
            "answer": answer, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "golden"),
    [
        ([one("B"), one("c")], ["beta", "gamma"]),
        ([one("beta"), one("Gamma")], ["beta", "gamma"]),
        ([one(0), one(2)], ["alpha", "gamma"]),
        ([one(3), one(1)], ["gamma", "alpha"]),
        ([one("1.0"), one("0.0")], ["beta", "alpha"]),
        # "AB" is no label here, so that "A" and "B" are texts too
        ([one("AB", ["O", "A", "B", "AB"]), one("A", ["AB", "O", "B", "A"])], ["AB", "A"]),
        # numerals among numerals: the nought tells that they are places
        ([one(1, ["1", "2", "3"]), one(0, ["3", "1", "2"])], ["2", "3"]),
        ([one("gamma", answer_idx=2), one("beta", answer_idx=1)], ["gamma", "beta"]),
        ([one(["beta"])], ["beta"]),
        ([one("B", answer_index=1)], ["beta"]),
        ([one("B", {"text": ["x", "y"], "label": ["A", "B"]})], ["y"]),
        ([one("B", [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}])], ["y"]),
        ([{"sent1": f"{word} ray?", "sent2": "", "ending0": "x", "ending1": "y", "label": label}
          for label, word in enumerate(("Which", "Whose"))], ["x", "y"]),
        ([{"n": 1, "question": "Which ray?", "opa": "x", "opb": "y", "answer": "B"}], ["y"]),
        ([{"id": "7", "data": {"Question": "Which ray?", "Options": {"A": "x", "B": "y"},
           "Correct Option": "B", "Correct Answer": "y"}}], ["y"]),
        ([{"question": "Which ray?", "options": {"A": "x", "B": "y"}, "label": "B"}], ["y"]),
        ([one(1, {"1": "x", "2": "y"}), one(2, {"1": "x", "2": "y"})], ["x", "y"]),
        ([one(1, {"0": "x", "1": "y"}), one(0, {"0": "x", "1": "y"})], ["y", "x"]),
        # the nought is none of the numbers, so that all are places
        ([one(1, {"1": "x", "2": "y"}), one(0, {"1": "x", "2": "y"})], ["y", "x"]),
    ],
)  # fmt: skip
def test_what_answers_are_is_decided_once_per_file(
    tmp_path: Path, rows: list[dict[str, Any]], golden: list[str]
) -> None:
    exam = asked(tmp_path, rows)
    assert golds(exam) == golden
    assert len(eligible(exam)) == len(golden)


def test_a_file_that_does_not_tell_is_refused_until_it_is_told(tmp_path: Path) -> None:
    rows = [one(1, ["1", "2", "3"]), one(2, ["2", "1", "3"])]
    with pytest.raises(FileError) as caught:
        asked(tmp_path, rows)
    assert "--answer-is" in str(caught.value)
    assert all(f"own.jsonl:{line}" in str(caught.value) for line in (1, 2))
    assert golds(asked(tmp_path, rows, answer_is="text")) == ["1", "2"]
    assert golds(asked(tmp_path, rows, answer_is="index0")) == ["2", "3"]
    assert golds(asked(tmp_path, rows, answer_is="index1")) == ["1", "1"]
    annulled = [one(n, {"1": "x", "2": "y", "3": "z"}) for n in (0, 3)]
    with pytest.raises(FileError, match="in one row the answer is read as index0"):
        asked(tmp_path, annulled)
    assert golds(asked(tmp_path, annulled, answer_is="label")) == ["", "z"]
    with pytest.raises(FileError, match="in one row the answer is read as label"):
        asked(tmp_path, [one("A"), one("gamma")])


def test_the_case_is_part_of_the_question(tmp_path: Path) -> None:
    stem = "Which of the following is the most likely diagnosis?"
    for case in (
        {"context": ["A tailor pricked her thumb.", "Her jaw is stiff."]},
        {"vignette": "A tailor pricked her thumb.\nHer jaw is stiff."},
        {"Contexts": "['A tailor pricked her thumb.', 'Her jaw is stiff.']"},
        {"context": {"contexts": ["A tailor pricked her thumb.", "Her jaw is stiff."]}},
    ):
        rows = [{"question": stem, "options": ["x", "y"], "answer": "A", **case}]
        (item,) = asked(tmp_path, rows)
        assert item.question == f"A tailor pricked her thumb.\nHer jaw is stiff.\n{stem}"
        assert item.exclusion_reason is None
    (item,) = asked(tmp_path, [{"question": stem, "options": ["x", "y"], "answer": "A"}])
    assert item.exclusion_reason == "no case in the question"


def test_what_cannot_be_scored_fairly_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        one("C", ["eye", "tail", "Eye "]),
        one("B", ["eye", "tail", "eye"]),
        one("A", image="ecg.png"),
        one("A", image={"bytes": None, "path": "a.png"}),
        one("A", image={"bytes": None, "path": None}),
        one("A", images=[]),
        one("A", ["x", ""]),
    ]
    for number, row in enumerate(rows):
        row["question"] += f" ({number})"
    exam = asked(tmp_path, rows)
    assert [item.exclusion_reason for item in exam] == [
        "the right answer stands under two letters", None, "image", "image", None, None,
        "fewer than two options",
    ]  # fmt: skip
    assert exam.files[0]["left_out"] == {
        "fewer than two options": 1, "image": 2, "the right answer stands under two letters": 1
    }  # fmt: skip
