"""Every source from a mutated file of its 2023 release: rows of instruction, input and output."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from support.fuzz.kinds.sources import TEXT_TOKENS
from support.fuzz.kinds.texts import text_of
from support.fuzz.mutate import encodable, mutant, mutate_value
from support.fuzz.rows import drain, write_input

from meadow.samples import FOLDER
from meadow.schema import Style
from meadow.source import Options
from meadow.sources import SOURCES

NAMES = sorted(name for name, source in SOURCES.items() if source.published is not None)
OPTIONS = (
    *("{'A': 'one', 'B': 'two'}", "['one', 'two']", "{[]: 1}", "{'A': 1e999}", "{" * 200),
    *("[" * 5000, "{1: 2}", "{'A': __import__('os')}", "-" * 3000 + "1"),
    *("{'A': 'one', 'A': 'two'}", "{'A': {'B': []}}", "9" * 5000),
)


def _rows(name: str) -> list[dict[str, Any]]:
    path = FOLDER.parents[1] / f"tests/fixtures/{name}/expected.jsonl"
    if not path.is_file():
        return [{"instruction": "Answer.", "input": "What is sepsis?", "output": "A reaction."}]
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{key: row[key] for key in ("instruction", "input", "output")} for row in rows]


def make(index: int) -> bytes:
    """The source on the first line, then an array of rows."""
    chance = random.Random(f"published {index}")
    name = NAMES[index % len(NAMES)]
    rows = _rows(name)[:8]
    for row in rows:
        if chance.random() < 0.3:
            row["input"] = f"Q:{text_of(chance)}? \n{chance.choice(OPTIONS)},"
            row["output"] = f"{chance.choice('ABCZ')}: {chance.choice(('one', 'two', ''))}"
        elif chance.random() < 0.3:
            row[chance.choice(("instruction", "input", "output"))] = encodable(text_of(chance))
    head = json.dumps({"source": name, "style": chance.choice(("meadow", "2023"))}).encode() + b"\n"
    if index % 3 == 0:
        return head + mutant(chance, json.dumps(rows).encode(), TEXT_TOKENS)
    return head + json.dumps(mutate_value(chance, rows) if index % 3 == 1 else rows).encode()


def check(data: bytes, folder: Path) -> str:
    """Rows, rejects and expected errors only; every row can stand in a shard."""
    head, _, content = data.partition(b"\n")
    settings = json.loads(head)
    origin = SOURCES[settings["source"]].published
    assert origin is not None
    item = write_input(folder, "release.json", content)
    found = drain(origin, [item], Options(style=Style(settings["style"])))
    return "rejects" if found["reject"] else "rows"
