"""Run the command line in this process: exit code, stdout and stderr as a user would see them."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import termios
from dataclasses import dataclass
from unittest.mock import patch

from meadow.cli.app import main


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_meadow(*arguments: object) -> Ran:
    """`meadow ARGUMENTS`; a traceback is a failure of the test that called."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    code = 0
    argv = ["meadow", *map(str, arguments)]
    try:
        with (
            patch.object(sys, "argv", argv),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert "Traceback" not in err.getvalue()
    return Ran(code, out.getvalue(), err.getvalue())


def in_a_terminal(*words: object, **settings: str) -> tuple[int, str]:
    """Exit code and what a terminal of 100 columns gets of a command in a process of its own."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (30, 100))
    command = [sys.executable, "-m", "meadow", *map(str, words)]
    # rich asks COLUMNS and stdin before the terminal that it writes to
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **settings}
    with subprocess.Popen(command, stdout=child, stderr=child, env=environment) as shown:
        os.close(child)
        said = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:  # the terminal of a process that has ended
                break
            said += part
    os.close(parent)
    return shown.returncode, said.decode()
