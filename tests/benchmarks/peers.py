"""An environment of their own for peers that the project does not install.

MEADOW_PEERS_PYTHON names its interpreter; else `.bench/peers` is made when a benchmark first asks
for it (half a gigabyte, half a minute). Where that fails, the benchmark says why and leaves the
peer out.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".bench" / "peers"
PINS = {
    "datatrove": "0.10.1",
    "presidio-analyzer": "2.2.366",
    "ftfy": "6.3.1",
    "py3langid": "0.4.0",
    "beautifulsoup4": "4.15.0",
    "spacy": "3.8.18",
    "nltk": "3.10.4",
    "tokenizers": "0.23.3",
    "xxhash": "3.8.2",
    "pyarrow": "26.0.1",
}
_VERSIONS = "import json, sys; from importlib.metadata import version; " \
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"  # fmt: skip


class NotToBeHad(Exception):
    """The environment could not be made; the message says why, in one line."""


@functools.cache
def interpreter() -> str:
    """The interpreter that has all of `PINS`.

    Raises:
        NotToBeHad: It does not have them, or could not be made.
    """
    given = os.environ.get("MEADOW_PEERS_PYTHON", "")
    python = given
    try:
        if not given:
            python = str(FOLDER / "bin" / "python")
            if not FOLDER.is_dir():
                pins = [f"{name}=={version}" for name, version in PINS.items()]
                _run([sys.executable, "-m", "venv", str(FOLDER)])
                _run([python, "-m", "pip", "install", "--quiet", "--no-compile", *pins])
        versions(python)
    except (OSError, subprocess.SubprocessError) as error:
        if not given:  # half an environment is made again
            shutil.rmtree(FOLDER, ignore_errors=True)
        told = getattr(error, "stderr", "") or str(error)
        raise NotToBeHad(f"no environment of peers: {told.strip().splitlines()[-1]}") from error
    return python


@functools.cache
def versions(python: str) -> dict[str, str]:
    """The versions of `PINS` that an interpreter has."""
    found: dict[str, str] = json.loads(_run([python, "-c", _VERSIONS, *PINS]))
    return found


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
