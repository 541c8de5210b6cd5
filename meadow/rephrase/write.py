"""From a corpus to the same corpus with rewritten rows: a new folder, its manifest written last.

The untouched originals of every rewritten row stand in a sidecar, `data/raw_pairs/`, under the same
ids; it is no config of the corpus, so that nobody trains on a row twice, and the card lists it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from meadow.atomic import locked, replacing
from meadow.cards.documents import render_documents
from meadow.chat.client import Answer
from meadow.corpus.commit import claim, commit_folder, open_staging
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest, NamedFile, hash_json, library_versions
from meadow.corpus.shards import read_parquet, write_shards
from meadow.errors import UsageError
from meadow.rephrase.checks import Rewrite
from meadow.rephrase.items import Item, rewriting
from meadow.schema import (
    Reason,
    Record,
    Style,
    arrow_schema,
    dump_meta,
    from_row,
    natural_key,
    to_rows,
)

RAW_PAIRS = "raw_pairs"
ORIGINAL = "original"
BATCH = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: a rewrite, or why there is none.

    Args:
        item: What was to be rewritten.
        rewrite: What passed the checks.
        fault: Else why not: a `Fault`, or "max_requests", "budget", "refused_by_server",
            "duplicate".
        key: The hash of the request whose answer counted.
        answer: That answer.
    """

    item: Item
    rewrite: Rewrite | None = None
    fault: str = ""
    key: str = ""
    answer: Answer | None = None


def fault_counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Why items were not rewritten, by name; never a text."""
    return dict(sorted(Counter(item.fault for item in outcomes if item.fault).items()))


@dataclass(frozen=True, slots=True)
class Job:
    """What a rewriting is: its identity in the manifest, without anything that varies by run."""

    source: str
    model: str
    prompt: str
    prompt_sha256: str


def write_rephrased(corpus: Corpus, job: Job, outcomes: Sequence[Outcome], out: Path) -> Manifest:
    """Write the corpus with the rewritten rows into `out`.

    Args:
        corpus: As it was built.
        job: What was asked of which model.
        outcomes: One for every item.
        out: A new folder, or one of the same rewriting.

    Raises:
        UsageError: `out` holds something else.
    """
    before, source = corpus.manifest, job.source
    entry = before.sources[source]
    # every rewriting that the rows have been through, with the corpus that it began with
    origin = hash_json([before.config_hash, [shard.sha256 for shard in entry.shards]])
    earlier = before.settings.get("rephrase", [])
    settings = {**before.settings, "rephrase": [*earlier, {**asdict(job), "from": origin}]}
    config_hash = hash_json(settings)
    if out.resolve() == corpus.folder.resolve():
        raise UsageError("the rewritten corpus needs a folder of its own", fix="--out DIR")
    done = {o.item.record.id: o for o in outcomes if o.rewrite is not None}
    with locked(out):
        claim(out, "build", config_hash)
        staging = open_staging(out, config_hash)
        rows = _rows(corpus, source, done)
        rewritten = [rewritten_record(done[row.id], job) if row.id in done else row for row in rows]
        shards = write_shards(_tables(rewritten), staging, source)
        originals = _tables([row for row in rows if row.id in done])
        sidecar = write_shards([*_old_originals(corpus), *originals], staging, RAW_PAIRS, ORIGINAL)
        admitted = {o.item.where for o in done.values() if o.item.where}
        quarantine = _write_quarantine(corpus.folder, staging, entry.quarantine.path, admitted)
        for name, other in before.sources.items():
            for file in other.files() if name != source else ():
                with replacing(staging / file.path) as temporary:
                    shutil.copyfile(corpus.folder / file.path, temporary)
        left = Counter(entry.rejected)
        left[Reason.NO_HEADING_RULE.value] -= len(admitted)
        counts = {
            "rewritten": len(done),
            **{f"kept_{fault}": count for fault, count in fault_counts(outcomes).items()},
        }
        new_entry = replace(
            entry,
            rows_out=sum(shard.rows for shard in shards),
            rejected=dict(+left),
            shards=shards,
            quarantine=quarantine,
            facts={**entry.facts, "rephrase": counts},
        )
        if new_entry.rows_in != new_entry.rows_out + left.total():
            raise AssertionError(f"{source}: rows were lost: {new_entry}")
        told = {**asdict(job), "items": len(outcomes), **counts}
        manifest = replace(
            before,
            config_hash=config_hash,
            settings=settings,
            sources={**before.sources, source: new_entry},
            details={
                **before.own_details,
                "rephrase": {**before.details.get("rephrase", {}), source: told},
                "sidecars": {RAW_PAIRS: {ORIGINAL: [shard.to_json() for shard in sidecar]}},
            },
            files=tuple(NamedFile(path=s.path, bytes=s.bytes, sha256=s.sha256) for s in sidecar),
            versions=library_versions(),
        )
        staged = {name: staging / name for name in manifest.named()}
        return commit_folder(out, manifest, staged, render_documents(manifest, staged.__getitem__))


def _rows(corpus: Corpus, source: str, done: Mapping[str, Outcome]) -> list[Record]:
    """The rows of a source as they were, and the sections that are rows now, in natural order."""
    rows = {row["id"]: from_row(row) for row in corpus.to_arrow(source).to_pylist()}
    for key, outcome in done.items():
        rows.setdefault(key, outcome.item.record)
    return sorted(
        rows.values(),
        key=lambda row: (1, ()) if row.source_id is None else (0, natural_key(row.source_id)),
    )


def rewritten_record(outcome: Outcome, job: Job) -> Record:
    """The row with the rewritten texts and their provenance; a section's text stays to the byte."""
    rewrite, record, answer = outcome.rewrite, outcome.item.record, outcome.answer
    if rewrite is None or answer is None:
        raise ValueError("there is no rewrite")
    asked_with = rewriting(record.source).instructions
    meta = json.loads(record.meta)
    meta["rephrase"] = {
        "model": job.model,
        "prompt": job.prompt,
        "prompt_sha256": job.prompt_sha256,
        "request_sha256": outcome.key,
        "finish_reason": answer.finish_reason,
    }
    return record._replace(
        # a cloze or a prompt is a question now; one that was one keeps the words of its style
        instruction=record.instruction
        if record.instruction in asked_with.values()
        else asked_with[Style.MEADOW],
        input=rewrite.question,
        output=record.output if rewrite.answer is None else rewrite.answer,
        rephrased_by=job.model,
        meta=dump_meta(meta),
    )


def _tables(records: Sequence[Record]) -> Iterator[pa.Table]:
    for start in range(0, len(records), BATCH):
        rows = list(to_rows(records[start : start + BATCH]))
        yield pa.Table.from_pylist(rows, schema=arrow_schema())


def original_shards(corpus: Corpus) -> list[dict[str, Any]]:
    """The shards of the sidecar with the rows from before they were rewritten."""
    sidecars = corpus.manifest.details.get("sidecars", {})
    found: list[dict[str, Any]] = sidecars.get(RAW_PAIRS, {}).get(ORIGINAL, [])
    return found


def _old_originals(corpus: Corpus) -> Iterator[pa.Table]:
    return (read_parquet(corpus.folder / shard["path"]) for shard in original_shards(corpus))


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
