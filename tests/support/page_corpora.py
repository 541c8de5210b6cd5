"""Corpora for the tests of the page and the report: written with the project's own writers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from meadow.corpus.manifest import Manifest, NamedFile, Shard, SourceEntry, Step, library_versions
from meadow.corpus.shards import write_parquet, write_shards
from meadow.schema import Author, Record, Task, arrow_schema, make_record, to_rows

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "]]></script><svg onload=window.hacked=1>",
    "{{ 7 * 7 }} {% raw %} ${window.hacked=1} <%= 1 %>",
    "javascript:window.hacked=1",
    "--- \n# title\n[x](javascript:window.hacked=1) | a | b |",
    "\u202eright to left\u202c & &amp; &lt;b&gt; \x85 \u2028",
)
COLUMNS = ("exam", "item_id", "row_id", "level")
_TEXT = (
    "fever cough dyspnoea edema anaemia sepsis murmur rash nausea syncope tremor ataxia jaundice "
    "colic vertigo stroke lesion tumour biopsy culture dose mg daily weekly renal hepatic cardiac "
    "pulmonary patient history reports denies presents with without after before during treatment"
)
_STEMS = _TEXT.split(" ")


def words(rng: random.Random, count: int) -> str:
    """Text that compresses about as badly as real text does."""
    return " ".join(
        rng.choice(_STEMS) if rng.random() < 0.6 else f"{rng.choice(_STEMS)}{rng.randrange(10**4)}"
        for _ in range(count)
    )


def plain_records(count: int, source: str = "wikidoc", seed: int = 1) -> list[Record]:
    """Records with distinct texts, two tasks, two licences, addresses and authors."""
    rng = random.Random(seed)
    records = []
    for index in range(count):
        records.append(
            make_record(
                source=source,
                source_id=f"{source}-{index}",
                instruction="Answer this question truthfully",
                input=f"What is known about case {index}? {words(rng, 8)}",
                output=f"Answer {index}: {words(rng, 4 + index % 40)}.",
                task=Task.OPEN_QA if index % 3 else Task.SUMMARIZATION,
                license="cc-by-sa-4.0" if index % 4 else "mit",
                subset="even" if index % 2 == 0 else "odd",
                url=f"https://example.org/{source}/{index}",
                authors=[Author(f"user {index % 7}", f"https://example.org/users/{index % 7}")],
                meta={"edited": "2024-05-01", "score": index % 50},
                repairs=["white_space"] if index % 5 == 0 else [],
            )
        )
    return records


def hostile_records(source: str = "forum") -> list[Record]:
    """Records whose every field tries to be something else than text."""
    return [
        make_record(
            source=source,
            source_id=text,
            instruction=text,
            input=text,
            output=text * 2,
            task=Task.OPEN_QA,
            license=text,
            subset=text,
            url=text if index % 2 else "javascript:window.hacked=1",
            authors=[Author(text, "javascript:window.hacked=1", text)],
            rephrased_by=text,
            meta={text: text, "link": "javascript:window.hacked=1"},
        )
        for index, text in enumerate(HOSTILE)
    ]


def to_table(records: Sequence[Record]) -> pa.Table:
    """Records as one Arrow table."""
    return pa.Table.from_pylist(list(to_rows(records)), schema=arrow_schema())


def source_entry(
    folder: Path,
    source: str,
    records: Sequence[Record],
    rejected: dict[str, int] | None = None,
    slices: int = 1,
    facts: dict[str, dict[str, int]] | None = None,
) -> SourceEntry:
    """Write one source's shards and quarantine; the entry that a build would make."""
    table = to_table(records)
    shards = write_shards([table], folder, source)
    if slices > 1:
        shards = cut(folder, source, table, slices)
    quarantine = folder / "quarantine" / f"{source}.jsonl"
    quarantine.parent.mkdir(parents=True, exist_ok=True)
    quarantine.write_text("")
    lost = rejected or {}
    counted = {
        "licenses": dict(Counter(record.license for record in records)),
        "tasks": dict(Counter(record.task.value for record in records)),
    }
    return SourceEntry(
        rows_in=len(records) + sum(lost.values()),
        rows_out=len(records),
        rejected=lost,
        repaired=dict(Counter(repair for record in records for repair in record.repairs)),
        inputs=(),
        shards=shards,
        quarantine=NamedFile.of(quarantine, f"quarantine/{source}.jsonl"),
        key="0" * 64,
        origin="upstream",
        facts=counted | (facts or {}),
    )


def cut(folder: Path, config: str, table: pa.Table, slices: int, split: str = "train") -> Any:
    """The same rows as several shards."""
    for path in (folder / "data" / config).glob(f"{split}-*.parquet"):
        path.unlink()
    step = -(-table.num_rows // slices)
    shards = []
    for index in range(slices):
        name = f"data/{config}/{split}-{index:05d}-of-{slices:05d}.parquet"
        part = table.slice(index * step, step)
        write_parquet(part, folder / name)
        measured = NamedFile.of(folder / name, name)
        shards.append(Shard(name, part.num_rows, measured.bytes, measured.sha256))
    return tuple(shards)


def write_build(folder: Path, entries: dict[str, SourceEntry], **details: Any) -> Path:
    """Finish a build's folder."""
    Manifest(
        stage="build",
        config_hash="1" * 64,
        settings={"recipe": "test"},
        sources=entries,
        details=details,
        versions=library_versions(),
    ).write(folder)
    return folder


def write_mix(
    folder: Path,
    records: Sequence[Record],
    *,
    validation: int = 0,
    contamination: Sequence[dict[str, Any]] = (),
    duplicates: Sequence[dict[str, Any]] = (),
    steps: Sequence[Step] = (),
    exams: dict[str, Any] | None = None,
    pairs: Sequence[Record] = (),
) -> Path:
    """A mix's folder as `meadow mix` leaves it."""
    table = to_table(records)
    held = len(records) - validation
    configs: dict[str, dict[str, tuple[Shard, ...]]] = {
        "clean": {"train": write_shards([table.slice(0, held)], folder, "clean")}
    }
    if validation:
        rest = write_shards([table.slice(held)], folder, "clean", "validation")
        configs["clean"]["validation"] = rest
    files = []
    if pairs:
        name = "data/raw_pairs/original-00000-of-00001.parquet"
        write_parquet(to_table(pairs), folder / name)
        files.append(NamedFile.of(folder / name, name))
    text, number = pa.string(), pa.float64()
    for name, rows, schema in (
        (
            "contamination.parquet",
            contamination,
            pa.schema([*((name, text) for name in COLUMNS), ("score", number), ("matched", text)]),
        ),
        (
            "duplicates.parquet",
            duplicates,
            pa.schema(
                [
                    ("kept_id", text),
                    ("dropped_id", text),
                    ("jaccard", number),
                    ("kind", text),
                    ("question_jaccard", number),
                ]
            ),
        ),
    ):
        write_parquet(pa.Table.from_pylist(list(rows), schema=schema), folder / name)
        files.append(NamedFile.of(folder / name, name))
    Manifest(
        stage="mix",
        config_hash="2" * 64,
        settings={"recipe": "clean"},
        configs=configs,
        steps=tuple(steps),
        files=tuple(files),
        details={"contamination": exams or {}},
        versions=library_versions(),
    ).write(folder)
    return folder
