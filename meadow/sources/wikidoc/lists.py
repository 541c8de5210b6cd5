"""List items that an extraction glued together with spaces, told apart again where they can be.

"Chest pain Dizziness Shortness of breath (at rest) Swelling of the legs" was a list once. A new
item begins at a capital that no sentence explains: the word before ends no sentence, is no article,
preposition or the like, and stands outside parentheses. Where the signs are weak the line stays.
"""

from __future__ import annotations

import re

_BOUNDARY = re.compile(r"(?<=[a-z0-9)%]) (?=[A-Z][a-z])")
_WORD_BEFORE = re.compile(r"([A-Za-z'-]+)$")
_WORD_AFTER = re.compile(r"[A-Za-z]+")
_SENTENCE = re.compile(r"[.!?:;] |•")
_ENDS = frozenset(".!?:;,")
# No item ends in one of these.
_LINKING_WORDS = (
    "a an the of with in on at by from for to and or nor but like as such is are was were be been "
    "being has have having had may can could will your their his her its our my this that these "
    "those than when if while during after before without into through about between under over "
    "near very more less most least not no any some each every which who whose what where how "
    "including called versus because due per via both either dr mr mrs professor "
    # first words of names: von Willebrand, Saint Louis, Middle East, Marshall Islands
    "von van saint st new middle west marshall"
)
_LINKING = frozenset(_LINKING_WORDS.split())
# These stand in the middle of an item as often as at the beginning of one.
_NAMES_WORDS = (
    "African Africa American Americans America Asian Asia Ashkenazi British Canada Canadian "
    "Caucasian Caucasians Chinese English European Europeans Europe French German Greek Gram "
    "Hispanic Hispanics Indian Indians Irish Italian Italy Japan Japanese Jewish Jews Latin Latino "
    "Mediterranean Mexican Mexico Native Scandinavian South Southeast Spanish States United White "
    "January February March April June July August September October November December Middle "
    "North Northern Eastern Western Pacific Pap"
)
_NAMES = frozenset(_NAMES_WORDS.split())


def split_glued_lists(text: str) -> tuple[str, int]:
    """The text with glued list lines as Markdown bullets, and how many lines were split.

    A line is a list after a line that ends in a colon, or where it ends without punctuation and
    holds at least three items.
    """
    lines = text.split("\n")
    out: list[str] = []
    split = 0
    for index, line in enumerate(lines):
        announced = index > 0 and lines[index - 1].rstrip().endswith(":")
        if not announced and (line.rstrip()[-1:] in _ENDS or _SENTENCE.search(line)):
            out.append(line)
            continue
        items = _items(line)
        if len(items) >= (2 if announced else 3) and not line.startswith(("- ", "* ")):
            out.extend(f"- {item}" for item in items)
            split += 1
        else:
            out.append(line)
    return "\n".join(out), split


def _items(line: str) -> list[str]:
    """The line cut at every boundary that is one."""
    items = []
    start = 0
    depth = 0
    scanned = 0
    for match in _BOUNDARY.finditer(line):
        here = match.start()
        depth += line.count("(", scanned, here) - line.count(")", scanned, here)
        scanned = here
        # a word and its neighbour, not the whole line: the cost stays linear
        before = _WORD_BEFORE.search(line, max(start, here - 40), here)
        after = _WORD_AFTER.match(line, match.end())
        if (
            depth > 0
            or (before and before[1].lower() in _LINKING)
            or (after and after[0] in _NAMES)
        ):
            continue
        items.append(line[start:here])
        start = match.end()
    items.append(line[start:])
    return [item.strip() for item in items if item.strip()]
