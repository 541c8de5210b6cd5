"""`make nightly`: every suite, the fault budget as a page, and one line of JSON at the end.

Run as `python -m support.nightly [ARGUMENTS OF PYTEST]` in the root of the checkout. The exit code
is that of pytest, or 1 where a figure that has to be 0 is not; the page and the line come either
way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from support.budget import PROMISED, by_suite, line, sample, total

PAGE = Path("build") / "fault-budget.md"
MEMORY = Path("/dev/shm")
ROOM = 6 * 2**30
"""What the tests' folders may take in memory, in bytes; with less room they go to the disk."""
EXCERPT = 600


@dataclass(frozen=True)
class Outcome:
    """What pytest says of one test that did not pass: what, which, and its message."""

    kind: str
    test: str
    message: str


def scratch() -> Path:
    """A fresh folder for the tests: in memory where there is room, since fsync is free there."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return Path(tempfile.mkdtemp(prefix="meadow-nightly-", dir=MEMORY if roomy else None))


def outcomes(report: Path) -> tuple[int, list[Outcome]]:
    """How many tests ran, and those that failed or were skipped; from pytest's XML."""
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return 0, [Outcome("error", "pytest", "left no report: it was stopped or could not start")]
    count, found = 0, []
    for case in root.iter("testcase"):
        count += 1
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        for part in case:
            if part.tag in {"failure", "error", "skipped"}:
                message = part.get("message") or part.text or ""
                found.append(Outcome(part.tag, name, message))
    return count, found


def table(rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table; the first row is its head."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in body]


def page(budget: Path, count: int, found: list[Outcome], seconds: float) -> str:
    """The fault budget as Markdown."""
    figures = total(budget)
    suites = by_suite(budget)
    wrong = [item for item in found if item.kind != "skipped"]
    skipped = [item for item in found if item.kind == "skipped"]
    over = {name: figures[name] for name in (*PROMISED, "lost_rows") if figures.get(name)}
    lines = ["# Fault budget", ""]
    part = "every point and input" if sample() == 1 else f"one of {sample()} points and inputs"
    lines.append(
        f"{count:,} tests, {part}, {seconds / 60:.0f} minutes: "
        f"{len(wrong):,} failed, {len(skipped):,} skipped."
    )
    verdict = ", ".join(f"{name} {number:,}" for name, number in over.items())
    lines += ["", f"**Over the budget: {verdict}.**" if over else "Nothing is over the budget.", ""]
    for suite, noted in suites.items():
        shown = dict.fromkeys(("torn", "lost_rows", "uncaught", "silent_differences"), 0)
        lines += [f"## {suite}", ""]
        rows = [[name.replace("_", " "), f"{n:,}"] for name, n in sorted((shown | noted).items())]
        lines += [*table([["figure", "count"], *rows]), ""]
    for title, items in (("What went wrong", wrong), ("Skipped", skipped)):
        if items:
            lines += [f"## {title}", ""]
            for item in items:
                message = " ".join(item.message.split())[:EXCERPT].replace("`", "'")
                lines.append(f"- `{item.test}`: {message}")
            lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run pytest, write the page, print the line."""
    folder = scratch()
    budget, report = folder / "budget", folder / "report.xml"
    budget.mkdir()
    command = [
        sys.executable, "-m", "pytest", *arguments,
        "-m", "slow or not slow", "--timeout", "3600",
        "--basetemp", str(folder / "tests"), "-o", "tmp_path_retention_policy=failed",
        f"--junit-xml={report}",
    ]  # fmt: skip
    begun = time.monotonic()
    environment = {**os.environ, "MEADOW_BUDGET": str(budget), "MEADOW_SAMPLE": str(sample())}
    code = subprocess.run(command, env=environment, check=False).returncode
    count, found = outcomes(report)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(budget, count, found, time.monotonic() - begun), encoding="utf-8")
    figures = total(budget)
    failed = sum(item.kind != "skipped" for item in found)
    document = line(figures) | {"failed_tests": failed}
    shutil.rmtree(folder, ignore_errors=True)
    print(f"the fault budget is in {PAGE}", flush=True)
    print(json.dumps(document), flush=True)
    return code or int(failed > 0 or any(figures.get(name) for name in PROMISED))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
