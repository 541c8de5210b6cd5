"""`meadow source`: a first TOML file, and its rows beside the raw ones, with their exit codes."""

import json
from pathlib import Path

import pytest
from support.command import run_meadow

FORM = """name = "clinic"
title = "A clinic"
license = "cc0-1.0"
free_text = false
[read]
format = "jsonl"
[row]
task = "open_qa"
instruction = "Answer."
input = "{q}"
output = "{a}"
id = "{n}"
meta = { note = "{noet|}" }
[[reject]]
column = "q"
equals = ["secret"]
[[example]]
raw = { n = 1, q = "x", a = " y " }
row = { input = "x", output = "y" }
"""
LINES = [
    {"n": 1, "q": "What?", "a": "That.", "more": "unused"},
    {"n": 2, "q": "secret", "a": "That."},
    *({"n": n, "q": f"What {n}?", "a": "That."} for n in range(3, 200)),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(FORM)
    Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


def check(form: str, *lines: dict) -> tuple[int, dict]:
    Path("own.toml").write_text(form)
    if lines:
        Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = run_meadow("source", "check", "own.toml", "rows.jsonl", "--json")
    return ran.code, json.loads(ran.out)


def test_rows_stand_beside_the_raw_ones(folder: Path) -> None:
    before = sorted(folder.iterdir())
    code, told = check(FORM)
    assert (code, told["rows_in"], told["rows_out"], told["rejected"]) == (
        0,
        100,
        99,
        {"not_a_target": 1},
    )
    first, *_, last = told["shown"]
    assert (first["where"], first["raw"]["q"], first["row"]["input"]) == (
        "rows.jsonl:1",
        "What?",
        "What?",
    )
    assert (last["raw"]["q"], last["reject"]["reason"]) == ("secret", "not_a_target")
    assert told["notes"] == [
        "{noet|} is in none of the 100 rows", "columns that are not used: more"
    ]  # fmt: skip
    assert sorted(folder.iterdir()) == before
    shown = run_meadow("source", "check", "own.toml", "rows.jsonl")
    assert "  raw  q: What?" in shown.out
    assert "  row  input: What?" in shown.out
    assert "  rejected: not_a_target" in shown.out
    assert "examples: 1 of 1 are as they say" in shown.err


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ('output = "y"', 'output = "z"', 1, "1 of 1 examples are not as they say"),
        ('{ input = "x", output = "y" }', "{ imput = 1 }", 1, "1 of 1 examples"),
        ('row = { input = "x", output = "y" }', 'reject = "media"', 1, "1 of 1 examples"),
        ('"{q}"', '"{Q}"', 5, "no column 'Q'"),
        ('"jsonl"', '"csv"', 2, "the file is jsonl"),
        ('"{a}"', '"{a"', 2, "row.output: a single '{'"),
        ('"{n}"', '"{a}"', 5, "stands for two contents"),
        ('equals = ["secret"]', "matches = 'What|secret'", 1, "no row came out"),
        ("free_text = false\n", "", 2, "free_text is not said"),
        ('"clinic"', '"medqa"', 2, "that of a source of the house"),
    ],
)
def test_exit_codes(old: str, new: str, code: int, said: str) -> None:
    assert old in FORM
    Path("own.toml").write_text(FORM.replace(old, new))
    ran = run_meadow("source", "check", "own.toml", "rows.jsonl")
    assert ran.code == code
    assert said in ran.err
    assert "fix:" in ran.err


def test_malformed_rows_end_with_three() -> None:
    code, told = check(FORM, {"n": 1, "q": "x", "a": "y"}, {"n": 2, "q": "x"})
    assert (code, told["rejected"]) == (3, {"missing_field": 1})


def test_new_writes_a_file_that_check_takes(folder: Path) -> None:
    ran = run_meadow("source", "new", "rows.jsonl", "--edited", "--license", "cc0-1.0", "--dry-run")
    assert ran.code == 0
    assert not Path("rows.toml").exists()
    assert run_meadow("source", "new", "rows.jsonl", "--edited").code == 0
    assert run_meadow("source", "check", "rows.toml", "rows.jsonl").code == 0
    again = run_meadow("source", "new", "rows.jsonl", "--edited")
    assert (again.code, "is there already" in again.err) == (2, True)
    unsaid = run_meadow("source", "new", "rows.jsonl", "--out", "b.toml")
    assert "free_text has to be said" in unsaid.err
    wrong = run_meadow("source", "new", "rows.jsonl", "--license", "mine")
    assert (wrong.code, "is not known" in wrong.err) == (2, True)
