"""The page's table of sizes is what was last measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bench_sizing import BEGIN, END, put, render


def test_the_guide_holds_what_was_measured(root: Path) -> None:
    known: dict[str, Any] = json.loads((root / "docs" / "benchmarks.json").read_text())
    guide = (root / "docs" / "scale.md").read_text(encoding="utf-8")
    assert put(guide, render(known["benchmarks"]["sizing"])) == guide


def test_a_guide_without_marks_is_an_error() -> None:
    assert put(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"
    with pytest.raises(ValueError, match="lost its marks"):
        put("a\n", "new\n")
