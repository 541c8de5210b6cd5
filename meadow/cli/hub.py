"""`meadow publish`, `meadow pull` and `meadow verify`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import (
    FILE,
    FOLDER,
    PATH,
    Finish,
    config_option,
    dry_run_option,
    grouped,
    json_option,
    list_option,
    log,
    out_of_the_way,
    telling,
    telling_steps,
)
from meadow.cli.corpus import log_findings
from meadow.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from meadow.hub.plan import Plan
    from meadow.hub.verify import Verification
    from meadow.quality.check import Finding


@click.command()
@click.argument("folder", type=FOLDER)
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
def publish(folder: Path, name: str, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Publish a corpus to the Hub in one commit.

    OWNER/NAME@v1.2.0 tags it, and a tag never moves; OWNER/NAME@BRANCH goes to a branch. Checks the
    folder, sends what is new with a card that has the real address in every command, makes one
    commit on the head that it has seen, compares the Hub's tree, loads every config back and
    counts, then sets the tag. Rows whose licence does not allow it are refused. With --space, the
    browse page follows in one commit of its own. The token is the one of `hf auth login` or
    HF_TOKEN.
    """
    from meadow import api
    from meadow.corpus.folder import PUBLISHED
    from meadow.hub.publish import Publisher

    finish = Finish(as_json=as_json)
    if dry_run:
        plan, page = Publisher(report=log, **given).plan(folder, name)
        _show_plan(plan)
        planned = {"dry_run": True, **plan.to_json()}
        if page is not None:
            _show_plan(page)
            planned["space"] = page.to_json()
        finish(planned)
        return
    with telling_steps(f"publishing {folder}") as progress, _room_for_bars():
        done = api.publish(folder, name, progress=progress, **given)
    repository = done.plan.repository
    if not done.made_commit:
        log("nothing has changed: no commit was made")
    if done.pull_request is not None:
        log(f"opened {done.pull_request}; receipt: {folder / PUBLISHED}")
    else:
        log(f"published {repository}@{done.tag or done.commit}; receipt: {folder / PUBLISHED}")
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
    rows = max((sum(splits.values()) for splits in done.rows.values()), default=0)
    finish(result, rows_out=rows)


@contextmanager
def _room_for_bars() -> Iterator[None]:
    """Let transfers draw on a terminal, in place of the line that says what is being done."""
    from meadow.net.hub import ROOM

    before = ROOM.set(out_of_the_way if sys.stderr.isatty() else None)
    try:
        yield
    finally:
        ROOM.reset(before)


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
    type=FOLDER,
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
    with telling_steps(f"pulling {name}") as progress, _room_for_bars():
        pulled = api.pull(name, folder, progress=progress)
    rows = sum(shard.rows for shard in pulled.manifest.shards())
    log(f"{reference.repository}@{pulled.commit} is in {folder}")
    told = {"fetched_files": pulled.fetched, "fetched_bytes": pulled.fetched_bytes}
    place = {"folder": str(folder), "commit": pulled.commit, "rows": rows}
    finish(place | told, rows_out=rows)


@click.command()
@click.argument("name", metavar="OWNER/NAME@REVISION")
@click.option("--content", is_flag=True, help="Download every shard and hash it.")
@click.option(
    "--rebuild",
    "again",
    is_flag=True,
    help="Build or mix it again from your own inputs, and sign that you got the same bytes.",
)
@click.option("--raw", type=PATH, help="With --rebuild: the raw files.")
@list_option(
    "--file",
    "files",
    metavar="SOURCE[:SUBSET[:ROLE]]=PATH",
    help="With --rebuild: a raw file, named as for `meadow build`.",
)
@list_option(
    "--corpus", "corpora", metavar="DIR", help="With --rebuild: the corpora of a mix, in its order."
)
@list_option("--exam", "exams", metavar="NAME=PATH", help="With --rebuild: the exams of a mix.")
@click.option(
    "--key",
    type=FILE,
    help="With --rebuild: an ed25519 key (PEM or OpenSSH); default: one of your own, made once.",
)
@click.option(
    "--out",
    type=FILE,
    help="With --rebuild: the signed statement; default: a name of key and commit, here.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes, as for a build.")
@config_option
@dry_run_option
@json_option
@click.pass_context
def verify(ctx: click.Context, /, name: str, content: bool, as_json: bool, **given: Any) -> None:
    """Verify a published corpus.

    The hashes, row counts, licences and card of one commit are checked against its manifest; a
    finding ends with exit code 1. It is said how many keys signed that they got these bytes.

    With --rebuild it is made again from your own raw files (of a mix: corpora and exams), every
    shard is compared, and a statement (in-toto, signed with ed25519) is written, which can be added
    to the data set: the command for that is printed.
    """
    from meadow import api

    finish = Finish(as_json=as_json)
    inputs = ("raw", "files", "corpora", "exams", "key", "out")
    if not given["again"] and any(given[name] for name in inputs):
        raise UsageError("inputs and a key are for --rebuild", fix="add --rebuild")
    with telling(lambda: f"verifying {name}"):
        found = api.verify(name, content=content)
    log_findings(
        found.findings, f"verified {found.files} files, {found.rows:,} rows at {found.commit}"
    )
    signed = f"{len(found.keys)} keys have signed" if found.keys else "nobody has signed yet"
    log(f"{signed} that they got these bytes" + "".join(f"\n  key {k}" for k in found.keys))
    if found.unclear:
        log(f"{found.unclear} statements are of other bytes, or cannot be checked here (that needs "
            "pip install 'medical-meadow[attest]')")  # fmt: skip
    document: dict[str, Any] = {
        "commit": found.commit,
        "files": found.files,
        "rows": found.rows,
        "findings": [asdict(finding) for finding in found.findings],
        "keys": list(found.keys),
        "unclear_statements": found.unclear,
    }
    differ: list[Finding] = []
    if given["again"]:
        document["rebuild"], differ = _rebuild(name, found, given)
    finish(document)
    if found.findings or differ:
        ctx.exit(ExitCode.FAILED)


def _rebuild(
    name: str, found: Verification, given: dict[str, Any]
) -> tuple[dict[str, Any], list[Finding]]:
    """Make the folder again in a temporary place, compare, and write the signed statement."""
    import tempfile

    from meadow import api
    from meadow.atomic import write_json
    from meadow.cli.mix import exam_files
    from meadow.config import read_config
    from meadow.hub.attest import file_name, load_key, sign, statement
    from meadow.hub.rebuild import rebuild
    from meadow.net.hub import parse_reference

    repository = parse_reference(name).repository
    made_again = list(found.manifest.splits())
    if given["dry_run"]:
        log(f"would make {', '.join(made_again)} again, compare, and sign a statement")
        return {"would_make": made_again}, []
    key, key_id = load_key(given["key"])  # before hours of work
    with tempfile.TemporaryDirectory(prefix="meadow-rebuild-") as folder:
        made = rebuild(
            found.manifest,
            Path(folder) / "again",
            config=read_config(given["config"]),
            raw=given["raw"],
            files=grouped(given["files"]),
            corpora=[api.open_corpus(place) for place in given["corpora"]],
            exams=api.load_exams(exam_files(given["exams"])),
            workers=given["workers"],
            progress=log,
        )
    log_findings(made.findings, f"made {', '.join(made_again)} again")
    told = {"same": not made.findings, "findings": [asdict(each) for each in made.findings]}
    if made.findings:
        log("these are other bytes: no statement was written")
        return told, list(made.findings)
    target = file_name(key_id, found.commit)
    out = given["out"] or Path(Path(target).name)
    told_of = statement(found.manifest, repository, found.commit, made.inputs, key_id)
    write_json(out, sign(told_of, key))
    log(f"the same bytes; wrote {out}, signed with the key {key_id}")
    log(f"  add it: hf upload {repository} {out} {target} --repo-type dataset --create-pr")
    return told | {"statement": str(out), "key": key_id}, []
