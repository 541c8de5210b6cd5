"""Damaged shards of a corpus: what is opened and checked is what was written, or it is refused."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from support.corpora import write_corpus
from support.fuzz.engine import SilentDifferenceError
from support.fuzz.mutate import mutant

from meadow.api import open_corpus
from meadow.errors import MeadowError
from meadow.quality.check import check_corpus
from meadow.samples import FOLDER
from meadow.schema import from_row

TOKENS = (
    b"PAR1",
    b"PARE",
    b"\xff" * 8,
    b"\x00" * 8,
    b"\x15\x00\x15",
    b"\x7f\xff\xff\xff",
    b"\x28\xb5\x2f\xfd",
)
SHARD = "data/medquad/train-00000-of-00001.parquet"


@cache
def original(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The shard's bytes and rows, in a corpus below `folder`."""
    fixtures = FOLDER.parents[1] / "tests/fixtures/medquad/expected.jsonl"
    rows = [json.loads(line) for line in fixtures.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["meta"] = row["meta"] if isinstance(row["meta"], str) else json.dumps(row["meta"])
    corpus = write_corpus(folder / "corpus", [from_row(row) for row in rows])
    return (folder / "corpus" / SHARD).read_bytes(), corpus.to_arrow().to_pylist()


def prepare(folder: Path) -> None:
    """Write the corpus once."""
    original(folder)


@cache
def _seed() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return original(Path(folder))[0]


def make(index: int) -> bytes:
    """A few flips, cuts and wrong numbers; half of them in the footer."""
    chance = random.Random(f"shards {index}")
    seed = _seed()
    if index % 2:
        cut = chance.randrange(len(seed) // 2, len(seed) - 8)
        return seed[:cut] + mutant(chance, seed[cut:], TOKENS, most=2, binary=True)
    return mutant(chance, seed, TOKENS, most=2, binary=index % 4 != 0)


def check(data: bytes, folder: Path) -> str:
    """The manifest's hash refuses it; without the hash it is read or refused, and never ends us."""
    content, rows = original(folder)
    path = folder / "corpus" / SHARD
    path.write_bytes(data)
    if data == content:
        return "same"
    unhashed = "refused"
    try:
        corpus = open_corpus(folder / "corpus")
        unhashed = "same" if corpus.to_arrow().to_pylist() == rows else "different"
    except MeadowError:
        pass
    try:
        open_corpus(folder / "corpus", verify=True)
    except MeadowError:
        pass
    else:
        raise SilentDifferenceError("open_corpus(verify=True) took a damaged shard")
    if not any(finding.kind == "changed_file" for finding in check_corpus(folder / "corpus")):
        raise SilentDifferenceError("meadow check took a damaged shard")
    return f"refused; without the manifest {unhashed}"
