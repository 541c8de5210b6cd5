"""Do two similar rows say the same? What corpora repeat is their frames, not their facts.

Two thirds of MedQuAD's similar answers are a register's form letter with another disease in it. So
a near duplicate is more than a similar text:

- *The question is the same.* Short questions must have the same distinctive words (all but the
  frame of a question, whatever the order); in long ones a word in thirty may differ.
- *The answer says the same.* Whole phrases and sentences may be more or fewer, and a word in thirty
  may be another one; but not a number where there was another number, nor a name where there was
  another name, and no "not" may come or go by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from difflib import SequenceMatcher

LONG_QUESTION = 30
"""Words above which a question is compared like an answer, and not by its distinctive words."""
WORDS_A_CHANGE = 30
PHRASE = 4
"""Words that come or go together from which on they are a phrase and not a change."""
MOST_ALIGNED = 4000
"""Words above which two texts are compared without their order, which would take too long."""
_WORD = re.compile(r"\w+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""Commas that only group digits: 1,600,000 is 1600000."""
_FRAME_WORDS = """
a an the and or of in for to at by on with from as is are was were be been am do does did can could
should would will may might what which who whom whose how when where why i my me we our you your it
its this that these those they them there any have has had please tell about
"""
FRAME = frozenset(_FRAME_WORDS.split())
"""Words that do not tell one question from another."""
_POLAR_WORDS = """
no not never none without nor cannot neither must always only except un non
"""
POLAR = frozenset(_POLAR_WORDS.split())
"""Words that turn a sentence round where they are added or left out."""


def question_key(question: str) -> int:
    """A number that is the same for questions that ask the same; 0 for a long one.

    Rows of different numbers are never near duplicates; what a long question asks is compared word
    by word, in `same_fact`.
    """
    as_written = _WORD.findall(question)
    if len(as_written) > LONG_QUESTION:
        return 0
    words = {word.casefold() for word in as_written}
    # hemophilia A, vitamin D, factor I: a letter by itself tells, where it is no first word
    letters = {word for word in as_written[1:] if len(word) == 1 and word.isupper()}
    distinctive = sorted((words - FRAME) | letters) or sorted(words)
    digest = hashlib.blake2b("\x1f".join(distinctive).encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest()) | 1


def same_fact(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two similar rows, each a question and an answer, say the same.

    Args:
        one: Question and answer of a row.
        other: Those of another, whose `question_key` is the same.
    """
    questions, answers = zip(one, other, strict=True)
    if question_key(one[0]) != question_key(other[0]):
        return False
    return _same(*answers) and (question_key(one[0]) != 0 or _same(*questions))


def _same(one: str, other: str) -> bool:
    """Whether two texts differ in no more than a word here and there, and a phrase more or less."""
    left, right = (_WORD.findall(_THOUSANDS.sub("", text)) for text in (one, other))
    small = [[word.casefold() for word in words] for words in (left, right)]
    if small[0] == small[1]:
        return True
    for tells in (_is_number, _is_name):
        told = [{word.casefold() for word in words if tells(word)} for words in (left, right)]
        if told[0] - set(small[1]) and told[1] - set(small[0]):
            return False
    changes = _changes(*small)
    return changes is not None and changes <= max(1, max(map(len, small)) // WORDS_A_CHANGE)


def _is_number(word: str) -> bool:
    return any(sign.isdigit() for sign in word)


def _is_name(word: str) -> bool:
    return word[0].isupper()


def _changes(left: list[str], right: list[str]) -> int | None:
    """How many words are other ones; None where a "not" came or went by itself."""
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    left, right = left[start : len(left) - end], right[start : len(right) - end]
    if len(left) + len(right) > MOST_ALIGNED:
        gone, come = Counter(left) - Counter(right), Counter(right) - Counter(left)
        return min(sum(gone.values()), sum(come.values()))
    found = 0
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        lost, new = b - a, d - c
        if kind == "equal" or (not (lost and new) and lost + new >= PHRASE):
            continue
        if not (lost and new) and POLAR & {*left[a:b], *right[c:d]}:
            return None
        # a long hunk may be words replaced and a phrase beside them
        found += max(lost, new) if max(lost, new) < PHRASE else min(lost, new)
    return found
