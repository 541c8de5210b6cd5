"""Tokens of a folder's rows, by source and licence, with a tokenizer that its maker names.

The base installation has no tokenizer, and counts differ between them: so the name and the hash of
the one that was used stand beside every count, and without one nothing is said.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file
from meadow.cards.rows import Locate, training_shards
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import read_rows
from meadow.errors import FileError, UsageError

_BATCH = 1000


def count_tokens(manifest: Manifest, locate: Locate, given: str) -> dict[str, Any]:
    """Tokens of instruction, input and output of every row, as `details.tokens` holds them.

    `given` is `NAME=PATH` of a tokenizer.json, or of a folder that holds one.

    Returns:
        tokenizer, sha256, and sources: source -> licence -> tokens.

    Raises:
        UsageError: It is not of that form, or no tokenizer library is installed.
        FileError: There is no such file, or it is no tokenizer.
    """
    name, _, place = given.partition("=")
    path = Path(place) / "tokenizer.json" if Path(place).is_dir() else Path(place)
    if not (name.strip() and place):
        raise UsageError(
            f"--tokenizer {given!r} is not NAME=PATH", fix="--tokenizer qwen3=tokenizer.json"
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UsageError("tokenizers is not installed", fix="pip install tokenizers") from error
    if not path.is_file():
        raise FileError("there is no such tokenizer", where=str(path), fix="check the path")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # its library raises nothing narrower
        raise FileError(
            f"not a tokenizer: {' '.join(str(error).split())[:200]}",
            where=str(path),
            fix="give a tokenizer.json as the tokenizers library writes it",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts: dict[str, Counter[str]] = {}
    columns = ["source", "license", "instruction", "input", "output"]
    for shard in training_shards(manifest):
        for rows in read_rows(locate(shard.path), columns).iter_slices(_BATCH):
            own = rows.select("source", "license").rows()
            for column in rows[:, 2:].iter_columns():
                encoded = tokenizer.encode_batch_fast(column.to_list(), add_special_tokens=False)
                for (source, license), one in zip(own, encoded, strict=True):
                    counts.setdefault(source, Counter())[license] += len(one)
    sources = {source: dict(sorted(counts[source].items())) for source in sorted(counts)}
    return {
        "tokenizer": " ".join(name.split()),
        "sha256": sha256_file(path),
        "sources": sources,
    }
