"""`meadow mix`, and `meadow convert`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import (
    FILE,
    PATH,
    Finish,
    answer_is_option,
    dry_run_option,
    errata_option,
    grouped,
    json_option,
    list_option,
    log,
    telling_steps,
)
from meadow.errors import FileError, UsageError

if TYPE_CHECKING:
    from meadow.corpus.folder import Corpus
    from meadow.corpus.lines import Form
    from meadow.corpus.manifest import Step
    from meadow.exams.items import ExamItem
    from meadow.exams.meaning import AnswerIs
    from meadow.mix.recipe import MixRecipe


@click.command()
@click.argument("recipe")
@list_option(
    "--corpus",
    "corpora",
    metavar="DIR",
    required=True,
    help="The corpus to mix from, or several: of rows with one id the first is taken.",
)
@list_option(
    "--exam",
    "exams",
    metavar="NAME=PATH",
    help="An exam that every row is compared with. NAME is one of yours, or "
    "usmle_self_assessment (usmle), medqa, mmlu_medical (mmlu), medmcqa, pubmedqa, medbullets, "
    "medxpertqa, mmlu_pro_health, head_qa, medexpqa, afrimed_qa.",
)
@answer_is_option
@click.option(
    "--drop",
    type=click.Choice(["none", "stem", "stem+answer"]),
    help="What decontamination removes; default: what the recipe says.",
)
@list_option(
    "--accept-licence",
    "--accept-license",
    "accepted",
    metavar="SOURCE",
    help="Take a source's rows though they may not be redistributed; recorded in the manifest.",
)
@click.option(
    "--deduplicate",
    type=click.Choice(["none", "exact", "near"]),
    help="Which duplicates go; default: what the recipe says.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="The Jaccard similarity from which rows may be near duplicates.",
)
@list_option(
    "--keep-from",
    metavar="DIR",
    help="A corpus or mix that you have already: rows that it holds are dropped.",
)
@errata_option()
@click.option(
    "--semantic",
    metavar="FOLDER",
    help="Look for reworded exam items too, with the embedding model in FOLDER (a "
    "sentence-transformers or model2vec folder; pip install 'medical-meadow[semantic]').",
)
@click.option(
    "--semantic-threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="The cosine similarity from which a row is a rewording.",
)
@click.option("--seed", type=int, help="The seed of every draw; default: the recipe's.")
@click.option("--validation", type=click.FloatRange(0, 1, max_open=True), help="Share of rows.")
@click.option(
    "--format",
    type=click.Choice(["instruction", "messages", "reasoning"]),
    help="Rows of instruction, input, output; with chat messages beside them; or with those and "
    "the reasoning that the output shows.",
)
@click.option(
    "--order",
    type=click.Choice(["shuffled", "source"]),
    help="How rows stand: shuffled by the seed (the default), or source by source as in the "
    "corpus.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override another key of the recipe, in TOML: commercial=true (only licences that allow "
    'it), licences=["cc-by-4.0"], tasks=["open_qa"], exclude=["medqa"], or parts=[{source='
    '"medquad", quota=500}] (a part: source, subset, quota, weight, labels).',
)
@click.option("--out", type=PATH, required=True, help="The folder to write.")
@dry_run_option
@json_option
def mix(recipe: str, out: Path, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Mix a corpus into a training set.

    RECIPE is one of the project's recipes (clean is the one to publish, meadow-2026, full, demo,
    paper-160k, medalpaca-2023) or a TOML file. Expected and found counts are printed; a miss is a
    warning.
    """
    from meadow import api
    from meadow.config import override
    from meadow.mix.recipe import OPTIONS, changed, load_mix_recipe

    finish = Finish(as_json=as_json)
    changes: dict[str, Any] = {}
    for change in given.pop("overrides"):
        override(changes, change)
    for key in OPTIONS & changes.keys():
        name = key.replace("_", "-")
        raise UsageError(f"--set {key}: the command has --{name}", fix=f"--{name} VALUE")
    names = ("corpora", "keep_from", "exams", "answers", "accepted")
    places, kept, exams, answers, accepted = map(given.pop, names)
    if given["errata"] == ("off",):
        given["errata"] = None
    # the other options are keys of the recipe
    outline = changed(load_mix_recipe(recipe), **given, **changes)
    items = api.load_exams(exam_files(exams), answer_kinds(answers))
    corpora, held = ([api.open_corpus(one) for one in each] for each in (places, kept))
    if dry_run:
        finish(_planned(outline, corpora, items, accepted, held, out))
        return
    with telling_steps("mixing") as progress:
        mixed = api.mix(
            outline, corpus=corpora, out=out, exams=items, accept=accepted, keep_from=held,
            progress=progress,
        ).manifest  # fmt: skip
    show(mixed.details, mixed.steps)
    rows_in, rows_out = mixed.steps[0].rows_in, mixed.steps[-1].rows_out
    finish(mixed.to_json(), rows_in=rows_in, rows_out=rows_out, rejected=rows_in - rows_out)


@click.command()
@click.argument("folder", metavar="MIX")
@click.option(
    "--to",
    "form",
    type=click.Choice(["jsonl", "sharegpt", "openai", "rows"]),
    required=True,
    help="A line's form: instruction, input, output with the row's source, licence, address and "
    "authors (jsonl); the same facts and the turns (sharegpt); the turns alone (openai); every "
    "column (rows).",
)
@click.option("--split", default="train", show_default=True, help="train or validation.")
@click.option("--out", type=FILE, required=True, help="NAME.jsonl.")
@dry_run_option
@json_option
def convert(folder: str, form: Form, split: str, out: Path, dry_run: bool, as_json: bool) -> None:
    """Write a mix as lines of JSON for other trainers.

    MIX is a mix or a build: a folder, or OWNER/NAME@REVISION. The rows stand in the order of the
    mix. Trainers that read Parquet need no conversion: docs/train-elsewhere.md has a line for each.
    """
    from meadow import api
    from meadow.corpus.lines import lines

    finish = Finish(as_json=as_json)
    corpus = api.open_corpus(folder)
    rows = corpus.rows(split=split)
    told = {"form": form, "split": split, "rows": rows, "out": str(out)}
    if dry_run:
        log(f"would write {rows:,} lines to {out}")
        finish(told | {"would_write": next(lines(corpus, form, split), None)}, rows_in=rows)
        return
    file = api.convert(corpus, to=form, out=out, split=split)
    log(f"wrote {out} ({file.bytes:,} bytes)")
    if form == "openai":
        log("licences and authors stand in the mix alone: keep it beside the file")
    finish(told | {"bytes": file.bytes, "sha256": file.sha256}, rows_in=rows, rows_out=rows)


def _planned(
    outline: MixRecipe,
    corpora: Sequence[Corpus],
    items: Mapping[str, Sequence[ExamItem]],
    accepted: Sequence[str],
    held: Sequence[Corpus],
    out: Path,
) -> dict[str, Any]:
    """What a mix would hold; nothing is written."""
    from meadow.mix.select import refuse_empty, select_rows
    from meadow.mix.write import mix_key, mix_settings, unchanged_mix

    settings = mix_settings(outline, items, accepted, held, corpora)
    found = unchanged_mix(out, settings, mix_key(settings, corpora, items))
    if found is not None:
        log(f"unchanged: {out} holds this mix already")
        show(found.details, found.steps)
        return found.to_json()
    selection = select_rows(
        outline, corpora, exams=items, accepted=accepted, held=held, progress=log
    )
    show(selection.details, selection.steps)
    refuse_empty(selection)
    log(f"would write {int(selection.copies.sum()):,} rows to {out}")
    steps = [step.to_json() for step in selection.steps]
    return {"would_write": str(out), "steps": steps, "details": selection.details}


def answer_kinds(given: Iterable[str]) -> dict[str, AnswerIs]:
    """NAME=KIND options as exam -> what its answers are.

    Raises:
        UsageError: An option is not of that form.
    """
    from meadow.exams.items import ALIASES
    from meadow.exams.meaning import ANSWER_IS

    kinds = {kind: kind for kind in ANSWER_IS}
    found: dict[str, AnswerIs] = {}
    for option in given:
        name, _, kind = option.partition("=")
        if not name or kind not in kinds:
            raise UsageError(
                f"--answer-is {option!r} is not NAME=KIND", fix=f"KIND is one of {', '.join(kinds)}"
            )
        found[name] = found[ALIASES.get(name, name)] = kinds[kind]
    return found


def exam_files(given: Iterable[str]) -> dict[str, list[str]]:
    """NAME=PATH options as name -> paths.

    Raises:
        UsageError: An option is not of that form.
        FileError: A path does not exist.
    """
    for option in given:
        name, _, path = option.partition("=")
        if not (name and path):
            raise UsageError(f"--exam {option!r} is not NAME=PATH", fix="--exam medqa=test.jsonl")
        if not Path(path).exists():
            raise FileError(f"exam {name}: there is no such file", where=path, fix="check the path")
    return grouped(given)


def show(details: dict[str, Any], steps: tuple[Step, ...] | list[Step]) -> None:
    """The steps, expected against found with the arithmetic, the verdicts, and every warning."""
    for step in steps:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in step.rejected.items())
        line = f"{step.name:<14} in {step.rows_in:>9,}  out {step.rows_out:>9,}  {reasons}"
        log(line.rstrip())
    for line in part_lines(details["parts"]):
        log(line)
    for line in details["arithmetic"]:
        log(f"  {line}")
    duplicates = details["duplicates"]
    if duplicates["dropped"]:
        log(
            f"duplicates: {duplicates['dropped']:,} dropped, of them with another question "
            f"{duplicates['another_question']:,}, held elsewhere {duplicates['held_elsewhere']:,}"
        )
    for exam, found in details["contamination"].items():
        rows, left = found["rows"], found["remaining"]["rows"]
        log(
            f"exam {exam}: {found['verdict']} ({found['items']:,} items); rows with "
            + ", ".join(f"{level} {count:,}" for level, count in rows.items())
            + f"; still in the mix {sum(left.values()):,}"
        )
    splits, rows = details["splits"], details["rows"]
    log(f"rows: train {splits['train']:,}, validation {splits['validation']:,}, "
        f"of them repeats {rows['repeats']:,}")  # fmt: skip
    for warning in details["warnings"]:
        log(f"warning: {warning}")


def part_lines(parts: list[dict[str, Any]]) -> list[str]:
    """Rows found part by part and their sums; beside them what was expected, where it is known."""
    heads = {"found": "found", "expected": "expected", "published_2023": "README 2023"}
    told = [name for name in heads if any(part[name] is not None for part in parts)]

    def line(title: str, values: Mapping[str, int | None], note: str = "") -> str:
        cells = ("" if (n := values[name]) is None else f"{n:,}" for name in told)
        numbers = "".join(f" {cell:>11}" for cell in cells)
        return f"{title:<34}{numbers} {note}".rstrip()

    lines = [f"{'part':<34}" + "".join(f" {heads[name]:>11}" for name in told)]
    for part in parts:
        mark = {True: "ok", False: "MISSED", None: ""}[part["met"]]
        lines.append(line(part["part"], part, f"{mark:<6} {part['note']}"))
    sums = {name: sum(part[name] or 0 for part in parts) for name in told}
    return [*lines, line("sum", sums)]
