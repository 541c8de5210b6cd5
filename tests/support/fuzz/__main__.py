"""See a failing input again.

PYTHONPATH=tests python -m support.fuzz show posts '#123' > tests/fuzz/corpus/posts/what_it_was
PYTHONPATH=tests python -m support.fuzz check posts FILE
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from support.fuzz.engine import check, child, prepare


def main() -> None:
    """`child`, `show` or `check`."""
    command, *rest = sys.argv[1:]
    if command == "child":
        child(Path(rest[0]), Path(rest[1]))
        return
    from support.fuzz.kinds import KINDS

    kind = KINDS[rest[0]]
    data = kind.read(rest[1])
    if command == "show":
        sys.stdout.buffer.write(data)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / kind.name
        prepare(kind, folder)
        print(*check(kind, data, folder), f"{len(data)} bytes")


if __name__ == "__main__":
    main()
