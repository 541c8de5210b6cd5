"""Rows on disk: whatever their order and the size of the batches, the same rows come back."""

from collections import Counter
from itertools import count, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.build import sort
from meadow.build.sort import ExternalSort
from meadow.build.transform import Batch, batches, keys_of, to_arrow
from meadow.errors import UpstreamChangedError
from meadow.schema import Reason, Record, Task, make_record, natural_key, order_key, to_rows


def row(upstream_id: str | None, text: str, answer: str = "an answer") -> Record:
    return make_record(
        source="medquad",
        source_id=upstream_id,
        key=(text,),
        instruction="Answer.",
        input=text,
        output=answer,
        task=Task.OPEN_QA,
        license="cc-by-4.0",
    )


def waiting(path: Path, records: list[Record], size: int) -> ExternalSort:
    rows_at_rest = ExternalSort(path)
    places = (f"file:{index}" for index in count())
    for batch in batches(records, size):
        rows = to_arrow(batch, list(islice(places, len(batch))))
        rows_at_rest.add(Batch(rows, keys_of(batch), [], Counter()))
    return rows_at_rest


def test_rows_come_back_in_natural_order_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sort, "SLICE_ROWS", 16)
    numbers = np.random.default_rng(7).permutation(500).tolist()
    records = [row(f"site/{number}", f"question {number}") for number in numbers]
    records.insert(100, row(None, "without an id, first"))
    records.insert(300, row(None, "without an id, second"))
    found = []
    for size in (1, 7, 64, 1000):
        slices, rejects = waiting(tmp_path / "rows.arrow", records, size).sort()
        assert not list(rejects)
        found.append(pa.concat_tables(slices).to_pylist())
        assert not list(tmp_path.iterdir())
    assert all(rows == found[0] for rows in found)
    assert found[0][0] == next(to_rows([row("site/0", "question 0")]))
    texts = [each["input"] for each in found[0]]
    assert texts[:500] == [f"question {number}" for number in range(500)]
    assert texts[500:] == ["without an id, first", "without an id, second"]


def test_repeats_conflicts_and_two_contents_of_one_id(tmp_path: Path) -> None:
    records = [row(None, "a"), row(None, "b", "yes"), row(None, "a"), row(None, "b", "no")]
    records += [row("7", "c"), row("8", "c")]
    slices, rejects = waiting(tmp_path / "rows.arrow", records, 3).sort()
    assert [(item.where, item.reason, item.detail) for item in rejects] == [
        ("file:1", Reason.CONFLICT, "a later row has the same input and another output"),
        ("file:2", Reason.DUPLICATE, "the same text as file:0"),
        ("file:3", Reason.CONFLICT, "the same input as file:1 with another output"),
        ("file:5", Reason.DUPLICATE, "the same text as file:4"),
    ]
    assert [each["input"] for each in pa.concat_tables(slices).to_pylist()] == ["c", "a"]
    clash = waiting(tmp_path / "clash.arrow", [row("1", "a"), row("1", "b")], 1)
    with pytest.raises(UpstreamChangedError, match="'1' stands for two contents") as error:
        clash.sort()
    assert error.value.where == "file:0 and file:1"


def test_a_source_without_rows_has_none(tmp_path: Path) -> None:
    slices, rejects = waiting(tmp_path / "rows.arrow", [], 3).sort()
    assert not list(slices)
    assert not list(rejects)


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="ab01239/\x00é\U0001f600٣", max_size=8), max_size=12))
def test_order_keys_sort_as_natural_keys_do(ids: list[str]) -> None:
    assert sorted(ids, key=order_key) == sorted(ids, key=natural_key)
