"""Scripts for the loopback chat server: the misbehaviour that the contract is held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from meadow.chat.scripted import Reply, Script, scripted_rewrite
from meadow.prompt import exam_input
from meadow.rephrase.items import flashcard_item
from meadow.rephrase.write import Item
from meadow.schema import Task, make_record


def cards(count: int) -> list[Item]:
    """Cards that a scripted rewrite passes all checks of."""
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
        for number in range(count)
    ]


def question() -> Item:
    """A multiple choice question."""
    options = {"A": "heart", "B": "lung", "C": "liver"}
    asked = (
        "A person sits at rest, and what is breathed in and out is measured for an hour. In which "
        "of these organs is it that oxygen goes from the air to the blood?"
    )
    record = make_record(
        source="medqa",
        key=(asked,),
        instruction="Answer this multiple choice question.",
        input=exam_input(asked, list(options.items())),
        output="B: lung",
        task=Task.MULTIPLE_CHOICE,
        license="mit",
        meta={"options": options, "answer": "B"},
    )
    return Item(record, {"question": record.input})


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
