"""`meadow card`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import Finish, dry_run_option, json_option, log


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@dry_run_option
@json_option
def card(folder: Path, dry_run: bool, as_json: bool) -> None:
    """Render the dataset card again.

    The card and the other documents are rendered from the manifest, the files and the prose in
    data_cards/, and the manifest is brought up to date.
    """
    from meadow.atomic import locked
    from meadow.cards.documents import changed_documents, render_documents, replace_documents
    from meadow.corpus.manifest import read_manifest

    finish = Finish(as_json=as_json)
    with locked(folder):
        manifest = read_manifest(folder)
        documents = render_documents(manifest, lambda path: folder / path)
        update = changed_documents if dry_run else replace_documents
        changed = update(folder, manifest, documents)
        for name in changed:
            log(f"{'would render' if dry_run else 'rendered'} {folder / name}")
    finish({"changed": changed})
