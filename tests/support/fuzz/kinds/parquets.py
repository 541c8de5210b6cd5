"""Damaged Parquet from elsewhere: messages, preferences, exams; rows, rejects or an error."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path
from typing import Any

from support.fuzz.kinds.shards import TOKENS
from support.fuzz.mutate import mutant
from support.fuzz.rows import drain, write_input

from meadow.source import Options
from meadow.sources import SOURCES

MESSAGES = [
    {
        "message_id": "a",
        "parent_id": None,
        "text": "What is sepsis?",
        "role": "prompter",
        "lang": "en",
        "rank": None,
        "deleted": False,
        "review_result": True,
        "message_tree_id": "a",
        "synthetic": False,
    },
    {
        "message_id": "b",
        "parent_id": "a",
        "text": "A reaction to infection.",
        "role": "assistant",
        "lang": "en",
        "rank": 0.0,
        "deleted": False,
        "review_result": True,
        "message_tree_id": "a",
        "synthetic": False,
    },
] * 1
PREFERENCES = [
    {
        "qid": 7,
        "question": "<p>Why?</p>",
        "date": "2020/01/02",
        "metadata": ["https://x.org/users/3/ann"],
        "answers": [
            {
                "answer_id": 9,
                "author": "Bob",
                "author_profile": "https://x.org/users/4/bob",
                "pm_score": 5,
                "selected": True,
                "text": "<p>Because.</p>",
            }
        ],
    },
]


@cache
def _seeds() -> list[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    rows: list[tuple[str, list[dict[str, Any]]]] = [
        (
            "openassistant",
            [
                {**row, "message_id": f"{n}{row['message_id']}"} if n else row
                for n in range(3)
                for row in MESSAGES
            ],
        ),
        ("stack_exchange", [{**row, "qid": n} for n in range(5) for row in PREFERENCES]),
    ]
    for source, values in rows:
        for compression in ("zstd", "snappy", "none"):
            buffer = io.BytesIO()
            table = pa.Table.from_pylist(values)
            pq.write_table(
                table,
                buffer,
                compression=compression,
                use_dictionary=compression != "none",
                write_page_checksum=compression == "zstd",
            )
            found.append((source, buffer.getvalue()))
    return found


def make(index: int) -> bytes:
    """The source on the first line, then the damaged file."""
    chance = random.Random(f"parquets {index}")
    source, seed = chance.choice(_seeds())
    if index % 2:
        cut = chance.randrange(len(seed) // 3, len(seed) - 8)
        data = seed[:cut] + mutant(chance, seed[cut:], TOKENS, most=2, binary=True)
    else:
        data = mutant(chance, seed, TOKENS, most=2, binary=index % 4 != 0)
    return source.encode() + b"\n" + data


def check(data: bytes, folder: Path) -> str:
    """The whole source from the file."""
    source, _, content = data.partition(b"\n")
    item = write_input(folder, "file.parquet", content, subset="fuzz")
    origin = SOURCES[source.decode()].upstream
    assert origin is not None
    found = drain(origin, [item], Options())
    return "rejects" if found["reject"] else "rows"
