"""Run commands of ours with a fault at the k-th change of a folder, and see what is left.

`WarmParent` starts one process with the shim preloaded; each command is a fork of it, so that a
point costs what the command costs and not what its imports cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).resolve().parent
LOCK = ".meadow.lock"


class Mode(IntEnum):
    """What happens at the point; the numbers are those of fault_shim.c."""

    RECORD = 0
    KILL = 1
    FULL = 2
    FAIL = 3


@dataclass(frozen=True)
class Point:
    """One call that changes the folder: its name, whether it needs room, its file, its origin."""

    call: str
    grows: bool
    path: str
    other: str


@dataclass(frozen=True)
class Ended:
    """How a command ended: its code as a shell shows it, and everything that it printed."""

    code: int
    text: str


class WarmParent:
    """A process that has imported everything and forks a child per command.

    The test that asks for it skips without gcc, which compiles the shim.

    Args:
        folder: For the shim, outputs and logs; outside of every folder under test.
        modules: What is imported beside what a build and a mix need.
        more: Variables of its environment.
    """

    def __init__(
        self, folder: Path, modules: Sequence[str] = (), more: Mapping[str, str] | None = None
    ) -> None:
        if shutil.which("gcc") is None:
            pytest.skip("the fault shim is compiled with gcc, which is not installed")
        folder.mkdir(parents=True)
        self.folder = folder
        library, source = folder / "fault_shim.so", SUPPORT / "fault_shim.c"
        command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "OMP_NUM_THREADS": "1",
            "POLARS_MAX_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONHASHSEED": "0",
            **(more or {}),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "fault_parent.py"), *modules],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, runs: Sequence[dict[str, Any]]) -> list[Ended]:
        """Run commands that start together; see fault_parent.py for the keys of a run."""
        asked = []
        for index, run in enumerate(runs):
            output = self.folder / f"output-{index}.txt"
            asked.append(
                {**run, "argv": [str(word) for word in run["argv"]], "output": str(output)}
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._answer())
        return [
            Ended(
                code if code >= 0 else 128 - code,
                Path(run["output"]).read_text(encoding="utf-8", errors="replace"),
            )
            for code, run in zip(codes, asked, strict=True)
        ]

    def run(self, *argv: object) -> Ended:
        """Run one command without a fault."""
        return self.start([{"argv": argv}])[0]


def snapshot(folder: Path) -> dict[str, str]:
    """Every file of a folder but the lock, by its SHA-256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LOCK
    }


def restore(folder: Path, template: Path | None) -> None:
    """Make `folder` a copy of `template`, or absent."""
    if folder.exists():
        shutil.rmtree(folder)
    if template is not None:
        shutil.copytree(template, folder)
