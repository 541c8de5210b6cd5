"""Text exports: headers, separators, quotes, comments, and what breaks."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meadow.errors import FileError
from meadow.schema import Reason, Reject
from meadow.source import Input
from meadow.sources.anki.text_export import is_text_export, read_text_export


def read(text: str | bytes, folder: Path) -> list:
    path = folder / "deck.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_text_export(Input(path, "deck.txt")))


def fields(found: list) -> list:
    return [row["fields"] for row in found]


def test_columns_of_the_header_are_taken_out(tmp_path: Path) -> None:
    text = (
        "#separator:tab\n#html:true\n#guid column:1\n#notetype column:2\n#deck column:3\n"
        "#tags column:6\nabc\tBasic+\tA::B\tfront\tback\tx y\n"
    )
    assert read(text, tmp_path) == [
        {
            "_where": "deck.txt:7",
            "guid": "abc",
            "note_type": "Basic+",
            "cloze": None,
            "deck": "A::B",
            "tags": ["x", "y"],
            "field_names": [],
            "fields": ["front", "back"],
            "templates": (),
        }
    ]


def test_values_for_the_whole_file(tmp_path: Path) -> None:
    text = (
        "#separator:;\n#columns:Name;Origin\n#notetype:Muscle\n#deck:Anatomy\n#tags:a b\n"
        "Biceps;Scapula\n"
    )
    (row,) = read(text, tmp_path)
    assert (row["note_type"], row["deck"], row["tags"]) == ("Muscle", "Anatomy", ["a", "b"])
    assert (row["field_names"], row["fields"]) == (["Name", "Origin"], ["Biceps", "Scapula"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (f"#separator:{name}\na{mark}b\n", [["a", "b"]])
            for name, mark in (("tab", "\t"), ("Comma", ","), ("pipe", "|"), ("semicolon", ";"),
                               ("colon", ":"), ("|", "|"), ('"', "\t"), ("", "\t"))
        ),
        # without a header the first rows tell the separator, which has to fit them
        *((f"# no row\n\na{mark}b\nc{mark}d\n", [["a", "b"], ["c", "d"]]) for mark in "\t|;:, "),
        ("Deck: heart\n\nWhat?\tA sound: mur\nb\tc\n",
         [["Deck: heart"], ["What?", "A sound: mur"], ["b", "c"]]),
        ("Low K: limit,3.5\nHigh K,5.0\nNa: range,135-145\n",
         [["Low K: limit", "3.5"], ["High K", "5.0"], ["Na: range", "135-145"]]),
        ("a;b,c\nd;e\nf;g,h\n", [["a", "b,c"], ["d", "e"], ["f", "g,h"]]),
        ("one field\nsplit\there\n", [["one field"], ["split", "here"]]),
        # of which only the first 8 KiB are asked
        ("a|b\n" * 4096 + "x\ty|z\n", [["a", "b"]] * 4096 + [["x\ty", "z"]]),
        ('#separator:tab\na\t"x\n# y\nz"\n', [["a", "x\n# y\nz"]]),
        # plain text is escaped, so that it survives as HTML; without a word the row tells
        ("#separator:tab\n#html:false\np < 5 & q\t<b>\n", [["p &lt; 5 &amp; q", "&lt;b&gt;"]]),
        ("p < 5\tyes\nx<br>y\tp &lt; 1\n", [["p &lt; 5", "yes"], ["x<br>y", "p &lt; 1"]]),
        ("\ufeff#separator:tab\r\n#html:true\r\na\tb\r\n\r\nc\td\r\n", [["a", "b"], ["c", "d"]]),
    ],
)  # fmt: skip
def test_separators_and_html(text: str, expected: list, tmp_path: Path) -> None:
    assert fields(read(text, tmp_path)) == expected


def test_quoted_fields_hold_lines_and_quotes(tmp_path: Path) -> None:
    text = (
        '#separator:tab\n#html:true\n"one\ntwo"\t"say ""a"""\n"#no comment"\tb\n# comment\nc\td\n'
    )
    found = read(text, tmp_path)
    assert fields(found) == [["one\ntwo", 'say "a"'], ["#no comment", "b"], ["c", "d"]]
    assert [row["_where"] for row in found] == ["deck.txt:3", "deck.txt:5", "deck.txt:7"]


def test_a_bad_byte_is_one_reject(tmp_path: Path) -> None:
    found = read(b"#separator:tab\na\tcaf\xe9\nb\tc\n", tmp_path)
    assert isinstance(found[0], Reject)
    assert found[0].reason is Reason.BAD_ENCODING
    assert found[1]["fields"] == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a\t"open\nb\tc\n', [None, ["b", "c"]]),
        ('a\t"open\nb\tc\n"x\ty\n', [None, ["b", "c"], None]),
        ('a\t"two\n"b"\tc\nd\te\n', [None, ["b", "c"], ["d", "e"]]),
        # as Anki reads it: the quotes go, the text stays
        ('"Target" lesion\tErythema\n', [["Target lesion", "Erythema"]]),
        ('a "word"\tsay ""so""\n', [['a "word"', 'say ""so""']]),
    ],
)
def test_a_quote_that_does_not_close_costs_its_row(
    text: str, expected: list, tmp_path: Path
) -> None:
    found = read("#separator:tab\n#html:true\n" + text, tmp_path)
    assert [None if isinstance(row, Reject) else row["fields"] for row in found] == expected
    assert {row.reason for row in found if isinstance(row, Reject)} <= {Reason.BAD_CSV}


def test_a_row_that_begins_as_a_comment_is_counted(tmp_path: Path) -> None:
    first, second, third = read("# cards\nx\ty\n#1 killer\tHeart\nz\tw\n", tmp_path)
    assert (second.where, second.reason) == ("deck.txt:3", Reason.NOT_A_TARGET)
    assert (first["fields"], third["fields"]) == (["x", "y"], ["z", "w"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_byte_order_mark_names_the_encoding(encoding: str, tmp_path: Path) -> None:
    text = "Sodium ≥ 135 – 145?\t• normal\n"
    marked = text if encoding in ("utf-8-sig", "utf-16") else "\ufeff" + text
    assert fields(read(marked.encode(encoding), tmp_path)) == [["Sodium ≥ 135 – 145?", "• normal"]]
    if encoding.startswith("utf-16"):
        with pytest.raises(FileError, match="UTF-16"):
            read(text.encode("utf-16-le"), tmp_path)
        with pytest.raises(FileError, match="breaks off"):
            read(marked.encode(encoding)[:-1], tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "These are the decks for my class.\nNote: they came by mail.\n",
        "nid\tmid\tfields\n17\t4\tWhat?\tThat.\n",
        "one word\nand then, three\n",
    ],
)
def test_a_text_that_is_no_export_gives_no_row(text: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no text export"):
        read(text, tmp_path)
    assert not is_text_export(tmp_path / "deck.txt")


def test_an_empty_file_has_no_notes(tmp_path: Path) -> None:
    assert read("", tmp_path) == read("#separator:tab\n#html:true\n", tmp_path) == []
    assert fields(read("#separator:\\t\n#html:false\na & b?\tc < d\n", tmp_path)) == [
        ["a &amp; b?", "c &lt; d"]
    ]


cells = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00\r"), max_size=12
)


@given(st.lists(st.tuples(cells, cells), max_size=8))
def test_what_a_strict_writer_writes_is_read_back(rows: list) -> None:
    import tempfile

    kept = [row for row in rows if any(row)]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(kept)
    with tempfile.TemporaryDirectory() as folder:
        found = read("#separator:tab\n#html:true\n" + buffer.getvalue(), Path(folder))
    assert fields(found) == [list(row) for row in kept]


def test_detection(tmp_path: Path) -> None:
    for name, data, expected in (
        ("notes.txt", b"a\tb", True),
        ("notes.txt.gz", b"a\tb", True),
        ("README.txt", b"a\tb", False),
        ("export", b"#separator:tab\na\tb", True),
        ("data.json", b"[]", False),
        ("deck.txt", b"SQLite format 3\x00", False),
    ):
        (tmp_path / name).write_bytes(data)
        assert is_text_export(tmp_path / name) is expected, name


@pytest.mark.realdata
def test_real_exports(upstream: Path) -> None:
    counts = {}
    for path in sorted((upstream / "anki").rglob("*.txt")):
        found = list(read_text_export(Input(path, path.name)))
        assert not any(isinstance(row, Reject) for row in found)
        counts[path.name] = len(found)
    assert counts == {
        "cards_html_False.txt": 73,
        "cards_html_True.txt": 73,
        "notes_html_False.txt": 65,
        "notes_html_True.txt": 65,
        "text-2fields.txt": 9,
        "text-tags.txt": 2,
    }
