"""Raw files in, a verified corpus folder out.

Each source is read, converted, cleaned and written to a staging folder inside the output folder;
its entry, with everything the manifest will say of it, is written there last. When all sources are
staged, the files move into place and MANIFEST.json, removed first, is written last: a reader sees
the old corpus, the new one, or none; never a mixture. A killed build continues where it was, since
a staged (or published) source whose key still holds is not built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from meadow import manifest as manifests
from meadow.atomic import LOCK_NAME, fsync_folder, locked, replacing, write_bytes, write_json
from meadow.clean import clean_record
from meadow.engine import LOCAL, run_tasks
from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.manifest import Manifest, NamedFile, SourceEntry, hash_json, sha256_file
from meadow.schema import SCHEMA_VERSION, Fact, Reason, Record, Reject, has_lone_surrogate
from meadow.shards import write_shards
from meadow.source import CONVERTER_VERSION, Input, Options, OriginName, Source
from meadow.spool import Spool

STAGING = ".staging"
ENTRY = "entry.json"
MALFORMED_THRESHOLD = 0.01


@dataclass(frozen=True, slots=True)
class SourceTask:
    """One source to be built, as a worker gets it: picklable, and complete.

    Args:
        source: The source's name; the worker looks it up.
        origin: Which of its origins.
        inputs: The raw files.
        options: What the conversion is asked for.
        limit: Stop after that many candidate rows; None for all.
        exclude: Ids taken down: record ids, upstream ids or URLs.
        expected: Label -> SHA-256, for the inputs whose hash is known.
        staging: Where the worker writes.
    """

    source: str
    origin: OriginName
    inputs: tuple[Input, ...]
    options: Options
    limit: int | None
    exclude: frozenset[str]
    expected: Mapping[str, str]
    staging: Path


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a corpus is made of; its hash is the identity of the output folder.

    Args:
        sources: The sources' names.
        options: What the conversions are asked for.
        origins: Source -> origin.
        limit: Candidate rows per source; None for all.
        exclude: Ids taken down.
        recipe: The name of the recipe, where one was used.
    """

    sources: tuple[str, ...]
    options: Options = field(default_factory=Options)
    origins: Mapping[str, OriginName] = field(default_factory=dict)
    limit: int | None = None
    exclude: frozenset[str] = frozenset()
    recipe: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "recipe": self.recipe,
            "sources": sorted(self.sources),
            "origins": {name: str(self.origins[name]) for name in sorted(self.origins)},
            "options": asdict(self.options),
            "limit": self.limit,
            "excluded_ids": hash_json(sorted(self.exclude)) if self.exclude else None,
        }


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did: its manifest, and which sources were reused as they were."""

    manifest: Manifest
    reused: tuple[str, ...]

    @property
    def over_threshold(self) -> list[str]:
        """The sources in which more than 1 % of the candidates were malformed."""
        return [
            name
            for name, entry in self.manifest.sources.items()
            if malformed_rows(entry) > MALFORMED_THRESHOLD * max(1, entry.rows_in)
        ]


def malformed_rows(entry: SourceEntry) -> int:
    """How many candidates were rejected as malformed input."""
    return sum(n for reason, n in entry.rejected.items() if Reason(reason).malformed)


def build_corpus(
    settings: BuildSettings,
    inputs: Mapping[str, Sequence[Input]],
    out: Path,
    *,
    workers: int = 1,
    engine: str = LOCAL,
    expected: Mapping[str, Mapping[str, str]] | None = None,
    contact: str = "",
    progress: Callable[[str], None] = lambda message: None,
) -> BuildResult:
    """Build the corpus that `settings` describe into `out`, or continue to.

    Args:
        settings: What to build.
        inputs: Source -> its raw files.
        out: The corpus folder: new, or of the same settings.
        workers: Processes; the bytes do not depend on it.
        engine: Where they run, as for `meadow.engine.run_tasks`; nor on this.
        expected: Source -> label -> known SHA-256 of an input.
        contact: The address for takedown requests, for the card.
        progress: Told one line per source.

    Raises:
        UsageError: `out` holds something else.
        LockedError: Another run holds `out`.
        FileError, UpstreamChangedError: A raw file is not what it should be.
    """
    config_hash = hash_json(settings.to_json())
    with locked(out):
        published = _open_output(out, config_hash)
        staging = out / STAGING
        tasks = [
            SourceTask(
                source=name,
                origin=settings.origins.get(name, OriginName.UPSTREAM),
                inputs=tuple(inputs[name]),
                options=settings.options,
                limit=settings.limit,
                exclude=settings.exclude,
                expected=(expected or {}).get(name, {}),
                staging=staging,
            )
            for name in sorted(settings.sources)
        ]
        done: dict[str, SourceEntry] = {}
        reused = []
        todo = []
        for task in tasks:
            entry = _reusable(task, published, out)
            if entry is None:
                todo.append(task)
            else:
                done[task.source] = entry
                reused.append(task.source)
                progress(f"{task.source}: unchanged, {entry.rows_out:,} rows")
        results = run_tasks(
            build_source, todo, workers, engine=engine, touches=_touches, report=progress
        )
        for entry, task in zip(results, todo, strict=False):
            done[task.source] = entry
            rejected = sum(entry.rejected.values())
            progress(
                f"{task.source}: in {entry.rows_in:,}, out {entry.rows_out:,}, "
                f"rejected {rejected:,}"
            )
        result = Manifest(
            stage="build",
            config_hash=config_hash,
            settings=settings.to_json(),
            sources={name: done[name] for name in sorted(done)},
            details={"contact": contact} if contact else {},
            versions=manifests.library_versions(),
        )
        return BuildResult(_publish(result, published, out), tuple(reused))


def _touches(task: SourceTask) -> list[Path]:
    return [task.staging, *(item.path for item in task.inputs)]


def _open_output(out: Path, config_hash: str) -> Manifest | None:
    """The manifest that stands in the folder, after making sure that the folder is ours to use."""
    staging = out / STAGING
    present = {path.name for path in out.iterdir()} - {LOCK_NAME, STAGING}
    marker = staging / "config.json"
    staged_hash = None
    with contextlib.suppress(OSError, ValueError):
        staged_hash = json.loads(marker.read_text())["config_hash"]
    found = None
    if (out / manifests.NAME).exists():
        found = manifests.read_manifest(out)
        if found.stage != "build" or found.config_hash != config_hash:
            raise UsageError(
                "the output folder holds a corpus of another recipe",
                where=str(out),
                fix="choose another --out, or remove the folder",
            )
    elif present and staged_hash != config_hash:
        raise UsageError(
            "the output folder is not empty and holds no corpus of this recipe",
            where=str(out),
            fix="choose another --out, or remove the folder",
        )
    if staging.exists() and staged_hash != config_hash:
        shutil.rmtree(staging)
    for leftover in staging.glob("**/*.part"):
        leftover.unlink(missing_ok=True)
    if not marker.exists():
        write_json(marker, {"config_hash": config_hash})
    return found


def task_key(task: SourceTask, inputs: Sequence[NamedFile]) -> str:
    """A hash of everything that a source's bytes depend on."""
    return hash_json(
        {
            "schema": SCHEMA_VERSION,
            "converter": CONVERTER_VERSION,
            "source": task.source,
            "origin": str(task.origin),
            "inputs": [item.to_json() for item in inputs],
            "roles": [[item.label, item.subset, item.role, item.member] for item in task.inputs],
            "options": asdict(task.options),
            "limit": task.limit,
            "exclude": sorted(task.exclude),
            "versions": manifests.library_versions(),
        }
    )


def _reusable(task: SourceTask, published: Manifest | None, out: Path) -> SourceEntry | None:
    """The entry of a finished source whose key still holds and whose files are all there."""
    candidates = []
    if published is not None and task.source in published.sources:
        candidates.append(published.sources[task.source])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        text = (task.staging / task.source / ENTRY).read_text(encoding="utf-8")
        candidates.append(SourceEntry.from_json(json.loads(text)))
    if not candidates:
        return None
    key = task_key(task, measure_inputs(task))
    for entry in candidates:
        if entry.key == key and all(
            _place(out, task.source, item.path, item.sha256) for item in _files(entry)
        ):
            return entry
    return None


def _files(entry: SourceEntry) -> list[NamedFile]:
    shards = [NamedFile(shard.path, shard.bytes, shard.sha256) for shard in entry.shards]
    return [*shards, entry.quarantine]


def _place(out: Path, source: str, path: str, sha256: str) -> Path | None:
    """Where a finished file lies: in place already, or still staged."""
    for place in (out / path, out / STAGING / source / path):
        if place.is_file() and sha256_file(place) == sha256:
            return place
    return None


def measure_inputs(task: SourceTask) -> list[NamedFile]:
    """The inputs with their hashes, held to the known ones.

    Raises:
        FileError: One is missing.
        UpstreamChangedError: One has another hash than is known of it.
    """
    measured = []
    for item in task.inputs:
        try:
            found = NamedFile.of(item.path, item.label)
        except OSError as error:
            raise FileError(
                f"{task.source}: a raw file cannot be read: {error.strerror}",
                where=str(item.path),
                fix=f"`meadow sources {task.source}` lists the files that it needs",
            ) from error
        known = task.expected.get(item.label)
        if known is not None and known != found.sha256:
            raise UpstreamChangedError(
                f"{task.source}: the checksum differs: expected {known}, found {found.sha256}",
                where=str(item.path),
                fix="fetch the file again; if upstream has really changed, update the lock file",
            )
        measured.append(found)
    return measured


def build_source(task: SourceTask) -> SourceEntry:
    """Build one source into its staging folder and write its entry there, last."""
    from meadow.sources import SOURCES

    source = SOURCES[task.source]
    folder = task.staging / task.source
    shutil.rmtree(folder, ignore_errors=True)
    inputs = measure_inputs(task)
    quarantine_name = f"quarantine/{task.source}.jsonl"
    rejected: Counter[str] = Counter()
    repaired: Counter[str] = Counter()
    facts: dict[str, Counter[str]] = {"licenses": Counter(), "subsets": Counter()}
    facts["tasks"] = Counter()
    rows_in = 0
    with (
        replacing(folder / quarantine_name) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as quarantine,
    ):
        spool = Spool(folder / "rows.arrow")

        def reject(item: Reject) -> None:
            rejected[item.reason.value] += 1
            quarantine.write(item.to_json() + "\n")

        candidates = convert(source, task)
        with contextlib.closing(candidates):
            for item, where in candidates:
                if isinstance(item, Fact):
                    facts.setdefault(item.group, Counter())[item.value] += item.count
                    continue
                if task.limit is not None and rows_in >= task.limit:
                    break
                rows_in += 1
                outcome = item if isinstance(item, Reject) else _admit(item, where, task)
                if isinstance(outcome, Reject):
                    reject(outcome)
                else:
                    spool.add(outcome, where)
        spool.close()
        kept, gone = spool.resolve()
        for duplicate in spool.rejects(gone):
            reject(duplicate)
    shards = write_shards(_count(spool.slices(kept), repaired, facts), folder, task.source)
    (folder / "rows.arrow").unlink()
    entry = SourceEntry(
        rows_in=rows_in,
        rows_out=sum(shard.rows for shard in shards),
        rejected=dict(rejected),
        repaired=dict(repaired),
        inputs=tuple(inputs),
        shards=shards,
        quarantine=NamedFile.of(folder / quarantine_name, quarantine_name),
        key=task_key(task, inputs),
        origin=str(task.origin),
        facts={name: dict(counts) for name, counts in sorted(facts.items()) if counts},
    )
    if entry.rows_in != entry.rows_out + sum(entry.rejected.values()):
        raise AssertionError(f"{task.source}: rows were lost: {entry}")
    write_json(folder / ENTRY, entry.to_json())
    return entry


def convert(
    source: Source, task: SourceTask
) -> Generator[tuple[Record | Reject | Fact, str], None, None]:
    """Every candidate of a source with the place that it comes from."""
    origin = source.origin(task.origin)
    for raw in origin.read(task.inputs, task.options):
        if isinstance(raw, Reject):
            yield raw, raw.where
        elif isinstance(raw, Fact):
            yield raw, ""
        else:
            where = str(raw["_where"])
            for item in origin.convert(raw, task.options):
                yield item, where


def _admit(record: Record, where: str, task: SourceTask) -> Record | Reject:
    """Clean a record and hold it to the rules that every source shares."""
    texts = (record.instruction, record.input, record.output)
    if any(map(has_lone_surrogate, texts)):
        return Reject(where, Reason.LONE_SURROGATE, "not encodable as UTF-8", " ".join(texts))
    if task.exclude and not task.exclude.isdisjoint(
        {record.id, record.source_id, record.url, f"{record.source}:{record.source_id}"}
    ):
        return Reject(where, Reason.EXCLUDED, "named in exclude_ids.txt", record.id)
    cleaned = clean_record(record, task.options.style)
    if isinstance(cleaned, Reject):
        return replace(cleaned, where=where)
    if not cleaned.output.strip():
        return Reject(where, Reason.EMPTY_OUTPUT, "nothing to learn from", record.input)
    if not (cleaned.input.strip() or cleaned.instruction.strip()):
        return Reject(where, Reason.EMPTY_INPUT, "nothing to answer", record.output)
    return cleaned


def _count(
    tables: Iterator[Any], repaired: Counter[str], facts: dict[str, Counter[str]]
) -> Iterator[Any]:
    """Count what the manifest says of the rows that are written, on their way to the shards."""
    for table in tables:
        for meta in table["meta"].to_pylist():
            if '"repairs"' in meta:
                repaired.update(json.loads(meta).get("repairs", ()))
        for name, column in (("licenses", "license"), ("subsets", "subset"), ("tasks", "task")):
            for value, count in Counter(table[column].to_pylist()).items():
                if value is not None:
                    facts[name][value] += count
        yield table


def _publish(result: Manifest, published: Manifest | None, out: Path) -> Manifest:
    """Move staged files into place, render the card, and write the manifest last."""
    from meadow.documents import render_documents

    staging = out / STAGING
    moves = []
    places = {}
    for name, entry in result.sources.items():
        for item in _files(entry):
            place = _place(out, name, item.path, item.sha256)
            if place is None:
                raise FileError("a staged file vanished", where=item.path, fix="run it again")
            places[item.path] = place
            if place != out / item.path:
                moves.append((place, out / item.path))
    documents = render_documents(result, places.__getitem__)
    files = tuple(
        NamedFile(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in documents.items()
    )
    if published is not None and not moves:
        # a report of the same rows stays; one of other rows would tell what is no longer so
        files += tuple(item for item in published.files if item.path not in documents)
    final = replace(result, files=files)
    unchanged = published is not None and published.to_json() == final.to_json()
    if unchanged and not moves and all(_place(out, "", i.path, i.sha256) for i in files):
        shutil.rmtree(staging, ignore_errors=True)
        return final
    old = published.named().keys() if published is not None else ()
    replaced = manifests.note_replaced(staging, [*old, *final.named()])
    (out / manifests.NAME).unlink(missing_ok=True)
    fsync_folder(out)
    for place, path in moves:
        path.parent.mkdir(parents=True, exist_ok=True)
        place.replace(path)
        fsync_folder(path.parent)
    for name, data in documents.items():
        write_bytes(out / name, data)
    for name in replaced - final.named().keys():
        (out / name).unlink(missing_ok=True)
    final.write(out)
    shutil.rmtree(staging, ignore_errors=True)  # committed: what stays, the next run takes away
    return final
