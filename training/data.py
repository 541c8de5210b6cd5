"""Reading a mix: the one place of training that knows how rows lie on disk, and its gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meadow.api import open_corpus
from meadow.atomic import sha256_file
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import NAME
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError, RefusedError, UsageError
from meadow.net.hub import SCHEME

REFUSED_LEVELS = frozenset({"stem", "stem+answer"})
"""Levels of overlap with an exam item that training refuses."""
COLUMNS = ("id", "instruction", "input", "output", "source")


def open_mix(location: str | Path) -> Corpus:
    """Open a corpus or mix: a folder, or a published one as `OWNER/NAME@REVISION`.

    Raises:
        UsageError: There is no such folder.
        FileError: There is no finished corpus in it.
    """
    text = str(location)
    path = Path(text)
    if path.exists():
        return open_corpus(path)
    if text.startswith(SCHEME):
        return open_corpus(text)
    if "@" in text and text.partition("@")[0].count("/") == 1 and not text.startswith((".", "/")):
        return open_corpus(SCHEME + text)
    raise UsageError(
        "no such mix",
        where=text,
        fix="name a folder that `meadow mix` or `meadow build` wrote, or OWNER/NAME@REVISION",
    )


def read_rows(
    corpus: Corpus, split: str, repeat: Mapping[str, int] | None = None
) -> Iterator[dict[str, str]]:
    """The rows of a split, each source as often as `repeat` says.

    Raises:
        UsageError: A needed column is missing, or `repeat` names a source that has no row.
    """
    repeat = dict(repeat or {})
    seen: set[str] = set()
    for config in corpus.configs:
        if split not in corpus.manifest.splits()[config]:
            continue
        for path in corpus.files(config, split):
            yield from _read_shard(corpus, path, repeat, seen)
    if split == "train" and (unknown := sorted(set(repeat) - seen)):
        raise UsageError(
            f"mix.repeat names sources without a row: {', '.join(unknown)}",
            where=str(corpus.folder),
            fix=f"sources of the mix: {', '.join(sorted(seen))}",
        )


def _read_shard(
    corpus: Corpus, path: Path, repeat: Mapping[str, int], seen: set[str]
) -> Iterator[dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fix = "build or pull it again; `meadow check` says what differs"
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
                raise UsageError(
                    f"the mix lacks the columns {', '.join(missing)}", where=str(path), fix=fix
                )
            for batch in file.iter_batches(batch_size=1024, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    seen.add(row["source"])
                    for _ in range(repeat.get(row["source"], 1)):
                        yield row
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"the shard cannot be read: {error}", where=str(path), fix=fix) from error


def has_split(corpus: Corpus, split: str) -> bool:
    """Whether the mix has rows in that split."""
    splits = corpus.manifest.splits().values()
    return any(shard.rows for item in splits for shard in item.get(split, ()))


def check_contamination(corpus: Corpus, *, allow: bool) -> dict[str, Any]:
    """Refuse a mix that holds exam items.

    Returns:
        What the run manifest says: whether there is a record, the rows by exam and level, whether
        the refusal was overridden, and a warning.

    Raises:
        RefusedError: Rows match an exam's stem, and `allow` is not set.
    """
    record = corpus.manifest.details.get("contamination")
    if not isinstance(record, dict) or not record:
        return {
            "checked": False,
            "rows": {},
            "allowed": allow,
            "warning": "the mix has no contamination record: its exam scores prove little",
        }
    rows = _contaminated_rows(corpus, record)
    found = {"checked": True, "exams": sorted(record), "rows": rows, "allowed": allow}
    if rows:
        listed = "; ".join(
            f"{exam}: " + ", ".join(f"{n} rows ({level})" for level, n in levels.items())
            for exam, levels in rows.items()
        )
        if not allow:
            raise RefusedError(
                f"exam items are in the mix: {listed}",
                where=str(corpus.folder / "contamination.parquet"),
                fix="mix again with the decontamination step, or pass --allow-contaminated "
                "(the run manifest will say so)",
            )
        found["warning"] = f"trained on exam items: {listed}"
    return found


def _contaminated_rows(corpus: Corpus, record: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Exam -> level -> rows of the train split that match one of the exam's items.

    The table of matches says which rows; those that the mix left out do not count. Without the
    table, the record's own counts stand.
    """
    path = corpus.folder / "contamination.parquet"
    found: dict[str, Counter[str]] = {}
    if path.is_file():
        present = set(corpus.to_arrow(split="train", columns=["id"])["id"].to_pylist())
        matches = read_parquet(path, ["exam", "row_id", "level"]).to_pylist()
        for exam, row_id, level in {(m["exam"], m["row_id"], m["level"]) for m in matches}:
            if level in REFUSED_LEVELS and row_id in present:
                found.setdefault(exam, Counter())[level] += 1
    else:
        for exam, facts in record.items():
            counts = {k: int(n) for k, n in facts.get("rows", {}).items() if k in REFUSED_LEVELS}
            if sum(counts.values()):
                found[exam] = Counter(counts)
    return {exam: dict(sorted(levels.items())) for exam, levels in sorted(found.items())}


def mix_facts(corpus: Corpus) -> dict[str, Any]:
    """Which rows exactly: the manifest's hash and every shard's."""
    return {
        "folder": str(corpus.folder),
        "stage": corpus.manifest.stage,
        "config_hash": corpus.manifest.config_hash,
        "manifest_sha256": sha256_file(corpus.folder / NAME),
        "shards": [
            {"path": shard.path, "rows": shard.rows, "sha256": shard.sha256}
            for shard in corpus.manifest.shards()
        ],
    }
