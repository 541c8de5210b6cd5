"""Open sets of which one part is an exam: what keeps the exam out of a corpus."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.converted import converted

from meadow.exams.items import load_exam
from meadow.samples import FOLDER
from meadow.schema import Reason, Record, Reject
from meadow.sources import SOURCES


def test_labelled_rows_of_pubmedqa_are_an_exam_whatever_the_file_is_called(tmp_path: Path) -> None:
    sample = pq.read_table(FOLDER / "pubmedqa/train-00000-of-00001.parquet").to_pylist()[:2]
    for row in sample:
        row["context"] |= {"reasoning_required_pred": list("yes"), "reasoning_free_pred": ["no"]}
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(sample), path)
    rejects = converted(SOURCES["pubmedqa"].upstream, path)
    assert [row.reason for row in rejects if isinstance(row, Reject)] == [Reason.NOT_A_TARGET] * 2
    assert len(load_exam("pubmedqa", [path])) == 2


@pytest.mark.parametrize(
    ("name", "test_file"),
    [
        ("head_qa", "test_HEAD_EN.json"),
        ("medexpqa", "test.en.casimedicos.rag.jsonl"),
        ("medmcqa", "validation-00000-of-00001.parquet"),
    ],
)
def test_another_split_is_told_by_its_name(name: str, test_file: str) -> None:
    source = SOURCES[name]
    assert source.upstream is not None
    assert "an exam elsewhere" in source.split_warning(source.upstream, [test_file], 100)


def test_training_rows_and_exam_are_read_alike() -> None:
    """The same file as rows and as an exam: the same questions with the same right answers."""
    for name, file in (
        ("head_qa", "train_HEAD_EN.json"), ("medexpqa", "train.en.casimedicos.rag.jsonl"),
        ("medmcqa", "train.json"),
    ):  # fmt: skip
        path = FOLDER / name / file
        rows = [row for row in converted(SOURCES[name].upstream, path) if isinstance(row, Record)]
        answers = {item.question: item.answer_text for item in load_exam(name, [path])}
        assert len(rows) > 15
        for row in rows:
            stem = row.input.partition("\nA: ")[0].partition("\n1: ")[0]
            right = row.output.partition(": ")[2].partition("\n\n")[0]
            assert answers[stem] == right
