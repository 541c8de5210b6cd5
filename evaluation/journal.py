"""The append-only journal of a run: what was computed is never computed again.

One JSON line per unit, flushed and synced per batch; every process writes its own file and reads
all of them. A torn last line (the process was killed while writing) is cut off. A line of another
run (other weights, prompt, items or settings) is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meadow.atomic import naming
from meadow.errors import FileError, UsageError


@dataclass
class Journal:
    """What a run has done so far."""

    folder: Path
    run: str  # the run's key
    rank: int = 0  # this process's number
    done: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.folder / f"journal.{self.rank}.jsonl"

    def load(self) -> None:
        """Read every process's file; repair the own one.

        Raises:
            UsageError: The folder holds another run.
            FileError: A line in the middle is broken.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            _cut_torn_line(self.path)
        self.done = {}
        for path in sorted(self.folder.glob("journal.*.jsonl")):
            for line in _lines(path):
                if line["run"] != self.run:
                    raise UsageError(
                        "the folder holds another run (other model, prompt, items or settings)",
                        where=str(path),
                        fix="choose another --out, or delete the folder",
                    )
                self.done[line["unit"]] = line["value"]

    def append(self, values: Mapping[str, Any]) -> None:
        """Put the results of a batch on disk."""
        fresh = {unit: value for unit, value in values.items() if unit not in self.done}
        if not fresh:
            return
        text = "".join(
            json.dumps({"run": self.run, "unit": unit, "value": value}, ensure_ascii=False) + "\n"
            for unit, value in fresh.items()
        )
        with naming(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.done.update(fresh)

    def missing(self, units: Iterable[str]) -> bool:
        """Whether any of the units is not done."""
        return any(unit not in self.done for unit in units)


def _cut_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end != len(data):
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]  # another process may be writing its last line
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            value: dict[str, Any] = json.loads(line)
            if not isinstance(value, dict) or "unit" not in value or "run" not in value:
                raise ValueError("not a line of a journal")
        except ValueError as error:
            raise FileError(
                f"the journal is broken: {error}",
                where=f"{path}:{number}",
                fix="delete the line; its items are computed again",
            ) from error
        yield value
