"""`meadow build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from meadow.build.engine import LOCAL, check_engine
from meadow.cli.app import Finish, application, dry_run_option, json_option, log
from meadow.errors import ExitCode, MeadowError


@click.command()
@click.option("--recipe", help="A recipe of the project by name, or a TOML file.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="SOURCE[:SUBSET[:ROLE]]=PATH",
    help="A raw file (or its address), named; repeatable; implies --only.",
)
@click.option("--raw", metavar="PATH", help="The folder of raw files, or its address.")
@click.option("--only", metavar="S,...", help="Only these sources.")
@click.option(
    "--origin", type=click.Choice(["upstream", "published"]), help="Where the rows come from."
)
@click.option("--style", type=click.Choice(["meadow", "2023"]), help="Which instruction texts.")
@click.option(
    "--answers",
    type=click.Choice(["all", "top", "accepted"]),
    help="Which answers of a question (stack_exchange).",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--engine",
    default=LOCAL,
    show_default=True,
    metavar="NAME",
    help="Where the work runs: local; ray (a Ray cluster of --workers CPUs for this run, or the "
    "one that RAY_ADDRESS names); ray://auto (the one that runs on this machine); "
    "ray://HOST:10001 (Ray's client, from outside the cluster). The bytes are the same.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Candidate rows per source.")
@click.option(
    "--out",
    metavar="PATH",
    required=True,
    help="The corpus folder to write, or an address (s3://, gs://, ...) to copy it to.",
)
@click.option("--config", type=click.Path(path_type=Path), help="A meadow.toml to use.")
@dry_run_option
@json_option
@click.pass_context
def build(ctx: click.Context, /, as_json: bool, dry_run: bool, **given: Any) -> None:
    """Build verified shards from raw files.

    Sources come from --file or --only, else from --recipe, else from the recipe `full`.
    """
    from meadow.build.build import build_corpus
    from meadow.corpus.manifest import NAME, hash_json
    from meadow.corpus.stored import check_target, copy_corpus, working_folder
    from meadow.net.stores import is_remote

    finish = Finish(as_json=as_json)
    check_engine(given["engine"])
    if dry_run and (addresses := _addresses(**given)):
        finish({"would_fetch": _listed(addresses)})
        return
    plan = plan_build(**_at_hand(given))
    if dry_run:
        for name, inputs in plan.inputs.items():
            for item in inputs:
                log(f"{name}: would read {item.path} ({item.path.stat().st_size:,} bytes)")
        finish({"would_build": {name: len(items) for name, items in plan.inputs.items()}})
        return
    address = given["out"]
    if is_remote(address):
        check_target(address, hash_json(plan.settings.to_json()))
        out = working_folder(address)
        log(f"building in {out}")
    else:
        out = Path(address)
    result = build_corpus(
        plan.settings,
        plan.inputs,
        out,
        workers=given["workers"],
        engine=given["engine"],
        expected=plan.expected,
        contact=plan.contact,
        progress=log,
    )
    entries = result.manifest.sources.values()
    for line in plan.misses(result.manifest):
        log(f"warning: {line}")
    if is_remote(address):
        files, size = copy_corpus(out, address, report=log)
        log(f"copied {files:,} files, {size:,} bytes: {address.rstrip('/')}/{NAME}")
    else:
        log(f"wrote {out / NAME}")
    finish(
        result.manifest.to_json(),
        rows_in=sum(entry.rows_in for entry in entries),
        rows_out=sum(entry.rows_out for entry in entries),
        rejected=sum(sum(entry.rejected.values()) for entry in entries),
    )
    if result.over_threshold:
        log(
            f"more than 1 % of the input is malformed in: {', '.join(result.over_threshold)}\n"
            f"  fix:   look into {out}/quarantine/ and repair or fetch the raw files again"
        )
        ctx.exit(ExitCode.MALFORMED)


def _addresses(*, files: tuple[str, ...], raw: str | None, **_: Any) -> list[str]:
    """The places that are not on this machine."""
    from meadow.net.stores import is_remote

    given = [text.partition("=")[2] for text in files]
    return [text for text in (*given, raw or "") if is_remote(text)]


def _listed(addresses: list[str]) -> dict[str, int | None]:
    """Address -> bytes of every file that a build would first bring here."""
    from meadow.net.stores import list_files

    found = {}
    for address in addresses:
        for name, size in list_files(address).items():
            place = "/".join(filter(None, (address.rstrip("/"), name)))
            found[place] = size
            log(f"would fetch {place}" + (f" ({size:,} bytes)" if size is not None else ""))
    return found


def _at_hand(given: dict[str, Any]) -> dict[str, Any]:
    """The options with local paths in the place of addresses; what they name is fetched."""
    from meadow.config import read_config
    from meadow.net.stores import fetch, is_remote

    files = []
    for text in given["files"]:
        name, _, place = text.partition("=")
        files.append(f"{name}={fetch(place, report=log)}" if is_remote(place) else text)
    raw: str | None = given["raw"]
    if raw is None and is_remote(read_config(given["config"]).raw):
        raw = read_config(given["config"]).raw
    if raw is not None and is_remote(raw):
        from meadow.sources import SOURCES

        named = {text.partition("=")[0].partition(":")[0] for text in files}
        chosen = {name.strip() for name in (given["only"] or "").split(",")} - {""}
        wanted = chosen - named or (SOURCES.keys() if not named else set())
        raw = str(fetch(raw, parts=sorted(wanted & SOURCES.keys()), report=log))
    return {**given, "files": tuple(files), "raw": Path(raw) if raw is not None else None}


class Plan:
    """What a command line asks for: settings, inputs, known hashes and expectations."""

    def __init__(
        self, settings: Any, inputs: Any, expected: Any, expectations: Any, contact: str
    ) -> None:
        self.settings = settings
        self.inputs = inputs
        self.expected = expected
        self.contact = contact
        self.expectations: dict[str, tuple[int, float]] = expectations

    def misses(self, manifest: Any) -> list[str]:
        """The expectations that the build missed, loudly."""
        lines = []
        for name, (rows, tolerance) in self.expectations.items():
            entry = manifest.sources.get(name)
            if entry is not None and abs(entry.rows_in - rows) > tolerance * rows:
                lines.append(f"{name}: expected {rows:,} candidate rows, found {entry.rows_in:,}")
        return lines


def plan_build(
    *,
    recipe: str | None,
    files: tuple[str, ...],
    raw: Path | None,
    only: str | None,
    origin: str | None,
    style: str | None,
    answers: Literal["all", "top", "accepted"] | None,
    limit: int | None,
    config: Path | None,
    **_: Any,
) -> Plan:
    """Resolve the options into settings and inputs.

    Raises:
        UsageError: A source, an option or a recipe is wrong.
        FileError: A raw file is missing.
    """
    from meadow.build.build import BuildSettings
    from meadow.build.plan import (
        check_sources,
        detect_origin,
        expected_hashes,
        find_inputs,
        named_inputs,
        parse_file_option,
    )
    from meadow.config import read_config
    from meadow.schema import Style
    from meadow.source import Options, OriginName
    from meadow.sources import SOURCES

    settings = read_config(config)
    named = [parse_file_option(text) for text in files]
    chosen = [name.strip() for name in only.split(",")] if only else []
    check_sources([item.source for item in named] + chosen, SOURCES)
    outline = None
    if recipe is not None or not (named or chosen):
        outline = _build_recipe(recipe or "full")
    names = chosen or list(dict.fromkeys(item.source for item in named))
    if not names and outline is not None:
        names = list(outline.sources)
        check_sources(names, SOURCES)
    if named and (extra := set(names) - {item.source for item in named}):
        log(f"note: {', '.join(sorted(extra))} is looked for in the raw folder")
    folder = settings.raw_folder(raw)
    inputs = {}
    origins = {}
    expected = {}
    expectations = {}
    missing: list[str] = []
    for name in names:
        source = SOURCES[name]
        own = [item for item in named if item.source == name]
        default = OriginName.UPSTREAM if source.upstream else OriginName.PUBLISHED
        if outline is not None:
            default = outline.origin_of(name)
        wanted = OriginName(origin) if origin else default
        if own:
            inputs[name] = named_inputs(own, source)
            origins[name] = OriginName(origin) if origin else detect_origin(inputs[name], source)
            source.origin(origins[name])
            continue
        origins[name] = wanted
        chosen_origin = source.origin(wanted)
        try:
            inputs[name] = find_inputs(source, chosen_origin, folder)
        except MeadowError as error:
            missing.append(str(error))
            continue
        expected[name] = expected_hashes(source, chosen_origin, inputs[name])
        expected[name] |= _locked_hashes(source, chosen_origin, inputs[name], settings.folder)
        if limit is None and chosen_origin.expected_rows is not None:
            expectations[name] = (chosen_origin.expected_rows, 0.0)
        if limit is None and outline is not None and name in outline.expectations:
            wish = outline.expectations[name]
            expectations[name] = (wish.rows, wish.tolerance)
    if missing:
        from meadow.errors import FileError

        raise FileError("raw files are missing:\n" + "\n".join(missing))
    chosen_style = style or (outline.style if outline is not None else "meadow")
    chosen_answers: Literal["all", "top", "accepted"] = answers or (
        outline.answers if outline is not None else "all"
    )
    return Plan(
        BuildSettings(
            sources=tuple(names),
            options=Options(
                style=Style(chosen_style),
                answers=chosen_answers,
                note_types=dict(outline.note_types) if outline is not None else {},
            ),
            origins=origins,
            limit=limit,
            exclude=settings.excluded_ids(),
            recipe=outline.name if outline is not None else None,
        ),
        inputs,
        expected,
        expectations,
        settings.contact,
    )


def _locked_hashes(source: Any, origin: Any, inputs: Any, folder: Path) -> dict[str, str]:
    """Label -> SHA-256 as `meadow fetch` recorded it, for files that still bear their names."""
    from meadow.fetch.lockfile import NAME, read_lock

    entries = read_lock(folder / NAME)
    labels = {item.label for item in inputs}
    found = {}
    for file in origin.files:
        label = f"{source.name}/{file.name}"
        if label in entries and label in labels:
            found[label] = entries[label].sha256
    return found


def _build_recipe(name: str) -> Any:
    return application("meadow.mix.recipe", "a recipe").load_build_recipe(name)
