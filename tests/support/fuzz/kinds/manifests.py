"""Manifests of somebody else's corpus: checked, rendered and reported on, or refused."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from support.corpora import record, write_corpus
from support.fuzz.mutate import mutant, mutate_value

from meadow.api import open_corpus
from meadow.cards.documents import render_documents
from meadow.errors import MeadowError
from meadow.quality.browse import index_html
from meadow.quality.check import check_corpus
from meadow.quality.page import render_html, render_markdown
from meadow.quality.report import build_report

TOKENS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"1e999", b"-1", b"true", b"\xff"),
    *(b"\\ud800", b'"../x"', b'"data/../../x"', b'"/etc/passwd"', b'"mix"', b'"build"'),
    *(b"9" * 5000, b"[" * 5000),
)
DETAILS = {
    "contact": "a@b.example",
    "warnings": ["a part was not met"],
    "arithmetic": ["1 + 1 = 2"],
    "parts": [{"part": "medquad", "expected": 2, "found": 1, "met": False, "note": "too few"}],
    "contamination": {
        "usmle_1": {
            "items": 3,
            "rows": {"stem": 1, "stem+answer": 0},
            "items_found": {"stem": 1},
            "remaining": {"rows": {"stem": 0}},
            "verdict": "clean",
        },
    },
    "rephrase": {
        "anki": {
            "model": "a-model",
            "prompt": "flashcard-1",
            "prompt_sha256": "ab" * 32,
            "items": 3,
            "rewritten": 2,
            "kept_number": 1,
            "review": {"error_rate": 0.1, "bad": 1, "marked": 10, "interval_95": [0.0, 0.4]},
        },
    },
    "reason": {
        "medquad": {
            "model": "a-teacher",
            "prompt": "reasoning-1",
            "prompt_sha256": "cd" * 32,
            "items": 2,
            "rewritten": 1,
            "kept_wrong_answer": 1,
            "tries": 2,
            "tried": 3,
            "repeated": 0,
            "at_try": [1, 0],
            "guessing": 0.36,
            "left_out": {"touches an exam": 1},
            "exams": {"usmle_1": {"items": 3}},
        },
    },
    "sidecars": {},
}


@cache
def corpus(folder: Path) -> dict[str, Any]:
    """The manifest of a small corpus below `folder`."""
    rows = [record(name, n, f"answer {n}") for name in ("medquad", "anki") for n in range(2)]
    write_corpus(folder / "corpus", rows)
    document: dict[str, Any] = json.loads((folder / "corpus/MANIFEST.json").read_text())
    document["details"] = DETAILS
    return document


@cache
def _seeds() -> list[dict[str, Any]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        build = corpus(Path(folder))
    entry = build["sources"]["anki"]
    step = {
        "name": "near duplicates",
        "rows_in": 4,
        "rows_out": 3,
        "rejected": {"near_duplicate": 1},
    }
    mix = build | {
        "stage": "mix",
        "sources": {},
        "configs": {"plain": {"train": entry["shards"], "validation": []}},
        "steps": [step],
    }
    return [build, mix]


def prepare(folder: Path) -> None:
    """Write the corpus once."""
    corpus(folder)


def make(index: int) -> bytes:
    """The document with odd values, or its bytes damaged."""
    chance = random.Random(f"manifests {index}")
    seed = chance.choice(_seeds())
    if index % 4 == 0:
        return mutant(chance, json.dumps(seed).encode(), TOKENS)
    return json.dumps(mutate_value(chance, seed, most=3)).encode()


def check(data: bytes, folder: Path) -> str:
    """Each reader of a corpus ends in what it makes or in an expected error."""
    corpus(folder)
    return check_folder(data, folder / "corpus")


def check_folder(data: bytes, place: Path) -> str:
    """Write the manifest and let everything read the corpus."""
    (place / "MANIFEST.json").write_bytes(data)
    opened = open_corpus(place)
    told = []
    for step in (
        lambda: opened.verify(),
        lambda: check_corpus(place),
        lambda: render_documents(opened.manifest, lambda name: place / name),
        lambda: opened.to_polars(),
        lambda: (repr(opened), opened._repr_html_(), index_html(title=str(opened.configs))),
        lambda: _report(opened),
    ):
        try:
            step()  # type: ignore[no-untyped-call]
            told.append("+")
        except MeadowError:
            told.append("-")
    return "".join(told)


def _report(opened: Any) -> None:
    report = build_report(opened)
    json.dumps(report)
    render_html(report)
    render_markdown(report)
