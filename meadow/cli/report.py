"""`meadow report`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import Finish, dry_run_option, json_option, log


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to; default: DIR/report.")
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    help="The build that a mix was drawn from: it knows the sources of dropped duplicates.",
)
@click.option("--page", default="", metavar="URL", help="A browse page to link example rows to.")
@dry_run_option
@json_option
def report(
    folder: Path,
    out: Path | None,
    corpus: Path | None,
    page: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the quality report.

    One self-contained HTML page, a Markdown twin and report.json, which the browse page shows as
    its Overview. Without --out they go to DIR/report and the manifest names them.
    """
    import contextlib

    from meadow.atomic import locked
    from meadow.corpus.folder import open_corpus
    from meadow.quality.page import verdict
    from meadow.quality.report import FOLDER, build_report, write_report

    finish = Finish(as_json=as_json)
    origin = open_corpus(corpus) if corpus is not None else None
    target = out or folder / FOLDER
    opened = open_corpus(folder)
    if dry_run:
        document = build_report(opened, origin)
        log(f"would write report.json, report.html and report.md to {target}")
    else:
        with locked(folder) if out is None else contextlib.nullcontext():
            document = write_report(open_corpus(folder), out, origin=origin, page=page)
        log(f"wrote report.json, report.html and report.md to {target}")
    log(verdict(document))
    finish(document, rows_in=opened.rows(), rows_out=document["rows"])
