"""From a free response to a letter: ordered rules, each named, and a status for every response.

A rule either finds labels that the item has, or it does not apply; the first rule that applies
decides. There is no rule "first capital letter": "A 67-year-old woman" is not option A, "Answer" is
not A, "I" is not option I. What no rule can read has no letter, and counts as wrong only in the
convention that says so.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

Options = Sequence[tuple[str, str]]
FUZZY = 0.9
"""Similarity from which a response's text is an option's text."""


class Status(StrEnum):
    """What became of a response."""

    PARSED = "parsed"
    REPAIRED = "repaired"
    """A letter was found, but the text beside it is not quite the option's, or only the text."""
    CONFLICT = "conflict"
    """The letter of one option with the text of another: no letter is taken."""
    AMBIGUOUS = "ambiguous"
    """Several letters, none of them stated as the answer."""
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    """The response ends at the token limit before an answer."""
    EMPTY = "empty"
    NONE = "none"
    """Text in which no rule finds an answer."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a response says.

    Args:
        letter: A label of the item, or None.
        rule: The rule that decided; "" where none did.
        span: The characters that it read.
        status: See `Status`.
    """

    letter: str | None
    rule: str
    span: str
    status: Status


def parse(response: str, options: Options, *, at_limit: bool = False) -> Parsed:
    """The answer that a careful reader would see in a response.

    Args:
        response: What the model wrote after the cue.
        options: (label, text) of the item as shown.
        at_limit: Whether generation stopped at the token limit.
    """
    text = unicodedata.normalize("NFKC", response).strip()
    text = re.sub(r"[*_`]+", "", text).strip()  # emphasis
    if not text:
        return Parsed(None, "", "", Status.EMPTY)
    for rule in RULES:
        found = rule(text, options)
        if found is not None:
            return found
    if _REFUSAL.search(text):
        return Parsed(None, "", "", Status.REFUSAL)
    return Parsed(None, "", "", Status.TRUNCATED if at_limit else Status.NONE)


def _labels(options: Options) -> str:
    """A pattern for the item's own labels, and nothing else."""
    return "(?:" + "|".join(re.escape(label) for label, _ in options) + ")"


def _key(text: str) -> str:
    """Letters and digits in lower case: what makes two option texts the same."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words)


def _nearest(text: str, options: Options) -> tuple[str, float]:
    """(label, similarity) of the option whose text a response's beginning is most like."""
    best, most = "", 0.0
    key = _key(text)
    for label, option in options:
        wanted = _key(option)
        if not wanted:
            continue
        head = key[: len(wanted)]
        following = key[len(wanted) : len(wanted) + 1]
        if head == wanted and following in {"", " "}:
            share = 1.0 + len(wanted) / 1e6  # the longest option that fits whole
        else:
            share = difflib.SequenceMatcher(None, wanted, head).ratio()
        if share > most:
            best, most = label, share
    return best, min(most, 1.0)


def _letter_and_text(text: str, options: Options) -> Parsed | None:
    """Label and text, as in "A: text" or "(A) text"; the text is held against the option's."""
    found = re.match(rf"\(?({_labels(options)})\s*(?:[:.)\]]|\s-)\)?\s+(\S.*)", text, re.DOTALL)
    if found is None:  # "B Warfarin": a letter only where an option's text follows
        found = re.match(rf"({_labels(options)})\s+(\S.*)", text, re.DOTALL)
        if found is None or _nearest(found.group(2).partition("\n")[0], options)[1] < FUZZY:
            return None
    letter, rest = found.group(1), found.group(2).strip().partition("\n")[0]
    return _checked("letter and text", letter, rest, found.group(0)[:80], options)


def _checked(rule: str, letter: str, rest: str, span: str, options: Options) -> Parsed:
    """The letter, unless the text that follows is another option's."""
    nearest, share = _nearest(rest, options)
    own = _key(dict(options)[letter])
    if _key(rest).startswith(own) and own:
        return Parsed(letter, rule, span, Status.PARSED)
    if share >= FUZZY and nearest != letter:
        return Parsed(None, rule, span, Status.CONFLICT)
    return Parsed(letter, rule, span, Status.PARSED if share >= FUZZY else Status.REPAIRED)


def _lone_letter(text: str, options: Options) -> Parsed | None:
    """A letter and nothing else: "C", "(C)", "C.", "Option C"."""
    found = re.fullmatch(
        rf"(?i:option|answer|choice)?:?\s*[(\[]?({_labels(options)})[)\].:,]*(?:</s>)?", text
    )
    if found is None:
        found = re.match(rf"[(\[]?({_labels(options)})[)\].:]*\s*(?:\n|$)", text)
    return found and Parsed(found.group(1), "lone letter", found.group(0).strip(), Status.PARSED)


def _stated(text: str, options: Options) -> Parsed | None:
    """Statements such as "the answer is X": the last explicit one wins."""
    statement = (
        r"(?i:\b(?:(?:the\s+)?(?:final\s+|correct\s+|right\s+|best\s+)*(?:answer|option|choice)"
        r"(?:\s+to\s+the\s+question)?\s*(?:is|would\s+be|must\s+be|[:=])|i\s+(?:would\s+)?"
        r"(?:choose|pick|select)|is\s+therefore|answer\s*:))"
        rf"\s*:?\s*(?i:option\s+)?[(\[]?({_labels(options)})(?![\w'’-])[)\].:]*"
    )
    found = list(re.finditer(statement, text))
    # "is A" before a noun is the article: it is followed by a word in lower case
    found = [m for m in found if not _is_article(m, text)]
    if not found:
        found = [
            m
            for m in re.finditer(
                rf"(?i:\boption\s+)?[(\[]?\b({_labels(options)})[)\]]?\s+(?i:is|would\s+be)\s+"
                r"(?i:the\s+)?(?i:correct|right|best|most\s+likely)\b",
                text,
            )
            if not _negated(m.group(0), text[m.end() :])
        ]
    if not found:
        return None
    last = found[-1]
    rest = text[last.end() :].strip().partition("\n")[0]
    if re.match(r"[:.)\]]", text[last.end(1) : last.end(1) + 1]) and rest:
        checked = _checked("stated", last.group(1), rest, last.group(0), options)
        if checked.status is Status.CONFLICT:
            return checked
    return Parsed(last.group(1), "stated", last.group(0), Status.PARSED)


def _is_article(match: re.Match[str], text: str) -> bool:
    if match.group(1) not in {"A", "I"} or match.group(0)[-1] in ")].:":
        return False
    return re.match(r"\s+[a-z0-9]", text[match.end() :]) is not None


def _negated(span: str, following: str) -> bool:
    return bool(re.search(r"\bnot\b", span)) or following.startswith("ly")


def _option_text(text: str, options: Options) -> Parsed | None:
    """The text of one option, without its letter."""
    nearest, share = _nearest(text, options)
    if share >= FUZZY:
        return Parsed(nearest, "option text", text[:80], Status.REPAIRED)
    key = f" {_key(text)} "
    inside = [label for label, option in options if _key(option) and f" {_key(option)} " in key]
    wordy = [label for label in inside if len(_key(dict(options)[label])) >= 4]
    # an option's text inside another's ("sodium", "sodium and potassium") is that other's
    kept = [
        label
        for label in wordy
        if not any(
            other != label and _key(dict(options)[label]) in _key(dict(options)[other])
            for other in wordy
        )
    ]
    if len(kept) == 1 and not re.search(r"\b(?:not|except|unlikely|rule out)\b", text.lower()):
        return Parsed(kept[0], "option text inside", text[:80], Status.REPAIRED)
    if len(kept) > 1:
        return Parsed(None, "option text inside", text[:80], Status.AMBIGUOUS)
    return None


def _several(text: str, options: Options) -> Parsed | None:
    """Letters in list form, none of them stated: "A or B", "A) ... B) ..."."""
    found = re.findall(rf"(?:^|[\s(\[,/])({_labels(options)})(?=[):.\],/]|\s+(?:or|and)\s|$)", text)
    distinct = list(dict.fromkeys(found))
    if len(distinct) > 1:
        return Parsed(None, "several letters", ", ".join(distinct), Status.AMBIGUOUS)
    if len(distinct) == 1 and re.search(rf"[(\[]{re.escape(distinct[0])}[)\]]", text):
        return Parsed(distinct[0], "letter in brackets", f"({distinct[0]})", Status.REPAIRED)
    return None


_REFUSAL = re.compile(
    r"(?i)\b(?:i\s*(?:'|’)?(?:m|\s+am)\s+(?:sorry|unable|not\s+able)|as\s+an\s+ai|i\s+can(?:no|')t\s+"
    r"(?:answer|provide|help|give)|cannot\s+(?:answer|provide|give)\b|consult\s+a\s+(?:doctor|"
    r"physician|healthcare)|not\s+a\s+(?:doctor|physician))"
)

RULES: tuple[Callable[[str, Options], Parsed | None], ...] = (
    _lone_letter,
    _letter_and_text,
    _stated,
    _option_text,
    _several,
)
"""In order; the first that applies decides."""
