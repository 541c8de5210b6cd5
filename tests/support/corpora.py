"""Builds and mixes for tests: small folders, written with the project's own writers."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from meadow.api import open_corpus
from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import find_inputs
from meadow.corpus.folder import CONTAMINATION, DUPLICATES, Corpus
from meadow.corpus.manifest import Manifest, NamedFile, Shard, SourceEntry, Step, library_versions
from meadow.corpus.shards import write_parquet
from meadow.samples import FOLDER
from meadow.schema import Author, Record, Task, arrow_schema, make_record, to_rows
from meadow.source import OriginName
from meadow.sources import SOURCES

DECIDED = {"licence": "mit", "who": "A. Tester", "when": "2026-11-28"}
"""What the tests' meadow.toml would say of a disputed licence."""
HOSTILE = (
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "]]></script><svg onload=window.hacked=1>",
    "{{ 7 * 7 }} {% raw %} ${window.hacked=1} <%= 1 %>",
    "javascript:window.hacked=1",
    "--- \n# title\n[x](javascript:window.hacked=1) | a | b |",
    "\u202eright to left\u202c & &amp; &lt;b&gt; \x85 \u2028",
)
WORDS = [
    "aspirin", "lowers", "the", "risk", "of", "stroke", "in", "adults", "with", "diabetes",
    "while", "smoking", "raises", "blood", "pressure", "and", "chronic", "pain", "may", "respond",
    "to", "exercise", "sleep", "diet", "or", "surgery", "after", "trauma",
]  # fmt: skip
Rows = Sequence[tuple[str, str, str, str]]


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


def plain_records(count: int, source: str = "wikidoc", seed: int = 1) -> list[Record]:
    """Records with distinct texts, two tasks, two licences, addresses and authors."""
    rng = random.Random(seed)

    def words(length: int) -> str:
        # numbers among them: text that compresses about as badly as real text does
        found = rng.choices(WORDS, k=length)
        return " ".join(f"{w}{rng.randrange(10**4)}" if rng.random() < 0.4 else w for w in found)

    return [
        record(
            source,
            index,
            f"Answer {index}: {words(4 + index % 40)}.",
            source_id=f"{source}-{index}",
            instruction="Answer this question truthfully",
            input=f"What is known about case {index}? {words(8)}",
            task=Task.OPEN_QA if index % 3 else Task.SUMMARIZATION,
            license="cc-by-sa-4.0" if index % 4 else "mit",
            subset="even" if index % 2 == 0 else "odd",
            authors=[Author(f"user {index % 7}", f"https://example.org/users/{index % 7}")],
            meta={"edited": "2024-05-01", "score": index % 50},
            repairs=["white_space"] if index % 5 == 0 else [],
        )
        for index in range(count)
    ]


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


def synthetic_rows(count: int, seed: int = 0, longest: int = 40) -> list[tuple[str, str, str, str]]:
    """(source, instruction, input, output) with lengths as uneven as real ones."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        words = draw.choices(WORDS, k=max(2, int(draw.expovariate(1 / 10)) % longest))
        answer = " ".join(sorted(set(words))[: 1 + number % 7])
        rows.append(("alpha" if number % 3 else "beta", "Sort the words.", " ".join(words), answer))
    return rows


def to_table(rows: Iterable[Record] | pa.Table) -> pa.Table:
    """Records as one Arrow table."""
    if isinstance(rows, pa.Table):
        return rows
    return pa.Table.from_pylist(list(to_rows(rows)), schema=arrow_schema())


def write_corpus(folder: Path, records: Iterable[Record]) -> Corpus:
    """A build of these records: one config per source."""
    by_source = groupby(sorted(records, key=lambda item: item.source), lambda item: item.source)
    return write_tables(folder, {name: list(group) for name, group in by_source})


def write_tables(folder: Path, tables: Mapping[str, pa.Table | Sequence[Record]]) -> Corpus:
    """A build of these rows: source -> its rows."""
    entries = {name: source_entry(folder, name, rows) for name, rows in sorted(tables.items())}
    return open_corpus(write_build(folder, entries))


def source_entry(
    folder: Path,
    source: str,
    rows: Sequence[Record] | pa.Table,
    rejected: dict[str, int] | None = None,
    slices: int = 1,
    facts: dict[str, dict[str, int]] | None = None,
) -> SourceEntry:
    """Write one source's shards and quarantine; the entry that a build would make."""
    table = to_table(rows)
    lost = rejected or {}
    counted = {
        "licenses": dict(Counter(table["license"].to_pylist())),
        "tasks": dict(Counter(table["task"].to_pylist())),
    }
    repairs = [] if isinstance(rows, pa.Table) else [name for row in rows for name in row.repairs]
    shards = write_slices(folder, source, table, slices=slices)
    quarantine = folder / "quarantine" / f"{source}.jsonl"
    quarantine.parent.mkdir(exist_ok=True)
    quarantine.write_text("")
    return SourceEntry(
        rows_in=table.num_rows + sum(lost.values()),
        rows_out=table.num_rows,
        rejected=lost,
        repaired=dict(Counter(repairs)),
        inputs=(),
        shards=shards,
        quarantine=NamedFile.of(quarantine, f"quarantine/{source}.jsonl"),
        key="0" * 64,
        origin="upstream",
        facts=counted | (facts or {}),
    )


def write_slices(
    folder: Path, config: str, table: pa.Table, *, split: str = "train", slices: int = 1
) -> tuple[Shard, ...]:
    """The shards of a config and split, of about as many rows each."""
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
        settings={"sources": sorted(entries)},
        sources=entries,
        details=details,
        versions=library_versions(),
    ).write(folder)
    return folder


def write_mix(
    folder: Path,
    rows: Sequence[Record] | Rows,
    held_out: Sequence[Record] | Rows = (),
    *,
    config: str = "small",
    details: dict[str, Any] | None = None,
    matches: Sequence[dict[str, Any]] | None = None,
    duplicates: Sequence[dict[str, Any]] | None = None,
    steps: Sequence[Step] = (),
    pairs: Sequence[Record] = (),
) -> Path:
    """A mix's folder as `meadow mix` leaves it: shards, ledgers, the manifest last.

    Args:
        folder: Made where it is not there.
        rows: Records, or (source, instruction, input, output).
        held_out: Those of the split `validation`.
        config: The name of the only config.
        details: As the manifest has them.
        matches: The ledger of contamination, where there is one.
        duplicates: The ledger of duplicates.
        steps: As the manifest has them.
        pairs: The originals of rewritten rows.
    """
    splits: dict[str, tuple[Shard, ...]] = {}
    for split, part in (("train", rows), ("validation", held_out)):
        records = [
            row if isinstance(row, Record) else make_record(
                source=row[0], source_id=f"{split}-{number}", instruction=row[1], input=row[2],
                output=row[3], task=Task.OPEN_QA, license="cc0-1.0",
            )
            for number, row in enumerate(part)
        ]  # fmt: skip
        if records:
            splits[split] = write_slices(folder, config, to_table(records), split=split)
    files = []
    tables = {CONTAMINATION: matches, DUPLICATES: duplicates}
    for name, found in tables.items():
        if found is not None:
            write_parquet(pa.Table.from_pylist(list(found)), folder / name)
            files.append(NamedFile.of(folder / name, name))
    if pairs:
        name = "data/raw_pairs/original-00000-of-00001.parquet"
        write_parquet(to_table(pairs), folder / name)
        files.append(NamedFile.of(folder / name, name))
    folder.mkdir(parents=True, exist_ok=True)
    Manifest(
        stage="mix", config_hash="2" * 64, settings={"recipe": config}, configs={config: splits},
        steps=tuple(steps), files=tuple(files), details=details or {}, versions=library_versions(),
    ).write(folder)  # fmt: skip
    return folder


def build(folder: Path, names: Iterable[str], raw: Path = FOLDER) -> Path:
    """Build sources from a raw folder (the embedded samples) as `meadow build` does."""
    chosen = tuple(names)
    origins = {
        name: OriginName.UPSTREAM if SOURCES[name].upstream else OriginName.PUBLISHED
        for name in chosen
    }
    inputs = {
        name: find_inputs(SOURCES[name], SOURCES[name].origin(origins[name]), raw)
        for name in chosen
    }
    vouched = {name: DECIDED for name in chosen if SOURCES[name].disputed}
    build_corpus(BuildSettings(sources=chosen, origins=origins, vouched=vouched), inputs, folder)
    return folder


def write_medqa(raw: Path, questions: Iterable[dict[str, object]]) -> None:
    """A MedQA training file below a raw folder."""
    path = raw / "medqa" / "train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(question) + "\n" for question in questions)
    path.write_text("".join(lines), encoding="utf-8")


def invented_questions(count: int, seed: int) -> list[dict[str, object]]:
    """Questions of the length of real ones, from random words."""
    dice = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(dice.choices(letters, k=dice.randint(3, 11))) for _ in range(4000)]

    def sentence(length: int) -> str:
        return " ".join(dice.choices(words, k=length)).capitalize()

    questions: list[dict[str, object]] = []
    for number in range(count):
        options = {letter: sentence(3) for letter in "ABCDE"}
        answer = dice.choice("ABCDE")
        questions.append(
            {
                "question": f"{sentence(90)} {seed} {number}?",
                "answer": options[answer],
                "options": options,
                "meta_info": "step1",
                "answer_idx": answer,
            }
        )
    return questions


def token_rows(lengths: Sequence[int], ids: Sequence[str] = (), tokens: Sequence[int] = ()) -> Any:
    """Examples of these lengths, of one source, all learned but their first tokens."""
    from training.data import TokenRows

    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(starts[-1])
    return TokenRows(
        tokens=np.asarray(tokens if len(tokens) else places % 100, dtype=np.int32),
        starts=starts,
        learned=~np.isin(places, starts),
        source=np.zeros(len(lengths), dtype=np.int32),
        ids=list(ids) or [f"row-{i}" for i in range(len(lengths))],
        copies=[0] * len(lengths),
        sources=["only"],
    )
