"""Coverage-guided fuzzing of the readers and cleaners with atheris, where it is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.budget import note, sample

ROOT = Path(__file__).resolve().parents[2]
KINDS = (
    *("posts", "documents", "wiki_export", "delimited", "json_lines", "json_array", "wikitext"),
    *("html_mutants", "texts"),
)
SECONDS = 40


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: pip install atheris (Linux wheels up to CPython 3.13)",
)
@pytest.mark.parametrize("kind", KINDS)
def test_coverage_finds_no_failing_input(kind: str, tmp_path: Path) -> None:
    seconds = max(3, SECONDS // sample())
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-m", "support.fuzz.guided", kind, str(seconds), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    told = ended.stderr + ended.stdout
    found = re.search(r"number_of_executed_units:\s*(\d+)", told)
    tried = int(found[1]) if found else 0
    print(f"{kind}: {tried:,} inputs in {seconds} s")
    note("fuzz_inputs.atheris", tried)
    note("uncaught", int(ended.returncode != 0))
    assert ended.returncode == 0, told[-3000:]
    assert tried > 50, told[-2000:]
