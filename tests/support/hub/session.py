"""Commands against a loopback Hub, each in a process of its own.

huggingface_hub reads its environment when it is imported, so no test can set it in this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.hub import loop
from support.hub.server import TOKEN, LoopbackHub

BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Session:
    """A user's machine: a home, a token, and whether its client has Xet switched on."""

    hub: LoopbackHub
    home: Path
    xet: bool = False
    token: str | None = TOKEN
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        own |= {
            "HF_ENDPOINT": self.hub.base,
            "HF_HOME": str(self.home / "huggingface"),
            "HOME": str(self.home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        if self.token:
            own["HF_TOKEN"] = self.token
        if not self.xet:
            own["HF_HUB_DISABLE_XET"] = "1"
        return own | self.more

    def run(self, *command: str | Path, fault: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command; it has to succeed unless a fault is expected."""
        self.home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        output = done.stdout + done.stderr
        assert TOKEN not in output, "the token was printed"
        assert fault or done.returncode == 0, f"{done.returncode}: {output[-3000:]}"
        return done

    def meadow(
        self, *arguments: str | Path, fault: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "meadow", *arguments, fault=fault)

    def hf(self, *arguments: str | Path, fault: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run(BIN / "hf", *arguments, fault=fault)

    def python(self, script: Path, *arguments: str | Path) -> Any:
        """Run a script whose last line of output is JSON."""
        done = self.run(sys.executable, script, *arguments)
        return json.loads(done.stdout.strip().splitlines()[-1])


class Loop:
    """A process that publishes or reads when it is told to."""

    def __init__(self, session: Session) -> None:
        self.home = session.home
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = (self.home / "log.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, loop.__file__],
            env=session.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def publish(
        self, folder: Path, repository: str, tag: str | None = "v2.0.0", **more: Any
    ) -> dict[str, Any]:
        task = {"folder": str(folder), "repository": repository, "tag": tag}
        return self.ask(do="publish", **task, **more)

    def ask(self, **task: Any) -> dict[str, Any]:
        """Hand over a task and wait for the outcome."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process died"
        assert TOKEN not in line
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    def close(self) -> str:
        """End the process; returns what it logged."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.log.seek(0)
        return self.log.read()
