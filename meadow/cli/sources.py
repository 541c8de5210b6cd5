"""`meadow sources`, and `meadow source` for one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import FILE, PATH, Finish, dry_run_option, json_option, log, own_option
from meadow.errors import CheckError, ExitCode, MeadowError, UsageError
from meadow.licenses import LICENSES

if TYPE_CHECKING:
    from meadow.build.preview import Beside


@click.command()
@click.argument("name", required=False)
@own_option
@json_option
def sources(name: str | None, own: tuple[str, ...], as_json: bool) -> None:
    """List the sources: licence, files, counts.

    With NAME, everything about one source, and where its raw files are expected. `meadow source`
    makes one of your own.
    """
    from meadow.build.own import known_sources
    from meadow.build.plan import check_sources
    from meadow.config import read_config
    from meadow.sources import HOUSE
    from meadow.sources.own.installed import installed

    finish = Finish(as_json=as_json)
    known = known_sources(own, read_config())
    if name is not None:
        check_sources([name], known)
        document = _describe(known[name])
        finish(document, page=_page(document))
        return
    for each in sorted(HOUSE & installed().keys()):
        log(f"note: an installed package has a source {each} as well, which is not used")
    documents = []
    for each in known:
        try:
            documents.append(_describe(known[each]))
        except MeadowError as error:  # of a package that is broken; the others can be used
            log(f"error: {error}")
    lines = [f"{'source':<29}{'licence':<21}{'publish':<12}{'2023 rows':>10}  title"]
    for item in documents:
        rows = f"{item['published_rows']:,}" if item["published_rows"] else "-"
        lines.append(
            f"{item['name']:<29}{item['license']:<21}{item['publishable']:<12}{rows:>10}"
            f"  {item['title']}{' (exam)' if item['exam'] else ''}"
        )
    finish({"sources": documents}, page="\n".join(lines))


_FILE_FACTS = ("url", "member", "sha256", "optional", "by_hand")
_SOURCE_FACTS = (
    "name", "title", "homepage", "citation", "license", "license_note", "publishable", "disputed",
    "published_rows", "published_refused", "exam",
)  # fmt: skip


def _describe(source: Any) -> dict[str, Any]:
    origins = {}
    for label in ("upstream", "published"):
        if (origin := getattr(source, label)) is not None:
            files = [
                {"name": f"{source.name}/{file.name}", "also": list(file.also)}
                | {fact: getattr(file, fact) for fact in _FILE_FACTS}
                for file in origin.files
            ]
            origins[label] = {"expected_rows": origin.expected_rows, "files": files}
    told = {fact: getattr(source, fact) for fact in _SOURCE_FACTS}
    return told | {"origins": origins, "notes": list(source.notes)}


def _page(item: dict[str, Any]) -> str:
    lines = [
        click.style(f"{item['name']}: {item['title']}", bold=True),
        f"homepage   {item['homepage']}",
        f"licence    {item['license']} (publish: {item['publishable']}) {item['license_note']}",
        f"cite       {item['citation']}",
    ]
    if item["disputed"]:
        lines.append(f"disputed   {item['disputed']}: [vouch.{item['name']}] decides it")
    if item["published_rows"]:
        lines.append(f"2023       {item['published_rows']:,} rows in the published release")
    if item["published_refused"]:
        lines.append(f"2023       not used: {item['published_refused']}")
    for label, origin in item["origins"].items():
        expected = origin["expected_rows"]
        lines.append(f"{label}" + (f": {expected:,} candidate rows expected" if expected else ""))
        any_of = len(origin["files"]) > 1 and all(file["optional"] for file in origin["files"])
        if any_of:
            lines.append("  one or more of these:")
        for file in origin["files"]:
            also = f" (or {', '.join(file['also'])})" if file["also"] else ""
            optional = ", optional" if file["optional"] and not any_of else ""
            lines.append(f"  {file['name']}{also}{optional}")
            if file["url"]:
                member = f" -> {file['member']}" if file["member"] else ""
                lines.append(f"    {file['url']}{member}")
            if file["by_hand"]:
                lines.append(f"    by hand: {file['by_hand']}")
    lines += [f"note       {note}" for note in item["notes"]]
    return "\n".join(lines)


@click.group()
def source() -> None:
    """Make a source of your own, without code.

    `new` looks at a file and writes a first TOML file; `check` shows what comes of one; then
    `meadow build --source mine.toml`. docs/own-source.md has every key.
    """


@source.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=FILE, help="Else NAME.toml here.")
@click.option("--license", "licence", metavar="KEY", default="", help="The licence of its rows.")
@click.option(
    "--free-text/--edited",
    default=None,
    help="Whether people wrote its texts as they talk (then personal data is looked for).",
)
@dry_run_option
@json_option
def new(
    file: Path, out: Path | None, licence: str, free_text: bool | None, dry_run: bool, as_json: bool
) -> None:
    """Look at a raw file and write a first TOML file for it.

    What was guessed and why stands in comments. A file that is there is never overwritten.
    """
    from meadow.atomic import write_text
    from meadow.sources.own.guess import guess_source

    finish = Finish(as_json=as_json)
    if licence and licence not in LICENSES:
        raise UsageError(f"licence {licence!r} is not known", fix=f"one of {', '.join(LICENSES)}")
    guess = guess_source(file, license=licence, free_text=free_text)
    path = out or Path(f"{guess.name}.toml")
    if path.exists():
        fix = "name another one with --out"
        raise UsageError("the file is there already", where=str(path), fix=fix)
    for line in guess.said:
        log(line)
    if dry_run:
        log(guess.text.rstrip())
    else:
        write_text(path, guess.text)
        log(f"wrote {path}, by {guess.rows:,} rows: read it, and mend what is guessed wrongly")
        if free_text is None:
            log("free_text has to be said in it")
        log(f"then: meadow source check {path} {file}")
    finish({"file": str(path), "name": guess.name, "said": guess.said, "text": guess.text})


@source.command()
@click.argument("toml", type=PATH)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=PATH)
@click.option("--raw", type=PATH, help="The raw folder, without FILE.")
@click.option(
    "--rows", type=click.IntRange(min=1), default=100, show_default=True, help="Raw rows to read."
)
@click.option(
    "--show", type=click.IntRange(min=0), default=3, show_default=True, help="Rows to show."
)
@json_option
@click.pass_context
def check(ctx: click.Context, /, toml: Path, as_json: bool, **given: Any) -> None:
    """Show the first rows of a TOML file beside the raw ones.

    Its examples are run as well. Nothing is written. The exit code is 1 where an example is not as
    it says or no row came out, and 3 where more than 1 % of the rows are malformed.
    """
    from meadow.build.build import MALFORMED_THRESHOLD, malformed_rows
    from meadow.build.preview import preview

    finish = Finish(as_json=as_json)
    found = preview(toml, **given)
    entry = found.entry
    if not as_json:  # the rows stand above what is counted of them
        click.echo("\n".join(line for each in found.shown for line in _beside(each)))
    counts = [f"rejected: {reason} {n:,}" for reason, n in sorted(entry.rejected.items())]
    counts += [f"repaired: {name} {n:,}" for name, n in sorted(entry.repaired.items())]
    for line in (*counts, *(f"note: {note}" for note in found.notes), *found.faults):
        log(line)
    right = found.examples - len({fault.partition(":")[0] for fault in found.faults})
    if found.examples:
        log(f"examples: {right} of {found.examples} are as they say")
    shown = [
        {"where": each.where, "raw": each.raw, "row": each.row}
        | ({"reject": json.loads(each.reject.to_json())} if each.reject else {})
        for each in found.shown
    ]
    counted = ("rows_in", "rows_out", "rejected", "repaired")
    finish(
        {"name": found.name, "examples": found.examples, "shown": shown}
        | {name: getattr(entry, name) for name in counted}
        | {"faults": found.faults, "notes": found.notes},
        rows_in=entry.rows_in,
        rows_out=entry.rows_out,
        rejected=sum(entry.rejected.values()),
    )
    if found.faults:
        raise CheckError(
            f"{found.examples - right} of {found.examples} examples are not as they say",
            where=str(toml),
            fix="mend the mapping, or the example",
        )
    if not entry.rows_out:
        raise CheckError("no row came out", where=str(toml), fix="look at the reasons above")
    if malformed_rows(entry) > MALFORMED_THRESHOLD * entry.rows_in:
        log("error: more than 1 % of these rows are malformed")
        ctx.exit(ExitCode.MALFORMED)


_WIDTH = 300


def _beside(each: Beside) -> Iterator[str]:
    """A raw row and its row, as text."""
    yield click.style(f"── {each.where}", bold=True)
    for name, value in each.raw.items():
        if not isinstance(value, str):
            value = json.dumps(value, ensure_ascii=False, default=str)
        yield _cut(f"  raw  {name}: {value}")
    if each.reject is not None:
        yield f"  rejected: {each.reject.reason.value} ({each.reject.detail})"
    for name, value in each.row.items():
        if name in ("id", "source", "rephrased_by") or value in (None, "", [], "{}"):
            continue
        text = ", ".join(a["name"] for a in value) if name == "authors" else str(value)
        yield _cut(f"  row  {name}: {text}")
    yield ""


def _cut(line: str) -> str:
    indented = line.replace("\n", "\n       ")
    return indented if len(indented) <= _WIDTH else f"{indented[:_WIDTH]} ..."
