"""Rows on disk: whatever their order and the size of the batches, the same rows come back."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.build import sort
from meadow.build.sort import Spool
from meadow.build.transform import Admission, batches, to_arrow
from meadow.errors import UpstreamChangedError
from meadow.schema import Reason, Record, Task, make_record, natural_key, order_key


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


def admitted(records: list[Record]) -> Admission:
    return Admission.of(
        to_arrow(records, [f"file:{index}" for index in range(len(records))]),
        rejects=[],
        facts=Counter(),
        ids=[each.id for each in records],
        texts=[(each.instruction, each.input, each.output) for each in records],
        upstream_ids=[each.source_id for each in records],
    )


def spooled(path: Path, records: list[Record], size: int) -> Spool:
    spool = Spool(path)
    for batch in batches(records, size):
        spool.add(admitted(batch))
    spool.close()
    return spool


@pytest.mark.parametrize("part_bytes", [4_000, 10**9])
def test_rows_come_back_in_natural_order_whatever_the_batches(
    part_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file is larger than what is put in order at a time, and slices cross parts."""
    monkeypatch.setattr(sort, "PART_BYTES", part_bytes)
    monkeypatch.setattr(sort, "SLICE_ROWS", 16)
    numbers = np.random.default_rng(7).permutation(500).tolist()
    records = [row(f"site/{number}", f"question {number}") for number in numbers]
    records.insert(100, row(None, "without an id, first"))
    records.insert(300, row(None, "without an id, second"))
    found = []
    for size in (1, 7, 64, 1000):
        spool = spooled(tmp_path / f"{size}.arrow", records, size)
        kept, gone = spool.resolve()
        assert not gone
        table = pa.concat_tables(spool.slices(kept))
        found.append(table.to_pylist())
        assert [path.name for path in tmp_path.iterdir()] == [f"{size}.arrow"]
        (tmp_path / f"{size}.arrow").unlink()
    assert all(rows == found[0] for rows in found)
    texts = [each["input"] for each in found[0]]
    assert texts[:500] == [f"question {number}" for number in range(500)]
    assert texts[500:] == ["without an id, first", "without an id, second"]


def test_repeats_conflicts_and_two_contents_of_one_id(tmp_path: Path) -> None:
    records = [row(None, "a"), row(None, "b", "yes"), row(None, "a"), row(None, "b", "no")]
    spool = spooled(tmp_path / "rows.arrow", records, 3)
    kept, gone = spool.resolve()
    assert kept.tolist() == [0]
    assert gone[2] == (Reason.DUPLICATE, 0)
    assert {gone[1][0], gone[3][0]} == {Reason.CONFLICT}
    assert [item.reason for item in spool.rejects(gone)] == [
        Reason.CONFLICT,
        Reason.DUPLICATE,
        Reason.CONFLICT,
    ]
    clash = spooled(tmp_path / "clash.arrow", [row("1", "a"), row("1", "b")], 1)
    with pytest.raises(UpstreamChangedError, match="'1' stands for two contents"):
        clash.resolve()


def test_a_source_without_rows_has_none(tmp_path: Path) -> None:
    spool = spooled(tmp_path / "rows.arrow", [], 3)
    kept, gone = spool.resolve()
    assert len(kept) == 0
    assert not gone
    assert not list(spool.slices(kept))


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="ab01239/\x00é\U0001f600٣", max_size=8), max_size=12))
def test_order_keys_sort_as_natural_keys_do(ids: list[str]) -> None:
    assert sorted(ids, key=order_key) == sorted(ids, key=natural_key)
