"""A first TOML file: what is guessed of invented files, and that it builds."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from meadow.config import parse_settings
from meadow.errors import FileError
from meadow.schema import Record
from meadow.source import Input, Options
from meadow.sources.own.form import OwnSource
from meadow.sources.own.guess import guess_source
from meadow.sources.own.source import own_source


def guessed(path: Path) -> tuple[OwnSource, list[Any]]:
    """The guess, and what comes of the rows by it."""
    text = guess_source(path, license="cc0-1.0", free_text=False).text
    own = parse_settings(tomllib.loads(text), OwnSource, where="guess")
    origin = own_source(own).upstream
    raws = origin.read([Input(path, path.name)], Options())
    return own, [row for raw in raws for row in origin.convert(raw, Options())]


def lines(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_table_of_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "Fragen 2031.csv"
    text = "Nr.;Fach;Frage;Antwort\n1;Innere;Was ist eine Anämie?;Zu wenig Hämoglobin.\n"
    path.write_bytes((text + "2;Augen;Was ist ein Glaukom?;Zu hoher Druck.\n").encode("cp1252"))
    own, rows = guessed(path)
    assert (own.name, own.read.delimiter, own.read.encoding) == ("fragen_2031", ";", "cp1252")
    assert (own.row.task, own.row.id, own.row.meta) == ("open_qa", "{Nr.}", {"fach": "{Fach|}"})
    assert rows[0].input == "Was ist eine Anämie?"
    assert rows[0].output == "Zu wenig Hämoglobin."


def test_a_conversation(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "I cough."}, {"from": "gpt", "value": "Since when?"}]
    own, rows = guessed(lines(tmp_path, {"conversation_id": "a", "turns": said}))
    assert (own.chat.column, own.chat.role, own.chat.content) == ("turns", "from", "value")
    assert (own.row.id, rows[0].output) == ("{conversation_id}", "Since when?")
    said = [{"role": "patient", "content": "I cough."}, {"role": "doctor", "content": "Rest."}]
    own, rows = guessed(lines(tmp_path, {"messages": said}, {"messages": said}))
    assert (own.chat.user, own.chat.assistant, rows[0].output) == (
        ("patient",),
        ("doctor",),
        "Rest.",
    )


def test_columns_that_hold_json_and_names_of_another_language(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    options = '"{""a"": ""Femur"", ""b"": ""Tibia""}"'
    path.write_text(f"frage,auswahl,loesung\nWelcher?,{options},b\nWelcher nicht?,{options},a\n")
    own, rows = guessed(path)
    assert (own.read.parse, own.options.answer, rows[0]) == (("auswahl",), "loesung", rows[0])
    said = [{"wer": who, "satz": f"Ja, {n}."} for n in range(2) for who in ("Patient", "Arzt")]
    own, rows = guessed(lines(tmp_path, {"verlauf": said}, {"verlauf": said}))
    assert (own.chat.role, own.chat.content, rows[0].output) == ("wer", "satz", "Ja, 1.")


CHOICES = [
    (
        {"question": "Q?", "options": {"A": "x", "B": "y"}, "answer": "y", "answer_idx": "B"},
        "label",
    ),
    ({"q": {"text": "Which is it?"}, "choices": ["x", "y"], "cop": 1}, "index"),
    ({"prompt": "Q?", "opa": "x", "opb": "y", "correct": 2}, "number"),
    ({"prompt": "Q?", "A": "x", "B": "y", "correct": "y"}, "text"),
    (
        {"qtext": "Q?", "answers": [{"aid": 1, "atext": "xx"}, {"aid": 2, "atext": "yy"}], "ra": 2},
        "label",
    ),
]


@pytest.mark.parametrize(("row", "how"), CHOICES)
def test_options_in_any_form(row: dict[str, Any], how: str, tmp_path: Path) -> None:
    other = dict(row) | {key: 0 if how == "index" else 1 for key in ("cop",) if key in row}
    own, rows = guessed(lines(tmp_path, row, other))
    assert own.options.answer_is == how or (how == "index" and own.options.answer_is == "number")
    assert own.row.input.endswith("}\n{options}")
    last = rows[0]
    assert isinstance(last, Record)
    assert last.output in ("B: y", "B: yy")


def test_instructions_labels_and_what_is_neither(tmp_path: Path) -> None:
    own, rows = guessed(lines(tmp_path, {"instruction": "Do.", "input": "", "output": "Done."}))
    assert (own.row.task, rows[0].instruction, rows[0].output) == ("instruction", "Do.", "Done.")
    seen = [{"sentence": f"It is {n}.", "label": n % 2} for n in range(8)]
    own, rows = guessed(lines(tmp_path, *seen))
    assert (own.row.task, own.labels["words"].texts) == ("classification", {"0": "0", "1": "1"})
    assert {row.output for row in rows} == {"0", "1"}
    guess = guess_source(lines(tmp_path, {"n": 1}), free_text=True)
    assert guess.said[0].startswith("no question and answer were found")


def test_what_is_left_to_whoever_knows(tmp_path: Path) -> None:
    path = lines(tmp_path, {"question": "x", "answer": "y"}).rename(tmp_path / "test.jsonl")
    text = guess_source(path).text
    assert "\n# free_text = true\n" in text
    assert 'license = "unknown"\n' in text
    assert "\nexam = true" in text
    assert "free_text" not in tomllib.loads(text)


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"{\n", b"[]"])
def test_a_file_of_which_no_row_can_be_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f.dat"
    path.write_bytes(content)
    with pytest.raises(FileError):
        guess_source(path)
