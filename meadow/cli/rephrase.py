"""`meadow rephrase` and `meadow reason`: a language model works on the rows of a source."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import (
    PATH,
    Finish,
    answer_is_option,
    dry_run_option,
    grouped,
    json_option,
    list_option,
    log,
    telling,
)

if TYPE_CHECKING:
    from meadow.chat.client import Meter
    from meadow.corpus.folder import Corpus
    from meadow.rephrase.write import Kind


def asking_options(cache: str) -> Callable[[Any], Any]:
    """The options of a command that asks a language model: what may be sent, spent and kept.

    Args:
        cache: Name of the default cache.
    """
    return _together(
        click.option("--allow-remote", is_flag=True, help="Texts may leave this machine."),
        click.option("--max-requests", type=click.IntRange(min=0), help="Send at most so many."),
        click.option(
            "--budget-usd", type=click.FloatRange(min=0), help="Stop before spending more."
        ),
        click.option("--prices", type=PATH, help="A price table of your own."),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 256),
            default=4,
            show_default=True,
            help="Requests at a time.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.1),
            default=120.0,
            show_default=True,
            help="Seconds that one request may take.",
        ),
        click.option("--prompt", type=PATH, help="A prompt file of your own."),
        click.option(
            "--cache", type=PATH, help=f"Default: ~/.cache/medical-meadow/{cache}.sqlite."
        ),
    )


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several decorators as one, the first the outermost."""
    return lambda command: reduce(lambda inner, option: option(inner), reversed(options), command)


def working_options(kind: Kind) -> Callable[[Any], Any]:
    """The options of a command that lets a language model work on rows.

    Args:
        kind: What the model does, and the name of the command.
    """
    folder = {"rephrase": "rephrased", "reason": "reasoned"}[kind]
    return _together(
        click.command(),
        click.argument("source"),
        click.option("--corpus", "folder", type=PATH, required=True, help="A built corpus."),
        click.option("--out", type=PATH, help=f"Default: CORPUS-{folder}."),
        click.option("--model", help="As the server names it."),
        click.option(
            "--base-url", help="An OpenAI-compatible endpoint; default: this machine, port 8000."
        ),
        asking_options(kind),
        click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows."),
        click.option("--review", type=click.IntRange(min=1), help="Judge so many rows by hand."),
        click.option("--marked", type=PATH, help="Take in a marked review (CSV)."),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="For the review's sample."
        ),
        dry_run_option,
        json_option,
    )


@working_options("rephrase")
@click.option("--raw", type=PATH, help="Raw files, for wiki sections.")
@list_option("--file", "files", metavar="SOURCE=PATH", help="A raw file, named.")
def rephrase(source: str, files: tuple[str, ...], **given: Any) -> None:
    """Rewrite rows with a language model.

    anki: cards become questions and answers. wikidoc, wikidoc_patient_information: sections whose
    heading has no rule get a question; a source of your own where its TOML file says `rewrite`.
    Answers are cached, so that a run that was stopped goes on
    where it was. The key of a remote server comes from MEADOW_API_KEY or OPENAI_API_KEY. With
    --review or --marked, CORPUS is the rewritten folder.
    """
    from meadow import api

    _work("rephrase", source, partial(api.rephrase, files=grouped(files)), **given)


@working_options("reason")
@list_option(
    "--exam",
    "exams",
    metavar="NAME=PATH",
    help="An exam, named as for `meadow mix`: rows that touch one are not asked about.",
)
@answer_is_option
@click.option(
    "--tries",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Times that a question is asked, until the answer is the key.",
)
def reason(
    source: str, exams: tuple[str, ...], answers: tuple[str, ...], tries: int, **given: Any
) -> None:
    """Let a language model reason about questions with a key.

    The model sees a multiple choice question and its options, never the key. A reasoning whose
    answer is the key is put before the row's answer, as <think>...</think>; every try is kept in
    reasoning_tries.parquet, with the answer that was read and why it was refused. Answers are
    cached, so that a run that was stopped goes on where it was. The key of a remote server comes
    from MEADOW_API_KEY or OPENAI_API_KEY. With --review or --marked, CORPUS is the folder that this
    command wrote.
    """
    from meadow import api
    from meadow.cli.mix import answer_kinds, exam_files

    asked = partial(api.reason, tries=tries, answer_is=answer_kinds(answers))
    _work("reason", source, partial(asked, exams=exam_files(exams)), **given)


def _work(
    kind: Kind,
    source: str,
    run: Callable[..., dict[str, Any]],
    *,
    folder: Path,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    from meadow import api

    finish = Finish(as_json=as_json)
    corpus = api.open_corpus(folder, verify=True)
    review = {name: given.pop(name) for name in ("marked", "review", "seed")}
    if review["marked"] or review["review"]:
        review["out"] = given["out"]
        finish(_review(kind, corpus, source, dry_run=dry_run, as_json=as_json, **review))
        return
    said = [f"{kind}: preparing"]

    def tell(done: int, total: int, meter: Meter) -> None:
        said[0] = f"{kind}: {done:,} of {total:,}; {meter}"

    with telling(lambda: said[0]):
        document = run(
            source, corpus=corpus, dry_run=dry_run, progress=log, meter_progress=tell, **given
        )
    if dry_run:
        finish(document)
        return
    done = document["rewritten"]
    finish(document, rows_in=document["items"], rows_out=done, rejected=document["items"] - done)


def _review(
    kind: Kind, corpus: Corpus, source: str, *, dry_run: bool, as_json: bool, **given: Any
) -> dict[str, Any]:
    """Write a sample to be marked, mark it at the terminal, or take marks in."""
    from meadow.chat.review import mark_each, read_marks, write_sheet
    from meadow.rephrase.review import COLUMNS, MARKS, record_review, sample_rows, shown

    if given["marked"]:
        marks = read_marks(given["marked"], MARKS)
        if dry_run:
            return {"marked": len(marks), "bad": sum(not good for good in marks.values())}
        manifest = record_review(corpus, kind, source, marks)
        review: dict[str, Any] = manifest.details[kind][source]["review"]
        low, high = review["interval_95"]
        log(
            f"{review['bad']:,} of {review['marked']:,} marked bad: {review['error_rate']:.1%}, "
            f"95 % interval {low:.1%} to {high:.1%}; the card says so now"
        )
        return review
    rows = sample_rows(corpus, kind, source, given["review"], given["seed"])
    path = given["out"] or corpus.folder.with_name(f"{corpus.folder.name}-review.csv")
    pages = {cells[0]: shown(kind, cells) for cells in rows}
    chosen: dict[str, str] = {}
    if sys.stdin.isatty() and sys.stderr.isatty() and not as_json:
        chosen = mark_each(pages, MARKS, lambda text: str(click.prompt(text, err=True)))
    else:
        for text in pages.values():
            log(text)
    if not dry_run:
        write_sheet(path, COLUMNS[kind], rows, chosen)
        log(f"wrote {path}: mark good or bad, then `meadow {kind} {source} --marked {path}`")
    return {"review": str(path), "rows": len(rows), "marked": len(chosen)}
