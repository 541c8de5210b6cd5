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
from support.usmle import COUNTS, write_usmle

import meadow
from meadow.errors import FileError, UsageError
from meadow.exams.items import ALIASES, EXAMS, eligible, item_id, load_exam
from meadow.exams.usmle import image_exclusions

SAMPLE = Path(meadow.__file__).parent / "samples" / "exam"


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
        None, "same question and options again", "no answer", "fewer than two options",
        "answer not among the options", None, "image", "no question",
    ]  # fmt: skip
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
    # with the authors' list of their test beside it, as in their repository
    path = tmp_path / "data" / "ori_pqal.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"123": record, "124": {**record, "QUESTION": "Does it now?"}}))
    listed = path.with_name("test_ground_truth.json")
    listed.write_text(json.dumps({"124": "no"}))
    exam = load_exam("pubmedqa", [path.parent])
    assert [item.number for item in exam] == ["124"]
    assert exam.files[0]["left_out"] == {"of another split than test": 1}
    assert exam.files[1]["name"] == "test_ground_truth.json"
    listed.write_text("[]")
    with pytest.raises(FileError, match="decisions by PMID"):
        load_exam("pubmedqa", [path.parent])
    columns = {
        "question": {"0": "Q?", "1": "R?"},
        **{f"op{letter}": {"0": letter, "1": letter * 2} for letter in "abcd"},
        "answer_idx": {"0": "C", "1": "A"},
        "answer": {"0": "c", "1": "aa"},
    }
    path = tmp_path / "medbullets.json"
    path.write_text(json.dumps(columns))
    assert [item.answer_text for item in load_exam("medbullets", [path])] == ["c", "aa"]


def test_medbullets_as_the_spreadsheet_left_it(tmp_path: Path) -> None:
    path = tmp_path / "medbullets_op5.csv"
    path.write_text(
        "link,question,opa,opb,opc,opd,ope,answer_idx,answer,explanation\n"
        'https://example.org/1,"Which knot, if\nwet?",reef,bow,eye,bend,hitch,E,hitch,Wet.,,,,,\n'
        "https://example.org/2,Which rope?,hemp,jute,silk,wool,wire,A,hemp,Dry.,,,,,\n"
    )
    items = load_exam("medbullets", [path])
    assert [item.answer_text for item in items] == ["hitch", "hemp"]
    path.write_text("question,A,B,answer\nWhich rope?,hemp,jute,A,left over\n")
    with pytest.raises(FileError, match="5 fields where 4 were due"):
        load_exam("medbullets", [path])


def test_medxpertqa_shows_its_ten_options_once(tmp_path: Path) -> None:
    texts = ["gill", "fin", "scale (A) of tin", "eye", "tail", "roe", "jaw", "bone", "skin", "gut"]
    options = dict(zip("ABCDEFGHIJ", texts, strict=True))
    shown = " ".join(f"({label}) {text}" for label, text in options.items())
    rows = [
        {"id": "Text-0", "question": f"A carp gasps. Which part?\nAnswer Choices: {shown}",
         "options": options, "label": "J", "medical_task": "Diagnosis", "body_system": "Digestive"},
        {"id": "Text-1", "question": f"Is ({texts[0]}) a part of {shown[:-1]}?",
         "options": options, "label": "A", "medical_task": "Diagnosis", "body_system": "Other"},
    ]  # fmt: skip
    first, second = load_exam("medxpertqa", [documented(tmp_path, rows, "test.jsonl")])
    assert first.question == "A carp gasps. Which part?"
    assert (first.answer_text, len(first.options), first.discipline) == ("gut", 10, "Digestive")
    # what only looks like the list of options stays
    assert second.question == rows[1]["question"]


def test_mmlu_pro_keeps_health(tmp_path: Path) -> None:
    texts = [f"reef {letter}" for letter in "abcdefghij"]
    table = [
        {"question_id": n, "question": f"Which reef {n}?", "options": texts[:size], "src": "x",
         "answer": "ABCDEFGHIJ"[index], "answer_index": index, "cot_content": "", "category": kind}
        for n, size, index, kind in ((1, 10, 9, "health"), (2, 4, 0, "law"), (3, 7, 1, "health"))
    ]  # fmt: skip
    path = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(table), path)
    exam = load_exam("mmlu_pro_health", [path])
    assert [(item.number, item.answer) for item in exam] == [("1", "J"), ("3", "B")]
    assert exam.files[0]["left_out"] == {"of another category: law": 1}


def head_qa_paper(image: str = "") -> dict[str, object]:
    answers = [{"aid": n, "atext": text} for n, text in enumerate(("elm", "oak", "ash", "fir"), 1)]
    return {
        "name": "Cuaderno_2031_1_B", "year": "2031", "category": "biology",
        "data": [
            {"qid": "1", "qtext": "Which tree?", "ra": "3", "image": "", "answers": answers},
            {"qid": "2", "qtext": "Which leaf?", "ra": "1", "image": image, "answers": answers},
        ],
    }  # fmt: skip


def test_head_qa_in_papers_and_in_rows(tmp_path: Path) -> None:
    paper = head_qa_paper(image="./data/medicalimages/2031/1.png")
    path = tmp_path / "test_HEAD_EN.json"
    path.write_text(json.dumps({"version": "1.0", "language": "en", "exams": {"one": paper}}))
    exam = load_exam("head_qa", [path])
    assert [(i.answer, i.answer_text, i.discipline, i.exclusion_reason) for i in exam] == [
        ("C", "ash", "biology", None), ("A", "elm", "biology", "image"),
    ]  # fmt: skip
    assert exam[0].labels == tuple("ABCD")
    rows = [{**row, "qid": int(row["qid"]), "ra": int(row["ra"]), "category": "biology",
             "image": None} for row in head_qa_paper()["data"]]  # type: ignore[attr-defined]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "0000.parquet")
    assert [i.answer for i in load_exam("head_qa", [tmp_path / "0000.parquet"])] == ["C", "A"]
    path.write_text(json.dumps({"exams": {"one": {"name": "no questions"}}}))
    with pytest.raises(FileError, match=r"test_HEAD_EN\.json: one"):
        load_exam("head_qa", [path])


def test_medexpqa_numbers_its_options(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "full_question": f"Which root {n}?", "type": "BOTANY", "year": 2031,
         "lang": "en", "correct_option": right, "full_answer": "For it is the third.",
         "options": {"1": "beet", "2": "leek", "3": "kale", "4": "cress", "5": last}}
        for n, right, last in ((1, 3, None), (2, 5, "rape"), (3, 6, None), (4, 0, None))
    ]  # fmt: skip
    exam = load_exam("medexpqa", [documented(tmp_path, rows, "test.en.casimedicos.rag.jsonl")])
    assert [(item.answer, item.answer_text, len(item.options)) for item in eligible(exam)] == [
        ("C", "kale", 4), ("E", "rape", 5),
    ]  # fmt: skip
    # a key of an annulled question is not read as a place
    assert exam.files[0]["left_out"] == {"answer not among the options": 2}
    assert {item.discipline for item in exam} == {"BOTANY"}


def test_afrimed_qa_keeps_the_choices_of_its_test_split(tmp_path: Path) -> None:
    def row(n: int, right: str, kind: str = "mcq", split: str = "test") -> dict[str, object]:
        options = {f"option{i}": text for i, text in enumerate(("ox", "elk", "n/a", "ram"), 1)}
        return {"sample_id": f"s{n}", "split": split, "question_type": kind, "prompt": "A farm.",
                "question": f"Which\n\nhorn {n}? ", "question_clean": f"Which horn {n}?",
                "answer_options": json.dumps(options) if kind == "mcq" else "",
                "correct_answer": right, "discipline": "Law", "specialty": "Urology"}  # fmt: skip

    rows = [
        row(1, "option4"), row(2, "option1,option2"), row(3, "option1", split="train"),
        row(4, "", "saq"), row(5, "", "consumer_queries", "train"), row(6, "option3"),
    ]  # fmt: skip
    path = tmp_path / "afri_med_qa_15k_v2.5_phase_2_15275.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    exam = load_exam("afrimed_qa", [path])
    assert [(i.question, i.answer_text, i.exclusion_reason) for i in exam] == [
        ("Which horn 1?", "ram", None),
        ("Which horn 2?", "", "several right answers"),
        ("Which horn 6?", "", "answer not among the options"),
    ]
    assert [(len(item.options), item.discipline) for item in exam] == [(3, "Urology")] * 3
    assert exam.files[0]["left_out"] == {
        "of another split: train": 2, "of another question_type: saq": 1,
        "several right answers": 1, "answer not among the options": 1,
    }  # fmt: skip


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
