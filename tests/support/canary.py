"""A canary in place of every secret: real commands are driven into faults, then all is searched.

Each command runs in a process of its own, with the canary as token, key, password and query, and
with the libraries' debug output switched on where a test asks for it. `Watch.leaks` looks at what
was printed and at every byte and name below the user's folder.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.budget import note
from support.faulty_server import FaultyServer, faulty_server
from support.hub.server import TOKEN

CORE = "loopbackcanary"
"""Stands in every canary, so that one search finds a part of any."""
assert CORE in TOKEN
KEY = f"sk-{CORE}-0123456789abcdef"
PASSWORD = f"{CORE}~pass"
SECRETS = {
    "HF_TOKEN": TOKEN,
    "MEADOW_API_KEY": KEY,
    "OPENAI_API_KEY": KEY,
}
_QUICK = """
import asyncio, time
_sleep, _pause = time.sleep, asyncio.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.002))
asyncio.sleep = lambda delay, result=None: _pause(min(delay, 0.002), result)
"""
"""A sitecustomize that cuts waits between tries short; nothing else of a command changes."""


FORMS = [
    CORE.encode(),
    # inside base64, at each of the three alignments
    *(
        base64.b64encode(bytes(shift) + CORE.encode())[start : start + 16]
        for shift, start in ((0, 0), (1, 2), (2, 3))
    ),
]


def is_leak(data: bytes) -> bool:
    """Whether the canary is somewhere in the bytes, in any case."""
    return FORMS[0] in data.lower() or any(form in data for form in FORMS[1:])


@dataclass
class Watch:
    """A user's folder and the outputs of the commands that ran there.

    Args:
        folder: The user's home and working folder.
        environment: Beside the secrets.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    leaks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.quick = self.folder.parent / f"{self.folder.name}-quick"
        self.quick.mkdir(exist_ok=True)
        (self.quick / "sitecustomize.py").write_text(_QUICK)

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        prefixes = ("HF_", "HUGGING", "OPENAI_", "MEADOW_")
        own = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
        paths = [str(self.quick), own.get("PYTHONPATH", "")]
        return own | {
            "HOME": str(self.folder),
            "HF_HOME": str(self.folder / "huggingface"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            **SECRETS,
            **self.environment,
            **more,
        }

    def run(
        self, *command: str | Path, fails: bool | None = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with arguments (`-m meadow ...` or a script) and search what it left.

        `fails`: whether it has to fail; None where either will do.
        """
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            env=self.variables(more),
            cwd=self.folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=240,
            check=False,
        )
        shown = " ".join(str(part) for part in command[-6:])
        self.search(shown, done.stdout, done.stderr)
        failed = done.returncode != 0
        assert fails in (None, failed), f"{shown}: {done.returncode} {done.stderr[-2000:]}"
        if failed:
            self.failures += 1
            note("canary_failures")
        return done

    def meadow(
        self, *arguments: str | Path, fails: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `meadow ARGUMENTS`."""
        return self.run("-m", "meadow", *arguments, fails=fails, **more)

    def search(self, shown: str, *texts: str) -> None:
        """Note every place where the canary stands."""
        found = []
        for text in texts:
            lines = text.splitlines()
            found += [f"{shown}: {line[:300]}" for line in lines if is_leak(line.encode())]
        for path in self.folder.rglob("*"):
            inside = path.relative_to(self.folder).as_posix()
            if is_leak(inside.encode()) or (path.is_file() and is_leak(path.read_bytes())):
                found.append(f"{shown}: in {inside}")
        if found:
            note("canary_leaks", len(found))
        self.leaks += found


@dataclass
class OtherHost:
    """A server that nobody should tell a secret; it has nothing of what it is asked for."""

    server: FaultyServer

    @property
    def url(self) -> str:
        """Another origin than 127.0.0.1 at its port."""
        return f"http://localhost:{self.server.port}"

    @property
    def requests(self) -> list[bytes]:
        """Head and body of each request, as they came."""
        return [request.raw for request in self.server.requests]

    def told(self) -> list[bytes]:
        """The requests that held the canary."""
        return [request for request in self.requests if is_leak(request)]


@contextmanager
def other_host() -> Iterator[OtherHost]:
    """Listens for the length of a block."""
    with faulty_server() as server:
        yield OtherHost(server)
