"""`meadow summary`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import Finish, dry_run_option, json_option, log
from meadow.errors import FileError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--mix", metavar="DIR", help="Where the mix of a checkpoint lies now.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A file to write.")
@click.option("--config", type=click.Path(path_type=Path), help="A meadow.toml to use.")
@dry_run_option
@json_option
def summary(
    folder: Path,
    mix: str | None,
    out: Path | None,
    config: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
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
    trained, place = None, mix or str(folder)
    if (folder / RUN_MANIFEST).is_file():
        trained, lay, shards = read_run(folder)
        place = mix or lay
    corpus = open_corpus(place)
    if trained and shards != [(shard.path, shard.sha256) for shard in corpus.manifest.shards()]:
        raise FileError(
            "this is not the mix that the run was trained on: its shards are others",
            where=place,
            fix="name that mix with --mix",
        )
    corpus.verify()
    provider = read_config(config).provider
    text = render_summary(corpus.manifest, corpus.folder.__truediv__, provider, trained)
    if waiting := text.count("*not said: "):
        log(f"{waiting} lines wait for the provider: [provider] in meadow.toml")
    if out is None and not as_json:
        click.echo(text, nl=False)
    elif out is not None and dry_run:
        log(f"would write {out}")
    elif out is not None:
        write_text(out, text)
        log(f"wrote {out}")
    counted = rows_by_source(corpus.manifest, corpus.folder.__truediv__)
    bill = licence_bill(corpus.manifest, counted)
    rows = sum(line["rows"] for line in bill)
    finish({"summary": text, "licences": bill, "not_said": waiting}, rows_in=rows)
