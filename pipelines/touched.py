"""Training rows that touch exam items, by level: planted, to see what contamination does.

A held-out item's own row goes back into the training rows, as it stands or in disguise, and with it
the right answer. Nothing else of the mix changes, so that a twin with such rows and the arm without
them differ by contamination alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from meadow.atomic import hash_json
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import NAME, Manifest
from meadow.corpus.shards import write_shards
from meadow.schema import Record, arrow_schema, from_row, to_rows
from pipelines.held_out import HeldOut, draw
from pipelines.study_config import SUBSET, Level, Touch

EDITED = 5
"""Every fifth word becomes another one of the same text: decontamination still finds most."""
_BREAK = re.compile(r"(?<=[.?!;:,])\s+")


def _verbatim(text: str, words: Mapping[str, str], chance: random.Random) -> str:
    return text


def _edited(text: str, words: Mapping[str, str], chance: random.Random) -> str:
    parts = text.split()
    return " ".join(
        chance.choice(parts) if place % EDITED == EDITED - 1 else part
        for place, part in enumerate(parts)
    )


def _reordered(text: str, words: Mapping[str, str], chance: random.Random) -> str:
    """Clauses in another order; a text of one clause has its halves exchanged."""
    parts = _BREAK.split(text)
    if len(parts) == 1:
        whole = text.split()
        parts = [" ".join(whole[: len(whole) // 2]), " ".join(whole[len(whole) // 2 :])]
    turn = chance.randrange(1, len(parts)) if len(parts) > 1 else 0
    return " ".join(parts[turn:] + parts[:turn])


def _reworded(text: str, words: Mapping[str, str], chance: random.Random) -> str:
    """Words and phrases by those of a table, longest first, each place once."""
    if not words:
        return text
    longest = sorted(words, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest))})\b", re.IGNORECASE)

    def other(match: re.Match[str]) -> str:
        said = words[match[0].lower()]
        return said[:1].upper() + said[1:] if match[0][:1].isupper() else said

    return pattern.sub(other, text)


LEVELS: dict[Level, Callable[[str, Mapping[str, str], random.Random], str]] = {
    "verbatim": _verbatim,
    "edited": _edited,
    "reordered": _reordered,
    "reworded": _reworded,
}


def touched_ids(held: HeldOut, touch: Touch, seed: int) -> list[str]:
    """The record ids of the items whose rows are touched, the same at every level."""
    ids = [item["id"] for item in held.items[touch.exam]]
    return [one for one in ids if draw(seed, f"touch:{one}") < int(touch.share * 2**64)]


def disguised(whole: Corpus, held: HeldOut, touch: Touch, seed: int) -> list[tuple[Record, Record]]:
    """Each touched item's own row, and the row that goes into the mix in its place."""
    pairs = []
    for row in whole.rows_of(touched_ids(held, touch, seed)).to_dicts():
        record = from_row(row)
        chance = random.Random(f"{seed}{touch.level}{record.id}")  # noqa: S311 - no secret
        text = LEVELS[touch.level](record.input, touch.words, chance)
        pairs.append((record, record._replace(input=text, subset=SUBSET)))
    return pairs


def kept_runs(pairs: Sequence[tuple[Record, Record]]) -> float:
    """The share of the items' runs of three words that their touched rows still have."""
    shares = []
    for before, after in pairs:
        first, second = (word_runs(record.input) for record in (before, after))
        shares.append(len(first & second) / len(first) if first else 1.0)
    return sum(shares) / len(shares) if shares else 1.0


def word_runs(text: str) -> set[tuple[str, ...]]:
    """Three words after each other, in lower case."""
    words = text.lower().split()
    return set(zip(words, words[1:], words[2:], strict=False))


def write_touched(pairs: Sequence[tuple[Record, Record]], out: Path) -> Path:
    """A small corpus of touched rows, in a folder named by its contents; returns it."""
    rows = list(to_rows([after for _, after in pairs]))
    config_hash = hash_json([[row["id"], row["input"]] for row in rows])
    folder = out / f"{SUBSET}-{config_hash[:12]}"
    if not (folder / NAME).is_file():
        table = pa.Table.from_pylist(rows, schema=arrow_schema())
        Manifest(
            stage="mix", config_hash=config_hash, settings={},
            configs={SUBSET: {"train": write_shards([table], folder, SUBSET)}},
        ).write(folder)  # fmt: skip
    return folder
