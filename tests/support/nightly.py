"""`make nightly`: every suite, and the fault budget as one line of JSON at the end.

Run as `python -m support.nightly [ARGUMENTS OF PYTEST]` in the root of the checkout. The exit code
is that of pytest, or 1 where a figure that has to be 0 is not; the line comes either way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from support.budget import PROMISED, line, sample, total

MEMORY = Path("/dev/shm")
ROOM = 6 * 2**30
"""What the tests' folders may take in memory, in bytes; with less room they go to the disk."""


def scratch() -> Path:
    """A fresh folder for the tests: in memory where there is room, since fsync is free there."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return Path(tempfile.mkdtemp(prefix="meadow-nightly-", dir=MEMORY if roomy else None))


def failed_tests(report: Path) -> int:
    """How many tests failed by pytest's XML; 1 where it left none: it was stopped."""
    try:
        suite = ElementTree.parse(report).getroot().find("testsuite")
    except (OSError, ElementTree.ParseError):
        return 1
    return 1 if suite is None else sum(int(suite.get(key, 0)) for key in ("failures", "errors"))


def main(arguments: list[str]) -> int:
    """Run pytest, which tells what failed and what was skipped and why; then print the line."""
    folder = scratch()
    budget, report = folder / "budget", folder / "report.xml"
    budget.mkdir()
    command = [
        sys.executable, "-m", "pytest", *arguments, "-rfEs",
        "-m", "slow or not slow", "--timeout", "3600",
        "--basetemp", str(folder / "tests"), "-o", "tmp_path_retention_policy=failed",
        f"--junit-xml={report}",
    ]  # fmt: skip
    environment = {**os.environ, "MEADOW_BUDGET": str(budget), "MEADOW_SAMPLE": str(sample())}
    code = subprocess.run(command, env=environment, check=False).returncode
    figures = total(budget)
    document = line(figures) | {"failed_tests": failed_tests(report)}
    shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(document), flush=True)
    wrong = document["failed_tests"] or any(figures.get(name) for name in PROMISED)
    return code or int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
