"""What a command line costs before it works, and where it refuses to.

`meadow --help` against `python -c "import click"`; then `plan`, typing errors and refusals: the CPU
time of whole processes, each with the exit code that it has to have, and whether one of them
imports torch. What a build of one CSV file imports of the sources is counted too.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 31
REFUSAL_ROUNDS = 5
REFUSALS: dict[str, tuple[int, str]] = {
    "plan": (0, "plan llama-7b"),
    "an unknown command": (2, "biuld"),
    "an unknown option": (2, "build --sorce medqa --out out"),
    "an unknown source": (2, "build --only medqaa --out out"),
    "an unknown recipe of a mix": (2, "mix cleen --corpus corpus --out out"),
    "a folder that is not there": (1, "mix clean --corpus nowhere --out out"),
    "a licence that lets nobody publish": (6, "publish corpus owner/name"),
    "an unknown recipe of training": (2, "train tinny --mix corpus --out out"),
    "an unknown key of training": (2, "train tiny --mix corpus --set lora.rnk=4 --out out"),
    "an unknown exam": (2, "eval run --model nowhere --exam medqaa --out out"),
}
"""What is refused -> the exit code, and the command."""
LIMITS = {"help over import click, CPU": 2, "help over import click, wall": 2}
LIMITS |= {f"{what}, CPU s": 1 for what in REFUSALS} | {"commands that import torch": 0}


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
    ratios: dict[str, float] = {
        "help over import click, CPU": round(ours["cpu_s"] / click["cpu_s"], 2),
        "help over import click, wall": round(ours["wall_s"] / click["wall_s"], 2),
    }
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as place:
        ratios |= _refusals(Path(place), measured)
    return {
        "bench": "start",
        "ratios": ratios,
        "targets": {},
        "limits": LIMITS,
        "input_text": f"Medians of {ROUNDS} runs of --help, of {REFUSAL_ROUNDS} of the others.",
        "measured": measured,
    }


def _refusals(folder: Path, measured: dict[str, dict[str, float]]) -> dict[str, float]:
    """The CPU seconds of each command, how many import torch, and what one CSV file imports."""
    meadow = [sys.executable, "-m", "meadow"]
    samples = Path(__file__).resolve().parents[2] / "meadow" / "samples"
    build = [
        "build",
        "--only",
        "chatdoctor",
        "--raw",
        str(samples),
        "--out",
        str(folder / "corpus"),
    ]
    _run([*meadow, *build])
    ratios: dict[str, float] = {}
    torch = 0
    for what, (code, line) in REFUSALS.items():
        command = [*meadow, *line.split()]
        runs = [_run(command, code, folder) for _ in range(REFUSAL_ROUNDS)]
        measured[what] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        ratios[f"{what}, CPU s"] = round(measured[what]["cpu_s"], 3)
        torch += "torch" in _imports(command, folder)
        print(f"{what:<40}{measured[what]['cpu_s']:>9.2f} CPU s")
    ratios["commands that import torch"] = torch
    one = ["build", "--only", "cord19", "--raw", str(samples), "--out", str(folder / "one")]
    found = _imports([*meadow, *one], folder)
    of_sources = {name for name in found if re.match(r"meadow\.sources\..", name)}
    ratios["modules to build one CSV file"] = sum(name.startswith("meadow") for name in found)
    ratios["modules of sources to build one CSV file"] = len(of_sources)
    print(f"one CSV file imports of the sources: {', '.join(sorted(of_sources))}")
    return ratios


def _imports(command: list[str], folder: Path) -> set[str]:
    """The modules that a command of Python imports in its own process."""
    ran = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], cwd=folder, capture_output=True, text=True
    )
    return set(re.findall(r"(?m)^import time: .*\|\s*(\S+)$", ran.stderr))


def _run(command: list[str], expected: int = 0, folder: Path | None = None) -> dict[str, float]:
    """Wall and CPU seconds of a command that ends with the code that is expected."""
    started = time.perf_counter()
    nowhere = subprocess.DEVNULL
    child = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != expected:
        raise RuntimeError(f"{command} ended with {child.returncode}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime}


if __name__ == "__main__":
    print(json.dumps(main()))
