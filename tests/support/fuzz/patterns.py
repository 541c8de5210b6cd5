"""The regular expressions of the package: found by looking, sampled, and attacked.

A sample is a text that the pattern (nearly) matches, made from its parsed form. An attack is the
way to the inside of a repetition, the inside many times over, and then something that does not fit:
what makes a pattern backtrack.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import re._constants as constants
import re._parser as parser
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

PACKAGES = ("meadow", "evaluation")
# Modules that would start something, or belong to machines and not to texts.
SKIPPED = ("meadow.__main__",)
_MOST = 3
_FILL = "aA1 .-\n<>\"'"


@lru_cache(maxsize=1)
def all_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(module and name, pattern) of every compiled text pattern at the top level of a module."""
    found: dict[tuple[str, int], tuple[str, re.Pattern[str]]] = {}
    for package in PACKAGES:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            if info.name in SKIPPED or info.name.endswith(".vendor"):
                continue
            try:
                module = importlib.import_module(info.name)
            except ImportError:
                continue  # an extra that is not installed
            for name, value in vars(module).items():
                for pattern in _patterns_in(value):
                    key = (pattern.pattern, pattern.flags)
                    found.setdefault(key, (f"{info.name}.{name}", pattern))
    return tuple(sorted(found.values(), key=lambda pair: (pair[0], pair[1].pattern)))


def _patterns_in(value: object, depth: int = 0) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        if isinstance(value.pattern, str):
            yield value
    elif depth > 3:
        return
    elif isinstance(value, tuple | list | frozenset | set):
        for item in value:
            yield from _patterns_in(item, depth + 1)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _patterns_in(item, depth + 1)
    elif type(value).__module__.startswith(PACKAGES) and hasattr(value, "pattern"):
        yield from _patterns_in(value.pattern, depth + 1)


def parsed(pattern: re.Pattern[str]) -> Any:
    """The parts of a pattern as the standard library parses it."""
    return parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)


def sample(pattern: re.Pattern[str], chance: random.Random) -> str:
    """A text that matches the pattern, but for what looks around."""
    groups: dict[int, str] = {}
    return _sample(parsed(pattern), chance, groups)


def _sample(parts: Any, chance: random.Random, groups: dict[int, str]) -> str:
    return "".join(_one(kind, value, chance, groups) for kind, value in parts)


def _one(kind: Any, value: Any, chance: random.Random, groups: dict[int, str]) -> str:
    if kind is constants.LITERAL:
        letter = chr(value)
        return letter.swapcase() if chance.random() < 0.05 else letter
    if kind is constants.NOT_LITERAL:
        return next(c for c in chance.sample(_FILL, len(_FILL)) if ord(c) != value)
    if kind is constants.ANY:
        return chance.choice(_FILL)
    if kind is constants.IN:
        return _of_set(value, chance)
    if kind is constants.BRANCH:
        return _sample(chance.choice(value[1]), chance, groups)
    if kind is constants.SUBPATTERN:
        number, _, _, inner = value
        text = _sample(inner, chance, groups)
        groups[number] = text
        return text
    if kind in (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT):
        least, most, inner = value
        times = chance.randint(least, min(most, least + _MOST))
        return "".join(_sample(inner, chance, groups) for _ in range(times))
    if kind is constants.ATOMIC_GROUP:
        return _sample(value, chance, groups)
    if kind is constants.ASSERT and value[0] > 0:
        # what must follow often stands for itself
        return _sample(value[1], chance, groups) if chance.random() < 0.5 else ""
    if kind is constants.GROUPREF:
        return groups.get(value, "")
    return ""


def _of_set(items: Any, chance: random.Random) -> str:
    negated = any(kind is constants.NEGATE for kind, _ in items)
    if negated:
        banned = re.compile(_class_text(items))
        fitting = [c for c in _FILL + "@#é中,;:/()[]{}|*_`~" if banned.match(c)]
        return chance.choice(fitting or ["a"])
    kind, value = chance.choice(items)
    if kind is constants.LITERAL:
        return chr(value)
    if kind is constants.RANGE:
        return chr(chance.randint(value[0], min(value[1], value[0] + 200)))
    return {
        constants.CATEGORY_DIGIT: "7",
        constants.CATEGORY_SPACE: chance.choice(" \n\t"),
        constants.CATEGORY_WORD: chance.choice("aZ_9é"),
        constants.CATEGORY_NOT_DIGIT: "a",
        constants.CATEGORY_NOT_SPACE: "a",
        constants.CATEGORY_NOT_WORD: chance.choice(" -."),
    }.get(value, "a")


_CATEGORIES = {
    constants.CATEGORY_DIGIT: r"\d",
    constants.CATEGORY_SPACE: r"\s",
    constants.CATEGORY_WORD: r"\w",
    constants.CATEGORY_NOT_DIGIT: r"\D",
    constants.CATEGORY_NOT_SPACE: r"\S",
    constants.CATEGORY_NOT_WORD: r"\W",
}


def _class_text(items: Any) -> str:
    parts = []
    for kind, value in items:
        if kind is constants.LITERAL:
            parts.append(re.escape(chr(value)))
        elif kind is constants.RANGE:
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        elif kind is constants.CATEGORY:
            parts.append(_CATEGORIES[value])
    return f"[^{''.join(parts)}]"


def attacks(pattern: re.Pattern[str], chance: random.Random) -> list[tuple[str, str, str]]:
    """(prefix, part to repeat, end) for every repetition, and for the pattern as a whole."""
    found: list[tuple[str, str, str]] = []
    _walk(parsed(pattern), "", chance, found)
    whole = sample(pattern, chance)
    found += [("", whole or "a", ""), ("", (whole or "a")[:-1] or "a", "\x01")]
    return list(dict.fromkeys(found))


def _walk(
    parts: Any, before: str, chance: random.Random, found: list[tuple[str, str, str]]
) -> None:
    for kind, value in parts:
        if kind in (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT):
            _, most, inner = value
            body = _sample(inner, chance, {})
            if most > 8 and body:
                for end in ("", "\x01", "\n"):
                    found.append((before, body, end))
                # every place is a new beginning: what makes a search quadratic
                found.append(("", before + body, "\x01"))
                found.append(("", before or body, ""))
            _walk(inner, before, chance, found)
        elif kind is constants.SUBPATTERN:
            _walk(value[3], before, chance, found)
        elif kind is constants.BRANCH:
            for branch in value[1]:
                _walk(branch, before, chance, found)
        elif kind is constants.ATOMIC_GROUP:
            _walk(value, before, chance, found)
        elif kind in (constants.ASSERT, constants.ASSERT_NOT) and value[0] > 0:
            _walk(value[1], before, chance, found)
        before += _one(kind, value, chance, {})
