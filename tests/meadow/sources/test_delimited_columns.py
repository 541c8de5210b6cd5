"""CSV as columns: the rows, places, rejects and errors of the strict reader, whatever the file."""

import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meadow.errors import MeadowError
from meadow.readers.delimited import read_file
from meadow.schema import Reject
from meadow.source import Input
from meadow.sources import delimited_columns
from meadow.sources.delimited_columns import Columns, find_rows, read_columns

Found = list[Any]


def by_row(item: Input, required: tuple[str, ...] = ("a",)) -> Found:
    return outcome(read_file(item, None, required))


def by_column(item: Input, required: tuple[str, ...] = ("a",), block_bytes: int = 1 << 20) -> Found:
    return outcome(read_columns(item, ("a", "b", "c", "a\nb"), required, block_bytes))


def outcome(items: Any) -> Found:
    """What a reader gives, one entry a row, and the error that it ends with."""
    found: Found = []
    try:
        for item in items:
            if isinstance(item, Columns):
                assert all(column.null_count == 0 for column in item.table.columns)
                for line, row in zip(item.lines.tolist(), item.table.to_pylist(), strict=True):
                    found.append({**row, "_where": f"x.csv:{line}"})
            elif isinstance(item, Reject):
                found.append(item)
            else:
                found.append(dict(item))
    except MeadowError as error:
        found.append((type(error), str(error)))
    return found


def both(tmp_path: Path, data: bytes, block_bytes: int = 1 << 20) -> Found:
    """What the strict reader finds, after making sure that the other one finds the same."""
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    expected = by_row(Input(path, "x.csv"))
    assert by_column(Input(path, "x.csv"), block_bytes=block_bytes) == expected
    return expected


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,2\n3,4",
        b'\xef\xbb\xbfa,b\r\n"two\r\nlines",1\r\n2,3\r\n',
        b"a,b\n\xef\xbb\xbf1,2\n\xef\xbb\xbf3,4\n",
        b'a,b\n"x ""y"" z","","a,b"\n"","""",\n',
        b'a,b\n"""",""""""\n"","\n\n"\n',
        b"a,b\n\n\r\n1,2\n\n\n3,4\n\r\n",
        b"a,b\n1\n1,2,3\n\xff,2\n3,4\n",
        b'a,b\n1,"\xff"\n2,\xc3\n3,\xed\xa0\x80\n4,\xf0\x9f\x98\x80\n',
        b'a,b\n1,say "hi"\n2,"x"\n3,4\n',
        b'a,b\n1,x"y\n2,"\n3"\n4,5\n',
        b"a,b\n1,2\r3,4\n5,6\r7,8\r\n9,10\r",
        b'a,b\n1,"x\ry"\n"\r\n",4\n',
        b"a,b\n1,\x00\n\x002,3\n",
        b'a,b\n1,2\n"open,1\n2,3\n',
        b'a,b\n1,2\n1,"x"y\n2,3\n',
        b'a,b\n1,2\n1,"x" \n2,3\n',
        b'a,b\n1, "x"\n2, "y, z"\n2,3\n',
        b'"a\nb",a\n1,2\n',
        b'a,"b\n1,2\n',
        b"a,a\n1,2\n",
        b"b,c\n1,2\n",
        b"a\n1\n\n2\n",
        b'a\n""\n"\n"\n',
        b"a,b",
        b"a,b\n",
        b"",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"\xef\xbba,b\n1,2\n",
    ],
)
def test_the_same_rows(data: bytes, block_bytes: int, tmp_path: Path) -> None:
    both(tmp_path, data, block_bytes)


pieces = st.sampled_from(
    [
        *(b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b" "),
        *("é".encode(), "\u2028".encode(), b"\xc2\x85", b"\x0b", b"\x1c", b"x", b"NA", b"1,2\n"),
        *(b',"q"\n', b'"q",', b"\xed\xa0\x80", b"\\", b"'", b"#", b"\t"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=40), st.sampled_from([1, 3, 16, 4096]))
@example([b"1,2\n", b"\r", b"\n"], 1)
def test_the_same_rows_of_any_bytes(parts: list[bytes], block_bytes: int) -> None:
    data = b"a,b\n" + b"".join(parts)
    from_memory(data, block_bytes)


fields = st.text(st.sampled_from('ab ,"\n\r\t\u00e9\u00a0\u2029\u3000\U0001f600'), max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(fields, min_size=2, max_size=4), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([1, 32, 4096]),
)
def test_the_same_rows_of_written_files(
    rows: list[list[str]], ending: str, block_bytes: int
) -> None:
    import csv

    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending).writerows([["a", "b", "c"], *rows])
    from_memory(text.getvalue().encode(), block_bytes)


def from_memory(data: bytes, block_bytes: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        both(Path(folder), data, block_bytes)


def test_plain_rows_are_parsed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    odd = b'1,say "hi"\n'
    path.write_bytes(b"a,b\n" + b'1,"x, ""y""\nz"\n' * 5000 + odd + b"1,2\n" * 40_000)
    items = list(read_columns(Input(path, "x.csv"), ("a", "b"), ("a",), 32768))
    at_once = sum(len(item.lines) for item in items if isinstance(item, Columns))
    one_by_one = [item for item in items if not isinstance(item, Columns)]
    assert at_once + len(one_by_one) == 45_001
    # about 64 KiB of the strict reader behind the odd place
    assert 1 < len(one_by_one) < 17_000
    assert one_by_one[0]["_where"] == "x.csv:10002"
    assert isinstance(items[-1], Columns)


def test_one_bad_row_costs_its_neighbours_only(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 5000 + b"1,2,3\n" + b"1,\xff\n" + b"1,2\n" * 5000)
    items = list(read_columns(Input(path, "x.csv"), ("a", "b"), ("a",)))
    one_by_one = [item for item in items if not isinstance(item, Columns)]
    assert len(one_by_one) <= 2 * 64
    rejects = [item for item in one_by_one if isinstance(item, Reject)]
    assert [item.where for item in rejects] == ["x.csv:5002", "x.csv:5003"]
    assert outcome(items) == by_row(Input(path, "x.csv"))


def test_a_row_over_the_limit_is_the_error_that_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meadow.readers import delimited

    for module in (delimited, delimited_columns):
        monkeypatch.setattr(module, "MAX_FIELD", 1000)
    for size in (900, 999, 1000, 1001, 5000):
        for block_bytes in (10, 1 << 20):
            rows = both(tmp_path, b"a,b\n1,2\n1," + b"x" * size + b"\n1,2\n", block_bytes)
            assert isinstance(rows[-1], tuple) is (size > 1000)
    both(tmp_path, b'a,b\n1,"' + b"x\n" * 5000, 64)
    both(tmp_path, b'a,b\n1,"' + b"x" * 5000, 64)


def test_further_columns_are_passed_over_but_held_to_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,e,b\n1,2,3\n1,\xff,3\n4,5,6\n")
    items = list(read_columns(Input(path, "x.csv"), ("a", "b", "z"), ("a",)))
    assert [item.reason.value for item in items if isinstance(item, Reject)] == ["bad_encoding"]


def test_packed_files(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    item = Input(path, "x.csv")
    assert by_column(item, block_bytes=100) == by_row(item)
    path.write_bytes(path.read_bytes()[:-20])
    damaged = by_column(item, block_bytes=100)
    assert damaged[-1] == by_row(item)[-1]
    assert "truncated or damaged" in damaged[-1][1]


def test_what_is_known_of_plain_rows() -> None:
    rows = find_rows(b'1,"a\nb"\n2,3\n4,"op\n', ended=False)
    assert (rows.end, rows.breaks, rows.odd) == (12, 3, False)
    assert rows.ends.tolist() == [8, 12]
    assert rows.first_lines.tolist() == [0, 2]
    assert find_rows(b'4,"op\n', ended=True).odd
    assert find_rows(b'1,2\n3,x"\n', ended=False).end == 4


@pytest.mark.realdata
@pytest.mark.parametrize("block_bytes", [4096, 100_000, 1 << 23])
@pytest.mark.parametrize("name", ["metadata_a.csv", "metadata_b.csv"])
def test_the_real_files(name: str, block_bytes: int, upstream: Path) -> None:
    item = Input(upstream / "cord19" / name, "x.csv")
    required = ("cord_uid", "title", "abstract", "license")
    wanted = ("cord_uid", "abstract", "title", "license", "authors", "url")
    items = list(read_columns(item, wanted, required, block_bytes))
    assert all(isinstance(found, Columns) for found in items)
    expected = [{name: row[name] for name in (*wanted, "_where")} for row in by_row(item, required)]
    assert outcome(items) == expected
