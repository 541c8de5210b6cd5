"""`meadow takedown`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import Finish, dry_run_option, json_option, list_option, log
from meadow.errors import UsageError

MOST_IDS = 5


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
    type=click.Path(dir_okay=False, path_type=Path),
    help="The list to add to; default: exclude_ids.txt beside meadow.toml.",
)
@click.option("--why", default="", help="A comment for the list, such as the request's number.")
@dry_run_option
@json_option
def takedown(
    ids: tuple[str, ...],
    across: tuple[str, ...],
    target: Path | None,
    why: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Say who holds a row, and keep it out from now on.

    IDS are record ids, upstream ids (also SOURCE:ID, and of any message in a conversation),
    addresses of pages or authors, DOIs, PubMed numbers as pmid:N, or files: one name a line, or a
    CSV of retractions. Corpora and mixes are named with their shards and ledgers, training runs
    with the steps in which a row was due. Names that were given one by one, and those of a file
    that some folder holds, are then added to the list that every build reads; build, mix and train
    again for the rest.
    """
    from meadow.config import read_config
    from meadow.quality.takedown import asked_names, exclude, search

    finish = Finish(as_json=as_json)
    single, listed = asked_names(ids)
    if not (single or listed):
        raise UsageError("no name was given", fix="name an id, an address, a DOI or a list of them")
    found = search(
        [*single, *(name for name in listed if name not in single)], list(map(Path, across))
    )
    for holding in found.held:
        rows = list(holding.rows.items())
        status = f", {holding.progress}" if holding.progress else ""
        log(f"{holding.kind:<7} {holding.folder}: {len(rows):,} rows{status}")
        for record_id, places in rows[:MOST_IDS]:
            word = "steps" if holding.kind == "run" else "in"
            log(f"  {record_id} {word} {', '.join(map(str, places))}")
        if len(rows) > MOST_IDS:
            log(f"  and {len(rows) - MOST_IDS:,} more; --json has all")
    log(
        f"{len(found.found):,} of {len(single) + len(listed):,} names are held, by "
        f"{len(found.held):,} of {found.looked:,} folders"
    )
    config = read_config()
    target = target or config.folder / config.exclude
    names = [*single, *(name for name in listed if name in found.found)]
    added = names if dry_run else exclude(target, names, why)
    log(f"{'would add' if dry_run else 'added'} {len(added):,} names to {target}")
    if found.held:
        log("a folder holds them until it is made again: build (all of its sources), mix, train")
    finish(
        {
            "found": found.found,
            "missing": list(found.missing),
            "held": [holding.to_json() for holding in found.held],
            "excluded": {"file": str(target), "added": added},
        }
    )
