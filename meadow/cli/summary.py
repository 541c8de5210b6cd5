"""`meadow summary`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from meadow.cli.app import FILE, PATH, Finish, config_option, dry_run_option, json_option, log
from meadow.errors import FileError


@click.command()
@click.argument("folder", type=PATH)
@click.option("--mix", metavar="DIR", help="Where the mix of a checkpoint lies now.")
@click.option("--out", type=FILE, help="A file to write.")
@config_option
@dry_run_option
@json_option
def summary(folder: Path, out: Path | None, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Summarise the training content for the EU AI Act.

    FOLDER is a mix, a build or a checkpoint. The summary follows the sections of the Commission's
    template for Article 53(1)(d): sources, sizes, languages, synthetic and crawled data, and a bill
    of licences, counted from the rows; what only the provider can say comes from [provider] in
    meadow.toml. It is printed, or written to --out.
    """
    from meadow.api import open_corpus
    from meadow.atomic import write_text
    from meadow.cards.rows import rows_by_source
    from meadow.cards.summary import licence_bill, read_run, render_summary
    from meadow.config import read_config
    from meadow.models.loading import RUN_MANIFEST

    finish = Finish(as_json=as_json)
    trained, place = None, given["mix"] or str(folder)
    if (folder / RUN_MANIFEST).is_file():
        trained, lay, shards = read_run(folder)
        place = given["mix"] or lay
    corpus = open_corpus(place)
    if trained and shards != [(shard.path, shard.sha256) for shard in corpus.manifest.shards()]:
        raise FileError(
            "this is not the mix that the run was trained on: its shards are others",
            where=place,
            fix="name that mix with --mix",
        )
    corpus.verify()
    provider = read_config(given["config"]).provider
    text = render_summary(corpus.manifest, corpus.folder.__truediv__, provider, trained)
    if waiting := text.count("*not said: "):
        log(f"{waiting} lines wait for the provider: [provider] in meadow.toml")
    if out is not None and not dry_run:
        write_text(out, text)
    if out is not None:
        log(f"{'would write' if dry_run else 'wrote'} {out}")
    counted = rows_by_source(corpus.manifest, corpus.folder.__truediv__)
    bill = licence_bill(corpus.manifest, counted)
    rows = sum(line["rows"] for line in bill)
    document = {"summary": text, "licences": bill, "not_said": waiting}
    finish(document, page="" if out else text.removesuffix("\n"), rows_in=rows)
