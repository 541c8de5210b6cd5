"""The embedded samples: a few dozen invented rows of every source in its native format (CC0)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def sampled_sources() -> list[str]:
    """The sources that have a sample, in alphabetical order."""
    others = {"exam", "own", "rubric", "__pycache__"}
    return sorted(p.name for p in FOLDER.iterdir() if p.is_dir() and p.name not in others)
