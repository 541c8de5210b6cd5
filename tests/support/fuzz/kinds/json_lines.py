"""JSON lines, twenty a file: each good line is kept as it is, each other line is one reject."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from support.fuzz.kinds.sources import TEXT_TOKENS
from support.fuzz.mutate import encodable, mutant, mutate_value, odd_value
from support.fuzz.rows import check_item, write_input

from meadow.readers import json_rows
from meadow.samples import FOLDER
from meadow.schema import Reject, has_lone_surrogate
from meadow.source import Options

LINES = 20


def _is_good(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


SEEDS = [
    line
    for path in sorted(FOLDER.glob("*/*.jsonl"))
    for line in path.read_bytes().splitlines()
    if len(line) < 3000 and _is_good(line)
]
ODD_LINES = (
    *(b"", b" ", b"\t", b"[]", b"1", b'"a"', b"null", b"true", b"{}", b'{"a":1}{"b":2}'),
    *(b"{'a':1}", b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1,"a":2}', b'{"a":"\\ud800"}'),
    *(b'{"\\udfff":1}', b'{"a":"\\ud83d\\ude00"}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}'),
    *(b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":' + b"[" * 3000, b'{"a":' * 3000),
    *(b"\xef\xbb\xbf{}", b'{"a":"b\x0bc"}', b'{"a":"\\u0000"}', b'{"a":"\xe2\x80\xa8"}'),
    *(b'{"a":"x"}\r', b'\x85{"a":1}', b'{"_where":"elsewhere"}', b'{"a":"\x1c"}'),
    *(b'\x1c{"a":1}\x1d', b"\xc2\xa0{}", b'{"a":01}'),
    *(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":1.0e}', b'{"a":"\\x"}', b'{"a" 1}'),
)


def make(index: int) -> bytes:
    """Twenty lines: good ones, mutants, odd values and the known odd ones."""
    chance = random.Random(f"json_lines {index}")
    lines = []
    for _ in range(LINES):
        how = chance.random()
        if how < 0.4:
            line = chance.choice(SEEDS)
        elif how < 0.6:
            line = mutant(chance, chance.choice(SEEDS), TEXT_TOKENS).replace(b"\n", b" ")
        elif how < 0.75:
            text = json.dumps(mutate_value(chance, json.loads(chance.choice(SEEDS))))
            line = text.encode()
        elif how < 0.85:
            line = encodable(json.dumps(odd_value(chance), ensure_ascii=False)).encode()
        else:
            line = chance.choice(ODD_LINES)
        lines.append(line.replace(b"\n", b" "))
    return b"\n".join(lines) + (b"\n" if chance.random() < 0.8 else b"")


def check(data: bytes, folder: Path) -> str:
    """Line by line what the standard library says of it, held to RFC 8259."""
    item = write_input(folder, "lines.jsonl", data)
    found = list(json_rows.read_lines([item], Options()))
    lines = data.split(b"\n")
    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    expected = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    assert len(found) == len(expected), f"{len(expected)} lines in, {len(found)} rows out"
    rejects = 0
    for (number, line), row in zip(expected, found, strict=True):
        good, value = reference(line)
        where = row.where if isinstance(row, Reject) else row["_where"]
        assert where == f"lines.jsonl:{number}", (where, number)
        if isinstance(row, Reject):
            check_item(row)
            rejects += 1
            assert not good, (line, row)
        else:
            assert good, (line, row)
            value.pop("_where", None)
            kept = {key: item for key, item in row.items() if key != "_where"}
            assert kept == value, (kept, value)
            json.dumps(dict(row), ensure_ascii=False).encode("utf-8")
    return "rejects" if rejects else "rows"


def reference(line: bytes) -> tuple[bool, Any]:
    """Whether a line is an object that can be kept, and its value."""
    repeated = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in found}) != len(found):
            repeated.append(True)
        return dict(found)

    def constant(name: str) -> Any:
        repeated.append(True)

    try:
        text = line.decode("utf-8").strip()
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError):
        return False, None
    if repeated or not isinstance(value, dict):
        return False, None
    return not has_lone_surrogate(json.dumps(value, ensure_ascii=False)), value
