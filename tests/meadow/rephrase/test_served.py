"""The same contract against a real `transformers serve` on the processor.

The tiny model tells stories: what it writes never passes the checks, and that is the point: real
tokens, real usage, real sockets, and every card keeps its text. A real chat model (SmolLM2-135M)
reasons about questions: hardly better than a guesser, and each of its tries can be looked at.
"""

import json
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.chat_server import cards
from support.servers import transformers_serve
from support.smollm2 import real_base

import meadow
from meadow.chat.client import Cache, Endpoint, Meter
from meadow.chat.prompts import FOLDER as PROMPTS
from meadow.chat.prompts import latest_prompt
from meadow.corpus.folder import REASONING_TRIES
from meadow.net.retry import RetryPolicy
from meadow.rephrase.items import rewriting
from meadow.rephrase.rewrite import rewriting_work
from meadow.rephrase.run import ask
from meadow.rephrase.write import Item
from meadow.samples import FOLDER
from meadow.schema import split_reasoning

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
        work = rewriting_work("anki", model, prompt, items, rewriting("anki"))
        return ask(work, endpoint, cache, meter), meter
    finally:
        cache.close()


def test_a_real_server_is_asked_once_and_its_babble_is_not_used(served, tmp_path: Path) -> None:
    outcomes, meter = run(*served, cards(3), tmp_path)
    assert all(outcome.value is None and outcome.fault for outcome in outcomes)
    assert meter.sent == 6  # once more for each bad answer
    assert meter.prompt_tokens > 300
    assert 0 < meter.completion_tokens <= 6 * 16
    assert all(outcome.answer and outcome.answer.text for outcome in outcomes)
    again, nothing = run(*served, cards(3), tmp_path)
    assert nothing.sent == 0
    assert again == outcomes
    fresh, _ = run(*served, cards(3), tmp_path / "fresh")
    assert [o.answer.text for o in fresh] == [o.answer.text for o in outcomes]


def test_a_real_model_reasons_and_every_try_is_kept(tmp_path: Path) -> None:
    base = real_base(Path(os.environ.get("MEADOW_REAL_BASE") or tmp_path / "smollm2"))
    corpus = meadow.build(["medqa"], raw=FOLDER, out=tmp_path / "corpus")
    own = tmp_path / "short.toml"
    text = (PROMPTS / "reasoning-1.toml").read_text(encoding="utf-8")
    own.write_text(re.sub(r"max_tokens = \d+", "max_tokens = 160", text), encoding="utf-8")
    with transformers_serve(base, tmp_path, template=None) as (url, model):
        asked = {"corpus": corpus, "model": model, "base_url": url, "prompt": own, "tries": 2,
                 "limit": 4, "cache": tmp_path / "cache.sqlite", "concurrency": 1,
                 "timeout": 300.0}  # fmt: skip
        told = meadow.reason("medqa", out=tmp_path / "one", **asked)
        assert told["tried"] == told["requests_sent"] >= 4
        again = meadow.reason("medqa", out=tmp_path / "two", **asked)
    assert again["requests_sent"] == 0
    one, two = (meadow.open_corpus(tmp_path / name) for name in ("one", "two"))
    assert one.manifest.to_json() == two.manifest.to_json()
    assert meadow.check(tmp_path / "one") == []
    tries = pq.read_table(tmp_path / "one" / REASONING_TRIES).to_pylist()
    assert len(tries) == told["tried"]
    assert all(row["text"] and row["completion_tokens"] <= 160 for row in tries)
    kept = [row for row in tries if not row["fault"]]
    assert len(kept) == told["rewritten"]
    for row in kept:
        found = one.find(row["row_id"])
        assert found is not None
        assert (split_reasoning(found["output"])[0] or "\0") in row["text"]
        assert row["answer_read"] == row["key"] == json.loads(found["meta"])["answer"]
