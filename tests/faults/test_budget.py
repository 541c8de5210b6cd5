"""The fault budget adds up over processes; a nightly run that fails still ends with its line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.budget import line, note, sample, total

TESTS = """
from support.budget import note

def test_good():
    note("fault_points", 3)
    note("fuzz_inputs.xml", 5)

def test_skipped():
    import pytest
    pytest.skip("no such thing here")

def test_bad():
    assert {outcome}
"""


def test_figures_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_BUDGET", str(tmp_path))
    for name, count in (("torn", 1), ("fuzz_inputs.csv", 2), ("fuzz_inputs.csv", 3), ("races", 4)):
        note(name, count)
    note("fault_points.build.kill", 9)
    figures = total(tmp_path)
    assert figures["fuzz_inputs.csv"] == 5
    printed = line(figures)
    assert printed["fuzz_inputs"] == {"csv": 5}
    assert (printed["torn"], printed["races"], printed["uncaught"]) == (1, 4, 0)
    assert list(printed)[:7] == [
        "fault_points", "torn", "not_identical", "fuzz_inputs", "uncaught", "silent_differences",
        "canary_leaks",
    ]  # fmt: skip


def test_nothing_is_written_without_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEADOW_BUDGET", raising=False)
    monkeypatch.setenv("MEADOW_SAMPLE", "7")
    monkeypatch.chdir(tmp_path)
    note("torn")
    assert list(tmp_path.iterdir()) == []
    assert sample() == 7


@pytest.mark.parametrize("fails", [False, True])
def test_a_nightly_run_ends_with_its_line(fails: bool, tmp_path: Path, root: Path) -> None:
    (tmp_path / "test_one.py").write_text(TESTS.format(outcome=not fails))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    done = subprocess.run(
        [sys.executable, "-m", "support.nightly", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "tests"), str(root)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == int(fails), done.stdout + done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["fault_points"] == 3
    assert printed["fuzz_inputs"] == {"xml": 5}
    assert printed["failed_tests"] == int(fails)
    assert "no such thing here" in done.stdout
