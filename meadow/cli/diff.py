"""`meadow diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import Finish, json_option, log
from meadow.errors import ExitCode

if TYPE_CHECKING:
    from meadow.quality.diff import Difference


@click.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Rows per kind."
)
@click.option(
    "--freeze", is_flag=True, help="End with exit code 5 if a row was removed, changed or renamed."
)
@json_option
@click.pass_context
def diff(
    ctx: click.Context, /, old: str, new: str, examples: int, freeze: bool, as_json: bool
) -> None:
    """Compare two corpora row by row.

    OLD and NEW are folders, or hf://OWNER/NAME@REVISION. Rows are added, removed, changed (same id,
    other content) or renamed (same texts, other id). A missing column ends with exit code 5.
    """
    from meadow.corpus.folder import open_corpus
    from meadow.quality.diff import diff_corpora

    finish = Finish(as_json=as_json)
    one, other = open_corpus(old), open_corpus(new)
    found = diff_corpora(one, other, examples=examples)
    if not as_json:
        for line in describe(found):
            click.echo(line)
    finish(found.to_json(), rows_in=one.rows(), rows_out=other.rows())
    total = found.total
    if freeze and (broken := {k: total[k] for k in ("removed", "changed", "renamed") if total[k]}):
        counts = ", ".join(f"{rows:,} {kind}" for kind, rows in broken.items())
        log(f"frozen, and not the same: {counts}")
        ctx.exit(ExitCode.UPSTREAM_CHANGED)


def describe(found: Difference) -> list[str]:
    """The comparison as lines for a terminal."""
    from meadow.quality.diff import KINDS

    lines = [f"{'source':<28}" + "".join(f"{kind:>11}" for kind in KINDS)]
    for name, counts in [*found.sources.items(), ("all", found.total)]:
        lines.append(f"{name:<28}" + "".join(f"{counts[kind]:>11,}" for kind in KINDS))
    if found.columns:
        columns = ", ".join(f"{name} {rows:,}" for name, rows in found.columns.items())
        lines.append(f"changed columns: {columns}")
    for name, changes in found.inputs.items():
        lines += [f"raw file of {name}: {change}" for change in changes]
    for kind, rows in found.examples.items():
        for row in rows:
            lines.append(f"{kind} {row['source']} {row['id']}")
            lines += [
                f"  {name}: {_short(value['old'])} -> {_short(value['new'])}"
                for name, value in row.items()
                if isinstance(value, dict)
            ]
    return lines


def _short(value: Any) -> str:
    text = " ".join(str(value).split()) if value is not None else "(none)"
    return text if len(text) <= 100 else f"{text[:99]}…"
