"""Generated answers: greedy, self-consistent, reasoned, and as the 2023 script drew them.

A budget of thinking is spent first; thinking that outgrows it is closed, and the answer follows.

The 2023 protocol is kept with its faults, so that old numbers can be understood. A response is
stripped of everything but letters and digits at both ends; it is accepted if it then looks like
"X: text" (any capital letter; a colon, a full stop or nothing; a space; more), and drawn again
otherwise, up to five times; it is right if it begins with the right letter, accepted or not. So
"A 67-year-old woman" is option A, a bare "C" is never accepted, "(C) text" neither, and
"Because ..." is right where B is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from evaluation.backend import Backend, Response, Sampling
from evaluation.modes import prediction
from evaluation.questions import Question
from meadow.exams.answers import CLOSING, Parsed, Status, answer_of, parse

SC_TEMPERATURE = 0.7
NEW_TOKENS = {"generate": 128, "generate_sc": 128, "cot": 512, "medalpaca_legacy": 128}
CHAT_TOKENS = 2048
"""Of a chat model that is asked to reason, or that thinks before it writes."""
TRIES_2023 = 5
_EDGES_2023 = re.compile(r"^[^a-zA-Z0-9]+|[^a-zA-Z0-9]+$")
_ACCEPTED_2023 = re.compile(r"^[A-Z](:|\.|) .+")


def seed_of(seed: int, item_id: str, mode: str, draw: int) -> int:
    """The seed of one draw: a hash, so that it does not depend on what was drawn before."""
    text = f"{seed}\x1f{item_id}\x1f{mode}\x1f{draw}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def draw(
    backend: Backend,
    mode: str,
    questions: Sequence[Question],
    *,
    seed: int,
    samples: int,
    tokens: int,
    budget: int = 0,
    stop: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Generate the responses of a chunk of questions: unit key -> value for the journal."""
    if mode == "medalpaca_legacy":
        return {unit_key(mode, q): _legacy(backend, q, seed=seed, tokens=tokens) for q in questions}
    if mode == "generate_sc":
        drawn = []
        for question in questions:
            seeds = [seed_of(seed, question.item.item_id, mode, index) for index in range(samples)]
            samplings = [Sampling(tokens, SC_TEMPERATURE, seed=one, stop=stop) for one in seeds]
            drawn.append(respond(backend, [question.context] * samples, samplings, budget))
    else:
        prompts = [question.context for question in questions]
        greedy = [Sampling(tokens, stop=stop)] * len(prompts)
        drawn = [[response] for response in respond(backend, prompts, greedy, budget)]
    return {
        unit_key(mode, question): [asdict(response) for response in responses]
        for question, responses in zip(questions, drawn, strict=True)
    }


def respond(
    backend: Backend, prompts: Sequence[str], samplings: Sequence[Sampling], budget: int
) -> list[Response]:
    """Responses, with the mark in front that says that the prompt opened the thinking."""
    first = [replace(one, max_new_tokens=budget or one.max_new_tokens) for one in samplings]
    opened = ["<think>" * prompt.rstrip().endswith("<think>") for prompt in prompts]
    found = [
        Response(mark + response.text, response.at_limit)
        for mark, response in zip(opened, backend.generate(prompts, first), strict=True)
    ]
    cut = [place for place, response in enumerate(found) if response.at_limit] if budget else []
    begun = []
    for place in cut:
        text = found[place].text
        mark = next((mark for mark in CLOSING if mark in text), "<think>")
        begun.append(text + CLOSING[mark] if answer_of(text) is None else text)
    rest = backend.generate(
        [prompts[p] + text[len(opened[p]) :] for p, text in zip(cut, begun, strict=True)],
        [replace(samplings[p], max_new_tokens=samplings[p].max_new_tokens - budget) for p in cut],
    )
    for place, text, more in zip(cut, begun, rest, strict=True):
        found[place] = Response(text + more.text, more.at_limit)
    return found


def unit_key(mode: str, question: Question) -> str:
    """The journal's key of a question's responses."""
    return f"{mode}:{question.item.item_id}"


def _legacy(backend: Backend, question: Question, *, seed: int, tokens: int) -> dict[str, Any]:
    tries = 0
    while True:
        # as the 2023 script drew, which had no seed; ours is seeded per question and try
        draw_seed = seed_of(seed, question.item.item_id, "medalpaca_legacy", tries)
        sampling = Sampling(tokens, temperature=0.4, top_k=50, top_p=0.9, seed=draw_seed)
        response = backend.generate([question.context], [sampling])[0]
        tries += 1
        accepted = accepted_2023(response.text)
        if accepted or tries == TRIES_2023:
            return {"text": response.text, "tries": tries, "accepted": accepted}


def rows(mode: str, question: Question, value: Any) -> list[dict[str, Any]]:
    """The predictions of one journal value."""
    if value is None:
        return [prediction(mode, question, status="unscorable")]
    if mode == "medalpaca_legacy":
        return [_legacy_row(question, value)]
    parsed = [
        parse(answer["text"], question.options, at_limit=answer["at_limit"]) for answer in value
    ]
    if mode == "generate_sc":
        return [_majority(question, value, parsed)]
    (one,), text = parsed, value[0]["text"]
    return [
        prediction(
            mode, question, pred=one.letter, status=one.status.value, rule=one.rule, text=text
        )
    ]


def _majority(
    question: Question, value: Sequence[Mapping[str, Any]], parsed: Sequence[Parsed]
) -> dict[str, Any]:
    """The most frequent letter; among equals, the one that was drawn first."""
    votes = Counter(answer.letter for answer in parsed if answer.letter)
    texts = json.dumps([answer["text"] for answer in value], ensure_ascii=False)
    if not votes:
        status = Counter(answer.status.value for answer in parsed).most_common(1)[0][0]
        return prediction("generate_sc", question, status=status, text=texts)
    letter, count = votes.most_common(1)[0]
    rule = f"majority {count}/{len(parsed)}"
    return prediction(
        "generate_sc", question, pred=letter, status=Status.PARSED.value, rule=rule, text=texts
    )


def _legacy_row(question: Question, value: Mapping[str, Any]) -> dict[str, Any]:
    text = value["text"]
    letter = stripped_2023(text)[:1]
    return prediction(
        "medalpaca_legacy",
        question,
        pred=letter if letter in question.item.labels else None,
        correct=right_2023(text, question.gold),
        status="accepted" if value["accepted"] else "not accepted",
        rule="first character",
        text=text,
        retries=value["tries"] - 1,
        strict_pred=parse(text, question.options).letter,
    )


def stripped_2023(response: str) -> str:
    """What the 2023 code looks at: the response without other characters at its ends."""
    return _EDGES_2023.sub("", response.strip())


def accepted_2023(response: str) -> bool:
    """Whether the 2023 code draws no further."""
    return _ACCEPTED_2023.match(stripped_2023(response)) is not None


def right_2023(response: str, gold: str) -> bool:
    """The 2023 scoring of the last response drawn."""
    return stripped_2023(response).startswith(gold)
