"""The same contract against a real `transformers serve` with a tiny model on the processor.

The model is random: what it writes never passes the checks, and that is the point: real tokens,
real usage, real sockets, and every card keeps its text. The faults that a healthy server does not
show are put in front of it.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from meadow.errors import NetworkError
from meadow.net.retry import RetryPolicy
from meadow.rephrase.client import Cache, Endpoint, Meter
from meadow.rephrase.items import Item, flashcard_item
from meadow.rephrase.prompts import latest_prompt
from meadow.rephrase.run import rephrase_items
from meadow.rephrase.scripted_chat import Reply, scripted_chat
from meadow.schema import Task, make_record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QUICK = RetryPolicy(tries=3, first_wait=0.05, longest_wait=0.1)
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Once upon a time{% endif %}"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    """The address and the model of a running `transformers serve`."""
    folder = tmp_path_factory.mktemp("served") / "model"
    _tiny_model(folder)
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


def _tiny_model(folder: Path) -> None:
    """A LLaMA of a hundred thousand random parameters with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{letter: n + 2 for n, letter in enumerate(letters)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"transformers serve ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"transformers serve did not come up: {log.read_text()[-2000:]}")


def cards(count: int) -> list[Item]:
    return [
        flashcard_item(
            make_record(
                source="anki", source_id=str(n), instruction="x", input=f"Enzyme {n}",
                output=f"Meadowase {n}", task=Task.OPEN_QA, license="user-supplied",
            )
        )
        for n in range(count)
    ]  # fmt: skip


def run(base_url: str, model: str, items: list[Item], folder: Path, timeout: float = 120.0):
    endpoint = Endpoint(base_url, model, timeout=timeout, concurrency=2, policy=QUICK)
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


FAULTS = {
    "429": Reply(status=429, headers={"Retry-After": "0"}, body=b"{}"),
    "500": Reply(status=500, body=b"oops"),
    "no json": Reply(body=b"<html>"),
    "reset": Reply(reset=True),
    "silence": Reply(delay=8, body=b"{}"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_in_front_of_it_are_asked_again(name: str, served, tmp_path: Path) -> None:
    base_url, model = served

    def script(request, count):
        if count == 0:
            return FAULTS[name]
        asked = urllib.request.Request(
            f"{base_url}/chat/completions",
            data=json.dumps(request).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return Reply(body=answer.read())

    with scripted_chat(script) as front:
        (outcome,), meter = run(
            front.base_url, model, cards(1), tmp_path, timeout=6 if name == "silence" else 60
        )
    assert outcome.answer is not None
    assert meter.sent == 3


def test_another_model_is_an_error_of_the_run_or_of_the_card(served, tmp_path: Path) -> None:
    base_url, _ = served
    fault = ""
    try:
        ((outcome,), _) = run(base_url, "nobody/none", cards(1), tmp_path)
        fault = outcome.fault
    except NetworkError as error:
        fault = str(error)
    assert fault == "refused_by_server" or "the server answers" in fault
