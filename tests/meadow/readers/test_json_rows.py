"""Readers of JSON lines and arrays: every good row is kept, every bad one has a reason."""

import bz2
import gzip
import json
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.errors import FileError
from meadow.readers import json_rows
from meadow.readers.archives import CappedStream, open_binary
from meadow.schema import Reason, Reject
from meadow.source import Input, Options


def lines_of(path: Path):
    return list(json_rows.read_lines([Input(path, "x")], Options()))


def array_of(path: Path):
    return list(json_rows.read_array([Input(path, "x")], Options()))


BAD_LINES = [
    (b'{"a": 1', Reason.BAD_JSON),
    (b"[1, 2]", Reason.NOT_AN_OBJECT),
    (b'"text"', Reason.NOT_AN_OBJECT),
    (b'{"a": NaN}', Reason.BAD_VALUE),
    (b'{"a": 1, "a": 2}', Reason.BAD_VALUE),
    (b'{"a": "\\ud800"}', Reason.LONE_SURROGATE),
    (b'{"\\udfff": {"b": ["\\ud800"]}}', Reason.LONE_SURROGATE),
    (b'{"a": "\xff"}', Reason.BAD_ENCODING),
    (b'{"a": ' + b"9" * 5000 + b"}", Reason.BAD_VALUE),
    (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.TOO_DEEP),
    (b'{"a": "' + b"x" * (16 * 1024**2 + 1) + b'"}', Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[r.value for _, r in BAD_LINES])
def test_a_bad_line_is_one_reject_and_its_neighbours_stay(
    tmp_path: Path, line: bytes, reason: Reason
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b"\n\n" + b'{"n": 2}')
    first, bad, last = lines_of(path)
    assert first == {"n": 1, "_where": "x:1"}
    assert isinstance(bad, Reject)
    assert (bad.where, bad.reason) == ("x:2", reason)
    assert last["n"] == 2
    assert last["_where"] == "x:4"
    json.loads(bad.to_json())


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n')
    assert lines_of(path) == [{"n": 1, "_where": "x:1"}]
    path.write_bytes(b'\xef\xbb\xbf [{"n": 1}]')
    assert array_of(path) == [{"n": 1, "_where": "x#0"}]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zstd.compress])
def test_compressed_files_are_told_by_their_bytes_and_truncation_is_an_error(
    tmp_path: Path, compress
) -> None:
    rows = b"".join(b'{"n": %d, "text": "%d"}\n' % (n, n * 7919) for n in range(5000))
    path = tmp_path / "rows.anything"
    path.write_bytes(compress(rows))
    assert len(lines_of(path)) == 5000
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="truncated or damaged"):
        lines_of(path)


def test_a_gzip_bomb_stops_at_the_ratio(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"a" * 200_000_000))
    with open_binary(path) as file, pytest.raises(FileError, match="unpacks to more than"):
        file.read()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="missing"):
        lines_of(tmp_path / "none.jsonl")


def test_the_cap_counts_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    with pytest.raises(FileError), CappedStream(path.open("rb"), path, 2) as stream:
        stream.read(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "does not begin with"),
        ("", "does not begin with"),
        ('[{"a": 1}', "not closed"),
        ('[{"a": 1}, {"a": ', "breaks at row 1"),
        ("[,]", "comma"),
        ("[" * 5000, "breaks|deep"),
    ],
)
def test_a_broken_array_is_a_file_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        array_of(path)


def test_bad_rows_of_an_array_are_rejects(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(
        b'[{"n": 0}, 7, {"a": "\xff"}, {"a": "\\ud800"}, {"a": NaN}, {"a":1,"a":2}, {"n": 6}]'
    )
    found = array_of(path)
    reasons = [item.reason.value for item in found if isinstance(item, Reject)]
    assert reasons == ["not_an_object", "bad_encoding", "lone_surrogate", "bad_value", "bad_value"]
    assert found[0]["n"] == 0
    assert found[6] == {"n": 6, "_where": "x#6"}


def test_parquet_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "rows.json").write_bytes(b"PAR1\x15\x04\xff")
    for read in (lines_of, array_of):
        with pytest.raises(FileError, match="a Parquet file, where JSON is read"):
            read(path)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=4)),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    chunk=st.integers(1, 200),
)
def test_an_array_streams_as_the_parser_reads_it(rows, indent, ascii_only, chunk) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
        path.write_text(text, encoding="utf-8")
        before, json_rows.CHUNK = json_rows.CHUNK, chunk
        try:
            found = array_of(path)
        finally:
            json_rows.CHUNK = before
    assert [{k: v for k, v in row.items() if k != "_where"} for row in found] == [
        {k: v for k, v in row.items() if k != "_where"} for row in rows
    ]
