"""Exam files as rows: JSON Lines, JSON in the shapes it is passed around in, CSV, TSV, Parquet.

The readers are the corpus' own, but where a corpus sets a bad row aside, an exam is refused: one
question fewer is another exam. Every reader yields (where, row); a file that cannot be read whole,
or that holds no row at all, is a `FileError` which names the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from meadow.errors import FileError
from meadow.readers import delimited, json_rows, parquet
from meadow.schema import Reject
from meadow.source import Input, Options

Rows = list[tuple[str, dict[str, Any]]]
SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".parquet"}
QUESTION = ("question_clean", "question", "stem", "query", "sent1", "full_question", "qtext")
"""The names that a question's column has, in lower case, the better text first."""
MMLU = ("question", "A", "B", "C", "D", "answer")
"""The columns of MMLU's files, which have no header."""
_WRAPPERS = ("test", "data", "rows", "questions", "items", "examples")
_LETTERS = "abcde"
"""What the last field of a question of MMLU is."""


def exam_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves; a folder stands for its exam files in name order."""
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not found:
                raise FileError(
                    f"no exam files in the folder: one of {', '.join(sorted(SUFFIXES))} was due",
                    where=str(path),
                )
            yield from found
        elif path.is_file():
            yield path
        else:
            raise FileError("exam file not found", where=str(path), fix="check the path")


def read_json(path: Path) -> Any:
    """The value of a JSON file, or a `FileError`."""
    try:
        return json_rows.DECODER.decode(path.read_text(encoding="utf-8-sig").strip())
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"not JSON: {error}", where=str(path)) from error


def rows_of(path: Path, *, headerless: bool = False) -> Rows:
    """The rows of one file, all of them.

    Args:
        path: A .jsonl, .json, .csv, .tsv or .parquet file.
        headerless: Whether CSV files have MMLU's columns and no header.

    Raises:
        FileError: The file is broken somewhere, or holds no row.
    """
    suffix = path.suffix.lower()
    item = Input(path, str(path))
    if suffix == ".parquet":
        rows = _whole(parquet.read_rows(item, (), _columns(path)))
    elif suffix in {".csv", ".tsv"}:
        delimiter = "\t" if suffix == ".tsv" else ","
        names = MMLU if headerless else None
        rows = _whole(delimited.read_file(item, names, names or (), delimiter))
        header = [name.lower() for name in rows[0][1]] if rows else []
        if header and not headerless and header[-2] in _LETTERS and not {*QUESTION} & {*header}:
            raise FileError(
                "the file has no header: its first row is a question",
                where=f"{path}:1",
                fix="MMLU's files are the exam mmlu_medical; other files need a header with "
                "question, A, B, ... and answer",
            )
    elif suffix == ".json" and not _is_lines(path):
        rows = list(_unwrapped(read_json(path), path))
    else:
        rows = _whole(json_rows.read_lines([item], Options()))
    if not rows:
        raise FileError("no question in the file", where=str(path), fix="check the download")
    return rows


def _whole(rows: Iterable[Any]) -> Rows:
    """The rows, none of which may be a reject."""
    found: Rows = []
    for row in rows:
        if isinstance(row, Reject):
            raise FileError(
                f"a row of the exam cannot be read: {row.detail or row.reason.value}",
                where=row.where,
                fix="an exam is read whole or not at all: repair the row or fetch the file again",
            )
        found.append((str(row["_where"]), dict(row)))
    return found


def _columns(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"not a Parquet file: {error}", where=str(path)) from error


def _is_lines(path: Path) -> bool:
    """Whether a file is JSON Lines under the name .json: its first line is an object by itself."""
    with path.open("rb") as file:
        first, second = file.readline(1 << 24), file.readline(64)
    if not second.strip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _unwrapped(value: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a JSON value: a list, a wrapper around one, columns, or rows by key."""
    rows = _rows_in(value, path)
    for index, row in enumerate(rows):
        where = f"{path}[{index}]"
        if isinstance(row, dict) and isinstance(row.get("row"), dict):
            row = row["row"]  # the form of the datasets server
        if not isinstance(row, dict):
            raise FileError(f"an object was due, found: {row!r:.40}", where=where)
        yield where, row


def _rows_in(value: Any, path: Path) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise FileError(f"a list of questions was due, found: {value!r:.40}", where=str(path))
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        names = value["columns"]  # pandas, orient="split"
        if any(not isinstance(row, list) or len(row) != len(names) for row in value["data"]):
            raise FileError(f"rows of {len(names)} columns were due", where=str(path))
        return [dict(zip(names, row, strict=True)) for row in value["data"]]
    if any(str(name).lower() in QUESTION for name in value):
        return _by_column(value, path)
    papers = value.get("exams")
    if isinstance(papers, dict) and papers:
        return _by_paper(papers, path)
    lists = [name for name, rows in value.items() if isinstance(rows, list)]
    named = [name for name in _WRAPPERS if name in lists]
    if named or len(lists) == 1:
        return list(value[(named or lists)[0]])
    rows = [{"_key": key, **row} for key, row in value.items() if isinstance(row, dict)]
    if rows and len(rows) == len(value):
        return rows
    raise FileError(
        "no questions where they were looked for: a list, an object with the list under "
        f"{', '.join(_WRAPPERS)}, columns by name, or questions by key",
        where=str(path),
        fix=f"found the keys {', '.join(map(str, list(value)[:20])) or '(none)'}",
    )


def _by_paper(papers: dict[str, Any], path: Path) -> list[Any]:
    """Papers by name, as HEAD-QA's file has them: each its facts, and its questions in `data`."""
    found: list[Any] = []
    for name, paper in papers.items():
        if not isinstance(paper, dict) or not isinstance(paper.get("data"), list):
            raise FileError("a paper with its questions in data was due", where=f"{path}: {name}")
        facts = {key: fact for key, fact in paper.items() if key != "data"}
        found += [{**facts, **row} if isinstance(row, dict) else row for row in paper["data"]]
    return found


def _by_column(value: dict[str, Any], path: Path) -> list[Any]:
    """Columns by name: each a list, or an object with one entry a row."""
    columns = {
        name: list(column.values()) if isinstance(column, dict) else column
        for name, column in value.items()
    }
    lengths = {len(c) if isinstance(c, list) else -1 for c in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise FileError(
            "columns of one length were due", where=str(path), fix=f"found {', '.join(columns)}"
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
