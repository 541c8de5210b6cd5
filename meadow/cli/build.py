"""`meadow build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from meadow.build.engine import LOCAL, check_engine
from meadow.cli.app import (
    Finish,
    config_option,
    dry_run_option,
    errata_option,
    grouped,
    json_option,
    list_option,
    log,
    own_option,
    telling,
)
from meadow.errors import ExitCode


@click.command()
@click.option("--recipe", help="A recipe of the project by name, or a TOML file.")
@list_option(
    "--file",
    "files",
    metavar="SOURCE[:SUBSET[:ROLE]]=PATH",
    help="A raw file (or its address), named; implies --only.",
)
@own_option
@click.option("--raw", metavar="PATH", help="The folder of raw files, or its address.")
@list_option("--only", metavar="SOURCE", help="Only these sources.")
@click.option(
    "--origin", type=click.Choice(["upstream", "published"]), help="Where the rows come from."
)
@click.option("--style", type=click.Choice(["meadow", "2023"]), help="Which instruction texts.")
@click.option(
    "--answers",
    type=click.Choice(["all", "top", "accepted"]),
    help="Which answers of a question (stack_exchange).",
)
@click.option(
    "--images",
    type=click.Choice(["refuse", "keep"]),
    help="What becomes of questions that show an image (stack_exchange): refuse.",
)
@errata_option()
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes; else as many as there are cores to use, from 50 MB of raw files on.",
)
@click.option(
    "--engine",
    default=LOCAL,
    show_default=True,
    metavar="NAME",
    help="Where the work runs: local; ray (a Ray cluster of --workers CPUs for this run, or the "
    "one that RAY_ADDRESS names); ray://auto (the one that runs on this machine); "
    "ray://HOST:10001 (Ray's client, from outside the cluster). The bytes are the same.",
)
@click.option(
    "--available", is_flag=True, help="Leave out, and list, sources whose raw files are missing."
)
@click.option("--limit", type=click.IntRange(min=1), help="Candidate rows per source.")
@click.option(
    "--out",
    metavar="PATH",
    required=True,
    help="The corpus folder to write or to add to, or an address (s3://, gs://, ...) to copy it "
    "to.",
)
@config_option
@dry_run_option
@json_option
@click.pass_context
def build(ctx: click.Context, /, as_json: bool, dry_run: bool, **given: Any) -> None:
    """Build verified shards from raw files.

    Sources come from --file or --only, else from --recipe or --source, else from the recipe `full`.
    In a folder that was built with the same options they are added to the others, or built again.
    """
    from meadow import api
    from meadow.build.build import over_threshold
    from meadow.build.worker import built_so_far
    from meadow.corpus.commit import STAGING

    finish = Finish(as_json=as_json)
    check_engine(given["engine"])
    where = {name: given.pop(name) for name in ("out", "workers", "engine")}
    wanted = list(given.pop("only"))
    given["files"] = grouped(given["files"])
    if dry_run:
        finish(_planned(wanted, given, where["out"]))
        return
    staging = Path(where["out"]) / STAGING

    def so_far() -> str:
        found = built_so_far(staging).items()
        told = ", ".join(
            f"{name}: {rows:,} rows, {size / 1e6:,.0f} MB" for name, (rows, size) in found
        )
        return f"building {told or where['out']}"

    with telling(so_far):
        corpus = api.build(wanted, **given, **where, progress=log)
    entries = corpus.manifest.sources.values()
    finish(
        corpus.manifest.to_json(),
        rows_in=sum(entry.rows_in for entry in entries),
        rows_out=sum(entry.rows_out for entry in entries),
        rejected=sum(sum(entry.rejected.values()) for entry in entries),
    )
    if broken := over_threshold(corpus.manifest):
        sources = ", ".join(f"{name} ({reason})" for name, reason in broken.items())
        log(
            f"error: more than 1 % of the input is malformed in: {sources}\n"
            f"  fix:   look into {corpus.folder}/quarantine/ and repair or fetch them again"
        )
        ctx.exit(ExitCode.MALFORMED)


def _planned(sources: list[str], given: dict[str, Any], out: str) -> dict[str, Any]:
    """What a build would fetch first, or what it would read; nothing is fetched or written."""
    from meadow import api
    from meadow.corpus.commit import claim
    from meadow.net.stores import is_remote, list_files

    places = [place for paths in given["files"].values() for place in paths]
    addresses = [place for place in (*places, given["raw"] or "") if is_remote(place)]
    if addresses:
        found = {
            "/".join(filter(None, (address.rstrip("/"), name))): size
            for address in addresses
            for name, size in list_files(address).items()
        }
        for place, size in found.items():
            log(f"would fetch {place}" + (f" ({size:,} bytes)" if size is not None else ""))
        return {"would_fetch": found}
    plan = api.plan_build(sources, **given, progress=log)
    for name, inputs in plan.inputs.items():
        for item in inputs:
            log(f"{name}: would read {item.path} ({item.path.stat().st_size:,} bytes)")
    held = None if is_remote(out) else claim(Path(out), "build", plan.settings.identity)
    whole = plan.settings.beside(held) if held is not None else plan.settings
    stay = [name for name in whole.sources if name not in plan.inputs]
    for name in stay:
        log(f"{name}: would stay as it is")
    return {"would_build": {n: len(items) for n, items in plan.inputs.items()}, "stay": stay}
