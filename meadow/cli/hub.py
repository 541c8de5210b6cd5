"""`meadow publish`, `meadow pull` and `meadow verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meadow.cli.app import Finish, dry_run_option, json_option, log
from meadow.errors import ExitCode

if TYPE_CHECKING:
    from meadow.hub.plan import Plan
    from meadow.hub.publish import Card, Gate


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name", metavar="OWNER/NAME[@vX.Y.Z|@BRANCH]")
@click.option("--public", is_flag=True, help="Open it to everybody; a new data set is private.")
@click.option(
    "--gated",
    is_flag=False,
    flag_value="auto",
    type=click.Choice(["auto", "manual"]),
    help="Readers ask for access first: granted at once (auto) or by hand.",
)
@click.option(
    "--create-pr", is_flag=True, help="Open a pull request instead: for who may not write."
)
@click.option(
    "--card",
    type=click.Choice(["keep", "replace"]),
    help="Where the card was edited on the Hub: keep its words and bring the generated parts up to "
    "date, or replace it; without this it is refused.",
)
@click.option(
    "--space",
    metavar="OWNER/SPACE",
    help="Then push the browse page as a static Space that reads the tag's shards; needs a tag.",
)
@dry_run_option
@json_option
def publish(
    folder: Path,
    name: str,
    public: bool,
    gated: Gate | None,
    create_pr: bool,
    card: Card | None,
    space: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish a corpus to the Hub in one commit.

    OWNER/NAME@v1.2.0 tags it, and a tag never moves; OWNER/NAME@BRANCH goes to a branch. Checks the
    folder, sends what is new with a card that has the real address in every command, makes one
    commit on the head that it has seen, compares the Hub's tree, loads every config back and
    counts, then sets the tag. Rows whose licence does not allow it are refused. With --space, the
    browse page follows in one commit of its own. The token is the one of `hf auth login` or
    HF_TOKEN.
    """
    from meadow import api
    from meadow.hub.publish import RECEIPT, Publisher

    finish = Finish(as_json=as_json)
    if dry_run:
        publisher = Publisher(
            public=public, gated=gated, create_pr=create_pr, card=card, report=log, space=space
        )
        plan, page = publisher.plan(folder, name)
        _show_plan(plan)
        planned = {"dry_run": True, **plan.to_json()}
        if page is not None:
            _show_plan(page)
            planned["space"] = page.to_json()
        finish(planned)
        return
    done = api.publish(
        folder, name, public=public, gated=gated, create_pr=create_pr, card=card, space=space,
        progress=log,
    )  # fmt: skip
    repository = done.plan.repository
    if not done.made_commit:
        log("nothing has changed: no commit was made")
    if done.pull_request is not None:
        log(f"opened {done.pull_request}; receipt: {folder / RECEIPT}")
    else:
        log(f"published {repository}@{done.tag or done.commit}; receipt: {folder / RECEIPT}")
    result = {
        **done.plan.to_json(),
        "commit": done.commit,
        "tag": done.tag,
        "pull_request": done.pull_request,
        "rows": done.rows,
    }
    if done.space is not None:
        if not done.space.made_commit:
            log("the Space shows this already: no commit was made")
        log(f"{done.space.plan.where} shows {repository}@{done.tag}")
        result["space"] = {**done.space.plan.to_json(), "commit": done.space.commit}
    finish(
        result,
        rows_out=max((sum(splits.values()) for splits in done.rows.values()), default=0),
    )


def _show_plan(plan: Plan) -> None:
    """The commit that would be made, file by file."""
    sizes = {file.path: file.size for file in plan.files}
    log(f"{plan.where}: " + (f"head {plan.head}" if plan.head else "would be created"))
    for path in plan.changed:
        log(f"  send    {path} ({sizes[path]:,} bytes)")
    for path in plan.deleted:
        log(f"  delete  {path}")
    log(f"at most {plan.bytes_to_send:,} bytes; {len(plan.files) - len(plan.changed)} files stay")


@click.command()
@click.argument("name", metavar="OWNER/NAME@REVISION")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write; else the data set's name in the working folder.",
)
@dry_run_option
@json_option
def pull(name: str, out: Path | None, dry_run: bool, as_json: bool) -> None:
    """Download a published corpus, verified.

    Every file is checked against the manifest of its commit, which is written last. What is there
    already is not downloaded again.
    """
    from meadow import api
    from meadow.hub.files import published_files, read_commit, read_remote_manifest
    from meadow.net.hub import HubClient, parse_reference

    finish = Finish(as_json=as_json)
    reference = parse_reference(name)
    folder = out or Path(reference.repository.partition("/")[2])
    if dry_run:
        client = HubClient()
        commit = read_commit(client, reference.repository, reference.revision)
        named = published_files(read_remote_manifest(client, commit))
        for path, (size, _) in sorted(named.items()):
            log(f"would fetch {path} ({size:,} bytes)")
        finish({"dry_run": True, "folder": str(folder), "files": len(named)})
        return
    pulled = api.pull(name, folder, progress=log)
    rows = sum(shard.rows for shard in pulled.manifest.shards())
    log(f"{reference.repository}@{pulled.commit} is in {folder}")
    finish(
        {
            "folder": str(folder),
            "commit": pulled.commit,
            "rows": rows,
            "fetched_files": pulled.fetched,
            "fetched_bytes": pulled.fetched_bytes,
        },
        rows_out=rows,
    )


@click.command()
@click.argument("name", metavar="OWNER/NAME@REVISION")
@click.option("--content", is_flag=True, help="Download every shard and hash it.")
@json_option
@click.pass_context
def verify(ctx: click.Context, /, name: str, content: bool, as_json: bool) -> None:
    """Verify a published corpus.

    The hashes, row counts, licences and card of one commit are checked against its manifest; a
    finding ends with exit code 1.
    """
    from meadow import api

    finish = Finish(as_json=as_json)
    found = api.verify(name, content=content)
    for finding in found.findings:
        log(f"{finding.kind}: {finding.where}: {finding.detail}")
    verdict = f"{len(found.findings)} findings" if found.findings else "no finding"
    log(f"verified {found.files} files, {found.rows:,} rows at {found.commit}: {verdict}")
    finish(
        {
            "commit": found.commit,
            "files": found.files,
            "rows": found.rows,
            "findings": [asdict(finding) for finding in found.findings],
        },
        rows_in=found.rows,
    )
    if found.findings:
        ctx.exit(ExitCode.FAILED)
