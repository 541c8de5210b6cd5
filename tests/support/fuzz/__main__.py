"""See a failing input again and make it small.

PYTHONPATH=tests python -m support.fuzz show posts '#123' > input
PYTHONPATH=tests python -m support.fuzz check posts FILE
PYTHONPATH=tests python -m support.fuzz shrink posts '#123' tests/fuzz/corpus/posts/what_it_was
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.fuzz.engine import check, child, load, prepare, read_input

SECONDS = 60.0


def main() -> None:
    """`child`, `show`, `check` or `shrink`."""
    command, *rest = sys.argv[1:]
    if command == "child":
        child(Path(rest[0]), Path(rest[1]))
        return
    kind, *rest = rest
    module = load(kind)
    data = read_input(module, rest[0])
    if command == "show":
        sys.stdout.buffer.write(data)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / kind
        prepare(module, folder)
        outcome, how = check(module, data, folder)
        print(outcome, how, f"{len(data)} bytes")
        if command == "shrink":
            small = shrink(module, data, folder, _signature(outcome, how))
            Path(rest[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(rest[1]).write_bytes(small)
            print(f"{len(small)} bytes: {small[:300]!r}")


def _signature(outcome: str, how: str) -> tuple[str, str]:
    """What must stay the same: the kind of failure and the line of code that raised."""
    places = [line.strip() for line in how.splitlines() if line.strip().startswith("File ")]
    last = how.strip().splitlines()[-1].split(":")[0] if how.strip() else ""
    return outcome, f"{places[-1] if places else ''} {last}"


def shrink(module: Any, data: bytes, folder: Path, wanted: tuple[str, str]) -> bytes:
    """The smallest input found that still fails in the same way: pieces left out, ever smaller."""
    began = time.monotonic()
    size = max(1, len(data) // 2)
    while time.monotonic() - began < SECONDS:
        position, removed = 0, False
        while position < len(data) and time.monotonic() - began < SECONDS:
            shorter = data[:position] + data[position + size :]
            if _signature(*check(module, shorter, folder)) == wanted:
                data, removed = shorter, True
            else:
                position += size
        if not removed:
            if size == 1:
                break
            size = max(1, size // 2)
    return data


if __name__ == "__main__":
    main()
