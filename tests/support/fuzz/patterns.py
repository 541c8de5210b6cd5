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
_MORE = "@#é中,;:/()[]{}|*_`~\t7Z9"


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


def sample(pattern: re.Pattern[str], chance: random.Random) -> str:
    """A text that matches the pattern, but for what looks around."""
    return _sample(_parsed(pattern), chance, {})


def _parsed(pattern: re.Pattern[str]) -> Any:
    return parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)


def _sample(parts: Any, chance: random.Random, groups: dict[int, str]) -> str:
    return "".join(_one(kind, value, chance, groups) for kind, value in parts)


def _one(kind: Any, value: Any, chance: random.Random, groups: dict[int, str]) -> str:
    if kind is constants.LITERAL:
        letter = chr(value)
        return letter.swapcase() if chance.random() < 0.05 else letter
    if kind in (constants.NOT_LITERAL, constants.ANY):
        return chance.choice([letter for letter in _FILL if ord(letter) != value])
    if kind is constants.IN:
        return _of_set(value, chance)
    if kind is constants.GROUPREF:
        return groups.get(value, "")
    inner = _inside(kind, value)
    if not inner or (kind is constants.ASSERT and chance.random() < 0.5):
        return ""  # what must follow often stands for itself
    times = 1
    if kind in _REPEATS:
        times = chance.randint(value[0], min(value[1], value[0] + _MOST))
    text = "".join(_sample(chance.choice(inner), chance, groups) for _ in range(times))
    if kind is constants.SUBPATTERN:
        groups[value[0]] = text
    return text


_REPEATS = (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT)


def _inside(kind: Any, value: Any) -> list[Any]:
    """The parts that a node of the parsed pattern holds; those of a branch are alternatives."""
    if kind in _REPEATS:
        return [value[2]]
    if kind is constants.SUBPATTERN:
        return [value[3]]
    if kind is constants.BRANCH:
        return list(value[1])
    if kind is constants.ATOMIC_GROUP:
        return [value]
    if kind in (constants.ASSERT, constants.ASSERT_NOT) and value[0] > 0:
        return [value[1]]
    return []


_CATEGORIES = {
    constants.CATEGORY_DIGIT: r"\d",
    constants.CATEGORY_SPACE: r"\s",
    constants.CATEGORY_WORD: r"\w",
    constants.CATEGORY_NOT_DIGIT: r"\D",
    constants.CATEGORY_NOT_SPACE: r"\S",
    constants.CATEGORY_NOT_WORD: r"\W",
}


def _of_set(items: Any, chance: random.Random) -> str:
    """A character of a set; of what a negated one leaves, one that our texts often hold."""

    def holds(letter: str) -> bool:
        return any(
            (kind is constants.LITERAL and ord(letter) == value)
            or (kind is constants.RANGE and value[0] <= ord(letter) <= value[1])
            or (kind is constants.CATEGORY and re.match(_CATEGORIES[value], letter))
            for kind, value in items
        )

    if items[0][0] is constants.NEGATE:
        return chance.choice([c for c in _FILL + _MORE if not holds(c)] or ["a"])
    kind, value = chance.choice(items)
    if kind is constants.LITERAL:
        return chr(value)
    if kind is constants.RANGE:
        return chr(chance.randint(value[0], min(value[1], value[0] + 200)))
    return chance.choice([c for c in _FILL + _MORE if re.match(_CATEGORIES[value], c)])


def attacks(pattern: re.Pattern[str], chance: random.Random) -> list[tuple[str, str, str]]:
    """(prefix, part to repeat, end) for every repetition, and for the pattern as a whole."""
    found: list[tuple[str, str, str]] = []
    _walk(_parsed(pattern), "", chance, found)
    whole = sample(pattern, chance)
    found += [("", whole or "a", ""), ("", (whole or "a")[:-1] or "a", "\x01")]
    return list(dict.fromkeys(found))


def _walk(
    parts: Any, before: str, chance: random.Random, found: list[tuple[str, str, str]]
) -> None:
    for kind, value in parts:
        if kind in _REPEATS and value[1] > 8 and (body := _sample(value[2], chance, {})):
            found += [(before, body, end) for end in ("", "\x01", "\n")]
            # every place is a new beginning: what makes a search quadratic
            found += [("", before + body, "\x01"), ("", before or body, "")]
        for inner in _inside(kind, value):
            _walk(inner, before, chance, found)
        before += _one(kind, value, chance, {})
