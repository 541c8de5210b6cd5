"""Who holds a row: `meadow trace`, and `meadow takedown`, which keeps it out from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import FILE, Finish, dry_run_option, json_option, list_option, log
from meadow.errors import ExitCode, UsageError
from meadow.text.markdown import number_of

if TYPE_CHECKING:
    from meadow.quality.trace import Search

MOST_IDS = 5
MOST_STEPS = 12


@click.command()
@click.argument("name", metavar="ID|URL|DOI")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDERS...")
@json_option
@click.pass_context
def trace(ctx: click.Context, /, name: str, folders: tuple[str, ...], as_json: bool) -> None:
    """Say where a row went: corpora, mixes, runs, steps, checkpoints.

    The name is a record id (or its beginning), an upstream id, the address of a page or an author,
    a DOI, or a PubMed number as pmid:N. Every corpus, mix, training run, checkpoint and export
    below FOLDERS is looked through; OWNER/NAME@REV is pulled to the cache first. Releases are known
    by the receipt that publish leaves. Ends with exit code 1 where nothing holds the row.
    """
    from meadow.api import is_published, open_corpus
    from meadow.corpus.names import normal_name
    from meadow.quality.trace import search

    finish = Finish(as_json=as_json)
    places = [open_corpus(each).folder if is_published(each) else Path(each) for each in folders]
    found = search([normal_name(name)], places, beginnings=True)
    holders = f"{len(found.held):,} of {found.looked:,} folders hold {name}"
    finish(_document(found), page="\n".join(_lines(found)))
    log(holders if found.held else f"nothing holds {name}: {found.looked:,} folders were looked at")
    if not found.held:
        ctx.exit(ExitCode.FAILED)


def _lines(found: Search) -> Iterator[str]:
    """What was found, for a terminal."""
    for holding in found.held:
        rows = list(holding.rows.items())
        status = f", {holding.progress}" if holding.progress else ""
        yield f"{holding.kind:<11}{holding.folder}: {number_of(len(rows), 'row')}{status}"
        for record_id, places in rows[:MOST_IDS]:
            if holding.kind in ("corpus", "mix"):
                splits = ", ".join(holding.splits.get(record_id, ()))
                told = " ".join(filter(None, (splits, f"({', '.join(map(str, places))})")))
            else:
                told = f"steps {', '.join(map(str, places[:MOST_STEPS]))}"
                if len(places) > MOST_STEPS:
                    told += f" and {len(places) - MOST_STEPS:,} more"
                if not places:
                    told = "in the mix that it was trained on; the plan with the steps is not here"
            yield f"  {record_id} {told}"
        if len(rows) > MOST_IDS:
            yield f"  and {len(rows) - MOST_IDS:,} more; --json has all"
        for release in holding.published:
            yield f"  published as {release}"
    for folder in found.unknown:
        yield f"unknown    {folder}: neither the plan nor the mix of its run is below these folders"


def _document(found: Search) -> dict[str, Any]:
    return {
        "found": found.found,
        "missing": list(found.missing),
        "held": [holding.to_json() for holding in found.held],
        "unknown": [str(folder) for folder in found.unknown],
    }


@click.command()
@click.argument("ids", nargs=-1, required=True)
@list_option(
    "--across",
    metavar="DIR",
    required=True,
    help="Where to look: every corpus, mix and run below it.",
)
@click.option(
    "--exclude",
    "target",
    type=FILE,
    help="The list to add to; default: exclude_ids.txt beside meadow.toml.",
)
@click.option("--why", default="", help="A comment for the list, such as the request's number.")
@dry_run_option
@json_option
def takedown(
    ids: tuple[str, ...], across: tuple[str, ...], target: Path | None, why: str, dry_run: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Say who holds a row, and keep it out from now on.

    IDS are record ids, upstream ids (also SOURCE:ID, and of any message in a conversation),
    addresses of pages or authors, DOIs, PubMed numbers as pmid:N, or files: one name a line, or a
    CSV of retractions. Corpora and mixes are named with their shards and ledgers, training runs
    with the steps in which a row was due. Names that were given one by one, and those of a file
    that some folder holds, are then added to the list that every build reads; build, mix and train
    again for the rest.
    """
    from meadow.config import read_config
    from meadow.quality.takedown import asked_names, exclude
    from meadow.quality.trace import search

    finish = Finish(as_json=as_json)
    single, listed = asked_names(ids)
    if not (single or listed):
        raise UsageError("no name was given", fix="name an id, an address, a DOI or a list of them")
    found = search(list(dict.fromkeys([*single, *listed])), list(map(Path, across)))
    for line in _lines(found):
        log(line)
    log(
        f"names held: {len(found.found):,} of {len(single) + len(listed):,}, by "
        f"{len(found.held):,} of {found.looked:,} folders"
    )
    config = read_config()
    target = target or config.folder / config.exclude
    names = [*single, *(name for name in listed if name in found.found)]
    added = names if dry_run else exclude(target, names, why)
    log(f"names {'to add' if dry_run else 'added'} to {target}: {len(added):,}")
    if found.held:
        log("a folder holds them until it is made again: build (all of its sources), mix, train")
    finish(_document(found) | {"excluded": {"file": str(target), "added": added}})
