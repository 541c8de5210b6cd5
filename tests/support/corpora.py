"""Corpora for tests of mixes and comparisons: real folders, written by the real writer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from meadow.api import open_corpus
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest, NamedFile, SourceEntry, library_versions
from meadow.corpus.shards import write_shards
from meadow.schema import Author, Record, Task, arrow_schema, make_record, to_rows


def record(source: str, number: int, output: str, **values: object) -> Record:
    """A record with a stable id; everything can be overridden."""
    given: dict[str, object] = {
        "source_id": str(number),
        "instruction": "Answer the question.",
        "input": f"question {number} of {source}",
        "output": output,
        "task": Task.OPEN_QA,
        "license": "mit",
        "authors": (Author("A. Writer", "https://example.org/a"),),
        "url": f"https://example.org/{source}/{number}",
    }
    return make_record(source=source, **(given | values))  # type: ignore[arg-type]


def write_corpus(folder: Path, records: Iterable[Record]) -> Corpus:
    """A build of these records: one config per source."""
    groups: dict[str, list[Record]] = {}
    for item in records:
        groups.setdefault(item.source, []).append(item)
    return write_tables(
        folder,
        {
            name: pa.Table.from_pylist(list(to_rows(group)), arrow_schema())
            for name, group in groups.items()
        },
    )


def write_tables(folder: Path, tables: dict[str, pa.Table]) -> Corpus:
    """A build of these tables: source -> its rows."""
    sources = {}
    for name, table in sorted(tables.items()):
        shards = write_shards([table], folder, name)
        quarantine = folder / "quarantine" / f"{name}.jsonl"
        quarantine.parent.mkdir(exist_ok=True)
        quarantine.write_text("")
        sources[name] = SourceEntry(
            rows_in=table.num_rows,
            rows_out=table.num_rows,
            rejected={},
            repaired={},
            inputs=(),
            shards=shards,
            quarantine=NamedFile.of(quarantine, f"quarantine/{name}.jsonl"),
            key="test",
            origin="upstream",
        )
    manifest = Manifest(
        stage="build",
        config_hash="test",
        settings={"sources": sorted(tables)},
        sources=sources,
        versions=library_versions(),
    )
    folder.mkdir(exist_ok=True)
    manifest.write(folder)
    return open_corpus(folder)
