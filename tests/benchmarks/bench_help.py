"""`meadow --help` against `python -c "import click"`: what a command line costs before it works."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 31
LIMITS = {"help over import click, CPU": 2, "help over import click, wall": 2}


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Run both in turn and print the medians.

    Args:
        size_mb: Not used.
    """
    del size_mb
    script = Path(sys.executable).with_name("meadow")
    commands: dict[str, list[str]] = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "meadow --help": [str(script), "--help"],
        "python -m meadow --help": [sys.executable, "-m", "meadow", "--help"],
    }
    if not script.is_file():
        del commands["meadow --help"]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for turn in range(ROUNDS + 2):
        for name, command in commands.items():
            took = _run(command)
            if turn > 1:  # the first two warm the caches
                runs[name].append(took)
    measured = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    print(f"medians of {ROUNDS}, interleaved")
    for name, took in measured.items():
        print(f"{name:<28}{took['wall_s'] * 1e3:>9.1f} ms wall{took['cpu_s'] * 1e3:>9.1f} ms CPU")
    click = measured["python -c 'import click'"]
    ours = measured.get("meadow --help", measured["python -m meadow --help"])
    return {
        "bench": "help",
        "ratios": {
            "help over import click, CPU": round(ours["cpu_s"] / click["cpu_s"], 2),
            "help over import click, wall": round(ours["wall_s"] / click["wall_s"], 2),
        },
        "targets": {},
        "limits": LIMITS,
        "input_text": f"Medians of {ROUNDS} runs each, interleaved.",
        "measured": measured,
    }


def _run(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime}


if __name__ == "__main__":
    print(json.dumps(main()))
