"""What becomes of a raw row by a TOML file, and how its files are read."""

import json
import tomllib
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meadow.config import parse_settings
from meadow.errors import MeadowError, UpstreamChangedError, UsageError
from meadow.schema import Reason, Record, Reject, Style, split_turns
from meadow.source import Input, Options
from meadow.sources.own.form import OwnSource
from meadow.sources.own.source import own_source

FACTS = 'name = "own"\ntitle = "Own"\nlicense = "cc0-1.0"\nfree_text = false\n'
QA = '[row]\ntask = "open_qa"\ninstruction = "Answer."\ninput = "{q}"\noutput = "{a}"\n'
JSONL = '[read]\nformat = "jsonl"\n'


def source(text: str):
    return own_source(parse_settings(tomllib.loads(text), OwnSource, where="own.toml"))


def convert(text: str, style: Style = Style.MEADOW, **row: Any) -> Any:
    (item,) = source(text).upstream.convert({"_where": "f:1", **row}, Options(style=style))
    return item


def read(text: str, *files: Path, subset: str = "") -> list[Any]:
    inputs = [Input(path, path.name, subset) for path in files]
    return list(source(text).upstream.read(inputs, Options()))


def test_the_least_that_a_file_says() -> None:
    record = convert(FACTS + JSONL + QA, q=" What? ", a="That.")
    assert isinstance(record, Record)
    assert (record.input, record.output, record.license) == ("What?", "That.", "cc0-1.0")
    assert (record.source_id, record.url, record.authors, record.meta) == (None, None, (), "{}")
    assert record.id != convert(FACTS + JSONL + QA, q="What?", a="Other.").id
    assert record.id == convert(FACTS + JSONL + QA, q="What? ", a=" That.").id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"q": "", "a": "x"}, Reason.EMPTY_INPUT),
        ({"q": "x", "a": " "}, Reason.EMPTY_OUTPUT),
        ({"q": "x"}, Reason.MISSING_FIELD),
        ({"q": "x", "a": None}, Reason.MISSING_FIELD),
    ],
)
def test_why_a_row_is_not_taken(row: dict[str, Any], reason: Reason) -> None:
    rejected = convert(FACTS + JSONL + QA, **row)
    assert isinstance(rejected, Reject)
    assert (rejected.reason, rejected.where) == (reason, "f:1")


LABELS = """[labels.verdict]
column = "label"
texts = { "1" = "Yes", "0" = "No" }
"""


def test_a_label_is_a_value_in_words_and_does_not_tell_rows_apart() -> None:
    text = FACTS + JSONL + QA.replace("open_qa", "classification").replace("{a}", "{verdict}")
    yes, no = (convert(text + LABELS, q="x", label=label) for label in (1, "0"))
    assert (yes.output, no.output) == ("Yes", "No")
    assert yes.id == no.id
    assert convert(text + LABELS, q="x", label="2").reason is Reason.UNKNOWN_LABEL
    other = LABELS + 'other = "Unclear"\n'
    assert convert(text + other, q="x", label="2").output == "Unclear"


def choice(columns: str, more: str = "", **row: Any) -> Any:
    text = FACTS + JSONL + QA.replace("open_qa", "multiple_choice")
    text = text.replace('"{q}"', '"{q}\\n{options}"').replace('"{a}"', '"{answer}"')
    return convert(f'{text}[options]\ncolumns = {columns}\nanswer = "r"\n{more}', q="Q?", **row)


@pytest.mark.parametrize(
    ("columns", "more", "row", "output"),
    [
        ('"o"', "", {"o": {"A": "x", "B": " y"}, "r": "B"}, "B: y"),
        ('"o"', 'labels = "AB"', {"o": {"1": "x", "2": "y"}, "r": 2}, "B: y"),
        ('"o"', 'answer_is = "index"', {"o": ["x", "y"], "r": 0}, "A: x"),
        ('"o"', 'answer_is = "number"', {"o": ["x", "y"], "r": "2"}, "B: y"),
        ('"o"', 'answer_is = "text"', {"o": ["x", "y"], "r": " y "}, "B: y"),
        ('["oa", "ob"]', "", {"oa": "x", "ob": 7, "r": "ob"}, "B: 7"),
        ('["oa", "ob"]', "", {"oa": "x", "ob": "y", "r": "A"}, "A: x"),
        ('"o"', 'text = "t"\nlabel = "i"\nlabels = "AB"',
         {"o": [{"i": 1, "t": "x"}, {"i": 2, "t": "y"}], "r": 2}, "B: y"),
        ('"o"', "", {"o": {"A": "x", "B": "y", "C": None}, "r": "A"}, "A: x"),
        ('"o"', "drop_empty = true", {"o": ["", "x", "y"], "r": "B"}, "A: x"),
    ],
)  # fmt: skip
def test_options_in_any_form(columns: str, more: str, row: dict[str, Any], output: str) -> None:
    record = choice(columns, more, **row)
    assert record.output == output
    meta = json.loads(record.meta)
    assert record.output == f"{meta['answer']}: {meta['options'][meta['answer']]}"
    assert record.input == "\n".join(["Q?", *(f"{n}: {t}" for n, t in meta["options"].items())])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"o": {"A": "x"}, "r": "B"}, Reason.ANSWER_NOT_IN_OPTIONS),
        ({"o": {"A": "x", "B": None}, "r": "B"}, Reason.ANSWER_NOT_IN_OPTIONS),
        ({"o": {"A": "x", "B": " "}, "r": "A"}, Reason.BAD_VALUE),
        ({"o": {"A": ["x"]}, "r": "A"}, Reason.BAD_VALUE),
        ({"o": "A) x B) y", "r": "A"}, Reason.BAD_VALUE),
        ({"o": {}, "r": "A"}, Reason.MISSING_FIELD),
        ({"o": None, "r": "A"}, Reason.MISSING_FIELD),
        ({"o": {"A": "x"}}, Reason.MISSING_FIELD),
    ],
)
def test_options_that_cannot_be_used(row: dict[str, Any], reason: Reason) -> None:
    assert choice('"o"', **row).reason is reason


@pytest.mark.parametrize("told", ["1e999", "nan", "1.7", "²", float("inf"), -1])
def test_an_index_is_a_whole_number(told: object) -> None:
    index = 'answer_is = "index"'
    assert choice('"o"', index, o=["x", "y"], r=told).reason is Reason.ANSWER_NOT_IN_OPTIONS
    assert choice('"o"', index, o=["x", "y"], r="1.0").output == "B: y"


def test_facts_of_parquet_are_json() -> None:
    text = FACTS + JSONL + QA + 'meta = { c = "{c}", n = "{n.²|}" }\n'
    given = {"day": date(2031, 1, 2), "price": [Decimal("1.5"), float("inf"), 2.5, None]}
    meta = convert(text, q="x", a="y", c=given, n=["z"]).meta
    assert json.loads(meta) == {"c": {"day": "2031-01-02", "price": ["1.5", "inf", 2.5, None]}}


def test_the_right_text_has_to_agree() -> None:
    told = 'answer_text = "t"'
    assert choice('"o"', told, o=["x", "y"], r="A", t="x").output == "A: x"
    assert choice('"o"', told, o=["x", "y"], r="A", t="y").reason is Reason.ANSWER_NOT_IN_OPTIONS


CHAT = FACTS + JSONL + '[row]\ntask = "dialogue"\n[chat]\ncolumn = "m"\n'


def talk(*turns: tuple[str, str]) -> Any:
    return convert(CHAT, m=[{"role": role, "content": text} for role, text in turns])


def test_a_conversation_keeps_its_turns() -> None:
    record = talk(
        ("system", "Be kind."), ("user", "I cough.\n\nAssistant: no"), ("assistant", "Since when?"),
        ("user", "Two days."), ("user", "And fever."), ("assistant", "Rest."), ("user", "Thanks"),
    )  # fmt: skip
    assert (record.instruction, record.output) == ("Two days.\n\nAnd fever.", "Rest.")
    assert split_turns(record.input, record.meta) == ["I cough.\n\nAssistant: no", "Since when?"]
    assert record.repairs == ("joined_messages", "unanswered_message")
    assert json.loads(record.meta)["system"] == "Be kind."


def test_an_opening_of_the_assistant_can_go() -> None:
    turns = [("assistant", "Hello!"), ("user", "I cough."), ("assistant", "Rest.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    assert convert(CHAT, m=messages).reason is Reason.NOT_A_TARGET
    record = convert(CHAT + 'opening = "drop"\n', m=messages)
    assert (record.instruction, record.output) == ("I cough.", "Rest.")
    assert record.repairs == ("dropped_opening",)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([("assistant", "Hello")], Reason.NOT_A_TARGET),
        ([("user", "Hello")], Reason.EMPTY_OUTPUT),
        ([("nurse", "Hello")], Reason.BAD_VALUE),
        ([("user", " "), ("assistant", "Hello")], Reason.BAD_VALUE),
        ([], Reason.EMPTY_OUTPUT),
    ],
)
def test_a_conversation_that_is_none(turns: list[tuple[str, str]], reason: Reason) -> None:
    assert talk(*turns).reason is reason


@pytest.mark.parametrize(
    ("test", "value", "taken"),
    [
        ('equals = ["x", "1"]', 1, False),
        ('equals = ["x"]', "y", True),
        ('unless = ["en"]', "de", False),
        ('unless = ["en"]', None, False),
        ("matches = '(?i)^see'", "See there", False),
        ("shorter_than = 3", "ab ", False),
        ("longer_than = 2", "ab ", True),
        ("missing = true", " ", False),
    ],
)
def test_rows_are_rejected_for_a_reason(test: str, value: Any, taken: bool) -> None:
    text = f'{FACTS}{JSONL}{QA}[[reject]]\ncolumn = "c"\n{test}\nreason = "language"\nwhy = "so"\n'
    item = convert(text, q="x", a="y", c=value)
    assert isinstance(item, Record) is taken
    assert taken or (item.reason, item.detail) == (Reason.LANGUAGE, "so")


def test_repairs_are_counted_and_leave_the_id() -> None:
    text = FACTS + JSONL + QA + "[[repair]]\ncolumn = 'q'\npattern = '\\[\\d+\\]'\nname = 'cited'\n"
    record = convert(text, q="What[12]?", a="y")
    assert (record.input, record.repairs) == ("What?", ("cited",))
    assert convert(text, q="What?", a="y").repairs == ()
    assert record.id == convert(FACTS + JSONL + QA, q="What[12]?", a="y").id
    assert convert(text, Style.PUBLISHED_2023, q="What[12]?", a="y").input == "What[12]?"


def test_licences_and_authors_of_rows() -> None:
    text = (
        FACTS + JSONL + QA + 'url = "https://x/{n}"\nlicense = "{l}"\nauthors = [{name = "{w}"}]\n'
    )
    row = {"q": "x", "a": "y", "n": 3}
    record = convert(text, **row, l="CC-BY-4.0", w="Ada")
    assert (record.license, record.url, record.authors[0].name) == (
        "cc-by-4.0",
        "https://x/3",
        "Ada",
    )
    assert convert(text, **row, l="cc-by-4.0", w="").reason is Reason.LICENSE
    assert convert(text, **row, l="my own", w="Ada").reason is Reason.LICENSE
    assert convert(text, **row, l="cc0-1.0", w="").authors == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FACTS + QA, "read: Field required"),
        (FACTS.replace("free_text = false\n", "") + JSONL + QA, "free_text: Field required"),
        (FACTS.replace("cc0-1.0", "mine") + JSONL + QA, "license 'mine' is not known"),
        (FACTS.replace("cc0-1.0", "cc-by-4.0") + JSONL + QA, "asks for attribution"),
        (FACTS.replace('"own"', '"My Own"') + JSONL + QA, "name should be of small letters"),
        (FACTS + JSONL + QA.replace("{q}", "{q"), "row.input: a single '{' at character 0"),
        (FACTS + JSONL + QA.replace("input", "imput"), "unknown key 'row.imput'"),
        (FACTS + JSONL + QA.replace("open_qa", "multiple_choice"), "needs [options]"),
        (FACTS + JSONL + 'delimiter = ";"\n' + QA, "delimiter is for format 'csv'"),
        (FACTS + JSONL + QA + "[[reject]]\ncolumn = 'c'\n", "one of equals, unless"),
        (FACTS + JSONL + QA + "[[repair]]\ncolumn = 'c'\npattern = '('\nname = 'n'\n", "no reg"),
        (CHAT.replace('"dialogue"', '"open_qa"'), 'row.task is "dialogue"'),
        (FACTS + JSONL + QA + '[[example]]\nraw = {q = "x"}\n', "one of row and reject"),
    ],
)  # fmt: skip
def test_what_a_file_may_not_say(text: str, said: str) -> None:
    with pytest.raises(UsageError) as fault:
        source(text)
    assert said in fault.value.what
    assert fault.value.where == "own.toml"


CSV = '[read]\nformat = "csv"\n'


def test_a_table_with_other_columns_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("Frage,a\nx,y\n")
    with pytest.raises(UpstreamChangedError, match="no column 'frage'") as fault:
        read(FACTS + CSV + QA.replace("{q}", "{frage}"), path)
    assert "did you mean 'Frage'?" in fault.value.fix
    rows = read(FACTS + CSV + QA.replace("{q}", "{frage|Frage}"), path)
    assert rows[0]["_where"] == "f.csv:2"


def test_lines_without_a_column_are_told_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"q": "x", "a": "y"}\n{"q": "x"}\n')
    assert len(read(FACTS + JSONL + QA, path)) == 2
    with pytest.raises(UpstreamChangedError, match="no column 'b'"):
        read(FACTS + JSONL + QA.replace("{a}", "{b}"), path)
    with pytest.raises(UpstreamChangedError, match="no column 'b'"):
        read(f"{FACTS}{JSONL}{QA}[[reject]]\ncolumn = 'b'\nmissing = true\n", path)


def test_a_csv_of_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes("ä;ö\r\n".encode("cp1252") + b"\x81;x\r\n")
    given = FACTS + CSV + 'delimiter = ";"\nencoding = "cp1252"\ncolumns = ["q", "a"]\n' + QA
    row, bad = read(given, path, subset="s")
    assert (row["q"], row["a"], row["_file"], row["_subset"]) == ("ä", "ö", "f", "s")
    assert bad.reason is Reason.BAD_ENCODING


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("data.items", '{"data": {"items": [{"q": "x", "a": "y"}]}}'),
        ("*", '{"k1": {"q": "x", "a": "y"}}'),
        ("", '[{"q": "x", "a": "y"}]'),
        ("papers.*.data", '{"papers": {"k1": {"q": "x", "data": [{"a": "y"}], "n": []}}}'),
        ("*.data", '[{"q": "x", "data": {"k1": {"a": "y"}}}]'),
    ],
)
def test_rows_in_a_json_file(rows: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(text)
    form = FACTS + f'[read]\nformat = "json"\nrows = "{rows}"\n' + QA
    (row,) = read(form, path)
    assert row["q"] == "x"
    assert row.get("_key") in (None, "k1", "0", "k1.0", "0.k1")
    if "*." in rows:
        path.write_text(text.replace('"data"', '"date"'))
        with pytest.raises(UsageError, match="no list or object of rows"):
            read(form, path)


def test_members_of_an_archive_and_texts_that_are_json(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "one.jsonl", '{"q": "{\\"t\\": \\"x\\"}", "a": "y"}\n{"q": "{", "a": "y"}\n'
        )
        archive.writestr("README", "no rows")
    form = FACTS + JSONL + 'members = ".jsonl"\nparse = ["q"]\n' + QA.replace("{q}", "{q.t}")
    row, bad = read(form, path)
    assert (row["q"], row["_file"]) == ({"t": "x"}, "f")
    assert (bad.reason, bad.where) == (Reason.BAD_JSON, "f.zip!one.jsonl:2")


def test_a_broken_first_line_is_a_reject_and_no_other_format(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('no json\n{"q": "x", "a": "y"}\n')
    broken, row = read(FACTS + JSONL + QA, path)
    assert (broken.reason, row["q"]) == (Reason.BAD_JSON, "x")


@pytest.mark.parametrize(
    ("format", "content", "said"),
    [
        ("csv", b'{"q": 1}\n{"q": 2}\n', 'read.format = "jsonl"'),
        ("jsonl", b"q,a\nx,y\n", 'read.format = "csv"'),
        ("csv", b"PAR1....", 'read.format = "parquet"'),
        ("parquet", b"q,a\n", 'read.format = "csv"'),
        ("csv", b"\xd0\xcf\x11\xe0\0\0\0\0", "are read"),
        ("json", b'{"data": [\n1]}', "check that it is the file"),
        ("jsonl", b" \n", "fetch it again"),
    ],
)
def test_a_reader_that_does_not_fit_the_file(
    format: str, content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "f.dat"
    path.write_bytes(content)
    with pytest.raises(MeadowError) as fault:
        read(FACTS + f'[read]\nformat = "{format}"\n' + QA, path)
    assert said in fault.value.fix
