"""Counts that are kept, so that a plan is there at once.

Parameters and activations are counted on a model without memory, which takes torch; tokens take
every row of a mix. Both come out the same for the same recipe, rows and code. What the recipes of
the project give stands in recipes/sizes.json, which a test counts anew; what was counted on this
machine stands in ~/.cache/medical-meadow/plans. A count is found by the hash of all that it depends
on. It stands beside `training.plan` and not in it, since it knows nothing of what is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import meadow.models
from meadow.atomic import sha256_file, write_json
from meadow.corpus.manifest import hash_json
from meadow.errors import FileError
from training.config import RECIPES

FOLDER = Path("~/.cache/medical-meadow/plans")
SHIPPED = RECIPES / "sizes.json"
"""Hash -> count, of the project's recipes as they stand."""
LIBRARIES = ("torch", "transformers", "peft", "tokenizers")


def kept(of: dict[str, Any], count: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `count` gives, from where it is kept if it is.

    Args:
        of: All that the count depends on, beside the code; JSON.
        count: Counts it; gives JSON. It is called only where nothing is kept.
    """
    if shipped := _shipped().get(hash_json(of)):
        return dict(shipped)
    path = FOLDER.expanduser() / f"{hash_json({'of': of, 'code': _code()})}.json"
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = count()
    with suppress(OSError, FileError):  # a home that cannot be written costs time alone
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return found


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    return dict(json.loads(SHIPPED.read_text(encoding="utf-8")))


@cache
def _code() -> list[str]:
    """What counts: the files of both rooms, and the versions of the libraries."""
    rooms = (Path(__file__).parent, Path(meadow.models.__file__).parent)
    files = [sha256_file(path) for room in rooms for path in sorted(room.glob("*.py"))]
    return files + [_version(name) for name in LIBRARIES]


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""
