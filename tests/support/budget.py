"""The fault budget: what the slow suites tried and what went wrong, gathered over all processes.

Each process appends lines to a file of its own in the folder that MEADOW_BUDGET names; `total` adds
them up. Without the variable nothing is written.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path


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
        for line in path.read_text(encoding="utf-8").splitlines():
            name, count = json.loads(line)
            found[name] += count
    return dict(found)
