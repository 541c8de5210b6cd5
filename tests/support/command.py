"""Run the command line in this process: exit code, stdout and stderr as a user would see them."""

import contextlib
import io
import signal
import sys
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
