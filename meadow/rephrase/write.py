"""From a corpus to the same corpus with rows that a model worked on: a new folder, manifest last.

What the rows were before, and what else the model said, stands in a sidecar, which is no config of
the corpus, so that nobody trains on it unawares. Sidecars of earlier work come along.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from meadow.atomic import hash_json, locked, replacing
from meadow.cards.documents import render_documents
from meadow.chat.client import ATTEMPTS, Answer, Asked
from meadow.chat.prompts import Prompt
from meadow.config import did_you_mean
from meadow.corpus.commit import claim, commit_folder, open_staging
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest, NamedFile, SourceEntry, library_versions
from meadow.corpus.shards import write_shards
from meadow.errors import UsageError
from meadow.schema import Reason, Record, arrow_schema, dump_meta, from_row, order_key, to_rows

BATCH = 4096

Kind = Literal["rephrase", "reason"]
"""What a model does with rows; its name in the manifest and in the rows' meta."""
Sidecar = Callable[[Corpus, Path, Sequence[Record], Sequence[Asked[Any]]], Mapping[str, Any]]
"""(corpus, folder, changed rows as they were, what was asked) -> what details say of its files."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that a model is asked about.

    Args:
        record: The row as it is: mostly one in the corpus; for a heading the one that the heading
            itself would be the question of.
        values: What the prompt is filled with.
        where: For a heading, where its reject stands in the quarantine.
    """

    record: Record
    values: Mapping[str, str]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a model is asked to do with the rows of a source.

    Args:
        kind: Rewriting or reasoning.
        source: The source.
        model: As the server names it.
        prompt: The words that it is asked in.
        items: What it is asked about.
        read: What is wanted out of (item, answer, request); raises `FaultError` where it is not
            there.
        change: (row, value) -> the row as it is then, without the provenance of the work.
        sidecar: Writes what stands beside the rows; the files themselves are told under "files".
        beside: Where those files lie: they replace what lay there.
        attempts: Times that the model is asked about an item, until an answer is of use.
        settle: What is left of what was asked once all of it is known.
        settings: What else the rows depend on.
        facts: What else is told of the work, from what was asked.
    """

    kind: Kind
    source: str
    model: str
    prompt: Prompt
    items: Sequence[Item]
    read: Callable[[Item, Answer, Mapping[str, Any]], Any]
    change: Callable[[Record, Any], Record]
    sidecar: Sidecar
    beside: str
    attempts: int = ATTEMPTS
    settle: Callable[[Sequence[Asked[Any]]], list[Asked[Any]]] = list
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Callable[[Sequence[Asked[Any]]], Mapping[str, Any]] = lambda asked: {}

    @property
    def job(self) -> dict[str, Any]:
        """Its identity in the manifest, without anything that varies by run."""
        return {
            "source": self.source,
            "model": self.model,
            "prompt": self.prompt.id,
            "prompt_sha256": self.prompt.sha256,
            **self.settings,
        }


def entry_to_work_on(corpus: Corpus, source: str, kind: Kind) -> SourceEntry:
    """What a build says of a source that a model has not worked on yet.

    Raises:
        UsageError: The corpus is no build, lacks the source, or was worked on already.
    """
    there = corpus.manifest.sources
    entry = there.get(source)
    if corpus.manifest.stage != "build" or entry is None:
        known = f"{did_you_mean(source, there)}one of {', '.join(there)}, or "
        raise UsageError(
            f"the folder is no build of {source}",
            where=str(corpus.folder),
            fix=f"{known if corpus.manifest.stage == 'build' else ''}build it first; a mix is made "
            "from the corpus that this gives",
        )
    if source in corpus.manifest.details.get(kind, {}):
        done = "is rewritten" if kind == "rephrase" else "has its reasoning"
        raise UsageError(
            f"{source} {done} already in this corpus",
            where=str(corpus.folder),
            fix="give the corpus as it was built",
        )
    return entry


def fault_counts(asked: Sequence[Asked[Any]]) -> dict[str, int]:
    """Why items came to nothing, by name; never a text."""
    return dict(sorted(Counter(one.fault for one in asked if one.fault).items()))


def write_worked(corpus: Corpus, work: Work, asked: Sequence[Asked[Any]], out: Path) -> Manifest:
    """Write the corpus with the changed rows into `out`: a new folder, or one of the same work.

    Raises:
        UsageError: `out` holds something else.
    """
    before, source = corpus.manifest, work.source
    entry = before.sources[source]
    # all that was done to the rows, with the corpus that it began with
    origin = hash_json([before.config_hash, [shard.sha256 for shard in entry.shards]])
    earlier = before.settings.get(work.kind, [])
    settings = {**before.settings, work.kind: [*earlier, {**work.job, "from": origin}]}
    config_hash = hash_json(settings)
    if out.resolve() == corpus.folder.resolve():
        raise UsageError("the changed corpus needs a folder of its own", fix="--out DIR")
    done = {
        item.record.id: (item, one)
        for item, one in zip(work.items, asked, strict=True)
        if one.value is not None
    }
    with locked(out):
        claim(out, "build", config_hash)
        staging = open_staging(out, config_hash)
        rows = _rows(corpus, source, [item.record for item, _ in done.values()])
        changed = [worked_record(work, *done[row.id]) if row.id in done else row for row in rows]
        shards = write_shards(as_tables(changed), staging, source)
        beside = dict(work.sidecar(corpus, staging, [row for row in rows if row.id in done], asked))
        files: list[NamedFile] = [*beside.pop("files")]
        admitted = {item.where for item, _ in done.values() if item.where}
        quarantine = _write_quarantine(corpus.folder, staging, entry.quarantine.path, admitted)
        carried = [f for f in sidecar_files(before) if not f.path.startswith(work.beside)]
        untouched = [e.files() for name, e in before.sources.items() if name != source]
        for file in (*carried, *(file for one in untouched for file in one)):
            with replacing(staging / file.path) as temporary:
                shutil.copyfile(corpus.folder / file.path, temporary)
        left = Counter(entry.rejected)
        left[Reason.NO_HEADING_RULE.value] -= len(admitted)
        counts = {
            "rewritten": len(done),
            **{f"kept_{fault}": count for fault, count in fault_counts(asked).items()},
        }
        new_entry = replace(
            entry,
            rows_out=sum(shard.rows for shard in shards),
            rejected=dict(+left),
            shards=shards,
            quarantine=quarantine,
            facts={**entry.facts, work.kind: counts},
        )
        if new_entry.rows_in != new_entry.rows_out + left.total():
            raise AssertionError(f"{source}: rows were lost: {new_entry}")
        told = {**work.job, "items": len(asked), **counts, **work.facts(asked)}
        manifest = replace(
            before,
            config_hash=config_hash,
            settings=settings,
            sources={**before.sources, source: new_entry},
            details={
                **before.own_details,
                work.kind: {**before.details.get(work.kind, {}), source: told},
                **beside,
            },
            files=(*carried, *files),
            versions=library_versions(),
        )
        staged = {name: staging / name for name in manifest.named()}
        return commit_folder(out, manifest, staged, render_documents(manifest, staged.__getitem__))


def sidecar_files(manifest: Manifest) -> list[NamedFile]:
    """The files of a build that are beside its rows and no document of it."""
    return [file for file in manifest.files if file.path.endswith(".parquet")]


def _rows(corpus: Corpus, source: str, more: Sequence[Record]) -> list[Record]:
    """The rows of a source as they were, and what becomes a row only now, in natural order."""
    rows = {row["id"]: from_row(row) for row in corpus.to_arrow(source).to_pylist()}
    for record in more:
        rows.setdefault(record.id, record)
    # rows without an upstream id come last, in the order of the file
    return sorted(
        rows.values(), key=lambda row: (row.source_id is None, order_key(row.source_id or ""))
    )


def worked_record(work: Work, item: Item, asked: Asked[Any]) -> Record:
    """The row as it is now, with the model, the prompt and the request in its meta."""
    if asked.answer is None:
        raise ValueError("there is no answer")
    record = work.change(item.record, asked.value)
    meta = json.loads(record.meta)
    meta[work.kind] = {
        "model": work.model,
        "prompt": work.prompt.id,
        "prompt_sha256": work.prompt.sha256,
        "request_sha256": asked.key,
        "finish_reason": asked.answer.finish_reason,
        "tries": len(asked.tries),
    }
    # who put the row into other words stays named there when another model reasons about it
    earlier = record.rephrased_by if work.kind == "reason" else None
    return record._replace(rephrased_by=earlier or work.model, meta=dump_meta(meta))


def as_tables(records: Sequence[Record]) -> Iterator[pa.Table]:
    """Records as tables of a shard's schema."""
    for start in range(0, len(records), BATCH):
        rows = list(to_rows(records[start : start + BATCH]))
        yield pa.Table.from_pylist(rows, schema=arrow_schema())


def _write_quarantine(folder: Path, out: Path, name: str, admitted: set[str]) -> NamedFile:
    """The quarantine without the sections that are rows now; the other lines to the byte."""
    with (
        replacing(out / name) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as target,
        (folder / name).open(encoding="utf-8", newline="\n") as source,
    ):
        for line in source:
            reject = json.loads(line)
            taken = reject["reason"] == Reason.NO_HEADING_RULE.value
            if not (taken and reject["where"] in admitted):
                target.write(line)
    return NamedFile.of(out / name, name)
