"""Every file of tests stands behind a door."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config, root: Path) -> None:
    """pytest does not look into folders named `build` or `dist` unless it is told to."""
    left_out = pytestconfig.getini("norecursedirs")
    folders = {
        part
        for path in (root / "tests").rglob("test_*.py")
        for part in path.parent.relative_to(root).parts
    }
    assert "build" in folders
    assert not [name for name in folders if any(fnmatch(name, each) for each in left_out)]


def test_what_the_doors_name_is_there(root: Path) -> None:
    text = (root / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    named = re.search(r"(?m)^MODELS := (.*)$", text)
    assert named
    assert not [name for name in named[1].split() if not (root / name).exists()]
