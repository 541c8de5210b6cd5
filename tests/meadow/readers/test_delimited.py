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
from meadow.readers import delimited
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


# What a block may hold that its rows are told from at once, and what it may not.
PLAIN = (
    *("", "x", '""', '"x"', '"a,b"', '"a ""b"" c"', '""""', '"""a"""', '"two\nlines"', '"a\r\nb"'),
    *(
        "é",
        '"é, ""ü"""',
        "患者",
        "\u2028",
        "\ufeff",
        " x ",
        '" x "',
        "\x00",
        "\x1c",
        "a\tb",
        "a;b",
        "'a'",
    ),
)
ODD = (
    *(
        'x"y',
        'x""',
        '"x"y',
        '"x" ',
        ' "x"',
        '"x""',
        '"',
        '""x',
        '"x',
        'x"',
        '"""',
        '"a"b"',
        '""""""x',
    ),
    *(
        "\r",
        "x\ry",
        '"x\ry"',
        "\rx",
        "x\r",
        '"x"\r',
        "x,y",
        ",",
        ",,",
        "\n",
        "x\ny",
        "\r\n",
        "\n\n",
    ),
    *('"\n', '",', '",\n"', 'x,"', '"x\n', "\udcff", '"\udcc3"', "é\udc80", '"x,\n\udcff"'),
)
TABLE = ("a,b,c\n", "1,2,3\n", '4,"5, ""five""",6\r\n', '"7",8,"nine\nlines"\n', "10,,\n")


def outcome(path: Path) -> object:
    try:
        return list(CsvReader(("a",))([Input(path, "x.csv")], Options()))
    except (FileError, UpstreamChangedError) as error:
        return type(error), str(error), error.where


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> tuple[object, list[bool]]:
    """What is read, the same with and without plain blocks, and which blocks were plain."""
    plain, told = delimited._plain, []
    with monkeypatch.context() as patch:
        patch.setattr(delimited, "_plain", lambda *block: None)
        strictly = outcome(path)
    with monkeypatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        patch.setattr(delimited, "_LEAST_BLOCK", 0)
        patch.setattr(delimited, "_plain", lambda *of: told.append(plain(*of)) or told[-1])
        found = outcome(path)
    assert found == strictly
    return found, [each is not None for each in told]


@pytest.mark.parametrize("block", [8, 40, 4096])
@pytest.mark.parametrize("text", [*PLAIN, *ODD], ids=ascii)
def test_plain_blocks_are_what_the_csv_module_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    """In place of each field, before it, behind it, and between the rows."""
    table = "".join(TABLE)
    fields = ("1", "2", "3", '"5, ""five"""', "6", '"7"', '"nine\nlines"', "10")
    tables = [table.replace(field, text, 1) for field in fields]
    tables += [
        table.replace(field, put, 1) for field in fields for put in (text + field, field + text)
    ]
    tables += ["".join((*TABLE[:at], text, *TABLE[at:])) for at in range(1, len(TABLE) + 1)]
    for one in tables:
        both_ways(write(tmp_path, one.encode("utf-8", "surrogateescape")), monkeypatch, block)


def test_blocks_are_plain_where_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after one that is not they are again."""
    rows = [f'{text},"{number}",z\r\n' for number, text in enumerate(PLAIN * 3)]
    path = write(tmp_path, "".join(("a,b,c\n", *rows)).encode())
    found, plain = both_ways(path, monkeypatch, 100)
    assert isinstance(found, list)
    assert len(found) == len(rows)
    assert plain.count(False) == 0
    path = write(tmp_path, "".join(("a,b,c\n", *rows, "too,short\n", *rows)).encode())
    found, plain = both_ways(path, monkeypatch, 100)
    assert isinstance(found, list)
    assert sum(isinstance(item, Reject) for item in found) == 1
    assert plain.count(False) <= 3
    assert plain[-1]
    reader = CsvReader(("a",), used=("c", "none"))
    monkeypatch.setattr(delimited, "_LEAST_BLOCK", 0)
    for block in (50, 4096):
        monkeypatch.setattr(delimited, "BLOCK", block)
        got = [
            item for item in reader([Input(path, "x")], Options()) if not isinstance(item, Reject)
        ]
        assert {frozenset(item) for item in got} == {frozenset(("c", "_where"))}
