"""From a corpus to the same corpus with rewritten rows: a new folder, its manifest written last.

The untouched originals of every rewritten row stand in a sidecar, `data/raw_pairs/`, under the same
ids; it is no config of the corpus, so that nobody trains on a row twice, and the card lists it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import locked, replacing, sha256_file
from meadow.cards.documents import render_documents
from meadow.corpus.commit import claim, commit_folder, open_staging
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest, NamedFile, SourceEntry, hash_json, library_versions
from meadow.corpus.shards import write_shards
from meadow.errors import FileError, UsageError
from meadow.rephrase.items import (
    Item,
    Outcome,
    fault_counts,
    flashcard_item,
    heading_item,
    rewriting,
    rewritten,
    rewritten_record,
)
from meadow.rephrase.prompts import Prompt
from meadow.schema import (
    Fact,
    Reason,
    Record,
    Reject,
    Style,
    arrow_schema,
    from_row,
    natural_key,
    to_rows,
)
from meadow.source import Input, Options
from meadow.text.clean import clean_record

if TYPE_CHECKING:
    import pyarrow as pa

RAW_PAIRS = "raw_pairs"
ORIGINAL = "original"
BATCH = 4096


@dataclass(frozen=True, slots=True)
class Job:
    """What a rewriting is: its identity in the manifest, without anything that varies by run."""

    source: str
    prompt: Prompt
    model: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in the settings."""
        return {
            "source": self.source,
            "model": self.model,
            "prompt": self.prompt.id,
            "prompt_sha256": self.prompt.sha256,
        }


def collect_items(corpus: Corpus, source: str, inputs: Sequence[Input]) -> list[Item]:
    """What there is to rewrite in a corpus.

    Args:
        corpus: A build.
        source: One of its sources.
        inputs: For sections: the raw files that the build read; the quarantine keeps only the
            beginning of a text.

    Raises:
        UsageError: The corpus is no build, lacks the source, or is rewritten already.
        FileError: A raw file is not the one that was built from.
    """
    entry = corpus.manifest.sources.get(source)
    if corpus.manifest.stage != "build" or entry is None:
        raise UsageError(
            f"the folder is no build of {source}",
            where=str(corpus.folder),
            fix="build it first; a mix is made from the rewritten corpus",
        )
    if source in corpus.manifest.details.get("rephrase", {}):
        raise UsageError(
            f"{source} is rewritten already in this corpus",
            where=str(corpus.folder),
            fix="give the corpus as it was built",
        )
    if rewriting(source).kind == "flashcard":
        rows = corpus.to_arrow(source).to_pylist()
        return [flashcard_item(from_row(row)) for row in rows]
    return list(_heading_items(corpus, source, entry, inputs))


def _heading_items(
    corpus: Corpus, source: str, entry: SourceEntry, inputs: Sequence[Input]
) -> Iterator[Item]:
    from meadow.sources import SOURCES

    if entry.origin != "upstream":
        return
    known = {item.sha256: item.path for item in entry.inputs}
    relabelled = []
    for item in inputs:
        label = known.get(sha256_file(item.path))
        if label is not None:
            relabelled.append(replace(item, label=label))
    if missing := set(known.values()) - {item.label for item in relabelled}:
        raise FileError(
            f"the raw file that the corpus was built from is not there: {sorted(missing)[0]}",
            fix=f"--raw DIR or --file {source}=PATH, with the same file as for the build",
        )
    relabelled.sort(key=lambda item: [named.path for named in entry.inputs].index(item.label))
    wanted = {
        line["where"]
        for line in _quarantine(corpus.folder / entry.quarantine.path)
        if line["reason"] == Reason.NO_HEADING_RULE.value
    }
    options = Options(style=Style(corpus.manifest.settings["options"]["style"]))
    origin = SOURCES[source].upstream
    record = rewriting(source).record
    if origin is None or record is None:
        return
    for raw in origin.read(relabelled, options):
        if isinstance(raw, Reject | Fact) or raw["_where"] not in wanted:
            continue
        made = record(raw, str(raw["heading"]), options)
        if isinstance(made, Record):
            cleaned = clean_record(made, SOURCES[source], options.style)
            if isinstance(cleaned, Record):
                yield heading_item(cleaned, str(raw["_where"]))


def _quarantine(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


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
    outcomes = without_duplicates(outcomes)
    settings = {**corpus.manifest.settings, "rephrase": _settings(corpus, job)}
    config_hash = hash_json(settings)
    if out.resolve() == corpus.folder.resolve():
        raise UsageError("the rewritten corpus needs a folder of its own", fix="--out DIR")
    with locked(out):
        claim(out, "build", config_hash)
        staging = open_staging(out, config_hash)
        entry = corpus.manifest.sources[job.source]
        changed, originals = _apply(corpus, job, outcomes)
        shards = write_shards(_tables(changed), staging, job.source)
        sidecar = write_shards(
            [*_old_originals(corpus), *_tables(originals)], staging, RAW_PAIRS, ORIGINAL
        )
        admitted = {o.item.where for o in rewritten(outcomes) if o.item.where}
        quarantine = _write_quarantine(corpus.folder, staging, entry.quarantine.path, admitted)
        _copy_others(corpus, job.source, staging)
        rejected = dict(entry.rejected)
        if admitted:
            left = rejected[Reason.NO_HEADING_RULE.value] - len(admitted)
            rejected[Reason.NO_HEADING_RULE.value] = left
            if not left:
                del rejected[Reason.NO_HEADING_RULE.value]
        counts = {
            "rewritten": sum(1 for _ in rewritten(outcomes)),
            **{f"kept_{fault}": count for fault, count in fault_counts(outcomes).items()},
        }
        new_entry = replace(
            entry,
            rows_out=sum(shard.rows for shard in shards),
            rejected=rejected,
            shards=shards,
            quarantine=quarantine,
            facts={**entry.facts, "rephrase": counts},
        )
        if new_entry.rows_in != new_entry.rows_out + sum(rejected.values()):
            raise AssertionError(f"{job.source}: rows were lost: {new_entry}")
        details = dict(corpus.manifest.details)
        details["rephrase"] = {
            **details.get("rephrase", {}),
            job.source: {**job.to_json(), "items": len(outcomes), **counts},
        }
        details["sidecars"] = {RAW_PAIRS: {ORIGINAL: [shard.to_json() for shard in sidecar]}}
        manifest = replace(
            corpus.manifest,
            config_hash=config_hash,
            settings=settings,
            sources={**corpus.manifest.sources, job.source: new_entry},
            details=details,
            files=tuple(NamedFile(path=s.path, bytes=s.bytes, sha256=s.sha256) for s in sidecar),
            versions=library_versions(),
        )
        staged = {name: staging / name for name in manifest.named()}
        return commit_folder(out, manifest, staged, render_documents(manifest, staged.__getitem__))


def without_duplicates(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Of several items with one and the same rewrite the first keeps it, the others their text."""
    seen: set[tuple[str, str]] = set()
    found = []
    for outcome in outcomes:
        if (rewrite := outcome.rewrite) is not None:
            text = (rewrite.question, rewrite.answer or outcome.item.record.output)
            if text in seen:
                outcome = replace(outcome, rewrite=None, fault="duplicate")
            seen.add(text)
        found.append(outcome)
    return found


def _settings(corpus: Corpus, job: Job) -> list[dict[str, Any]]:
    """Every rewriting that the rows have been through, with the corpus that it began with."""
    earlier = list(corpus.manifest.settings.get("rephrase", []))
    shards = [shard.sha256 for shard in corpus.manifest.sources[job.source].shards]
    return [*earlier, {**job.to_json(), "from": hash_json([corpus.manifest.config_hash, shards])}]


def _apply(
    corpus: Corpus, job: Job, outcomes: Sequence[Outcome]
) -> tuple[list[Record], list[Record]]:
    """All rows of the source in their order, and the originals of the rewritten ones."""
    done: Mapping[str, Outcome] = {o.item.record.id: o for o in rewritten(outcomes)}
    rows = [from_row(row) for row in corpus.to_arrow(job.source).to_pylist()]
    present = {row.id for row in rows}
    rows.extend(
        outcome.item.record for outcome in rewritten(outcomes)
        if outcome.item.record.id not in present
    )  # fmt: skip
    rows.sort(key=lambda row: (1, ()) if row.source_id is None else (0, natural_key(row.source_id)))
    changed = [
        rewritten_record(done[row.id], job.prompt, job.model) if row.id in done else row
        for row in rows
    ]
    return changed, [row for row in rows if row.id in done]


def _tables(records: Sequence[Record]) -> Iterator[pa.Table]:
    import pyarrow as pa

    for start in range(0, len(records), BATCH):
        rows = list(to_rows(records[start : start + BATCH]))
        yield pa.Table.from_pylist(rows, schema=arrow_schema())


def _old_originals(corpus: Corpus) -> Iterator[pa.Table]:
    from meadow.corpus.shards import read_parquet

    sidecars = corpus.manifest.details.get("sidecars", {})
    for shard in sidecars.get(RAW_PAIRS, {}).get(ORIGINAL, []):
        yield read_parquet(corpus.folder / shard["path"])


def _write_quarantine(folder: Path, out: Path, name: str, admitted: set[str]) -> NamedFile:
    """The quarantine without the sections that are rows now."""
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


def _copy_others(corpus: Corpus, source: str, out: Path) -> None:
    for name, entry in corpus.manifest.sources.items():
        if name == source:
            continue
        for file in entry.files():
            with replacing(out / file.path) as temporary:
                shutil.copyfile(corpus.folder / file.path, temporary)
