"""Records, ids and rejects: stable, writable, and round-tripping."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meadow.schema import (
    COLUMNS,
    Author,
    Reason,
    Reject,
    Task,
    arrow_schema,
    from_row,
    has_lone_surrogate,
    make_record,
    normalise_key,
    printable,
    to_rows,
)


def record(**changes):
    values = {
        "source": "medqa",
        "key": ("question",),
        "instruction": "Answer.",
        "input": "q",
        "output": "a",
        "task": Task.OPEN_QA,
        "license": "mit",
    }
    return make_record(**{**values, **changes})


def test_the_first_columns_are_those_of_2023() -> None:
    assert COLUMNS[:4] == ("id", "instruction", "input", "output")
    assert tuple(arrow_schema().names) == COLUMNS


def test_an_id_is_known_and_stays() -> None:
    # pinned: a change here would give every published row a new id
    assert record().id == "7fd5bc1c2ddf9b3102f2df62e0661cff"
    assert record(key=None, source_id="7").id != record(key=None, source_id="8").id
    assert record(key=None, source_id="7").id != record(key=("7",)).id


def test_ids_do_not_depend_on_what_the_converter_writes() -> None:
    assert record(instruction="Please answer.", output="b").id == record().id


@given(st.text(), st.sampled_from([" ", "\n", "\t", "\u00a0"]))
def test_ids_do_not_depend_on_white_space(text: str, space: str) -> None:
    assert record(key=(f" {text}{space}{space}x ",)).id == record(key=(f"{text} x",)).id


def test_parts_of_a_key_do_not_run_together() -> None:
    assert record(key=("ab", "c")).id != record(key=("a", "bc")).id


def test_a_record_needs_an_identity() -> None:
    with pytest.raises(ValueError, match="source_id or key"):
        record(key=None)


def test_repairs_stand_in_meta_and_add_up() -> None:
    one = record(meta={"b": 1, "a": 2}, repairs=["x", "x"])
    assert one.meta == '{"a":2,"b":1,"repairs":["x"]}'
    two = one.with_text(instruction="i", input="q", output="o", repairs=["y", "x"])
    assert two.repairs == ("x", "y")
    assert two.id == one.id
    assert record().repairs == ()


def test_a_record_comes_back_from_arrow() -> None:
    one = record(
        authors=[Author("Ann", "https://example.org/1", "answer_author"), Author("Bo")],
        subset="s",
        url="https://example.org",
        meta={"n": 1},
    )
    table = pa.Table.from_pylist(list(to_rows([one])), schema=arrow_schema())
    assert from_row(table.to_pylist()[0]) == one


@given(st.text(st.characters(), max_size=30))
def test_a_reject_can_always_be_written(text: str) -> None:
    line = Reject(text, Reason.BAD_JSON, text, text * 100).to_json()
    line.encode("utf-8")
    assert "\n" not in line
    told = printable(text), "bad_json", printable(text), printable((text * 100)[:500])
    names = ("where", "reason", "detail", "excerpt")
    assert line == json.dumps(dict(zip(names, told, strict=True)), ensure_ascii=False)


def test_surrogates_are_seen_and_made_printable() -> None:
    assert has_lone_surrogate("a\ud800")
    assert not has_lone_surrogate("a\U0001f600")
    assert printable("a\ud800") == "a\ufffd"


@given(st.text())
def test_normalising_a_key_twice_changes_nothing(text: str) -> None:
    assert normalise_key(normalise_key(text)) == normalise_key(text)
