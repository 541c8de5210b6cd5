"""CSV: strict, and without loss."""

import csv
import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.errors import FileError, UpstreamChangedError
from meadow.readers.archives import is_archive, members, open_input
from meadow.readers.delimited import CsvReader, with_header
from meadow.schema import Reject
from meadow.source import Input, Options


def read(path: Path, required=("a", "b")):
    return list(with_header(required)([Input(path, "x.csv")], Options()))


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    return path


def test_text_stays_text(tmp_path: Path) -> None:
    rows = read(write(tmp_path, b"a,b\nNA,13\nNone,null\n,1e5\n"))
    assert [(row["a"], row["b"]) for row in rows] == [("NA", "13"), ("None", "null"), ("", "1e5")]


def test_places_are_the_first_lines_of_rows(tmp_path: Path) -> None:
    rows = read(write(tmp_path, b'\xef\xbb\xbfa,b\r\n"two\r\nlines",1\r\n2,3\r\n'))
    assert [row["_where"] for row in rows] == ["x.csv:2", "x.csv:4"]
    assert rows[0]["a"] == "two\r\nlines"


def test_a_ragged_row_and_bad_bytes_are_rejects(tmp_path: Path) -> None:
    rows = read(write(tmp_path, b"a,b\n1\n1,2,3\n\xff,2\n3,4\n"))
    assert [item.reason.value for item in rows[:3]] == ["bad_csv", "bad_csv", "bad_encoding"]
    assert rows[3]["a"] == "3"


def test_a_field_beyond_the_default_limit_is_read(tmp_path: Path) -> None:
    rows = read(write(tmp_path, b"a,b\n" + b"x" * 1_000_000 + b",1\n"))
    assert len(rows[0]["a"]) == 1_000_000


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"a,c\n1,2\n", UpstreamChangedError, "gone: b"),
        (b"a,b,a\n1,2,3\n", UpstreamChangedError, "twice"),
        (b"", FileError, "empty"),
        (b'a,b\n"open,1\n2,3\n', FileError, "line 2"),
        (b'a,b\n1,"x"y\n2,3\n', FileError, "line 2"),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path: Path, data, error, message: str) -> None:
    with pytest.raises(error, match=message):
        read(write(tmp_path, data))


def test_headerless_files_keep_row_one(tmp_path: Path) -> None:
    reader = CsvReader(("q", "a"), ("q", "a"))
    rows = list(reader([Input(write(tmp_path, b"1,2\n3,4\n"), "x.csv")], Options()))
    assert [row["q"] for row in rows] == ["1", "3"]


def test_members_are_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.csv", "a,b\n1,2\n")
        archive.writestr("deep/rows.csv", "a,b\n3,4\n")
    assert is_archive(path)
    item = Input(path, "x.csv", member="rows.csv")
    with open_input(item) as file:
        assert file.read() == b"a,b\n3,4\n"
    names = [name for name, stream in members(path)]
    assert names == ["../../evil.csv", "deep/rows.csv"]
    assert not (tmp_path.parent / "evil.csv").exists()
    with (
        pytest.raises(FileError, match="no member"),
        open_input(Input(path, "x", member="none.csv")),
    ):
        pass


def test_an_encrypted_member_and_a_wrong_crc_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.csv", "a,b\n3,4\n")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"3,4", b"3,5"))
    with pytest.raises(FileError, match="damaged"):
        read_member(path)
    flag = bytearray(data)
    flag[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(flag))
    with pytest.raises(FileError, match="encrypted"):
        read_member(path)


def read_member(path: Path) -> bytes:
    with open_input(Input(path, "x", member="rows.csv")) as file:
        return file.read()


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(
        st.tuples(
            *[st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)] * 2
        )
    )
)
def test_what_is_written_is_read(rows) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(text.getvalue().encode())
        found = read(path)
    assert not any(isinstance(item, Reject) for item in found)
    assert [(item["a"], item["b"]) for item in found] == rows
