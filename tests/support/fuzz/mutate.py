"""Mutants of bytes and of JSON values, from a random generator that the caller seeds."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

ODD_TEXTS = (
    *("", " ", "\x00", "\ufeff", "\u2028", "\u200b", "\u00ad", "\u202e", "\ufffd", "\ud800"),
    *("e\u0301", "İ", "ß", "ﬁ", "Ⅷ", "٣", "²", "𝟙", "👩‍⚕️", "\U0010ffff", "\x1f", "\x85"),
    *("---", "...", "{{ 7*7 }}", "{% raw %}", "<script>alert(1)</script>", "|", "`", "```", "~~~"),
    *("](javascript:alert(1))", "<img src=x onerror=alert(1)>", "-->", "]]>", "&lt;", "&#0;"),
    *("<!-- /generated -->", "<!-- generated:licenses -->", "# a", "=1+1", "!!python/object:a"),
    *("%s%n", "../../x", "C:\\x", "NA", "null", "NaN", "1e999", "-0", "0x10", "1_000", "on", "~"),
    *("'", '"', "\\", "*", "_", "\n", "\r\n", "\t", "a: b", "- a", "&a", "*a", "? a", "[a", "{a"),
)


_REWRITES = (
    *("flip", "flip", "byte", "byte", "insert", "delete", "repeat", "move", "splice", "cut"),
    *("token", "token", "token", "lines", "lines"),
)
_SMALL = ("flip", "flip", "flip", "byte", "byte", "cut", "insert", "delete")
_ODD_BYTES = (0, 9, 10, 13, 32, 34, 39, 44, 60, 62, 127, 128, 255)


def mutant(
    chance: random.Random,
    seed: bytes,
    tokens: Sequence[bytes] = (b"\x00",),
    *,
    most: int = 5,
    binary: bool = False,
) -> bytes:
    """The seed after one to `most` rewrites; for binary formats mostly flips and cuts."""
    data = bytes(seed)
    for _ in range(chance.randint(1, most)):
        data = _rewritten(chance, data, chance.choice(_SMALL if binary else _REWRITES), tokens)
    return data


def _rewritten(chance: random.Random, data: bytes, how: str, tokens: Sequence[bytes]) -> bytes:
    start = chance.randrange(len(data) + 1)
    before, piece = data[:start], data[start : start + chance.randint(1, 200)]
    after = data[start + len(piece) :]
    match how:
        case "flip" if piece:
            return before + bytes((piece[0] ^ 1 << chance.randrange(8),)) + piece[1:] + after
        case "byte" if piece:
            odd = chance.choice((*_ODD_BYTES, chance.randrange(256)))
            return before + bytes((odd,)) + piece[1:] + after
        case "insert":
            return before + chance.randbytes(chance.randint(1, 8)) + piece + after
        case "delete":
            return before + after
        case "repeat":
            return before + piece[:60] * chance.choice((2, 3, 10, 300)) + piece[60:] + after
        case "move":
            rest = before + after
            at = chance.randrange(len(rest) + 1)
            return rest[:at] + piece + rest[at:]
        case "splice":
            return before + after + piece
        case "cut":
            return before if chance.random() < 0.7 else piece + after
        case "token":
            kept = piece[chance.randint(0, 12) :] if chance.random() < 0.5 else piece
            return before + chance.choice(tokens) + kept + after
        case "lines" if data:
            lines = data.splitlines(keepends=True)
            one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            line = lines.pop(one)
            # it goes, stands elsewhere, or in both places
            if chance.random() < 0.67:
                lines.insert(other, line)
            if chance.random() < 0.33:
                lines.insert(one, line)
            return b"".join(lines)
    return data


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

    Most rewrites are about elements named `tag`, where one is given.
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
