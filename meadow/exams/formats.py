"""The files that exams come in: JSONL, JSON in three shapes, CSV, TSV, Parquet, headerless CSV.

Every reader yields (where, row), and a file that cannot be read whole is a `FileError`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from meadow.errors import FileError


def exam_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves; a folder stands for its exam files in name order."""
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
            if not found:
                raise FileError("no exam files in the folder", where=str(path))
            yield from found
        elif path.is_file():
            yield path
        else:
            raise FileError("exam file not found", where=str(path), fix="check the path")


_SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".parquet"}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"the exam file cannot be read: {error}", where=str(path)) from error


def read_json(path: Path) -> Any:
    """The value of a JSON file, or a `FileError`."""
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"not JSON: {error}", where=str(path)) from error


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of a JSONL, JSON, CSV, TSV or Parquet file."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.read_table(path).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise FileError(f"not a Parquet file: {error}", where=str(path)) from error
        yield from ((f"{path.name}[{i}]", row) for i, row in enumerate(rows))
    elif suffix in {".csv", ".tsv"}:
        reader = csv.DictReader(
            io.StringIO(_read(path), newline=""), delimiter="\t" if suffix == ".tsv" else ","
        )
        for row in reader:
            yield f"{path.name}:{reader.line_num}", row
    elif suffix == ".json":
        yield from _json_rows(path)
    else:
        for number, line in enumerate(_read(path).split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FileError(f"not JSON: {error}", where=f"{path}:{number}") from error
            if not isinstance(row, dict):
                raise FileError("an object was due", where=f"{path}:{number}")
            yield f"{path.name}:{number}", row


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a JSON file: a list of rows, rows by key, columns by name, or JSON lines."""
    text = _read(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if re.match(r"\s*\{.*\}\s*\n\s*\{", text):  # JSON lines under the name .json (medmcqa)
            for number, line in enumerate(filter(str.strip, text.split("\n")), 1):
                yield f"{path.name}:{number}", json.loads(line)
            return
        raise FileError(f"not JSON: {error}", where=str(path)) from error
    if isinstance(value, dict) and isinstance(value.get("question"), dict):
        keys = list(value["question"])
        value = [{name: column.get(key) for name, column in value.items()} for key in keys]
    elif isinstance(value, dict):
        value = [{"_key": key, **row} for key, row in value.items() if isinstance(row, dict)]
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise FileError("an object was due", where=f"{path}[{index}]")
        yield f"{path.name}[{index}]", row


def headerless_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """MMLU's CSV: question, A, B, C, D, answer without a header; every field is text."""
    if path.suffix.lower() != ".csv":
        yield from rows_of(path)
        return
    subject = re.sub(r"_(test|dev|val)$", "", path.stem)
    reader = csv.reader(io.StringIO(_read(path), newline=""))
    for row in reader:
        if len(row) != 6:
            raise FileError(
                f"six columns were due, {len(row)} found", where=f"{path}:{reader.line_num}"
            )
        names = ("question", "A", "B", "C", "D", "answer")
        yield (
            f"{path.name}:{reader.line_num}",
            {**dict(zip(names, row, strict=True)), "subject": subject},
        )
