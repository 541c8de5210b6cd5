"""One source, from its raw files to shards in its staging folder: what a worker does.

Rows are read and transformed a batch at a time; when all are in, they are sorted and written.
The entry, with everything that the manifest will say of the source, is written last: a source
without one is built again.
"""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from meadow.atomic import replacing, write_json
from meadow.build.engine import run_stream
from meadow.build.sort import ExternalSort
from meadow.build.transform import Batch, Rules, batches, transform_batch
from meadow.corpus import manifest as manifests
from meadow.corpus.manifest import NamedFile, SourceEntry, hash_json
from meadow.corpus.shards import write_shards
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import SCHEMA_VERSION, Reject
from meadow.source import Input, Options, OriginName, Source
from meadow.sources import with_own
from meadow.text.clean import VERSION as CLEANER_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

ENTRY = "entry.json"
PROGRESS = "progress"
"""How many candidates of a source were read so far, for who waits at a terminal."""


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
        workers: Processes that share this one source; the bytes do not depend on it.
    """

    source: str
    origin: OriginName
    inputs: tuple[Input, ...]
    options: Options
    limit: int | None
    exclude: frozenset[str]
    expected: Mapping[str, str]
    staging: Path
    workers: int = 1
    errata: frozenset[str] = frozenset()
    vouched: Mapping[str, str] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def found(self) -> Source:
        """The source."""
        return with_own({self.source: self.own} if self.own else {})[self.source]


def task_key(task: SourceTask, inputs: Sequence[NamedFile]) -> str:
    """A hash of everything that a source's bytes depend on."""
    return hash_json(
        {
            "schema": SCHEMA_VERSION,
            "converter": task.found().version,
            "cleaner": CLEANER_VERSION,
            "source": task.source,
            "origin": str(task.origin),
            "inputs": [item.to_json() for item in inputs],
            "roles": [[item.label, item.subset, item.role, item.member] for item in task.inputs],
            "options": asdict(task.options),
            "limit": task.limit,
            "exclude": sorted(task.exclude),
            **({"errata": sorted(task.errata)} if task.errata else {}),
            **({"vouched": dict(task.vouched)} if task.vouched else {}),
            "versions": manifests.library_versions(),
        }
    )


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


def rows_so_far(staging: Path) -> dict[str, int]:
    """Source -> candidates read, of the sources that are being built into `staging`."""
    found = {}
    for path in staging.glob(f"*/{PROGRESS}"):
        with contextlib.suppress(OSError, ValueError):  # gone, or just being written
            found[path.parent.name] = int(path.read_text(encoding="ascii"))
    return found


def build_source(task: SourceTask) -> SourceEntry:
    """Build one source into its staging folder and write its entry there, last."""
    folder = task.staging / task.source
    shutil.rmtree(folder, ignore_errors=True)
    inputs = measure_inputs(task)
    name = f"quarantine/{task.source}.jsonl"
    tally = _Tally()
    with _many_rows():
        with (
            replacing(folder / name) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as quarantine,
        ):
            rows = ExternalSort(folder / "rows.arrow")
            for batch in _transformed(task):
                tally.take(batch)
                (folder / PROGRESS).write_text(str(tally.rows_in), encoding="ascii")
                tally.reject(batch.rejects, quarantine)
                rows.add(batch)
            slices, rejects = rows.sort()
            tally.reject(rejects, quarantine)
        shards = write_shards(map(tally.count, slices), folder, task.source)
    entry = SourceEntry(
        rows_in=tally.rows_in,
        rows_out=sum(shard.rows for shard in shards),
        rejected=dict(tally.rejected),
        repaired=dict(tally.repaired),
        inputs=tuple(inputs),
        shards=shards,
        quarantine=NamedFile.of(folder / name, name),
        limit=task.limit,
        key=task_key(task, inputs),
        origin=str(task.origin),
        facts={group: dict(counts) for group, counts in sorted(tally.facts.items()) if counts},
        own=dict(task.own),
    )
    if entry.rows_in != entry.rows_out + sum(entry.rejected.values()):
        raise AssertionError(f"{task.source}: rows were lost: {entry}")
    (folder / PROGRESS).unlink(missing_ok=True)
    write_json(folder / ENTRY, entry.to_json())
    return entry


@contextlib.contextmanager
def _many_rows() -> Iterator[None]:
    """Memory as many short-lived rows want it."""
    import pyarrow as pa

    usual, pool = gc.get_threshold(), pa.default_memory_pool()
    # the collector seldom looks: rows are many objects and hardly ever a circle of them
    gc.freeze()
    gc.set_threshold(500_000, 20, 50)
    # Arrow's own pool gives pages back to the system between two batches, and gets them again
    # one fault at a time
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(pool)
        gc.set_threshold(*usual)
        gc.unfreeze()


def _transformed(task: SourceTask) -> Iterator[Batch]:
    """The source's rows, a batch at a time, up to the limit."""
    rules = Rules(
        *(task.source, task.origin, task.options, task.exclude, task.errata, task.vouched, task.own)
    )
    raws = task.found().origin(task.origin).read(task.inputs, task.options)
    if task.limit is None:
        yield from run_stream(partial(transform_batch, rules=rules), batches(raws), task.workers)
        return
    left = task.limit
    for batch in batches(raws):
        if not left:
            return
        transformed = transform_batch(batch, rules, left)
        left -= transformed.candidates
        yield transformed


class _Tally:
    """What the manifest will say of a source."""

    def __init__(self) -> None:
        self.rows_in = 0
        self.rejected: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.facts: dict[str, Counter[str]] = {
            "flags": Counter(),
            **{group: Counter() for group in _COUNTED},
        }

    def take(self, batch: Batch) -> None:
        """Count what was seen on the way to a batch."""
        self.rows_in += batch.candidates
        for (group, value), count in batch.facts.items():
            self.facts.setdefault(group, Counter())[value] += count

    def reject(self, rejects: Iterable[Reject], quarantine: TextIO) -> None:
        """Count rows that do not stay, and write each down."""
        for item in rejects:
            self.rejected[item.reason.value] += 1
            quarantine.write(item.to_json() + "\n")

    def count(self, table: pa.Table) -> pa.Table:
        """Count what rows say of themselves, on their way to the shards."""
        import pyarrow.compute as pc

        meta = table["meta"]
        noted = pc.match_substring_regex(meta, '"(?:repairs|flags)":')
        for text in meta.filter(noted).to_pylist():
            facts = json.loads(text)
            self.repaired.update(facts.get("repairs", ()))
            self.facts["flags"].update(facts.get("flags", ()))
        for group, column in _COUNTED.items():
            for found in table[column].drop_null().value_counts().to_pylist():
                self.facts[group][found["values"]] += found["counts"]
        return table


_COUNTED = {"licenses": "license", "subsets": "subset", "tasks": "task"}
"""Group of facts -> the column that it is counted from."""
