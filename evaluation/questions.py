"""Exam items as prompts: framing, few-shot examples, fitting into the context, variants.

A prompt that is longer than the model's context loses few-shot examples first, then words from the
left of the stem, then from the left of the instruction; never the options or the answer cue. The
room left for the continuation is that of the item's longest one, whichever modes are asked for, so
that an item has one context in all modes and in all runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from meadow.errors import UsageError
from meadow.exams.items import ExamItem
from meadow.prompt import EXAM_CUE, exam_prompt

REASON = 'Let us think step by step, and end with "The answer is" and a letter.'

Cut = Literal["stem", "left"]
"""`stem` as above; `left` drops tokens from the left whatever they are, as lm-eval does."""
Permute = Literal["none", "cyclic", "reverse"]
"""Further option orders: all rotations, or the reversed order only."""

KINDS = ("letter", "option", "text")
"""What can stand after the cue: " A", " A: text", " text"."""
_STEM = "\u27e6stem\u27e7"
_WORD = re.compile(r"(?<=\s)\S")

Count = Callable[[str], int]
"""Tokens of a text."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How items become prompts; all of it is part of a run's key."""

    template: str = "medalpaca"  # a template of `meadow.prompt`
    shots: tuple[ExamItem, ...] = ()  # solved examples that stand before every question
    cut: Cut = "stem"  # what an item that is too long loses
    permute: Permute = "none"  # further option orders to score
    stem_blind: bool = False  # whether the options are scored without the stem as well
    # whether a chat template lets the model think before it writes; None: as it does
    thinking: bool | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """An item in one option order, as the model sees it."""

    item: ExamItem  # the item in the exam's order
    variant: str  # "" as it stands; "order:1,2,0"; "stem_blind"
    order: tuple[int, ...]  # place of each shown option in the exam's order
    context: str  # the prompt up to the cue
    lost: str = ""  # what was cut: "", "shots", "stem" or "instruction"
    scorable: bool = True  # whether the options fit at all
    n_tokens: int = 0  # tokens of the context; 0 where no tokenizer is at hand
    mode: str = ""  # the generating mode that it is asked in; "" where continuations are scored

    @property
    def options(self) -> list[tuple[str, str]]:
        """(label, text) as shown: the labels keep their order, the texts move."""
        texts = [self.item.options[place][1] for place in self.order]
        return list(zip(self.item.labels, texts, strict=True))

    @property
    def gold(self) -> str:
        """The label under which the right option is shown."""
        place = self.item.labels.index(self.item.answer)
        return self.item.labels[self.order.index(place)]


def continuations(options: Sequence[tuple[str, str]], kind: str) -> list[str]:
    """What follows the cue for each option, with the space in front."""
    if kind == "letter":
        return [f" {label}" for label, _ in options]
    if kind == "option":
        return [f" {label}: {text}" for label, text in options]
    return [f" {text}" for _, text in options]


def orders(item: ExamItem, permute: Permute) -> Iterator[tuple[int, ...]]:
    """The option orders of an item, its own first."""
    places = tuple(range(len(item.options)))
    yield places
    if permute == "reverse":
        yield places[::-1]
    elif permute == "cyclic":
        for shift in places[1:]:
            yield places[shift:] + places[:shift]


def ask(item: ExamItem, framing: Framing, tokenizer: Any = None, mode: str = "") -> list[Question]:
    """All variants of an item, not yet fitted; a generating mode asks the item as it stands."""
    own, *others = orders(item, "none" if mode else framing.permute)
    questions = [Question(item, "", own, "", mode=mode)]
    questions += [Question(item, f"order:{','.join(map(str, o))}", o, "") for o in others]
    if framing.stem_blind and not mode:
        questions.append(Question(item, "stem_blind", own, ""))
    return [
        replace(question, context="".join(_parts(question, framing, tokenizer)))
        for question in questions
    ]


def fit(
    question: Question, framing: Framing, limit: int, count: Count, tokenizer: Any = None
) -> Question:
    """The question cut so that its longest continuation fits into `limit` input tokens.

    `limit` is the longest input of the model: the last token of a continuation is no input.
    """
    tails = [c for kind in KINDS for c in continuations(question.options, kind)]
    longest = max(tails, key=lambda tail: (count(tail), tail))

    def size(context: str) -> int:
        return count(context + longest) - 1

    whole = size(question.context)
    if whole <= limit or framing.cut == "left":
        lost = "left" if whole > limit else ""
        return replace(question, n_tokens=count(question.context), lost=lost)
    cuts = list(_cuts(question, framing, tokenizer))
    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high) // 2
        if size(cuts[middle][1]) <= limit:
            high = middle
        else:
            low = middle + 1
    # counts are not quite monotone around a cut, and the longest text may not be the longest tail
    while low < len(cuts) and max(count(cuts[low][1] + tail) for tail in tails) - 1 > limit:
        low += 1
    if low == len(cuts):
        return replace(question, lost="instruction", scorable=False, n_tokens=count(cuts[-1][1]))
    lost, context = cuts[low]
    return replace(question, context=context, lost=lost, n_tokens=count(context))


def _cuts(question: Question, framing: Framing, tokenizer: Any) -> Iterator[tuple[str, str]]:
    """(what is lost, context), losing more and more; the options and the cue stay."""
    shots, head, stem, tail = _parts(question, framing, tokenizer)
    if shots:
        solved = _solved(framing, tokenizer)
        for first in range(1, len(solved) + 1):
            yield "shots", "".join(solved[first:]) + head + stem + tail
    for start in [*(m.start() for m in _WORD.finditer(stem)), len(stem)]:
        yield "stem", head + stem[start:] + tail
    for start in [*(m.start() for m in _WORD.finditer(head)), len(head)]:
        yield "instruction", head[start:] + tail


def _parts(question: Question, framing: Framing, tokenizer: Any) -> tuple[str, str, str, str]:
    """(shots, head, stem, tail) of a prompt; their concatenation is the prompt.

    What is scored follows the answer cue. A chat model that writes is asked in the user's turn and
    begins its own turn itself: whatever stood there before, it would take for its own words.
    """
    blind = question.variant == "stem_blind"
    writes = question.mode not in ("", "medalpaca_legacy")
    reason = REASON if question.mode == "cot" else ""
    chat = writes and framing.template == "chat"
    if question.item.prompt:
        text = question.item.prompt.replace(question.item.question, _STEM)
        text = text.removesuffix(EXAM_CUE) + f"{reason}\n" if reason else text
    else:
        text = exam_prompt(
            framing.template,
            _STEM,
            question.options,
            tokenizer=tokenizer,
            cue="" if chat else f"{reason}\n" if reason else EXAM_CUE,
            remark=reason if chat else "",
            thinking=framing.thinking if writes else False,
        )
    head, mark, tail = text.partition(_STEM)
    if not mark:
        raise UsageError(f"template {framing.template} lost the question")
    stem = "" if blind else question.item.question
    return "".join(_solved(framing, tokenizer)), head, stem, tail


def _solved(framing: Framing, tokenizer: Any) -> list[str]:
    """The few-shot examples with their answers, as "A: text"."""
    if framing.shots and framing.template == "chat":
        raise UsageError(
            "few-shot examples do not go with template chat", fix="choose another template"
        )
    return [
        exam_prompt(framing.template, shot.question, list(shot.options), tokenizer=tokenizer)
        + f" {shot.answer}: {shot.answer_text}\n\n"
        for shot in framing.shots
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """Continuations of one context, to be scored together."""

    kind: str  # one of `KINDS`, or "text_given_cue"
    variant: str
    context: str
    texts: tuple[str, ...]  # one per option


@dataclass(frozen=True, slots=True)
class Unit:
    """What is scored and journalled as a whole: an item, or its options after the bare cue."""

    key: str  # the item's id, with "cue:" in front for the options alone
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a run asks: every question framed, fitted and cut into units, once."""

    # the variants of each item by item id, for the modes that score continuations
    questions: Mapping[str, Sequence[Question]]
    items: Sequence[Unit]
    cues: Sequence[Unit]  # the units of the bare options
    # by generating mode, the question of each item with room left for a response
    drawn: Mapping[str, Sequence[Question]]

    @property
    def prompts(self) -> list[tuple[str, str, str, str]]:
        """(item id, mode, variant, prompt) of every question, in order; mode "" is scored."""
        asked = [*chain(*self.questions.values()), *chain(*self.drawn.values())]
        return [(q.item.item_id, q.mode, q.variant, q.context) for q in asked]
