"""A file that is cut gives what it gives in one, wherever the cuts fall."""

import gzip
from collections.abc import Iterator
from itertools import chain
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.errors import FileError, UpstreamChangedError
from meadow.readers import delimited, parquet
from meadow.readers.delimited import CsvReader, with_header
from meadow.readers.json_rows import LineReader, read_lines
from meadow.readers.spans import line_spans, spans
from meadow.source import CutError, Cutting, Input, Options
from meadow.sources.own.form import OwnSource
from meadow.sources.own.reader import OwnReader

CSV_PARTS = ("a", "é", ",", '"', '""', "\n", "\r\n", "\r", '"x,\n"', "1,2\n", "\ufeff", '"q"\n')
JSON_PARTS = ('{"a": 1}', '{"a": "é\\n"}', "\n", "\r\n", "\r", " ", "{", "\ufeff")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        *((data, size) for data in (b"", b"\n", b"ab\r\n\nc", b"a\nbcd\n") for size in range(1, 9)),
        (b"a\n" * 9 + b"b" * 140_000 + b"\nc\n", 50_000),
    ],
)
def test_ranges_begin_where_lines_do(tmp_path: Path, data: bytes, size: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(data)
    found = line_spans(path, size)
    assert b"".join(data[span.start : span.end] for span in found) == data
    assert all(data[span.start - 1] == ord("\n") for span in found[1:])
    # none goes further than to the end of the line in which it has its size
    assert all(data.find(b"\n", span.start + size - 1, span.end - 1) < 0 for span in found)
    assert line_spans(path, None) == [(0, len(data), 1)]


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """So that plain blocks of rows are met as well, and their ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_LEAST_BLOCK", 0)
        patch.setattr(delimited, "BLOCK", 16)
        yield


def whole_and_cut(reader: CsvReader | LineReader, path: Path, size: int) -> tuple[object, object]:
    found: list[object] = []
    inputs = [Input(path, "x")]
    for rows in (
        lambda: reader(inputs, Options()),
        lambda: chain.from_iterable(
            piece() for piece in reader.pieces(inputs, Options(), Cutting(path.parent, size))
        ),
    ):
        try:
            found.append(list(rows()))
        except CutError:
            return found[0], found[0]  # read as one then
        except FileError as error:
            found.append((type(error), error.where))
    return found[0], found[1]


@settings(max_examples=120)
@given(st.lists(st.sampled_from(CSV_PARTS), max_size=40).map("".join), st.integers(1, 30))
def test_csv_in_pieces(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.csv"
    path.write_bytes(b"a,b\n" + text.encode())
    whole, cut = whole_and_cut(with_header(("a",)), path, size)
    assert whole == cut


@settings(max_examples=120)
@given(st.lists(st.sampled_from(JSON_PARTS), max_size=40).map("".join), st.integers(1, 30))
def test_lines_in_pieces(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.write_bytes(text.encode())
    whole, cut = whole_and_cut(read_lines, path, size)
    assert whole == cut


def test_rows_of_many_lines_are_cut_at_their_ends(tmp_path: Path) -> None:
    """Not only refused: the cuts are used."""
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "".join(f'{n},"one\ntwo ""{n}""\nthree"\n' for n in range(200)))
    found = spans(path, Cutting(tmp_path, 300), csv=True)
    assert len(found) > 10
    data = path.read_bytes()
    assert all(
        data[span.start :].startswith(b"a,b") or data[span.start - 4 :][:4] == b'ee"\n'
        for span in found
    )
    assert [span.end for span in found[:-1]] == [span.start for span in found[1:]]
    whole, cut = whole_and_cut(with_header(("a",)), path, 300)
    assert whole == cut
    assert len(whole) == 200  # type: ignore[arg-type]


def test_a_packed_file_is_unpacked_once_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 100))
    (tmp_path / "work").mkdir()
    cutting = Cutting(tmp_path / "work", 200)
    for _ in range(2):
        pieces = list(read_lines.pieces([Input(path, "x")], Options(), cutting))
        assert len(pieces) == 5
        assert len(list(chain.from_iterable(piece() for piece in pieces))) == 100
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_row_groups_are_runs_of_rows(tmp_path: Path) -> None:
    item = Input(tmp_path / "x.parquet", "x")
    frame = pl.DataFrame({"a": range(1000)})
    frame.write_parquet(item.path, row_group_size=90)
    groups = list(parquet.row_groups(item, 2000))
    assert len(groups) > 3
    found = [row for each in groups for row in parquet.read_rows(item, ["a"], (), each)]
    assert found == list(parquet.read_rows(item, ["a"]))


OWN = {
    "csv": ("a;b\n" + "".join(f'{n};"é\n{n}"\n' for n in range(99))).encode("latin-1"),
    "jsonl": "".join(f'{{"a": {n}, "b": "é{n}"}}\n' for n in range(99)).encode(),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_source_in_a_toml_file_is_cut(tmp_path: Path, format: str, packed: bool) -> None:
    how = {"delimiter": ";", "encoding": "latin-1"} if format == "csv" else {}
    own = OwnSource.model_validate(
        {
            **{"name": "mine", "title": "t", "homepage": "https://e.org", "citation": "c"},
            **{"license": "mit", "free_text": False, "files": [{"name": "x", "by_hand": "h"}]},
            "read": {"format": format, **how},
            "row": {"task": "open_qa", "instruction": "i", "input": "{a}", "output": "{b}"},
        }
    )
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(OWN[format]) if packed else OWN[format])
    reader, inputs = OwnReader(own), [Input(path, "x"), Input(path, "y", "part")]
    (tmp_path / "work").mkdir()
    pieces = list(reader.pieces(inputs, Options(), Cutting(tmp_path / "work", 200)))
    assert len(pieces) > 6
    assert all(ForkingPickler.dumps(piece) for piece in pieces)
    found = [row for piece in pieces for row in piece()]
    assert found == list(reader(inputs, Options()))
    assert len(found) == 198
    if format == "jsonl":  # only all rows together tell that there is no such column
        lacks = OwnReader(own.model_copy(update={"row": own.row.model_copy(update={"id": "{c}"})}))
        (piece,) = lacks.pieces(inputs, Options(), Cutting(tmp_path / "work", 200))
        with pytest.raises(UpstreamChangedError, match="no column 'c'"):
            list(piece())
