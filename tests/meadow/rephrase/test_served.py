"""The same contract against a real `transformers serve` with a tiny model on the processor.

The model tells stories: what it writes never passes the checks, and that is the point: real tokens,
real usage, real sockets, and every card keeps its text.
"""

from pathlib import Path

import pytest
from support.chat_server import cards
from support.served_model import transformers_serve

from meadow.chat.client import Cache, Endpoint, Meter
from meadow.chat.prompts import latest_prompt
from meadow.net.retry import RetryPolicy
from meadow.rephrase.items import Item
from meadow.rephrase.run import rephrase_items

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QUICK = RetryPolicy(tries=3, first_wait=0.05, longest_wait=0.1)


@pytest.fixture(scope="module")
def served(upstream: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("served")
    with transformers_serve(upstream / "tiny_llama" / "stories260K-hf", folder) as found:
        yield found


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
