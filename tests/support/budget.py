"""The fault budget: what the slow suites tried and what went wrong, gathered over all processes.

Each process appends lines to a file of its own in the folder that MEADOW_BUDGET names; `total` adds
them up. Without the variable nothing is written.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

PROMISED = ("torn", "not_identical", "uncaught", "silent_differences", "canary_leaks")
"""Figures that have to be 0, and are printed where nobody noted them too."""
GROUP = "fuzz_inputs"


def note(name: str, count: int = 1) -> None:
    """Add `count` to a figure such as "fault_points" or "fuzz_inputs.xml"."""
    folder = os.environ.get("MEADOW_BUDGET")
    if not folder:
        return
    path = Path(folder) / f"{os.getpid()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps([name, count]) + "\n")


def sample() -> int:
    """Every how many-th point, mutant, race or cut a slow suite takes: MEADOW_SAMPLE, else 1."""
    return max(1, int(os.environ.get("MEADOW_SAMPLE", "1")))


def total(folder: Path) -> dict[str, int]:
    """All figures noted in a folder, added up."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            name, count = json.loads(text)
            found[name] += count
    return dict(found)


def line(figures: dict[str, int]) -> dict[str, Any]:
    """The figures as the one line of JSON that `make nightly` ends with."""
    group = {
        name.removeprefix(f"{GROUP}."): count
        for name, count in sorted(figures.items())
        if name.startswith(f"{GROUP}.")
    }
    document: dict[str, Any] = {"fault_points": figures.get("fault_points", 0)}
    document |= {name: figures.get(name, 0) for name in PROMISED[:2]}
    document[GROUP] = group
    document |= {name: figures.get(name, 0) for name in PROMISED[2:]}
    known = {"fault_points", *PROMISED}
    others = (name for name in sorted(figures) if name not in known and "." not in name)
    return document | {name: figures[name] for name in others}
