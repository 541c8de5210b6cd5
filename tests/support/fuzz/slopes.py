"""How a function's cost grows with its input: 25, 50 and 100 KB of the worst characters.

Run as a script in a child process: it tells processor seconds. Every text that our own
patterns can be attacked with goes through the functions that use them.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.corpora import record
from support.fuzz.mutate import encodable
from support.fuzz.patterns import all_patterns, attacks

from meadow.text.render import HtmlLimitError

SIZES = (50_000, 100_000)
SECONDS = 0.1
"""Below this nobody needs to know how it grows."""
FACTOR = 3.0
"""Twice the input takes four times as long where the cost is quadratic."""


def functions() -> dict[str, Callable[[str], Any]]:
    """Every function that takes a text of a corpus."""
    from meadow.exams.answers import parse
    from meadow.schema import Style
    from meadow.sources import SOURCES
    from meadow.sources.anki.cloze import parse_cloze
    from meadow.sources.anki.source import _to_text
    from meadow.sources.medquad import repair_answer, repair_question
    from meadow.sources.stack_exchange.source import drop_duplicate_notice
    from meadow.sources.wikidoc.headings import (
        names_no_topic,
        repair_published,
        repair_topic,
        tidy_question,
    )
    from meadow.sources.wikidoc.lists import split_glued_lists
    from meadow.sources.wikidoc.section_headings import page_question
    from meadow.sources.wikidoc.wikitext import read_wikitext
    from meadow.text.clean import clean_record
    from meadow.text.greetings import strip_greetings
    from meadow.text.language import is_foreign
    from meadow.text.markdown import plain_cell
    from meadow.text.privacy import scrub
    from meadow.text.render import html_to_text, normalise, quote_literal_markup

    def cleaned(source: str) -> Callable[[str], Any]:
        def clean(text: str) -> Any:
            row = record(source, 1, text, input=text)
            return clean_record(row, SOURCES[source], Style.MEADOW)

        return clean

    options = (("A", "Warfarin"), ("B", "Sodium"), ("C", "Sodium and potassium"))
    return {
        "html_to_text": html_to_text,
        "quote_literal_markup": quote_literal_markup,
        "normalise": normalise,
        "scrub": scrub,
        "clean chatdoctor": cleaned("chatdoctor"),
        "clean stack_exchange": cleaned("stack_exchange"),
        "clean anki": cleaned("anki"),
        "clean medquad": cleaned("medquad"),
        "strip_greetings": strip_greetings,
        "split_glued_lists": split_glued_lists,
        "is_foreign": is_foreign,
        "parse_cloze": lambda text: parse_cloze(text).question(1),
        "wikitext": read_wikitext,
        "tidy_question": tidy_question,
        "repair_topic": repair_topic,
        "names_no_topic": names_no_topic,
        "repair_published": lambda text: repair_published(text, text),
        "page_question": lambda text: page_question(text, text),
        "medquad question": repair_question,
        "medquad answer": repair_answer,
        "duplicate notice": drop_duplicate_notice,
        "anki field": _to_text,
        "plain_cell": plain_cell,
        "parse": lambda text: parse(text, options),
    }


def texts(count: int | None = None) -> list[tuple[str, tuple[str, str, str]]]:
    """(pattern, attack) for every pattern of the package; `count` of them, spread evenly."""
    found = {}
    for name, pattern in all_patterns():
        for attack in attacks(pattern, random.Random(repr(pattern.pattern))):
            if encodable("".join(attack)) == "".join(attack):
                found[attack] = (name, attack)
    unique = list(found.values())
    step = max(1, len(unique) // count) if count else 1
    return unique[::step]


def stretched(attack: tuple[str, str, str], size: int) -> str:
    """An attack of that many characters."""
    before, part, end = attack
    return before + part * max(1, (size - len(before) - len(end)) // len(part)) + end


def measure(function: Callable[[str], Any], attack: tuple[str, str, str]) -> list[float]:
    """Processor seconds for 50 KB, and for 100 KB where that was not nothing."""
    found = []
    for size in SIZES:
        text = stretched(attack, size)
        began = time.process_time()
        with contextlib.suppress(HtmlLimitError):
            function(text)
        found.append(time.process_time() - began)
        if found[0] < SECONDS / 8:
            break
    return found


def main() -> None:
    """Measure every attack on every function; tell those that are slow, and how far we came."""
    count = int(sys.argv[1]) or None
    told = Path(sys.argv[2])
    worst: dict[str, tuple[float, str]] = {}
    bad = []
    tried = 0
    with told.open("a", buffering=1) as file:
        for name, function in functions().items():
            function("warm")
            for pattern, attack in texts(count):
                file.write(json.dumps({"at": [name, pattern, list(attack)]}) + "\n")
                seconds = measure(function, attack)
                if _grows(seconds):  # once more: a busy machine can double anything
                    seconds = [
                        min(pair) for pair in zip(seconds, measure(function, attack), strict=False)
                    ]
                tried += 1
                worst[name] = max(worst.get(name, (0.0, "")), (seconds[-1], pattern))
                if _grows(seconds):
                    bad.append([name, pattern, list(attack), seconds])
        file.write(json.dumps({"tried": tried, "worst": worst, "bad": bad}) + "\n")


def _grows(seconds: list[float]) -> bool:
    return len(seconds) > 1 and seconds[1] > SECONDS and seconds[1] > FACTOR * seconds[0]


if __name__ == "__main__":
    main()
