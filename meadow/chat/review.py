"""Judging a model's work by hand: a sheet of a sample, marks at a terminal, and marks read back."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from meadow.atomic import write_text
from meadow.errors import FileError, UsageError

Marks = Mapping[str, bool]
"""What the column `mark` can hold, in lower case; the first word of each meaning is its name."""


def sample(ids: Iterable[str], count: int, seed: int = 0) -> list[str]:
    """So many ids by a hash of (seed, id), in the order of that hash."""
    return sorted(ids, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())[:count]


def visible(text: str) -> str:
    """The text without characters that could steer a terminal."""
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in text)


def write_sheet(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], marks: Mapping[str, str]
) -> None:
    """Write rows as CSV with the columns `mark` and `note` to fill in; no cell begins a formula.

    The first of the columns is `id`; `marks` are what is marked already, by id.
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*columns, "mark", "note"])
    for row in rows:
        writer.writerow([*map(_cell, row), marks.get(row[0], ""), ""])
    write_text(path, target.getvalue())


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def mark_each(shown: Mapping[str, str], marks: Marks, ask: Callable[[str], str]) -> dict[str, str]:
    """Ask for a mark of each until one is typed; `s` skips, `q` ends early."""
    yes, no = _names(marks)
    chosen: dict[str, str] = {}
    for number, (key, text) in enumerate(shown.items(), start=1):
        question = (
            f"{number} of {len(shown)}: {key}\n{text}\n"
            f"[{yes[0]}]{yes[1:]}, [{no[0]}]{no[1:]}, [s]kip, [q]uit"
        )
        typed = ""
        while typed not in {"q", "s", *marks}:
            typed = ask(question).strip().lower()
        if typed == "q":
            break
        if typed in marks:
            chosen[key] = yes if marks[typed] else no
    return chosen


def _names(marks: Marks) -> tuple[str, str]:
    return (
        next(word for word, meaning in marks.items() if meaning),
        next(word for word, meaning in marks.items() if not meaning),
    )


def read_marks(path: Path, marks: Marks) -> dict[str, bool]:
    """Id -> what its mark means, for the marked rows of a sheet.

    Raises:
        FileError: The file cannot be read.
        UsageError: It is no sheet, or a mark is none of those that it knows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"the review cannot be read: {error}", where=str(path)) from error
    found = {}
    for number, row in enumerate(rows, start=2):
        mark = " ".join((row.get("mark") or "").lower().split())
        if "id" not in row or "mark" not in row or (mark and mark not in marks):
            raise UsageError(
                f"not a mark: {mark!r}",
                where=f"{path}:{number}",
                fix="{} or {} in the column mark; empty for a row that was not looked at".format(
                    *_names(marks)
                ),
            )
        if mark:
            found[row["id"].removeprefix("'")] = marks[mark]
    if not found:
        raise UsageError("no row is marked", where=str(path))
    return found
