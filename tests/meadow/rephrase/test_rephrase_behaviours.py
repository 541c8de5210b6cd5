"""What a chat server can do wrong, and a run that is taken up again afterwards.

For each behaviour: three cards are answered well, then the server misbehaves to the end; the same
command runs again with a server that is well. Nothing that was answered is asked for again, and no
refusal, echo or half answer is ever a rewrite.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from support.budget import note
from support.chat_server import says

from meadow.errors import NetworkError
from meadow.net.retry import RetryPolicy
from meadow.rephrase.checks import refuses
from meadow.rephrase.client import Cache, Endpoint, Meter
from meadow.rephrase.items import Item, flashcard_item
from meadow.rephrase.prompts import latest_prompt
from meadow.rephrase.run import rephrase_items
from meadow.rephrase.scripted_chat import (
    MODEL,
    Reply,
    ScriptedChat,
    scripted_chat,
    scripted_rewrite,
)
from meadow.schema import Task, make_record

QUICK = RetryPolicy(tries=2, first_wait=0.001, longest_wait=0.002, longest_retry_after=5)
GOOD, COUNT = 3, 6


def content(text: str | None, reason: str = "stop") -> Reply:
    message = {"role": "assistant", "content": text}
    return Reply(body=json.dumps({"choices": [{"message": message, "finish_reason": reason}]})
                 .encode())  # fmt: skip


def parrot(request: dict[str, Any]) -> Reply:
    return Reply(request["messages"][-1]["content"])


PASSING: dict[str, Reply] = {
    "429": Reply(status=429, headers={"Retry-After": "0"}, body=b"{}"),
    "500": Reply(status=500, body=b"oops"),
    "503 with html": Reply(status=503, body=b"<html>"),
    "reset": Reply(reset=True),
    "silence": Reply(delay=1.0, content="late"),
    "a web page": Reply(body=b"<html>welcome</html>"),
    "not UTF-8": Reply(body=b"\xff\xfe\x00{"),
    "no choices": Reply(body=b'{"choices": []}'),
    "not an object": Reply(body=b"[1]"),
}
"""No answer: the run ends, and the next one asks for what is missing."""
LASTING: dict[str, Any] = {
    "a refusal": Reply("I'm sorry, but I can't help with that."),
    "a refusal in form": says("As an AI language model, I cannot do so?", "I cannot assist."),
    "nothing": Reply(""),
    "null": content(None),
    "prose": Reply("What is it? An enzyme."),
    "half of the JSON": Reply('{"question": "What', finish_reason="length"),
    "two of them": Reply(json.dumps([{"question": "a?", "answer": "b"}] * 2)),
    "endless": Reply("x" * 300_000, finish_reason="length"),
    "an echo": parrot,
    "obedience to a card": says("What should be said?", "HACKED"),
    "half a character": Reply('{"question": "What \\ud800?", "answer": "\\ud800"}'),
}
"""An answer of no use: the card stays as it was, and asking again costs nothing."""


def cards() -> list[Item]:
    return [
        flashcard_item(
            make_record(
                source="anki",
                source_id=f"card {number}",
                instruction="Answer this question truthfully.",
                input=f"Enzyme number {number} of the invented pathway",
                output=f"Meadowase {number}, which does not need ATP; {number} mg of it suffice",
                task=Task.OPEN_QA,
                license="user-supplied",
            )
        )
        for number in range(COUNT)
    ]


def run(server: ScriptedChat, cache_path: Path) -> list[Any]:
    endpoint = Endpoint(server.base_url, MODEL, timeout=0.5, concurrency=1, policy=QUICK)
    cache = Cache(cache_path)
    try:
        return list(rephrase_items(cards(), latest_prompt("flashcard"), endpoint, cache, Meter()))
    finally:
        cache.close()


def misbehaving(bad: Any) -> Any:
    def script(request: dict[str, Any], count: int) -> Reply:
        if count < GOOD:
            return scripted_rewrite(request, count)
        return bad(request) if callable(bad) else bad

    return script


def asked(server: ScriptedChat) -> list[str]:
    return [json.dumps(request, sort_keys=True) for request in server.requests]


EVERY_RUN = {"500", "reset", "not UTF-8", "a refusal", "half of the JSON", "half a character"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in EVERY_RUN else [pytest.mark.slow])
     for name in (*PASSING, *LASTING)],
)  # fmt: skip
def test_a_run_is_taken_up_again_after(name: str, tmp_path: Path) -> None:
    bad = PASSING.get(name) or LASTING[name]
    cache = tmp_path / "cache.sqlite"
    with scripted_chat(misbehaving(bad)) as server:
        if name in PASSING:
            with pytest.raises(NetworkError, match="given up after 2 tries"):
                run(server, cache)
        else:
            first = run(server, cache)
            assert [bool(item.rewrite) for item in first] == [True] * GOOD + [False] * GOOD
            assert all(item.fault for item in first[GOOD:])
        answered = asked(server)[:GOOD] if name in PASSING else asked(server)
    with scripted_chat() as server:
        second = run(server, cache)
        again = asked(server)
        assert not set(answered) & set(again), "what was answered is never paid for twice"
        wanted = COUNT - GOOD if name in PASSING else 0
        assert len(again) == wanted
        third = run(server, cache)
        assert len(server.requests) == wanted
    assert [(item.rewrite, item.fault) for item in second] == [
        (item.rewrite, item.fault) for item in third
    ]
    for item, card in zip(second, cards(), strict=True):
        assert item.rewrite is None or not refuses(str(item.rewrite), card.record.output)
    assert all(item.rewrite for item in (second if name in PASSING else second[:GOOD]))
    note("chat_behaviours")


def test_there_are_fifteen_and_more() -> None:
    assert len(PASSING) + len(LASTING) >= 15
