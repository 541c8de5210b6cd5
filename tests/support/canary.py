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
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.budget import note
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


def _forms() -> list[bytes]:
    """The canary as it is, and inside base64 at each of the three alignments."""
    forms = [CORE.encode()]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + CORE.encode())
        start = (shift * 8 + 5) // 6
        forms.append(coded[start : start + 16])
    return forms


FORMS = _forms()


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
    """A server that nobody should tell a secret: keeps the raw head and body of each request."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    def told(self) -> list[bytes]:
        """The requests that held the canary."""
        return [request for request in self.requests if is_leak(request)]


@contextmanager
def other_host(status: int = 404, body: bytes = b"{}") -> Iterator[OtherHost]:
    """Listens as `localhost` on a port of its own: another origin than 127.0.0.1 at its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            head = f"{self.requestline}\n{self.headers}".encode()
            host.requests.append(head + self.rfile.read(length))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_CONNECT = answer

        def log_message(self, format: str, *args: object) -> None:
            """No log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host = OtherHost(f"http://localhost:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
