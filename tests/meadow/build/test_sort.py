"""Rows on disk: whatever their order and the size of the batches, the same rows come back."""

import re
from collections import Counter
from itertools import count, islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.build import sort
from meadow.build.sort import PartWriter, Tally, read_tally, rejects, resolve, slices
from meadow.build.transform import Batch, batches, keys_of, to_arrow
from meadow.errors import UpstreamChangedError
from meadow.schema import Reason, Record, Task, make_record, order_key, to_rows


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


def waiting(folder: Path, records: list[Record], size: int, parts: int = 1) -> list[Path]:
    """The records as that many parts, in batches of a size."""
    places = (f"file:{index}" for index in count())
    cuts = [round(len(records) * number / parts) for number in range(parts + 1)]
    found = []
    for number, (start, end) in enumerate(pairwise(cuts)):
        found.append(folder / f"{size}-{parts}-{number}")
        with PartWriter(found[-1]) as part:
            for batch in batches(records[start:end], size):
                rows = to_arrow(batch, list(islice(places, len(batch))))
                part.add(Batch(rows, keys_of(batch), [], Counter()))
    return found


def test_rows_come_back_in_natural_order_whatever_the_batches_and_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.random.default_rng(7).permutation(500).tolist()
    records = [row(f"site/{number}", f"question {number}") for number in numbers]
    records.insert(100, row(None, "without an id, first"))
    records.insert(300, row(None, "without an id, second"))
    found = []
    for size, count_of_parts in ((1, 1), (7, 3), (64, 2), (1000, 1), (3, 40)):
        monkeypatch.setattr(sort, "_MOST_HELD", 0 if size == 7 else sort._MOST_HELD)
        parts = waiting(tmp_path, records, size, count_of_parts)
        order = resolve(parts, set())
        assert not order.gone.height
        (rows,) = order.shards
        found.append(pa.concat_tables(slices(parts, rows, 16)).to_pylist())
    assert all(rows == found[0] for rows in found)
    assert found[0][0] == next(to_rows([row("site/0", "question 0")]))
    texts = [each["input"] for each in found[0]]
    assert texts[:500] == [f"question {number}" for number in range(500)]
    assert texts[500:] == ["without an id, first", "without an id, second"]


def test_shards_are_about_as_large_as_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As few pairs as there can be of that size, by the bytes that rows have in memory."""
    monkeypatch.setattr(sort, "SHARD_BYTES", 9_000)
    records = [row(f"{n}", f"é question {n} " * (n % 9), "x" * n) for n in range(200)]
    parts = waiting(tmp_path, records, 50, 3)
    shards = resolve(parts, set()).shards
    assert [number for rows in shards for number in rows] == list(range(200))
    sizes = [pa.concat_tables(slices(parts, rows)).combine_chunks().nbytes for rows in shards]
    assert len(shards) == 2 * -(-sum(sizes) // 18_000) > 4
    largest_row = 1_000
    assert max(sizes) - min(sizes) < 2 * largest_row


def test_repeats_conflicts_and_two_contents_of_one_id(tmp_path: Path) -> None:
    records = [row(None, "a"), row(None, "b", "yes"), row(None, "a"), row(None, "b", "no")]
    records += [row("7", "c"), row("8", "c")]
    parts = waiting(tmp_path, records, 3, 2)
    order = resolve(parts, set())
    assert [(item.where, item.reason, item.detail) for item in rejects(parts, order.gone)] == [
        ("file:1", Reason.CONFLICT, "a later row has the same input and another output"),
        ("file:2", Reason.DUPLICATE, "the same text as file:0"),
        ("file:3", Reason.CONFLICT, "the same input as file:1 with another output"),
        ("file:5", Reason.DUPLICATE, "the same text as file:4"),
    ]
    kept = pa.concat_tables(slices(parts, order.shards[0])).to_pylist()
    assert [each["input"] for each in kept] == ["c", "a"]
    clash = waiting(tmp_path / "clash", [row("1", "a"), row("1", "b")], 1)
    with pytest.raises(UpstreamChangedError, match="'1' stands for two contents") as error:
        resolve(clash, set())
    assert error.value.where == "file:0 and file:1"


def test_a_source_without_rows_has_one_empty_shard(tmp_path: Path) -> None:
    parts = waiting(tmp_path, [], 3)
    order = resolve(parts, set())
    assert [len(rows) for rows in order.shards] == [0]
    assert not list(slices(parts, order.shards[0]))
    assert not list(rejects(parts, order.gone))
    assert read_tally(parts[0]) == Tally(0, {}, {}, [])


def test_a_part_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), PartWriter(tmp_path / "part"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="ab01239/\x00é\U0001f600٣", max_size=8), max_size=12))
def test_ids_stand_in_natural_order(ids: list[str]) -> None:
    def natural(text: str) -> list[tuple[int, int | str]]:
        parts = enumerate(re.split(r"(\d+)", text))
        return [(0, int(part)) if n % 2 else (1, part) for n, part in parts if part]

    assert sorted(ids, key=order_key) == sorted(ids, key=natural)
