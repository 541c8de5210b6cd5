"""Records of every source and style, cleaned: writable, and cleaned twice as once."""

from __future__ import annotations

import json
import random
from pathlib import Path

from support.fuzz.kinds.texts import text_of
from support.fuzz.mutate import encodable
from support.fuzz.rows import check_records, clean_once

from meadow.schema import Record, Style, Task, make_record
from meadow.source import Options
from meadow.sources import SOURCES

NAMES = sorted(SOURCES)


def make(index: int) -> bytes:
    """A record as JSON; its texts may hold halves of surrogate pairs."""
    chance = random.Random(f"records {index}")
    values = {name: text_of(chance) for name in ("instruction", "input", "output")}
    values |= {
        "source": NAMES[index % len(NAMES)],
        "style": chance.choice(("meadow", "meadow", "2023")),
    }
    return json.dumps(values).encode()


def check(data: bytes, folder: Path) -> str:
    """Kept or refused; what is kept fits a shard and stays as it is."""
    values = json.loads(data)
    style = Style(values.pop("style"))
    texts = {name: values[name] for name in ("instruction", "input", "output")}
    record = make_record(
        source=values["source"],
        key=tuple(texts.values()),
        task=Task.OPEN_QA,
        license="mit",
        **texts,
    )
    cleaned = clean_once(record, Options(style=style))
    if not isinstance(cleaned, Record):
        return f"reject {cleaned.reason.value}"
    check_records([cleaned])
    if style is Style.PUBLISHED_2023 and all(encodable(text) == text for text in texts.values()):
        same = (cleaned.instruction, cleaned.input, cleaned.output)
        scrubbed = any(repair.startswith("scrubbed_") for repair in cleaned.repairs)
        assert scrubbed or same == tuple(texts.values()), "style 2023 changed more than it may"
    return "row"
