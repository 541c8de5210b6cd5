"""`meadow show`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click

from meadow.cli.app import Finish, json_option
from meadow.errors import UsageError


@click.command()
@click.argument("folder")
@click.option("--source", help="Only rows of this source.")
@click.option("-n", "count", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--id", "record_id", help="The row with this id (its beginning will do).")
@click.option("--seed", type=int, default=0, show_default=True, help="Another draw of rows.")
@json_option
def show(
    folder: str, source: str | None, count: int, record_id: str | None, seed: int, as_json: bool
) -> None:
    """Show rows of a corpus.

    The rows are drawn by a hash of seed and id, so that the same command shows the same rows.
    """
    from meadow.corpus.folder import open_corpus

    finish = Finish(as_json=as_json)
    corpus = open_corpus(Path(folder) if "://" not in folder else folder)
    if record_id is not None:
        row = corpus.find(record_id)
        if row is None:
            raise UsageError(
                f"no row whose id begins with {record_id!r}",
                where=folder,
                fix="`meadow show DIR` shows some ids",
            )
        rows = [row]
    else:
        rows = _draw(corpus, source, count, seed)
    if not as_json:
        for row in rows:
            click.echo(_page(row))
    finish({"rows": rows}, rows_out=len(rows))


def _draw(corpus: Any, source: str | None, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows, the smallest by hash; two passes, so that only they are held as rows."""
    import heapq

    if source is not None and source not in corpus.configs:
        known = set()
        for table in corpus.iter_tables(columns=["source"]):
            known |= set(table["source"].unique().to_pylist())
        if source not in known:
            raise UsageError(
                f"no source {source!r} in this corpus",
                where=str(corpus.folder),
                fix=f"one of {', '.join(sorted(known))}",
            )

    def order(row_id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{row_id}".encode()).digest()

    chosen: list[str] = []
    for table in corpus.iter_tables(columns=["id", "source"]):
        pairs = zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)
        ids = [row_id for row_id, name in pairs if source in (None, name)]
        chosen = heapq.nsmallest(count, {*chosen, *ids}, key=order)
    return [row for row_id in chosen if (row := corpus.find(row_id)) is not None]


def _page(row: dict[str, Any]) -> str:
    """One row for reading: the texts, then where they come from."""
    lines = [click.style(f"── {row['source']} {row['id']}", bold=True)]
    for name in ("instruction", "input", "output"):
        if row[name]:
            lines.append(click.style(f"{name}:", fg="cyan"))
            lines.append(_visible(row[name]))
    facts = [
        f"{name} {row[name]}" for name in ("task", "subset", "license", "source_id") if row[name]
    ]
    lines.append(click.style(" · ".join(map(_visible, facts)), dim=True))
    if row["url"]:
        lines.append(click.style(_visible(row["url"]), dim=True))
    for author in row["authors"] or ():
        name = f"{author['role']}: {author['name']} {author['url'] or ''}".rstrip()
        lines.append(click.style(_visible(name), dim=True))
    lines.append(click.style(f"meta {_visible(row['meta'])}", dim=True))
    return "\n".join(lines) + "\n"


def _visible(text: str) -> str:
    """Text without control characters: a row must not steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)
