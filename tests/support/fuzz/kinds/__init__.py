"""What is fuzzed: every kind of input, with how many a night takes."""

from __future__ import annotations

import os
from pathlib import Path

from support.fuzz.engine import Kind
from support.fuzz.kinds import archives, folders, markup, sources, tables, texts


def _done(data: bytes, folder: Path) -> str:
    """For the test of the harness: the input is what is to happen."""
    eval(data.decode(), {"os": os})
    return "done"


NIGHTLY = tuple(
    kind for module in (markup, tables, sources, archives, texts, folders) for kind in module.KINDS
)
KINDS = {kind.name: kind for kind in (*NIGHTLY, Kind("harness", lambda *_: b"0", _done))}
