"""Scripts for the loopback chat server: the misbehaviour that the contract is held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from meadow.rephrase.scripted_chat import Reply, Script, scripted_rewrite


def first_then(*faults: Reply, then: Script = scripted_rewrite) -> Script:
    """The faults for the first requests, one each; then a rewrite."""

    def script(request: dict[str, Any], count: int) -> Reply:
        return faults[count] if count < len(faults) else then(request, count)

    return script


def always(reply: Reply) -> Script:
    return lambda request, count: reply


def card_where(text: str, reply: Callable[[dict[str, Any]], Reply]) -> Script:
    """Another reply for the cards that hold a text."""

    def script(request: dict[str, Any], count: int) -> Reply:
        if text in request["messages"][-1]["content"]:
            return reply(request)
        return scripted_rewrite(request, count)

    return script


def says(question: str, answer: str) -> Reply:
    return Reply(json.dumps({"question": question, "answer": answer}))
