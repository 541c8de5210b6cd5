"""See a failing input again.

PYTHONPATH=tests python -m support.fuzz show posts '#123' > tests/fuzz/corpus/posts/what_it_was
PYTHONPATH=tests python -m support.fuzz check posts FILE
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from support.fuzz.engine import check, child, load, prepare, read_input


def main() -> None:
    """`child`, `show` or `check`."""
    command, *rest = sys.argv[1:]
    if command == "child":
        child(Path(rest[0]), Path(rest[1]))
        return
    kind, name = rest
    module = load(kind)
    data = read_input(module, name)
    if command == "show":
        sys.stdout.buffer.write(data)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / kind
        prepare(module, folder)
        print(*check(module, data, folder), f"{len(data)} bytes")


if __name__ == "__main__":
    main()
