"""Medical Meadow: medical instruction records with provenance.

`open_corpus` is the way in from a notebook. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Record", "Reject", "open_corpus"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "open_corpus":
        from meadow.api import open_corpus

        return open_corpus
    if name in {"Record", "Reject"}:
        from meadow import schema

        return getattr(schema, name)
    raise AttributeError(f"module 'meadow' has no attribute {name!r}")
