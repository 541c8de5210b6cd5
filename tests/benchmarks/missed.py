"""Why a target is missed: what was tried, and where the time goes; the page shows it."""

from __future__ import annotations

NOTES: dict[str, str] = {}
"""By "<benchmark>: <what>", or by the benchmark alone for all that has no note of its own."""


def note(name: str, what: str) -> str:
    """What is known of a target that a benchmark misses."""
    return NOTES.get(f"{name}: {what}") or NOTES.get(name) or "Not looked into yet."
