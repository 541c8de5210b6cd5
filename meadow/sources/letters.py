"""Greetings and signatures of letters: what stands around an answer and says nothing.

Only whole sentences at the two ends go, and only such as name the service, thank for the question,
promise help or take leave. Every pattern is anchored and bounded, so that the cost is linear; a
text that is nothing but courtesies stays as it is. Names that remain are `meadow.text.privacy`'s
business.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SERVICE = r"(?:chat ?doctor|health ?care ?magic|icliniq|forum|quer(?:y|ies)|questions?|concerns?)"
_OPENINGS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day))\b"
        r"(?:[ ,]+(?:there|doctor|dr|doc|sir|madam|mam|friend|user|patient))*[ ]*[.,!:]+\s*",
        r"(?:hi|hello),? (?=(?:thanks?|thank you|welcome)\b)",
        rf"(?:many )?(?:thanks?|thank you)\b[^.!?\n]{{0,80}}\b{_SERVICE}\b[^.!?\n]{{0,80}}[.!,]+"
        r"\s*",
        rf"welcome (?:back )?to\b[^.!?\n]{{0,60}}\b{_SERVICE}\b[^.!?\n]{{0,40}}[.!,]+\s*",
        r"(?:i (?:have |had )?(?:just )?(?:gone|went|read) through|i have (?:read|reviewed|seen))"
        rf"\b[^.!?\n]{{0,40}}\b{_SERVICE}\b[^.!?\n]{{0,60}}[.!]+\s*",
        r"(?:i|we) (?:can )?understand your (?:concerns?|worr(?:y|ies))[.!]+\s*",
    )
)
_CLOSINGS = tuple(
    re.compile(pattern + r"$", re.IGNORECASE)
    for pattern in (
        r"(?:^|(?<=[.!?\n]))\s*(?:i |we )?hope\b[^.!?\n]{0,60}\b(?:help|answer|query|question|"
        r"useful|clear|satisf)[^.!?\n]{0,80}[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:if you (?:have|need)|please (?:do not|don'?t|feel)|feel free|"
        r"(?:kindly )?let me know|do not hesitate|kindly)\b[^.!?\n]{0,120}\b(?:quer|question|ask|"
        r"writ|contact|clarif|hesitat|help)[^.!?\n]{0,80}[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:i )?wish(?:ing)? you\b[^.!?\n]{0,80}[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:take care|get well soon|have a (?:nice|good|great) day|all the "
        r"best)[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:(?:with )?(?:(?:best|kind|warm) )?regards|best wishes|sincerely|"
        r"yours (?:sincerely|truly)|thanks and regards|thanks|thank you)[.,!]*"
        r"(?:\s*[,-]?\s*(?:dr\b\.?|doctor\b|chat ?doctor\b)?"
        r"(?-i:(?:[ .,]*[A-Z][\w.'-]{0,20}){0,4}))?[.,!]*\s*",
        r"(?:^|(?<=[.!?\n]))\s*(?:chat ?doctor|health ?care ?magic|icliniq)[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*for (?:more|further) (?:information|queries)\b[^\n]{0,120}-->"
        r"[^\n]{0,160}",
    )
)
_REACH = 500
"""How far from the end a closing may begin."""
_MINIMUM = 20
"""Characters that must remain for the courtesies to go."""


def strip_courtesies(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without greetings at its beginning and leave-taking at its end; what was removed."""
    body = text.strip()
    opened = _repeat(body, _without_opening)
    closed = _repeat(opened, _without_closing)
    if len(closed) < _MINIMUM:
        return text, ()
    repairs = []
    if opened != body:
        repairs.append("removed_greeting")
        closed = closed[0].upper() + closed[1:]
    if len(closed) < len(opened):
        repairs.append("removed_signature")
    return closed, tuple(repairs)


def _repeat(text: str, step: Callable[[str], str]) -> str:
    for _ in range(8):
        shorter = step(text)
        if shorter == text:
            return text
        text = shorter
    return text


def _without_opening(text: str) -> str:
    for pattern in _OPENINGS:
        if found := pattern.match(text):
            return text[found.end() :]
    return text


def _without_closing(text: str) -> str:
    start = max(0, len(text) - _REACH)
    tail = text[start:]
    for pattern in _CLOSINGS:
        if found := pattern.search(tail):
            return _without_end(text[: start + found.start()])
    return text


def _without_end(text: str) -> str:
    """The text without white space (of any kind) and commas at its end, in whatever order."""
    while (shorter := text.rstrip().rstrip(",")) != text:
        text = shorter
    return text
