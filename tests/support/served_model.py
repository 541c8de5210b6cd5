"""A running `transformers serve` on the processor: a tiny model that tells stories, or another."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Once upon a time{% endif %}"
)


@contextlib.contextmanager
def transformers_serve(
    model: Path, folder: Path, template: str | None = TEMPLATE
) -> Iterator[tuple[str, str]]:
    """The address and the model's name of a server for the length of a block.

    Args:
        model: A checkpoint, which gets a chat template.
        folder: Where its copy and the log go.
        template: The chat template of the copy; None: the model is served as it is, with its own.
    """
    copy = model
    if template is not None:
        copy = folder / "model"
        shutil.copytree(model, copy)
        (copy / "chat_template.jinja").write_text(template)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-c", "from transformers.cli.transformers import main; main()",
                "serve", "--host", "127.0.0.1", "--port", str(port), str(copy),
            ],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield f"http://127.0.0.1:{port}/v1", str(copy)
        finally:
            process.terminate()
            process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.5)
    raise AssertionError(f"transformers serve did not come up: {log.read_text()[-2000:]}")
