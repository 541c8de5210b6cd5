"""Mutants of bytes and of JSON values, from a random generator that the caller seeds."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

Rewrite = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]

ODD_TEXTS = (
    *("", " ", "\x00", "\ufeff", "\u2028", "\u200b", "\u00ad", "\u202e", "\ufffd", "\ud800"),
    *("e\u0301", "İ", "ß", "ﬁ", "Ⅷ", "٣", "²", "𝟙", "👩‍⚕️", "\U0010ffff", "\x1f", "\x85"),
    *("---", "...", "{{ 7*7 }}", "{% raw %}", "<script>alert(1)</script>", "|", "`", "```", "~~~"),
    *("](javascript:alert(1))", "<img src=x onerror=alert(1)>", "-->", "]]>", "&lt;", "&#0;"),
    *("<!-- /generated -->", "<!-- generated:licenses -->", "# a", "=1+1", "!!python/object:a"),
    *("%s%n", "../../x", "C:\\x", "NA", "null", "NaN", "1e999", "-0", "0x10", "1_000", "on", "~"),
    *("'", '"', "\\", "*", "_", "\n", "\r\n", "\t", "a: b", "- a", "&a", "*a", "? a", "[a", "{a"),
)


def _span(chance: random.Random, data: bytearray, most: int = 200) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.randint(1, most))


def _flip(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _byte(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    if data:
        data[chance.randrange(len(data))] = chance.choice(
            (0, 9, 10, 13, 32, 34, 39, 44, 60, 62, 127, 128, 255, chance.randrange(256))
        )
    return data


def _insert(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.randint(1, 8)) + data[at:]


def _delete(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    start, stop = _span(chance, data)
    return data[:start] + data[stop:]


def _repeat(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    start, stop = _span(chance, data, 60)
    times = chance.choice((2, 3, 10, 300))
    return data[:start] + data[start:stop] * times + data[stop:]


def _move(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    start, stop = _span(chance, data)
    piece, rest = data[start:stop], data[:start] + data[stop:]
    at = chance.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


def _cut(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    at = chance.randrange(len(data) + 1)
    return data[:at] if chance.random() < 0.7 else data[at:]


def _token(chance: random.Random, data: bytearray, tokens: Sequence[bytes]) -> bytearray:
    start, stop = _span(chance, data, 12)
    token = chance.choice(tokens) if tokens else b"\x00"
    return data[:start] + token + data[stop if chance.random() < 0.5 else start :]


def _lines(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    lines = bytes(data).splitlines(keepends=True)
    if len(lines) > 1:
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        how = chance.randrange(3)
        if how == 0:
            lines[one], lines[other] = lines[other], lines[one]
        elif how == 1:
            lines.insert(one, lines[other])
        else:
            del lines[one]
    return bytearray(b"".join(lines))


def _splice(chance: random.Random, data: bytearray, tokens: Sequence[bytes]) -> bytearray:
    start, stop = _span(chance, data, 400)
    return data[:start] + data[stop:] + data[start:stop]


_REWRITES: tuple[Rewrite, ...] = (
    *(_flip, _flip, _byte, _byte, _insert, _delete, _repeat, _move, _token, _token, _token),
    *(_lines, _lines, _splice, _cut),
)
_SMALL: tuple[Rewrite, ...] = (_flip, _flip, _flip, _byte, _byte, _cut, _insert, _delete)


def mutant(
    chance: random.Random,
    seed: bytes,
    tokens: Sequence[bytes] = (),
    *,
    most: int = 5,
    binary: bool = False,
) -> bytes:
    """The seed after one to `most` rewrites; for binary formats mostly flips and cuts."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, most)):
        data = chance.choice(_SMALL if binary else _REWRITES)(chance, data, tokens)
    return bytes(data)


def odd_value(chance: random.Random, depth: int = 0) -> Any:
    """A JSON value that nobody expects."""
    if depth < 2 and chance.random() < 0.2:
        return [odd_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    if depth < 2 and chance.random() < 0.2:
        return {odd_text(chance): odd_value(chance, depth + 1) for _ in range(chance.randrange(3))}
    numbers = (0, -1, 1, 2**31, 2**63, 2**70, 10**400, 1.5, 1e308, True, False, None)
    return chance.choice((*numbers, odd_text(chance), odd_text(chance), odd_text(chance), [], {}))


def odd_text(chance: random.Random) -> str:
    """A text of odd pieces; never a lone surrogate beside other text, so that it can be written."""
    pieces = [chance.choice(ODD_TEXTS) for _ in range(chance.choice((1, 1, 2, 3)))]
    if chance.random() < 0.1:
        pieces.append(
            chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 2**16))))
        )
    return "".join(pieces)


def encodable(text: str) -> str:
    """The text without lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def mutate_value(chance: random.Random, value: Any, most: int = 3) -> Any:
    """A JSON value with a few of its parts replaced, removed, renamed or doubled."""
    found = copy.deepcopy(value)
    for _ in range(chance.randint(1, most)):
        places = list(_places(found))
        if not places:
            return odd_value(chance)
        parent, key = chance.choice(places)
        how = chance.randrange(6)
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            parent[odd_text(chance)] = parent.pop(key)
        elif how == 2:
            other, name = chance.choice(places)
            parent[key] = copy.deepcopy(other[name])
        elif how == 3 and isinstance(parent, list):
            parent.insert(0, copy.deepcopy(parent[key]))
        elif how == 4 and isinstance(parent[key], str):
            at = chance.randrange(len(parent[key]) + 1)
            parent[key] = parent[key][:at] + odd_text(chance) + parent[key][at:]
        else:
            parent[key] = odd_value(chance)
    return found


def _places(value: Any) -> Any:
    """(container, key) of every part of a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield value, index
            yield from _places(inner)


def xml_mutant(chance: random.Random, seed: bytes, tag: str = "") -> bytes:
    """A well-formed document with elements removed, doubled, moved, renamed or of odd text.

    Args:
        chance: Where it comes from.
        seed: A well-formed document.
        tag: An element that most rewrites are about; "" for any.
    """
    from lxml import etree

    root = etree.fromstring(seed)
    for _ in range(chance.randint(1, 6)):
        found = [element for element in root.iter("*") if element is not root]
        wanted = [element for element in found if etree.QName(element).localname == tag]
        if not found:
            break
        element = chance.choice(wanted if wanted and chance.random() < 0.4 else found)
        parent, other = element.getparent(), chance.choice(found)
        how = chance.randrange(6)
        if how == 0:
            parent.remove(element)
        elif how == 1:
            parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(element))
        elif how == 2 and other not in element.iter() and other is not element:
            other.append(copy.deepcopy(element))
        elif how == 3 and element.attrib:
            name = chance.choice(list(element.attrib))
            element.set(name, xml_text(chance))
        elif how == 4:
            element.tail = xml_text(chance)
        else:
            element.text = xml_text(chance)
    encoding = chance.choice(("utf-8", "utf-8", "us-ascii", "utf-16"))
    return etree.tostring(
        root, encoding=encoding, xml_declaration=chance.random() < 0.5 or encoding == "utf-16"
    )


def xml_text(chance: random.Random) -> str:
    """An odd text that XML can hold."""
    text = odd_text(chance)
    return "".join(
        c
        for c in text
        if c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff"
    )
