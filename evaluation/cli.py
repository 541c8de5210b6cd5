"""`meadow eval` and `meadow compare`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evaluation.images import EXAM, audit, lines
from meadow.cli.app import Finish, dry_run_option, errata_option, json_option, list_option, log
from meadow.errors import UsageError
from meadow.exams.errata import corrections, read_errata
from meadow.exams.items import ALIASES, EXAMS, ExamItem, eligible, load_exam
from meadow.exams.meaning import ANSWER_IS
from meadow.models.loading import template_trained_in
from meadow.samples import FOLDER

if TYPE_CHECKING:
    from evaluation.run import Progress, Settings

SAMPLE = "sample"


files_option = list_option("--file", "files", help="The exam's files or folder.")
images_option = click.option(
    "--images",
    default="by_number",
    type=click.Choice(["by_number", "by_index", "readme"]),
    help="How the list of image questions is read.",
)
modes_option = list_option(
    "--modes",
    help="letter (the default), option, text, text_pmi, generate, generate_sc, cot, "
    "medalpaca_legacy.",
)
limit_option = click.option("--limit", type=click.IntRange(1), help="Only the first N items.")
out_option = click.option("--out", type=click.Path(path_type=Path), help="Where to write.")
run_argument = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
runs_argument = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.group("eval")
def evaluate() -> None:
    """Score checkpoints on exams."""


@evaluate.command("run")
@click.option("--model", help="A checkpoint folder, a Hub repository, or a served model's name.")
@click.option("--adapter", help="A PEFT adapter for the model.")
@click.option("--revision", help="Revision of the Hub repository.")
@click.option("--dtype", default="auto", help="auto, float32, bfloat16, float16, int8 or nf4.")
@click.option("--exam", required=True, help=f"{', '.join((*EXAMS, *ALIASES))}, {SAMPLE}, or any "
              "name with --file.")  # fmt: skip
@files_option
@click.option("--answer-is", type=click.Choice(ANSWER_IS),
              help="What the answers of the files are, where a file does not tell: labels, places "
              "from 0 or 1, or the right option's text.")  # fmt: skip
@images_option
@modes_option
@click.option("--template", help="Prompt: medalpaca, alpaca, short, bare or chat; by default what "
              "the model was trained with, else chat over --chat, else medalpaca.")  # fmt: skip
@click.option("--thinking", help="on, off, or budget N: what a chat template is told, and after "
              "how many tokens thinking is closed.")  # fmt: skip
@click.argument("thinking_tokens", metavar="", nargs=-1)
@click.option("--shots", default=0, type=click.IntRange(0), help="Few-shot examples.")
@click.option("--shots-file", type=click.Path(path_type=Path), help="The exam's dev file for them.")
@click.option("--cut", default="stem", type=click.Choice(["stem", "left"]),
              help="What an item that is too long loses.")  # fmt: skip
@click.option("--permute", default="none", type=click.Choice(["none", "cyclic", "reverse"]),
              help="Score other option orders too.")  # fmt: skip
@click.option("--stem-blind", is_flag=True, help="Score the options without the stem too.")
@click.option("--contamination", type=click.Path(path_type=Path), help="A mix, for the strata.")
@errata_option("known")
@limit_option
@click.option("--seed", default=0, help="Of sampled modes.")
@click.option("--samples", default=5, type=click.IntRange(1), help="Draws of generate_sc.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Limit of a response.")
@click.option("--batch-tokens", default=0, help="Tokens per batch.")
@click.option("--max-length", type=click.IntRange(8), help="Context to use.")
@click.option("--scorer", default="auto", type=click.Choice(["auto", "trie", "plain"]),
              help="How continuations are scored.")  # fmt: skip
@list_option("--base-url", "base_urls", help="An OpenAI-compatible server; several "
              "share the work.")  # fmt: skip
@click.option("--chat", is_flag=True, help="Generate over chat completions.")
@click.option("--preview", type=click.IntRange(1), help="Print the prompts of N items as they "
              "would be sent, and stop.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.")
@dry_run_option
@json_option
def run_command(as_json: bool, dry_run: bool, out: Path | None, **options: Any) -> None:
    """Score a checkpoint on an exam; the same command continues a killed run."""
    finish = Finish(as_json=as_json)
    from evaluation.modes import GENERATED, parse_modes
    from evaluation.questions import Framing
    from evaluation.run import Settings, preview, run

    if not options["model"]:
        raise UsageError("no model", fix="--model PATH or OWNER/NAME")
    if out is None and not options["preview"]:
        raise UsageError("no folder for the run", fix="--out DIR")
    exam, files = exam_files(options["exam"], options["files"])
    items = load_exam(exam, files, images=options["images"], answer_is=options["answer_is"])
    errata = read_errata(options["errata"])
    shots = _shots(exam, options["shots_file"], options["shots"])
    modes = parse_modes(options["modes"] or "letter")
    thinking, budget = _thinking(options)
    served = options["chat"] and set(modes) <= set(GENERATED)
    trained = None if options["base_urls"] else template_trained_in(options["model"])
    template = options["template"] or trained or ("chat" if served else "medalpaca")
    framing = Framing(template, shots, options["cut"], options["permute"], options["stem_blind"],
                      thinking)  # fmt: skip
    settings = Settings(items[0].exam, modes, framing, options["seed"], options["samples"],
                        options["max_new_tokens"], budget)  # fmt: skip
    if options["preview"]:
        prompts = preview(_backend(options, settings), items, settings, options["preview"])
        for prompt in () if as_json else prompts:
            click.echo(f"{prompt['item_id']} {prompt['mode']}\n{prompt['prompt']}\n"
                       f"{prompt['token_ids']}\n")  # fmt: skip
        finish(prompts, rows_in=len(prompts))
        return
    assert out is not None  # said above
    if dry_run:
        finish(_plan(items, settings, options["limit"]), rows_in=len(items))
        return
    backend = _backend(options, settings)
    summary = run(
        backend,
        items,
        settings,
        out,
        limit=options["limit"],
        contamination=options["contamination"],
        command=["meadow", *sys.argv[1:]],
        progress=_progress(),
        image_audit=audit(files) if items[0].exam == EXAM else None,
        corrected=corrections(items, errata),
    )
    if not summary:  # another rank than the first
        return
    for mode, cell in summary["modes"].items():
        low, high = cell["ci95"]
        log(f"{mode}: {cell['accuracy']:.3f} [{low:.3f}, {high:.3f}] of {cell['n']}")
        if mended := cell.get("errata"):
            log(f"{mode} with errata: {mended['accuracy']:.3f} of {mended['n']}")
    log(f"chance {summary['chance']:.3f}, cut {summary['n_truncated']}, "
        f"unscorable {summary['n_unscorable']}")  # fmt: skip
    rejected = len(items) - summary["n"]
    finish(summary, rows_in=len(items), rows_out=summary["n"], rejected=rejected)


def exam_files(exam: str, given: Sequence[str]) -> tuple[str, list[Path]]:
    """The exam's name with the files given, those of the embedded sample, or those of the Hub."""
    files = [Path(path) for path in given]
    if exam == SAMPLE:
        return EXAM, files or [FOLDER / "exam"]
    if files:
        return exam, files
    from evaluation import download

    return exam, download.exam_files(exam)


def _shots(exam: str, path: Path | None, count: int) -> tuple[ExamItem, ...]:
    if not count:
        return ()
    if path is None:
        raise UsageError("--shots needs examples", fix="--shots-file with the exam's dev questions")
    return tuple(eligible(load_exam(exam, [path]))[:count])


def _thinking(options: dict[str, Any]) -> tuple[bool | None, int]:
    """(what a template is told, budget) of `--thinking on|off|budget N`."""
    text = " ".join([(options["thinking"] or "").replace("=", " "), *options["thinking_tokens"]])
    found = re.fullmatch(r"(on|off)?|budget ([1-9]\d{0,6})", text.strip())
    if found is None or (found[2] and options["chat"]):
        raise UsageError(
            f"thinking {text.strip()!r} is not possible here",
            fix="--thinking on, off, or (without --chat, whose server cannot be stopped) budget N",
        )
    return {"off": False, "on": True}.get(found[1], True if found[2] else None), int(found[2] or 0)


def _backend(options: dict[str, Any], settings: Settings) -> Any:
    """The checkpoint; for a preview only what makes its prompts, without weights or a request."""
    if options["base_urls"]:
        from evaluation.server import HttpBackend

        backend = HttpBackend(
            options["base_urls"],
            options["model"],
            chat=options["chat"],
            thinking=settings.framing.thinking,
        )
        if not options["preview"]:
            backend.probe(settings.modes)
        return backend
    from evaluation.local import load, prompter

    where = {name: options[name] for name in ("revision", "max_length")}
    if options["preview"]:
        return prompter(options["model"], **where)
    return load(
        options["model"],
        adapter=options["adapter"],
        dtype=options["dtype"],
        budget=options["batch_tokens"],
        method=options["scorer"],
        **where,
    )


def _plan(items: list[ExamItem], settings: Settings, limit: int | None) -> dict[str, Any]:
    able = eligible(items)
    return {
        "exam": settings.exam,
        "items": len(items),
        "scored": len(able[:limit]),
        "excluded": len(items) - len(able),
        "settings": settings.to_json(),
    }


def _progress() -> Progress:
    """A line every ten seconds on a terminal, nothing elsewhere."""
    last = [time.monotonic()]

    def report(what: str, done: int, total: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - last[0] > 10 or done == total):
            last[0] = time.monotonic()
            log(f"{what}: {done}/{total}")

    return report


@evaluate.command("report")
@runs_argument
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default the first run's.")
@click.option("--without-text", is_flag=True, help="Leave exam text and responses out.")
@dry_run_option
@json_option
def report_command(
    runs: tuple[Path, ...], out: Path | None, without_text: bool, dry_run: bool, as_json: bool
) -> None:
    """Write one HTML page and its Markdown twin for one or several runs."""
    finish = Finish(as_json=as_json)
    from evaluation.report import write_report
    from evaluation.results import read_runs

    folder = out or runs[0]
    if dry_run:
        names = [run.name for run in read_runs(list(runs))]
        finish({"runs": names, "html": str(folder / "report.html")}, rows_in=len(runs))
        return
    written = write_report(runs, folder, with_text=not without_text)
    log(written["verdict"])
    log(f"wrote {written['html']} and {written['markdown']}")
    finish(written, rows_in=len(runs), rows_out=2)


@evaluate.command("audit-images")
@files_option
@json_option
def audit_command(files: Sequence[str], as_json: bool) -> None:
    """Show which USMLE questions each reading of the image list leaves out, and why."""
    finish = Finish(as_json=as_json)
    document = audit(exam_files(EXAM, files)[1])
    if not as_json:
        click.echo("\n".join(lines(document)))
    questions = sum(document["questions"].values())
    kept = sum(document["counts"]["by_number"].values())
    finish(document, rows_in=questions, rows_out=kept, rejected=questions - kept)


@evaluate.command("paper")
@files_option
@images_option
@list_option("--run", "names", help="Rows to run (all: every one).")
@list_option("--model", "places", metavar="ROW=PATH", help="Weights of a row that "
              "lie elsewhere.")  # fmt: skip
@modes_option
@limit_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder per row.")
@dry_run_option
@json_option
def paper_command(out: Path, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Print the twelve rows of the 2023 table, published beside our own runs."""
    finish = Finish(as_json=as_json)
    from evaluation import paper
    from evaluation.modes import parse_modes

    moved = dict(place.split("=", 1) for place in options["places"] if "=" in place)
    paper.chosen(list(moved))
    wanted = paper.chosen(options["names"])
    for row in wanted if dry_run else ():
        log(f"would run {row.title}: {row.model}, adapter {row.adapter}, as {row.load}")
    if wanted and not dry_run:
        from evaluation.local import load
        from evaluation.run import Settings, run

        exam, files = exam_files(EXAM, options["files"])
        items = load_exam(exam, files, images=options["images"])
        settings = Settings(exam, parse_modes(options["modes"] or paper.MODES))
        for row in wanted:
            log(f"running {row.title}")
            own = row.key in moved
            backend = load(
                moved.get(row.key, row.model),
                adapter=None if own else row.adapter,
                dtype="auto" if own else row.load,
            )
            run(backend, items, settings, out / row.key, limit=options["limit"],
                progress=_progress(), command=["meadow", *sys.argv[1:]])  # fmt: skip
    rows = paper.table(out)
    if not as_json:
        click.echo("\n".join(paper.lines(rows)))
    done = sum(row["run"] is not None for row in rows)
    finish({"rows": rows}, rows_in=len(rows), rows_out=done, rejected=len(rows) - done)


@evaluate.command("contamination")
@click.option("--model", required=True, help="A checkpoint folder or a Hub repository.")
@click.option("--adapter", help="A PEFT adapter for the model.")
@click.option("--dtype", default="auto", help="auto, float32, bfloat16, float16, int8 or nf4.")
@click.option("--exam", required=True, help="The exam, as for `eval run`.")
@files_option
@list_option("--control", "controls", help="Files of a set of the same form that the model "
             "cannot have seen.")  # fmt: skip
@click.option("--before", default=4, type=click.IntRange(1), show_default=True,
              help="Items of the same set that stand in front of an item.")  # fmt: skip
@limit_option
@click.option("--seed", default=0, help="Of the draws.")
@json_option
def contamination_command(as_json: bool, **options: Any) -> None:
    """Ask a model's log-likelihoods whether it has seen an exam: evidence, not proof."""
    finish = Finish(as_json=as_json)
    from evaluation.contamination import compare_sets
    from evaluation.local import load

    exam, files = exam_files(options["exam"], options["files"])
    named = [(exam, files), *([exam_files("control", c)] if (c := options["controls"]) else [])]
    sets = [eligible(load_exam(*one))[: options["limit"]] for one in named]
    backend = load(options["model"], adapter=options["adapter"], dtype=options["dtype"])
    document = compare_sets(backend, *sets, before=options["before"], seed=options["seed"])
    log(document["verdict"]) if as_json else click.echo(document["verdict"])
    asked, scored = sum(map(len, sets)), document["set"]["scored"]
    scored += document["control"]["scored"] if document["control"] else 0
    finish({"exam": exam, **document}, rows_in=asked, rows_out=scored, rejected=asked - scored)


@evaluate.command("rescore")
@run_argument
@dry_run_option
@json_option
def rescore_command(folder: Path, dry_run: bool, as_json: bool) -> None:
    """Parse a run's responses again with the present parser."""
    finish = Finish(as_json=as_json)
    from evaluation.results import rescore

    document = rescore(folder, dry_run=dry_run)
    for change in document["changed"]:
        log(f"{change['item_id'][:12]} {change['mode']}: {change['before']} -> {change['after']}")
    finish(document, rows_in=document["responses"], rows_out=len(document["changed"]))


@evaluate.command("export")
@run_argument
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default RUN/export.")
@dry_run_option
@json_option
def export_command(folder: Path, out: Path | None, dry_run: bool, as_json: bool) -> None:
    """Write a run as lm-eval results and samples files and as a model-index block."""
    finish = Finish(as_json=as_json)
    from evaluation.export import export_harness, export_model_index
    from evaluation.results import read_run

    run = read_run(folder)
    target = out or folder / "export"
    paths: list[Path] = []
    if not dry_run:
        paths = [*export_harness(run, target), export_model_index(run, target)]
    for path in paths:
        log(f"wrote {path}")
    finish({"files": [str(path) for path in paths]}, rows_in=1, rows_out=len(paths))


@click.command("compare")
@runs_argument
@click.option(
    "--margin",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 100, min_open=True),
    help="Points of accuracy within which two runs count as equal.",
)
@click.option("--flips", is_flag=True, help="List the questions that only one run has right.")
@json_option
def compare(runs: tuple[Path, ...], margin: float, flips: bool, as_json: bool) -> None:
    """Compare evaluation runs, paired.

    Says of each mode whether a difference is shown, or equality within the margin.
    """
    finish = Finish(as_json=as_json)
    from evaluation.compare import compare as compare_runs
    from evaluation.compare import sentence
    from evaluation.results import read_runs

    document = compare_runs(read_runs(list(runs)), margin / 100)
    for entry in document["pairs"]:
        for mode in entry["modes"]:
            text = sentence(entry, mode)
            log(text) if as_json else click.echo(text)
            for flip in entry["modes"][mode]["flips"] if flips and not as_json else ():
                click.echo("  {item_id} {a} -> {b}, right is {gold}".format(**flip))
        for warning in entry["warnings"]:
            log(f"warning: {warning}")
    finish(document, rows_in=len(runs))
