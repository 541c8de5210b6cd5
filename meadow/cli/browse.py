"""`meadow browse`: read a corpus in the browser, from this machine."""

from __future__ import annotations

import click

from meadow.cli.app import Finish, json_option, log


@click.command("browse")
@click.argument("corpus", metavar="DIR|REPO@REV")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free port.")
@click.option("--no-open", is_flag=True, help="Print the address; open no browser.")
@json_option
def browse(corpus: str, port: int, no_open: bool, as_json: bool) -> None:
    """Browse a corpus in the browser.

    DIR is a built or mixed corpus; OWNER/NAME@REVISION a published one, which is pulled first. The
    page is served on loopback alone until you press Ctrl-C. Rows are read by HTTP ranges and found
    by a full-text search.
    """
    from pathlib import Path

    from meadow.corpus.folder import HUB_PREFIX, open_corpus
    from meadow.quality.browse import serve

    finish = Finish(as_json=as_json)
    published = "@" in corpus and not Path(corpus).is_dir()
    prefix = HUB_PREFIX if published and not corpus.startswith(HUB_PREFIX) else ""
    opened = open_corpus(prefix + corpus)

    def ready(address: str) -> None:
        log(f"{opened.rows():,} rows at {address} (Ctrl-C ends)")
        finish({"address": address, "rows": opened.rows()}, rows_out=opened.rows())
        if not no_open:
            import webbrowser

            webbrowser.open(address)

    serve(opened, port=port, title=corpus if published else "Medical Meadow", ready=ready)
