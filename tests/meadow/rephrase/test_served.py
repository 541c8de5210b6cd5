"""The same contract against a real `transformers serve` with a tiny model on the processor.

The model tells stories: what it writes never passes the checks, and that is the point: real tokens,
real usage, real sockets, and every card keeps its text.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support.chat_server import cards

from meadow.chat.client import Cache, Endpoint, Meter
from meadow.chat.prompts import latest_prompt
from meadow.net.retry import RetryPolicy
from meadow.rephrase.items import Item
from meadow.rephrase.run import rephrase_items

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QUICK = RetryPolicy(tries=3, first_wait=0.05, longest_wait=0.1)
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Once upon a time{% endif %}"
)


@pytest.fixture(scope="module")
def served(upstream: Path, tmp_path_factory: pytest.TempPathFactory):
    """The address and the model of a running `transformers serve`."""
    folder = tmp_path_factory.mktemp("served") / "model"
    shutil.copytree(upstream / "tiny_llama" / "stories260K-hf", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = (folder.parent / "log").open("w")
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from transformers.cli.transformers import main; main()",
            "serve", "--host", "127.0.0.1", "--port", str(port), str(folder),
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder.parent / "log")
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.5)
    pytest.fail(f"transformers serve did not come up: {log.read_text()[-2000:]}")


def run(base_url: str, model: str, items: list[Item], folder: Path):
    endpoint = Endpoint(base_url, model, concurrency=2, policy=QUICK)
    prompt = latest_prompt("flashcard").model_copy(update={"max_tokens": 16})
    cache, meter = Cache(folder / "cache.sqlite"), Meter()
    try:
        return rephrase_items(items, prompt, endpoint, cache, meter), meter
    finally:
        cache.close()


def test_a_real_server_is_asked_once_and_its_babble_is_not_used(served, tmp_path: Path) -> None:
    outcomes, meter = run(*served, cards(3), tmp_path)
    assert all(outcome.rewrite is None and outcome.fault for outcome in outcomes)
    assert meter.sent == 6  # once more for each bad answer
    assert meter.prompt_tokens > 300
    assert 0 < meter.completion_tokens <= 6 * 16
    assert all(outcome.answer and outcome.answer.text for outcome in outcomes)
    again, nothing = run(*served, cards(3), tmp_path)
    assert nothing.sent == 0
    assert again == outcomes
    fresh, _ = run(*served, cards(3), tmp_path / "fresh")
    assert [o.answer.text for o in fresh] == [o.answer.text for o in outcomes]
