"""One source, from its raw files to shards in its staging folder.

A large source is cut into pieces: a worker reads, converts and cleans one and writes a part; when
all parts are there their keys say what becomes of every row (`meadow.build.sort`), and workers take
the rows of the shards out of the parts. Rows never pass through the process that shares the work
out. A small source is one piece, and all of it one task. A part that is whole is not made again by
the run after a killed one. The entry, with everything that the manifest will say of the source, is
written last: a source without one is built again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import hash_json, replacing, write_json
from meadow.build.sort import (
    PROGRESS,
    REASONS,
    PartWriter,
    read_tally,
    rejects,
    rejects_of,
    resolve,
    slices,
)
from meadow.cards.rows import LANGUAGES
from meadow.corpus import manifest as manifests
from meadow.corpus.manifest import NamedFile, Shard, SourceEntry
from meadow.corpus.shards import many_rows, write_shard
from meadow.errors import FileError, MeadowError, UpstreamChangedError
from meadow.schema import SCHEMA_VERSION
from meadow.source import (
    Apply,
    CutError,
    Cutting,
    Divisible,
    Input,
    Options,
    OriginName,
    Piece,
    Reader,
    Source,
    apply_here,
)
from meadow.sources import with_own
from meadow.text import VERSION as CLEANER_VERSION
from meadow.text.language import languages_of, looked_at

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

ENTRY = "entry.json"
PARTS = "parts-"
"""In the folder of a source: its parts, under the beginning of its key."""
LARGE = 50_000_000
"""Bytes of raw files from which on a source is cut into pieces."""
PIECE = 8_000_000
"""Bytes of a piece: half a second of work, so that the last workers do not wait for each other."""
MOST_PIECES = 400
"""Above that pieces are larger: each part is an open file for who writes a shard."""


@dataclass(frozen=True, slots=True)
class SourceTask:
    """One source to be built, as a worker gets it: picklable, and complete.

    Args:
        source: The source's name; the worker looks it up.
        origin: Which of its origins.
        inputs: The raw files.
        options: What the conversion is asked for.
        limit: Stop after that many candidate rows; None for all.
        exclude: Names taken down, as `meadow.corpus.names` spells them.
        expected: Label -> SHA-256, for the inputs whose hash is known.
        staging: Where the worker writes.
        errata: Faults that no row may have.
        vouched: Who answers for the licence of the source's rows; None where nobody does.
        own: What its TOML file says; empty for a source of the house.
    """

    source: str
    origin: OriginName
    inputs: tuple[Input, ...]
    options: Options
    limit: int | None
    exclude: frozenset[str]
    expected: Mapping[str, str]
    staging: Path
    errata: frozenset[str] = frozenset()
    vouched: Mapping[str, str] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def found(self) -> Source:
        """The source."""
        return with_own({self.source: self.own} if self.own else {})[self.source]

    @property
    def folder(self) -> Path:
        """Where the source is staged."""
        return self.staging / self.source

    @property
    def size(self) -> int:
        """Bytes of its raw files, as far as they are there."""
        return sum(item.path.stat().st_size for item in self.inputs if item.path.is_file())

    @property
    def is_cut(self) -> bool:
        """Whether it is built piece by piece. A limit counts rows from the first on."""
        return self.limit is None and isinstance(self.reader, Divisible) and self.size >= LARGE

    @property
    def piece(self) -> int:
        """Bytes of a piece, where it is cut."""
        return max(PIECE, self.size // MOST_PIECES)

    @property
    def reader(self) -> Reader:
        """Who reads it."""
        return self.found().origin(self.origin).read


def task_key(task: SourceTask, inputs: Sequence[NamedFile]) -> str:
    """A hash of everything that a source's bytes depend on."""
    return _key(task, [item.to_json() for item in inputs])


def _key(task: SourceTask, inputs: Sequence[Any]) -> str:
    return hash_json(
        {
            "schema": SCHEMA_VERSION,
            "converter": task.found().version,
            "cleaner": CLEANER_VERSION,
            "source": task.source,
            "origin": str(task.origin),
            "inputs": inputs,
            "roles": [[item.label, item.subset, item.role, item.member] for item in task.inputs],
            "options": asdict(task.options),
            "limit": task.limit,
            "exclude": sorted(task.exclude),
            **({"errata": sorted(task.errata)} if task.errata else {}),
            **({"vouched": dict(task.vouched)} if task.vouched else {}),
            "versions": manifests.library_versions(),
        }
    )


def _seen(task: SourceTask) -> list[list[str | int]]:
    """What the system says of the raw files, which changes whenever one of them does.

    A part is made before the hash of a large file is known, and the run after a killed one takes
    it where this still holds. Times are those of the last change of bytes, and of the entry itself,
    which no program can set back.
    """
    found: list[list[str | int]] = []
    for item in task.inputs:
        with contextlib.suppress(OSError):  # who reads it says so
            is_ = item.path.stat()
            found.append([item.label, is_.st_ino, is_.st_size, is_.st_mtime_ns, is_.st_ctime_ns])
    return found


def measure_inputs(task: SourceTask) -> list[NamedFile]:
    """The inputs with their hashes, held to the known ones.

    Raises:
        FileError: One is missing.
        UpstreamChangedError: One has another hash than is known of it.
    """
    return _measured(task, map(_measure, task.inputs))


def _measured(task: SourceTask, measured: Iterator[NamedFile | str]) -> list[NamedFile]:
    inputs = []
    for item, found in zip(task.inputs, measured, strict=True):
        if isinstance(found, str):
            raise FileError(
                f"{task.source}: a raw file cannot be read: {found}",
                where=str(item.path),
                fix=f"`meadow sources {task.source}` lists the files that it needs",
            )
        known = task.expected.get(item.label)
        if known is not None and known != found.sha256:
            raise UpstreamChangedError(
                f"{task.source}: the checksum differs: expected {known}, found {found.sha256}",
                where=str(item.path),
                fix="fetch the file again; if upstream has really changed, update the lock file",
            )
        inputs.append(found)
    return inputs


def _measure(item: Input) -> NamedFile | str:
    try:
        return NamedFile.of(item.path, item.label)
    except OSError as error:
        return error.strerror or str(error)


def built_so_far(staging: Path) -> dict[str, tuple[int, int]]:
    """Source -> candidates read and bytes written, of those that are being built into `staging`."""
    found: dict[str, tuple[int, int]] = {}
    for path in staging.glob(f"*/{PARTS}*/*/*"):
        with contextlib.suppress(OSError, ValueError):  # gone, or just being written
            rows, size = found.get(path.parents[2].name, (0, 0))
            if path.name == PROGRESS:
                rows += int(path.read_text(encoding="ascii"))
            found[path.parents[2].name] = rows, size + path.stat().st_size
    return found


def build_source(
    task: SourceTask, apply: Apply = apply_here, *, beside: bool = False
) -> SourceEntry:
    """Build one source into its staging folder and write its entry there, last.

    Args:
        task: The source.
        apply: Who makes parts and shards, where it is large; the bytes do not depend on it.
        beside: Whether raw files are hashed beside all that, in place of before it.

    Raises:
        FileError: A raw file is missing.
        UpstreamChangedError: A raw file is another one than is known, or changed meanwhile.
    """
    folder = task.folder
    seen = _seen(task)
    if beside:
        _import_what_is_used_later()
    inputs = None if beside else measure_inputs(task)
    work = folder / f"{PARTS}{_key(task, seen)[:16]}"
    for path in folder.glob("*"):
        if path == work and task.is_cut:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    try:
        tasks = _cut(task, work, apply)
        # begun before the parts are: who is free first hashes, and the others need not wait
        measured = apply(_measure, () if inputs else task.inputs)
        parts = _make_parts(tasks, work, apply)
    except MeadowError:
        if not inputs:  # what is wrong with the rows may be that the file is another one
            measure_inputs(task)
        raise
    inputs = inputs or _measured(task, measured)
    if _seen(task) != seen:
        raise UpstreamChangedError(
            f"{task.source}: a raw file changed while it was read",
            where=", ".join(str(item.path) for item in task.inputs),
            fix="run the same command again when nothing writes to it any more",
        )
    key = task_key(task, inputs)
    tallies = [read_tally(part) for part in parts]
    excluded = {bytes.fromhex(name) for tally in tallies for name in tally.excluded}
    order = resolve(parts, excluded)
    rejected: Counter[str] = Counter()
    facts: dict[str, Counter[str]] = {group: Counter() for group in ("flags", *_COUNTED)}
    for tally in tallies:
        rejected.update(tally.rejected)
        for group, counts in tally.facts.items():
            facts.setdefault(group, Counter()).update(counts)
    rejected.update(REASONS[why].value for why in order.gone["why"])
    files: list[_FileTask] = [
        _ShardTask(task, parts, rows, index, len(order.shards))
        for index, rows in enumerate(order.shards)
    ]
    made = list(apply(_finish, [*files, _QuarantineTask(task, parts, order.gone)]))
    for item in made[:-1]:
        for group, counts in item.facts.items():
            facts.setdefault(group, Counter()).update(counts)
    repaired = facts.pop("repairs", Counter())
    shards = tuple(item.file for item in made if isinstance(item.file, Shard))
    entry = SourceEntry(
        rows_in=sum(tally.rows_in for tally in tallies),
        rows_out=sum(shard.rows for shard in shards),
        rejected=dict(rejected),
        repaired=dict(repaired),
        inputs=tuple(inputs),
        shards=shards,
        quarantine=made[-1].file,
        limit=task.limit,
        key=key,
        origin=str(task.origin),
        facts={group: dict(counts) for group, counts in sorted(facts.items()) if counts},
        own=dict(task.own),
    )
    if entry.rows_in != entry.rows_out + sum(entry.rejected.values()):
        raise AssertionError(f"{task.source}: rows were lost: {entry}")
    write_json(folder / ENTRY, entry.to_json())
    list(apply(_remove, [*parts, work]))
    return entry


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def prepare() -> None:
    """Import what each process needs that works on large sources: what a batch of no rows needs."""
    from meadow.build.transform import keys_of, to_arrow

    to_arrow([], [])
    keys_of([])


def _import_what_is_used_later() -> None:
    """While workers start, who shares the work out imports what a build ends with: the card."""
    import jinja2  # noqa: F401
    import yaml  # noqa: F401

    import meadow.cards.documents  # noqa: F401


@dataclass(frozen=True, slots=True)
class _PartTask:
    """A run of pieces of a source that becomes a part."""

    task: SourceTask
    folder: Path
    pieces: tuple[Piece, ...]


def _whole(task: SourceTask, work: Path) -> _PartTask:
    """All of a source as one part."""
    return _PartTask(task, work / "whole", (partial(task.reader, task.inputs, task.options),))


def _cut(task: SourceTask, work: Path, apply: Apply) -> list[_PartTask]:
    """The parts of a source, in the order of their rows."""
    read, whole = task.reader, _whole(task, work)
    if whole.folder.exists() or not isinstance(read, Divisible):
        return [whole]
    cutting = Cutting(work / "shared", task.piece if task.is_cut else None, apply)
    cutting.folder.mkdir(exist_ok=True)
    pieces = tuple(read.pieces(task.inputs, task.options, cutting))
    if cutting.size is None:
        return [replace(whole, pieces=pieces)]
    return [
        _PartTask(task, work / f"{cutting.size}-{number:05d}", (piece,))
        for number, piece in enumerate(pieces)
    ]


def _make_parts(tasks: Sequence[_PartTask], work: Path, apply: Apply) -> list[Path]:
    """Make the parts that are not whole yet."""
    if len(tasks) == 1:
        return [_make_part(tasks[0])]
    try:
        return list(apply(_make_part, tasks))
    except CutError:
        # marks of quotation that open nothing: only reading on from the first row can tell
        return [_make_part(_whole(tasks[0].task, work))]


def _make_part(task: _PartTask) -> Path:
    """Read, convert and clean some rows, and leave them as a part, unless it is there already."""
    from meadow.build.transform import Rules, batches, transform_batch

    if task.folder.exists():
        return task.folder
    of = task.task
    rules = Rules(*(of.source, of.origin, of.options, of.exclude, of.errata, of.vouched, of.own))
    left = of.limit
    with many_rows(), PartWriter(task.folder, lasting=of.is_cut) as part:
        for batch in batches(chain.from_iterable(piece() for piece in task.pieces)):
            if left == 0:
                break
            transformed = transform_batch(batch, rules, left)
            left = None if left is None else left - transformed.candidates
            part.add(transformed)
    return task.folder


@dataclass(frozen=True, slots=True)
class _ShardTask:
    """The rows of one shard, by their numbers, and its place among the shards."""

    task: SourceTask
    parts: Sequence[Path]
    rows: np.ndarray[Any, np.dtype[np.int64]]
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class _QuarantineTask:
    """The rejects of a source: those of its parts, and the rows that the sort turned away."""

    task: SourceTask
    parts: Sequence[Path]
    gone: pl.DataFrame


_FileTask = _ShardTask | _QuarantineTask


@dataclass(frozen=True, slots=True)
class _Made:
    """A file of a source, and what was counted in it."""

    file: Any
    facts: dict[str, Counter[str]]


def _finish(task: _FileTask) -> _Made:
    """Write a shard, or the quarantine."""
    source = task.task
    if isinstance(task, _ShardTask):
        facts: dict[str, Counter[str]] = {}
        with many_rows():
            tables = _counted(slices(task.parts, task.rows), len(task.rows), facts)
            shard = write_shard(tables, source.folder, source.source, task.index, task.count)
        return _Made(shard, facts)
    name = f"quarantine/{source.source}.jsonl"
    with replacing(source.folder / name) as temporary, temporary.open("wb") as file:
        for part in task.parts:
            with rejects_of(part).open("rb") as lines:
                shutil.copyfileobj(lines, file, 1 << 20)
        for item in rejects(task.parts, task.gone):
            file.write(item.to_json().encode() + b"\n")
    return _Made(NamedFile.of(source.folder / name, name), {})


def _counted(
    tables: Iterator[pa.Table], rows: int, facts: dict[str, Counter[str]]
) -> Iterator[pa.Table]:
    """Count what rows say of themselves, and the languages of some, on their way to a shard."""
    import polars as pl

    every, at = looked_at(rows), 0
    some: list[tuple[str, str]] = []
    for table in tables:
        _count(table, facts)
        frame = pl.DataFrame(table.select(["input", "output"]))
        some += frame.gather_every(every, -at % every).iter_rows()
        at += len(table)
        yield table
    facts[LANGUAGES] = languages_of(some)


def _count(table: pa.Table, facts: dict[str, Counter[str]]) -> None:
    import pyarrow.compute as pc

    meta = table["meta"]
    noted = pc.match_substring_regex(meta, '"(?:repairs|flags)":')
    for text in meta.filter(noted).to_pylist():
        told = json.loads(text)
        for group in ("repairs", "flags"):
            facts.setdefault(group, Counter()).update(told.get(group, ()))
    for group, column in _COUNTED.items():
        counts = facts.setdefault(group, Counter())
        for found in table[column].drop_null().value_counts().to_pylist():
            counts[found["values"]] += found["counts"]


_COUNTED = {"licenses": "license", "subsets": "subset", "tasks": "task"}
"""Group of facts -> the column that it is counted from."""
