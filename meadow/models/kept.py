"""Counts that are kept, so that a plan is there at once.

Parameters and activations are counted on a model without memory, which takes torch; tokens take
every row of a mix. Both come out the same for the same inputs and code. What a package ships stands
in a file of its own, which a test counts anew; what was counted on this machine stands in
~/.cache/medical-meadow/plans. A count is found by the hash of all that it depends on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from meadow.atomic import hash_json, sha256_file, write_json
from meadow.models.machine import versions

FOLDER = Path("~/.cache/medical-meadow/plans")
LIBRARIES = ("torch", "transformers", "peft", "tokenizers")


def kept(of: dict[str, Any], count: Callable[[], dict[str, Any]], *, shipped: Path) -> Any:
    """What `count` gives, from where it is kept if it is.

    Args:
        of: All that the count depends on, beside the code; JSON.
        count: Counts it; gives JSON. It is called only where nothing is kept.
        shipped: Hash -> count, as JSON; the modules beside its folder count, as those here do.
    """
    if (found := _shipped(shipped).get(hash_json(of))) is not None:
        return found
    path = FOLDER.expanduser() / f"{hash_json({'of': of, 'code': _code(shipped)})}.json"
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    found = count()
    with suppress(OSError):  # a home that cannot be written costs time alone
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return found


@cache
def _shipped(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


@cache
def _code(shipped: Path) -> list[Any]:
    """What counts: the modules of both rooms, and the versions of the libraries."""
    rooms = (shipped.parent.parent, Path(__file__).parent)
    files = [sha256_file(path) for room in rooms for path in sorted(room.glob("*.py"))]
    return [*files, versions(LIBRARIES)]
