"""`meadow sources`."""

from __future__ import annotations

from typing import Any

import click

from meadow.cli.app import Finish, json_option, log, own_option
from meadow.errors import MeadowError


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
        if not as_json:
            click.echo(_page(document))
        finish(document)
        return
    for each in sorted(HOUSE & installed().keys()):
        log(f"note: an installed package has a source {each} as well, which is not used")
    documents = []
    for each in known:
        try:
            documents.append(_describe(known[each]))
        except MeadowError as error:  # of a package that is broken; the others can be used
            log(f"error: {error}")
    if not as_json:
        click.echo(f"{'source':<29}{'licence':<21}{'publish':<12}{'2023 rows':>10}  title")
        for item in documents:
            rows = f"{item['published_rows']:,}" if item["published_rows"] else "-"
            click.echo(
                f"{item['name']:<29}{item['license']:<21}{item['publishable']:<12}{rows:>10}"
                f"  {item['title']}{' (exam)' if item['exam'] else ''}"
            )
    finish({"sources": documents})


def _describe(source: Any) -> dict[str, Any]:
    origins = {}
    for label in ("upstream", "published"):
        origin = getattr(source, label)
        if origin is not None:
            origins[label] = {
                "expected_rows": origin.expected_rows,
                "files": [
                    {
                        "name": f"{source.name}/{file.name}",
                        "also": list(file.also),
                        "url": file.url,
                        "member": file.member,
                        "sha256": file.sha256,
                        "optional": file.optional,
                        "by_hand": file.by_hand,
                    }
                    for file in origin.files
                ],
            }
    return {
        "name": source.name,
        "title": source.title,
        "homepage": source.homepage,
        "citation": source.citation,
        "license": source.license,
        "license_note": source.license_note,
        "publishable": source.publishable,
        "disputed": source.disputed,
        "published_rows": source.published_rows,
        "published_refused": source.published_refused,
        "exam": source.exam,
        "origins": origins,
        "notes": list(source.notes),
    }


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
