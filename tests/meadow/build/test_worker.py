"""The key by which a finished source is known again: what its bytes depend on, and nothing else."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meadow.build.worker import SourceTask, task_key
from meadow.corpus.manifest import library_versions
from meadow.source import Options, OriginName
from meadow.sources import SOURCES, cord19


def key(name: str) -> str:
    task = SourceTask(name, OriginName.UPSTREAM, (), Options(), None, frozenset(), {}, Path("x"))
    return task_key(task, [])


def test_a_new_version_of_a_source_builds_it_alone_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: key(name) for name in ("cord19", "alpaca")}
    changed = replace(SOURCES["cord19"], version=SOURCES["cord19"].version + 1)
    monkeypatch.setattr(cord19, "SOURCE", changed)
    assert key("cord19") != before["cord19"]
    assert key("alpaca") == before["alpaca"]


def test_the_versions_are_those_that_bytes_depend_on() -> None:
    found = set(library_versions())
    parsers = {"python", "pyarrow", "polars", "turbohtml", "lxml", "beautifulsoup4", "py3langid"}
    assert parsers | {"medical-meadow", "py7zr"} == found


def test_a_build_imports_the_sources_that_it_reads(tmp_path: Path) -> None:
    code = (
        "import sys, meadow; from meadow.samples import FOLDER; "
        "meadow.build(['cord19'], raw=FOLDER, out=sys.argv[1]); "
        "print(*sorted(m for m in sys.modules if m.startswith('meadow.sources.')))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == ["meadow.sources.cord19", "meadow.sources.published"]
