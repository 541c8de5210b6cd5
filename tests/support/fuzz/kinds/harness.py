"""For the test of the harness: the input is what is to happen."""

from __future__ import annotations

import os
from pathlib import Path


def make(index: int) -> bytes:
    """Nothing happens."""
    return b"0"


def check(data: bytes, folder: Path) -> str:
    """Do it."""
    eval(data.decode(), {"os": os})
    return "done"
