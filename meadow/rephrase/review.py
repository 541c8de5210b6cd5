"""Judging a model's work by hand: a sample of rows, and the error rate that their marks give."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import replace

from meadow.atomic import locked
from meadow.cards.documents import render_documents
from meadow.charts import wilson
from meadow.chat.review import sample, visible
from meadow.corpus.commit import commit_folder
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import UsageError
from meadow.rephrase.rewrite import original_shards
from meadow.rephrase.write import Kind, sidecar_files
from meadow.schema import split_reasoning

MARKS = {"good": True, "g": True, "1": True, "bad": False, "b": False, "0": False}
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "rephrase": ("id", "original_question", "original_answer", "question", "answer"),
    "reason": ("id", "question", "reasoning", "answer"),
}
Cells = tuple[str, ...]
"""The cells of a row's line in the sheet, its id first."""


def sample_rows(corpus: Corpus, kind: Kind, source: str, count: int, seed: int = 0) -> list[Cells]:
    """Rows of a source that a model worked on, chosen by a hash of (seed, id), in its order.

    Raises:
        UsageError: The corpus holds none.
    """
    rows = _reasoned(corpus, source) if kind == "reason" else _pairs(corpus, source)
    if not rows:
        raise UsageError(
            f"no row of {source} is {'rewritten' if kind == 'rephrase' else 'reasoned about'} in "
            "this corpus",
            where=str(corpus.folder),
            fix=f"give the folder that `meadow {kind} --out` wrote",
        )
    return [rows[one] for one in sample(rows, count, seed)]


def _pairs(corpus: Corpus, source: str) -> dict[str, Cells]:
    """Question and answer before and after."""
    texts = ["id", "input", "output"]
    before = {
        row["id"]: (row["input"], row["output"])
        for shard in original_shards(corpus)
        for row in read_parquet(corpus.folder / shard["path"], ["source", *texts]).to_pylist()
        if row["source"] == source
    }
    after = corpus.to_arrow(source, columns=texts).to_pylist() if before else []
    return {
        row["id"]: (row["id"], *before[row["id"]], row["input"], row["output"])
        for row in after
        if row["id"] in before
    }


def _reasoned(corpus: Corpus, source: str) -> dict[str, Cells]:
    """Question, reasoning and answer."""
    if source not in corpus.manifest.details.get("reason", {}):
        return {}
    found: dict[str, Cells] = {}
    texts = ["id", "instruction", "input", "output"]
    for row in corpus.to_arrow(source, columns=texts).to_pylist():
        reasoning, answer = split_reasoning(row["output"])
        if reasoning is not None:
            question = row["input"] or row["instruction"]
            found[row["id"]] = (row["id"], question, reasoning, answer)
    return found


def shown(kind: Kind, cells: Cells, width: int = 100) -> str:
    """A row for the terminal: a reasoning below its question, a rewrite beside its original."""
    if kind == "reason":
        lines = [line for cell in cells[1:] for line in (*visible(cell).split("\n"), "-" * width)]
        return "\n".join(part for line in lines for part in textwrap.wrap(line, width) or [""])
    half = max(20, (width - 3) // 2)

    def wrapped(text: str) -> list[str]:
        lines = visible(text).split("\n")
        return [part for line in lines for part in textwrap.wrap(line, half) or [""]]

    pages = []
    for left, right in ((cells[1], cells[3]), (cells[2], cells[4])):
        columns = itertools.zip_longest(wrapped(left), wrapped(right), fillvalue="")
        pages += [f"{one:<{half}} | {other}".rstrip() for one, other in columns]
        pages.append("-" * half + "-+-" + "-" * half)
    return "\n".join(pages)


def record_review(corpus: Corpus, kind: Kind, source: str, marks: dict[str, bool]) -> Manifest:
    """Put the measured error rate into the manifest and the card.

    Raises:
        UsageError: A marked row is not one that the model worked on.
    """
    known = {cells[0] for cells in sample_rows(corpus, kind, source, 1 << 62)}
    if strange := marks.keys() - known:
        raise UsageError(
            f"no row that the model worked on has the id {min(strange)}", where=str(corpus.folder)
        )
    bad, marked = sum(not good for good in marks.values()), len(marks)
    review = {"marked": marked, "bad": bad, "error_rate": bad / marked,
              "interval_95": list(wilson(bad, marked))}  # fmt: skip
    with locked(corpus.folder):
        told = corpus.manifest.details[kind]
        told = {**told, source: {**told[source], "review": review}}
        details = {**corpus.manifest.own_details, kind: told}
        files = tuple(sidecar_files(corpus.manifest))
        manifest = replace(corpus.manifest, details=details, files=files)
        documents = render_documents(manifest, lambda path: corpus.folder / path)
        return commit_folder(corpus.folder, manifest, {}, documents)
