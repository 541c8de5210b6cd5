"""MedMCQA: a key that counts from 0 or from 1, and explanations that open with a letter."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.converted import converted, one

from meadow.errors import FileError
from meadow.exams.errata import read_errata, row_fault, row_faults
from meadow.samples import FOLDER
from meadow.schema import Reason, Record
from meadow.sources.medmcqa import LOST, SOURCE, explained, restored

SAMPLE = FOLDER / "medmcqa/train.json"
ROWS = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


def test_the_hubs_parquet_gives_the_rows_of_the_authors_lines(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    table = [{**row, "cop": row["cop"] - 1} for row in ROWS if row["cop"] < 5]
    pq.write_table(pa.Table.from_pylist(table), path)
    copy = tmp_path / "copy.jsonl"  # the Parquet file, written as lines
    copy.write_text("".join(json.dumps(row) + "\n" for row in table))
    expected = [row for row in converted(SOURCE.upstream, SAMPLE) if isinstance(row, Record)]
    assert len(expected) > 20
    for file in (path, copy):
        rows = converted(SOURCE.upstream, file)
        assert [row for row in rows if isinstance(row, Record)] == expected


@pytest.mark.parametrize(
    ("keys", "message"), [([1, 2, 3], "counts from 0 or from 1"), ([-1, -1], "test split")]
)
def test_a_key_that_does_not_tell_is_refused(tmp_path: Path, keys: list[int], message: str) -> None:
    path = tmp_path / "train.json"
    path.write_text("".join(json.dumps({**ROWS[0], "cop": key}) + "\n" for key in keys))
    with pytest.raises(FileError, match=message):
        converted(SOURCE.upstream, path)


@pytest.mark.parametrize(
    ("text", "answer", "shown", "letters"),
    [
        ("Ans. is 'c' i.e., Moss It is wet.", "Moss", "It is wet.", ["C"]),
        ("Correct Answer \u2013 B. Moss is wet.", "Bog", "Moss is wet.", ["B"]),
        ("Ans. is 'b' i.e., moss * It holds water.", "Moss", "It holds water.", ["B"]),
        ("Ans. (b) Moss(Bogs) It is wet.", "Moss", "(Bogs) It is wet.", ["B"]),
        ("Ans-B. Moss is wet in spring.", "Moss", "Moss is wet in spring.", ["B"]),
        ("Answer is D (Moss) It is wet there.", "Moss", "It is wet there.", ["D"]),
        ("Ans. (a) and (c) Both of them rise.", "a and c", "Both of them rise.", ["A", "C"]),
        ("C i.e. Moss", "Moss", "", ["C"]),
        ("Answer: A walker sinks in it.", "Moss", "Answer: A walker sinks in it.", []),
        ("A walker sinks in it at once.", "Moss", "A walker sinks in it at once.", []),
        ("Ans. None of these is wet.", "Moss", "Ans. None of these is wet.", []),
        ("It is wet there (Ref: Bogs 3/e p 9).", "Moss", "It is wet there", []),
        ("(Ref: Bogs p 9) It is wet.", "Moss", "(Ref: Bogs p 9) It is wet.", []),
        ("Referred pain is felt there.", "Moss", "Referred pain is felt there.", []),
        ("Ref - Bogs and Fens pg 2", "Moss", "", []),
        ("Foregut", "Moss", "", []),
    ],
)
def test_what_an_explanation_is(text: str, answer: str, shown: str, letters: list[str]) -> None:
    assert explained(text, answer)[:2] == (shown, letters)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Aery of the HEA", "Artery of the HEA"),  # three capitals may be anything
        ("HYPEENSION, aoa; shoness", "HYPERTENSION, aorta; shortness"),
        ("The repo of an aerial photograph, AOA", "The repo of an aerial photograph, AOA"),
        ("head, heat and heal", "head, heat and heal"),
    ],
)
def test_lost_letters_come_back_where_nothing_else_is_written_so(text: str, whole: str) -> None:
    assert restored(text) == whole


def test_a_key_that_is_no_number_is_a_reject() -> None:
    row = one(SOURCE.upstream, **ROWS[0] | {"cop": "²"}, _first=1)
    assert row.reason is Reason.ANSWER_NOT_IN_OPTIONS


def test_no_two_words_have_one_rest() -> None:
    rests = [word.replace("rt", "") for word in LOST.split()]
    assert len({*rests}) == len(rests) > 120
    assert not {*rests} & {*LOST.split()}


def test_doubled_choices_are_known_errata() -> None:
    faults = row_faults(read_errata(["known"]))
    doubled = [
        row.source_id
        for row in converted(SOURCE.upstream, SAMPLE)
        if isinstance(row, Record) and row_fault(row.input, row.output, faults)
    ]
    # of two rows with two equal options, the one whose right option is doubled
    assert doubled == [ROWS[7]["id"]]
