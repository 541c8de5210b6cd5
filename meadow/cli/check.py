"""`meadow check`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from meadow.cli.app import Finish, json_option, log
from meadow.errors import ExitCode


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--privacy",
    "sample",
    is_flag=False,
    flag_value=2000,
    type=click.IntRange(1),
    metavar="ROWS",
    help="Also look for personal data in a sample of rows (2,000) with presidio; extra pii.",
)
@json_option
@click.pass_context
def check(ctx: click.Context, /, folder: Path, sample: int | None, as_json: bool) -> None:
    """Verify a corpus folder.

    Hashes, schema, counts, duplicates, empty fields, licences and the card are held to the
    manifest; a finding ends with exit code 1. What --privacy sees is a rate with its interval and
    no finding: its patterns mistake numbers for personal data.
    """
    from meadow.corpus.folder import open_corpus
    from meadow.quality.audit import require_presidio
    from meadow.quality.check import check_corpus

    finish = Finish(as_json=as_json)
    if sample is not None:
        require_presidio()
    findings = check_corpus(folder)
    for finding in findings:
        log(f"{finding.kind}: {finding.where}: {finding.detail}")
    rows = open_corpus(folder).rows()
    verdict = f"{len(findings)} findings" if findings else "no finding"
    log(f"checked {rows:,} rows in {folder}: {verdict}")
    document: dict[str, Any] = {
        "rows": rows,
        "findings": [asdict(finding) for finding in findings],
    }
    if sample is not None:
        document["privacy"] = _privacy(folder, sample)
    finish(document, rows_in=rows)
    if findings:
        ctx.exit(ExitCode.FAILED)


def _privacy(folder: Path, sample: int) -> dict[str, Any]:
    """Audit a sample of rows, say what was found, and give it as JSON."""
    from meadow.corpus.folder import open_corpus
    from meadow.quality.audit import audit, row_texts

    found = audit(row_texts(open_corpus(folder)), size=sample)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items()) or "nothing"
    log(
        f"privacy: {found.hits:,} of {found.rows:,} sampled rows ({found.rate:.2%}, 95 % interval "
        f"{found.low:.2%} to {found.high:.2%}) hold what presidio takes for personal data: {kinds}"
    )
    return {**asdict(found), "rate": found.rate}
