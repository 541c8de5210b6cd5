"""Judging rewrites by hand: a sample side by side, and the error rate that its marks give."""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass, replace

from meadow.atomic import locked
from meadow.cards.documents import render_documents
from meadow.charts import wilson
from meadow.chat.review import sample, visible
from meadow.corpus.commit import commit_folder
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import UsageError
from meadow.rephrase.write import original_shards

COLUMNS = ("id", "original_question", "original_answer", "question", "answer")
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
    after = {
        row["id"]: (row["input"], row["output"])
        for row in corpus.to_arrow(source, columns=texts).to_pylist()
    }
    return [Pair(item, *before[item], *after[item]) for item in sample(before, count, seed)]


def side_by_side(pair: Pair, width: int = 100) -> str:
    """A pair for the terminal: the original left, the rewrite right."""
    half = max(20, (width - 3) // 2)

    def wrapped(text: str) -> list[str]:
        lines = visible(text).split("\n")
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
        details = {**corpus.manifest.own_details, "rephrase": told}
        sidecars = tuple(file for file in corpus.manifest.files if file.path.startswith("data/"))
        manifest = replace(corpus.manifest, details=details, files=sidecars)
        documents = render_documents(manifest, lambda path: corpus.folder / path)
        return commit_folder(corpus.folder, manifest, {}, documents)
