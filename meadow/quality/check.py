"""Verify a corpus folder: what a reader would trust is validated against its manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file
from meadow.cards.documents import render_documents
from meadow.corpus.flags import TEXTS
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import check_rows, read_parquet
from meadow.errors import CheckError, MeadowError
from meadow.licenses import LICENSES
from meadow.schema import COLUMNS, DERIVED, Reason, Task, arrow_schema
from meadow.source import Source
from meadow.sources import with_own
from meadow.text.privacy import scrub, suspects

QUARANTINE = "quarantine/"
MAX_EXAMPLES = 5
"""Findings of one kind that are named one by one; the rest is a number."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a kind, the place, and the particulars."""

    kind: str
    where: str
    detail: str


def check_corpus(folder: Path) -> list[Finding]:
    """Everything that is wrong with a corpus or mix folder; empty when it can be trusted.

    Looked at: files and hashes, nothing unnamed, schema, counts, conservation, duplicate ids and
    texts, empty fields, tasks, licences and attribution, personal data in free text, answers among
    their options, card.

    Raises:
        FileError: The folder holds no readable manifest.
    """
    corpus = Corpus.open(folder)
    findings = list(_files(corpus))
    if any(finding.kind in {"missing_file", "changed_file"} for finding in findings):
        return findings
    findings += _conservation(corpus.manifest)
    findings += _rows(corpus)
    if not any(finding.kind in {"unreadable_shard", "wrong_schema"} for finding in findings):
        findings += _documents(corpus)
    return findings


def _files(corpus: Corpus) -> Iterator[Finding]:
    named = corpus.manifest.named()
    for name, (size, sha256) in named.items():
        path = corpus.folder / name
        if name.startswith(QUARANTINE) and not (corpus.folder / QUARANTINE).is_dir():
            continue  # a pulled corpus: rejected rows are never published, their counts are
        if not path.is_file():
            yield Finding("missing_file", name, "the manifest names it, and it is not there")
        elif path.stat().st_size != size or sha256_file(path) != sha256:
            yield Finding("changed_file", name, "its bytes are not what the manifest says")
    for path in sorted((corpus.folder / "data").rglob("*")):
        name = path.relative_to(corpus.folder).as_posix()
        if path.is_file() and name not in named:
            yield Finding("unnamed_file", name, "the manifest does not name it")


def _conservation(manifest: Manifest) -> Iterator[Finding]:
    build = manifest.stage == "build"
    for name, entry in manifest.sources.items():
        if build and entry.rows_in != entry.rows_out + sum(entry.rejected.values()):
            yield Finding("lost_rows", name, f"{entry.rows_in} in is not out plus rejected")
        if build and entry.rows_out != sum(shard.rows for shard in entry.shards):
            yield Finding("wrong_count", name, "rows_out is not the sum of the shards")
        for reason in entry.rejected:
            if reason not in set(Reason):
                yield Finding("unknown_reason", name, reason)
    for step in manifest.steps:
        if step.rows_in != step.rows_out + sum(step.rejected.values()):
            yield Finding("lost_rows", step.name, f"{step.rows_in} in is not out plus rejected")


def _rows(corpus: Corpus) -> Iterator[Finding]:
    build = corpus.manifest.stage == "build"
    known = with_own(corpus.manifest.own_sources)
    seen: set[object] = set()
    tally: Counter[str] = Counter()
    for shard in corpus.manifest.shards():
        try:
            table = read_parquet(corpus.folder / shard.path)
        except MeadowError as error:
            yield Finding("unreadable_shard", shard.path, error.what)
            continue
        schema = table.schema.remove_metadata()
        try:
            if not _is_schema(schema):
                raise CheckError(f"columns: {', '.join(schema.names)}")
            check_rows(table, corpus.folder / shard.path)
        except CheckError as error:
            yield Finding("wrong_schema", shard.path, error.what)
            continue
        if table.num_rows != shard.rows:
            yield Finding("wrong_count", shard.path, f"{table.num_rows} rows, not {shard.rows}")
        for batch in table.to_batches(max_chunksize=4096):
            rows = batch.to_pylist()
            scrubbed = _unscrubbed(rows, known)
            for row in rows:
                found = [*_row(row), *scrubbed.get(row["id"], ())]
                text = (row["source"], hash((row["instruction"], row["input"], row["output"])))
                repeats = (("duplicate_id", row["id"]), ("duplicate_text", text))
                if build:  # a mix may repeat rows, and says so
                    found += [(key[0], "stands twice") for key in repeats if key in seen]
                    seen.update(repeats)
                for kind, detail in found:
                    tally[kind] += 1
                    if tally[kind] <= MAX_EXAMPLES:
                        yield Finding(kind, f"{shard.path} {row['id']}", detail)
    for kind, count in tally.items():
        if count > MAX_EXAMPLES:
            yield Finding(kind, "all shards", f"{count:,} rows in all")


def _is_schema(schema: Any) -> bool:
    wanted = arrow_schema()
    own = [schema.field(name) for name in schema.names if name in COLUMNS]
    extra = [name for name in schema.names if name not in COLUMNS]
    return own == list(wanted) and extra == list(DERIVED[: len(extra)])


def _row(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("id", "instruction", "output", "source", "task", "license", "meta"):
        if not (row[name] or "").strip():
            yield "empty_field", name
    if row["task"] not in set(Task):
        yield "unknown_task", str(row["task"])
    known = LICENSES.get(row["license"])
    if known is None:
        yield "unknown_license", str(row["license"])
    elif known.attribution and not (
        row["url"] and row["authors"] and all(a and a["name"] for a in row["authors"])
    ):
        yield "missing_attribution", f"{row['license']} asks for author and address"
    try:
        meta = json.loads(row["meta"])
    except (ValueError, RecursionError):
        yield "bad_meta", "meta is not JSON"
        return
    if not isinstance(meta, dict):
        return
    if (vouched := meta.get("vouched")) is not None:
        licence = vouched.get("licence") if isinstance(vouched, dict) else None
        if licence != row["license"] or not (vouched.get("who") and vouched.get("when")):
            yield "bad_vouch", "who vouched when, and for this licence, is not said"
    if row["task"] != Task.MULTIPLE_CHOICE:
        return
    answer, choices = meta.get("answer"), meta.get("options")
    if choices is not None and (
        not isinstance(choices, dict | list) or answer not in list(choices)
    ):
        yield "answer_not_in_options", str(meta.get("answer"))


def _unscrubbed(
    rows: list[dict[str, Any]], known: Mapping[str, Source]
) -> dict[str, list[tuple[str, str]]]:
    """Id -> findings, for rows of free text in which personal data still stands."""
    sources = {row["source"]: known.get(row["source"]) for row in rows}
    free = {name for name, source in sources.items() if source is not None and source.free_text}
    texts = [
        (row["id"], row[name] or "") for row in rows if row["source"] in free for name in TEXTS
    ]
    found: dict[str, list[tuple[str, str]]] = {}
    for (number, text), suspected in zip(texts, suspects([t for _, t in texts]), strict=True):
        if suspected and number not in found and (kinds := scrub(text)[1]):
            found[number] = [("personal_data", ", ".join(sorted(kinds)))]
    return found


def _documents(corpus: Corpus) -> Iterator[Finding]:
    from meadow.cards.card import CARD, lint_card

    path = corpus.folder / CARD
    if not path.is_file():
        yield Finding("no_card", CARD, "render it: meadow card")
        return
    documents = render_documents(corpus.manifest, lambda name: corpus.folder / name)
    for finding in lint_card(path.read_text(encoding="utf-8"), documents[CARD].decode("utf-8")):
        yield Finding("card", CARD, finding)
