"""Judging rewrites by hand: a sample side by side, and the error rate that its marks give."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from meadow.atomic import locked, write_text
from meadow.cards.documents import render_documents
from meadow.charts import wilson
from meadow.corpus.commit import commit_folder
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError, UsageError
from meadow.rephrase.write import original_shards

COLUMNS = ("id", "original_question", "original_answer", "question", "answer", "mark", "note")
MARKS = {"good": True, "g": True, "1": True, "bad": False, "b": False, "0": False}


@dataclass(frozen=True, slots=True)
class Pair:
    """A row before and after."""

    id: str
    original_question: str
    original_answer: str
    question: str
    answer: str


def sample_pairs(corpus: Corpus, source: str, count: int, seed: int = 0) -> list[Pair]:
    """Rewritten rows of a source, chosen by a hash of (seed, id), in the order of that hash.

    Raises:
        UsageError: The corpus holds no rewritten rows.
    """
    texts = ["id", "input", "output"]
    before = {
        row["id"]: (row["input"], row["output"])
        for shard in original_shards(corpus)
        for row in read_parquet(corpus.folder / shard["path"], ["source", *texts]).to_pylist()
        if row["source"] == source
    }
    if not before:
        raise UsageError(
            f"no row of {source} is rewritten in this corpus",
            where=str(corpus.folder),
            fix="give the folder that `meadow rephrase --out` wrote",
        )
    chosen = sorted(before, key=lambda item: hashlib.sha256(f"{seed}:{item}".encode()).digest())
    after = {
        row["id"]: (row["input"], row["output"])
        for row in corpus.to_arrow(source, columns=texts).to_pylist()
    }
    return [Pair(item, *before[item], *after[item]) for item in chosen[:count]]


def side_by_side(pair: Pair, width: int = 100) -> str:
    """A pair for the terminal: the original left, the rewrite right."""
    half = max(20, (width - 3) // 2)

    def wrapped(text: str) -> list[str]:
        lines = _visible(text).split("\n")
        return [part for line in lines for part in textwrap.wrap(line, half) or [""]]

    shown = []
    for left, right in (
        (pair.original_question, pair.question),
        (pair.original_answer, pair.answer),
    ):
        columns = itertools.zip_longest(wrapped(left), wrapped(right), fillvalue="")
        shown += [f"{one:<{half}} | {other}".rstrip() for one, other in columns]
        shown.append("-" * half + "-+-" + "-" * half)
    return "\n".join(shown)


def _visible(text: str) -> str:
    """The text without characters that could steer a terminal."""
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in text)


def write_review(path: Path, pairs: Iterable[Pair], marks: dict[str, str] | None = None) -> None:
    """Write the sample as CSV, to be marked `good` or `bad`; a cell never begins a formula."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair in pairs:
        writer.writerow([*map(_cell, astuple(pair)), (marks or {}).get(pair.id, ""), ""])
    write_text(path, target.getvalue())


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def mark_pairs(pairs: Sequence[Pair], ask: Callable[[str], str]) -> dict[str, str]:
    """Ask for each pair until the answer is a mark; `q` ends early.

    Args:
        pairs: The sample.
        ask: Shows a text and gives back what was typed.
    """
    marks: dict[str, str] = {}
    for number, pair in enumerate(pairs, start=1):
        shown = f"{number} of {len(pairs)}: {pair.id}\n{side_by_side(pair)}"
        typed = ""
        while typed not in {"q", "s", *MARKS}:
            typed = ask(f"{shown}\n[g]ood, [b]ad, [s]kip, [q]uit").strip().lower()
        if typed == "q":
            break
        if typed in MARKS:
            marks[pair.id] = "good" if MARKS[typed] else "bad"
    return marks


def read_marks(path: Path) -> dict[str, bool]:
    """Id -> whether the rewrite is good, for the marked rows of a review.

    Raises:
        FileError: The file cannot be read.
        UsageError: It is no review, or a mark is neither good nor bad.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"the review cannot be read: {error}", where=str(path)) from error
    marks = {}
    for number, row in enumerate(rows, start=2):
        mark = (row.get("mark") or "").strip().lower()
        if "id" not in row or "mark" not in row or (mark and mark not in MARKS):
            raise UsageError(
                f"not a mark: {mark!r}",
                where=f"{path}:{number}",
                fix="good or bad in the column mark; empty for a row that was not looked at",
            )
        if mark:
            marks[row["id"]] = MARKS[mark]
    if not marks:
        raise UsageError("no row is marked", where=str(path))
    return marks


def record_review(corpus: Corpus, source: str, marks: dict[str, bool]) -> Manifest:
    """Put the measured error rate into the manifest and the card.

    Raises:
        UsageError: A marked row is not a rewritten row of the corpus.
    """
    everything = sample_pairs(corpus, source, 1 << 62)
    if strange := marks.keys() - {pair.id for pair in everything}:
        raise UsageError(f"no rewritten row has the id {min(strange)}", where=str(corpus.folder))
    bad, marked = sum(not good for good in marks.values()), len(marks)
    review = {"marked": marked, "bad": bad, "error_rate": bad / marked,
              "interval_95": list(wilson(bad, marked))}  # fmt: skip
    with locked(corpus.folder):
        told = corpus.manifest.details["rephrase"]
        told = {**told, source: {**told[source], "review": review}}
        details = {**corpus.manifest.details, "rephrase": told}
        sidecars = tuple(file for file in corpus.manifest.files if file.path.startswith("data/"))
        manifest = replace(corpus.manifest, details=details, files=sidecars)
        documents = render_documents(manifest, lambda path: corpus.folder / path)
        return commit_folder(corpus.folder, manifest, {}, documents)
