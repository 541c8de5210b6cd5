"""A streamed JSON array against the standard library's parse of the whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

from support.fuzz.kinds.json_lines import ODD_LINES
from support.fuzz.kinds.sources import TEXT_TOKENS
from support.fuzz.mutate import mutant
from support.fuzz.rows import collected, write_input

from meadow.errors import FileError
from meadow.readers import json_rows
from meadow.samples import FOLDER
from meadow.source import Options

SEEDS = [path.read_bytes() for path in sorted(FOLDER.glob("*/*.json"))]


def make(index: int) -> bytes:
    """A mutant of a sample, or an array of good and odd rows."""
    chance = random.Random(f"json_array {index}")
    if index % 2:
        rows = [chance.choice((b'{"a": "b"}', *ODD_LINES)) for _ in range(chance.randint(0, 6))]
        return b"[" + chance.choice((b",", b" ,\n ", b",\r\n")).join(rows) + b"]"
    return mutant(chance, chance.choice(SEEDS), TEXT_TOKENS)


def check(data: bytes, folder: Path) -> str:
    """An array that parses whole gives its objects in order, and a reject for each other value."""
    json_rows.CHUNK = (5, 100, 1 << 20)[len(data) % 3]
    item = write_input(folder, "array.json", data)
    wanted = None
    try:
        whole = json.loads(data.decode("utf-8").removeprefix("\ufeff"))
        wanted = whole if isinstance(whole, list) else None
    except (ValueError, RecursionError):
        pass
    try:
        kept, rejects, _ = collected(json_rows.read_array([item], Options()))
    except FileError:
        assert wanted is None, data[:300]
        raise
    if wanted is not None:
        assert len(kept) + len(rejects) == len(wanted), f"{len(wanted)} in, {len(kept)} kept"
        values = iter(wanted)
        for row in kept:
            shown = {key: item for key, item in row.items() if key != "_where"}
            # in order: each is the next one of its value, whatever was rejected in between
            assert any(_plain(value) == shown for value in values), row
    return "rejects" if rejects else "rows"


def _plain(value: object) -> object:
    return {k: v for k, v in value.items() if k != "_where"} if isinstance(value, dict) else None
