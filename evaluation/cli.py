"""`meadow eval`, `meadow compare` and `meadow why`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evaluation.images import audit, lines
from meadow.atomic import sha256_file
from meadow.cli.app import (
    Finish,
    dry_run_option,
    errata_option,
    json_option,
    list_option,
    log,
    telling_counts,
)
from meadow.cli.rephrase import asking_options
from meadow.cli.weights import convert_option, safe_weights
from meadow.errors import ExitCode, MeadowError, UsageError
from meadow.exams.errata import corrections, read_errata
from meadow.exams.items import ALIASES, EXAMS, Exam, ExamItem, eligible, load_exam
from meadow.exams.meaning import ANSWER_IS
from meadow.exams.usmle import DEMO, EXAM
from meadow.models.loading import RUN_MANIFEST, template_trained_in
from meadow.net.redaction import hide_secrets
from meadow.samples import FOLDER

if TYPE_CHECKING:
    from evaluation.run import Settings

SAMPLE = "sample"


files_option = list_option(
    "--file", "files", help="The exam's files or folder, or hf://datasets/OWNER/NAME@REV/PATH"
)
images_option = click.option(
    "--images",
    default="by_number",
    type=click.Choice(["by_number", "by_index", "readme"]),
    help="How the list of image questions is read.",
)
answer_is_option = click.option(
    "--answer-is",
    type=click.Choice(ANSWER_IS),
    help="What the answers of the files are, where a file does not tell: labels, places from 0 or "
    "1, or the right option's text.",
)
modes_option = list_option(
    "--modes",
    help="letter (the default), option, text, text_pmi, generate, generate_sc, cot, "
    "medalpaca_legacy.",
)
limit_option = click.option("--limit", type=click.IntRange(1), help="Only the first N items.")
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
@convert_option
@click.option("--exam", required=True, help=f"{', '.join((*EXAMS, *ALIASES))}, {SAMPLE}, or any "
              "name with --file.")  # fmt: skip
@files_option
@answer_is_option
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
@click.option("--allow-remote", is_flag=True, help="Texts may leave this machine.")
@click.option("--chat", is_flag=True, help="Generate over chat completions.")
@click.option("--preview", type=click.IntRange(1), help="Print the prompts of N items as they "
              "would be sent, and stop.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.")
@dry_run_option
@json_option
def run_command(as_json: bool, dry_run: bool, out: Path | None, **options: Any) -> None:
    """Score a checkpoint on an exam.

    The same command continues a run that was stopped.
    """
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
    own = options["adapter"] or options["model"]
    trained = None if options["base_urls"] else template_trained_in(own)
    if trained and not options["template"]:
        log(f"template {trained!r}: the model was trained in it, as its run manifest says")
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
    _make_safe(options)
    with telling_counts(f"loading {options['model']}") as progress:
        summary = run(
            _backend(options, settings),
            items,
            settings,
            out,
            limit=options["limit"],
            contamination=options["contamination"],
            command=["meadow", *sys.argv[1:]],
            progress=progress,
            image_audit=audit(files) if items[0].exam in (EXAM, DEMO) else None,
            corrected=corrections(items, errata),
            files=_origins(items, files),
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
    from evaluation import download

    files = [download.hub_file(p) if p.startswith("hf://") else Path(p) for p in given]
    if exam == SAMPLE:
        return DEMO, files or [FOLDER / "exam"]
    return exam.partition("@")[0], files or download.exam_files(exam)


def _origins(items: Exam, paths: list[Path]) -> list[dict[str, Any]]:
    """Each file of an exam with its hash, and where on the Hub it came from."""
    from evaluation.download import origin
    from meadow.exams.formats import exam_files as files_in

    found = {path.name: origin(path) for path in files_in(paths)}
    return [
        {"name": f["name"], "sha256": f["sha256"], **found.get(f["name"], {})} for f in items.files
    ]


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


def _make_safe(options: dict[str, Any]) -> None:
    """Weights in a format that is not loaded become others, where somebody agrees."""
    agreed = options["convert_weights"]
    if not options["base_urls"]:
        where = {"revision": options["revision"]}
        options["model"] = safe_weights(options["model"], convert=agreed, **where)
        if options["adapter"]:
            options["adapter"] = safe_weights(options["adapter"], convert=agreed, adapter=True)


def _backend(options: dict[str, Any], settings: Settings) -> Any:
    """The checkpoint; for a preview only what makes its prompts, without weights or a request."""
    if options["base_urls"]:
        from evaluation.server import HttpBackend
        from meadow.chat.client import check_remote

        for url in options["base_urls"]:
            check_remote(url, allow_remote=options["allow_remote"] or bool(options["preview"]))
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


@evaluate.command("rubric")
@files_option
@click.option("--exam", help="Its name, for the report; without --file one with a download.")
@click.option("--model", help="Who answers: a checkpoint folder, a Hub repository, or the name of "
              "a served model.")  # fmt: skip
@click.option("--adapter", help="A PEFT adapter for the model.")
@click.option("--revision", help="Revision of the Hub repository.")
@click.option("--dtype", default="auto", help="auto, float32, bfloat16, float16, int8 or nf4.")
@click.option("--template", help="A checkpoint's prompt: what it was trained with, else chat.")
@click.option("--base-url", help="The OpenAI-compatible server of the model that answers.")
@click.option("--responses", type=click.Path(path_type=Path),
              help="Answers that are there already: rows of prompt_id and response.")  # fmt: skip
@click.option("--max-new-tokens", type=click.IntRange(1), default=2048, show_default=True,
              help="Limit of an answer.")  # fmt: skip
@click.option("--judge", help="The model that marks, as its server names it.")
@click.option("--judge-url", help="Its OpenAI-compatible server; default: this machine, port 8000.")
@asking_options("judge")
@limit_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--review", type=click.IntRange(1), help="Write a sheet of N verdicts to be marked "
              "by hand, without what the judge said.")  # fmt: skip
@click.option("--marked", type=click.Path(path_type=Path), help="Take in a marked sheet (CSV).")
@click.option("--seed", default=0, show_default=True, help="For the sheet's sample.")
@dry_run_option
@json_option
def rubric_command(as_json: bool, dry_run: bool, out: Path, **options: Any) -> None:
    """Let a model answer prompts, and a judge mark the answers.

    Answers and verdicts are cached, so that the same command continues a run that was stopped. The
    limits are the judge's. The key of a remote server comes from MEADOW_API_KEY or OPENAI_API_KEY.
    With --review or --marked, --out is a finished run.
    """
    finish = Finish(as_json=as_json)
    from evaluation import rubric
    from evaluation.rubric_report import write_rubric_report

    if options["review"] or options["marked"]:
        finish(_rubric_review(out, dry_run=dry_run, as_json=as_json, **options))
        return
    if not options["judge"]:
        raise UsageError("no judge", fix="--judge NAME, as its server at --judge-url names it")
    if not options["model"] and not options["responses"]:
        raise UsageError("nobody answers", fix="--model, or --responses FILE")
    if not options["files"] and not options["exam"]:
        raise UsageError("no exam", fix="--file, or --exam with a name that has a download")
    exam, files = rubric_files(options["exam"], options["files"])
    cases = rubric.read_cases(files)
    chosen = cases[: options["limit"]]
    criteria = sum(len(case.rubrics) for case in chosen)
    if dry_run:
        planned = {"prompts": len(chosen), "criteria": criteria, "out": str(out)}
        finish(planned, rows_in=len(cases), rows_out=len(chosen))
        return
    document = _rubric_run(cases, chosen, exam, out, options)
    document |= write_rubric_report(out, out)
    log(document["verdict"])
    log(f"wrote {document['html']} and {document['markdown']}")
    undecided = document["undecided"]
    finish(document, rows_in=criteria, rows_out=criteria - undecided, rejected=undecided)


def rubric_files(exam: str, given: Sequence[str]) -> tuple[str, list[Path]]:
    """The exam's name with the files given, those of the embedded sample, or those of the Hub."""
    if exam == SAMPLE:
        return "demo_rubric", [FOLDER / "rubric" / "prompts.jsonl"]
    return exam_files(exam or Path(given[0]).stem, given)


def _rubric_run(
    whole: list[Any], cases: list[Any], exam: str, out: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Answers, verdicts and the run's folder."""
    from contextlib import closing

    from evaluation import rubric
    from evaluation.journal import Journal
    from meadow.chat.client import DEFAULT_URL, Cache, Meter, make_endpoint, make_meter
    from meadow.chat.prompts import chosen_prompt

    shared = {name: options[name] for name in ("allow_remote", "timeout", "concurrency")}
    endpoint = make_endpoint(options["judge_url"] or DEFAULT_URL, options["judge"], **shared)
    limits = {name: options[name] for name in ("max_requests", "budget_usd", "prices")}
    prompt, meter = chosen_prompt("verdict", options["prompt"]), make_meter(endpoint, **limits)
    tokens, name = options["max_new_tokens"], options["model"]
    path = options["cache"] or Path("~/.cache/medical-meadow/judge.sqlite").expanduser()
    model: dict[str, Any] = {"name": name or options["responses"].stem}
    with closing(Cache(path)) as cache, telling_counts("preparing the answers") as progress:
        own = backend = given = template = None
        if options["responses"]:
            given = rubric.read_answers(options["responses"], whole)[: len(cases)]
            model["responses_sha256"] = sha256_file(options["responses"])
        elif options["base_url"]:
            own = make_endpoint(options["base_url"], name, **shared)
        else:
            from evaluation.local import load

            where = {name: options[name] for name in ("adapter", "dtype", "revision")}
            backend = load(name, **where)
            trained = template_trained_in(options["adapter"] or name)
            template = options["template"] or trained or "chat"
            model = {**backend.describe(), "template": template}

        def answer(key: str) -> Any:
            if own:
                return rubric.served_answers(cases, own, cache, Meter(), tokens, progress)
            if backend and template:
                journal = Journal(out, key[:16])
                return rubric.local_answers(cases, backend, journal, template, tokens, progress)
            return given

        about = {"exam": exam, "model": model, "max_new_tokens": tokens}
        judge = rubric.Judge(endpoint, prompt, cache, meter)
        return rubric.run(cases, answer, judge, about, out, command=["meadow", *sys.argv[1:]],
                          tell=log, progress=progress)  # fmt: skip


def _rubric_review(out: Path, *, dry_run: bool, as_json: bool, **options: Any) -> dict[str, Any]:
    """Write a sheet to be marked, mark it at the terminal, or take marks in."""
    from evaluation import rubric
    from evaluation.rubric_report import review_sentence, write_rubric_report
    from meadow.atomic import write_json
    from meadow.chat.review import mark_each, read_marks, visible, write_sheet

    run = rubric.read_rubric_run(out)
    if options["marked"]:
        marks = read_marks(options["marked"], rubric.MARKS)
        found = rubric.agreement(run.verdicts, marks)
        log(review_sentence(found))
        if not dry_run:
            write_json(out / rubric.REVIEW, found)
            write_rubric_report(out, out)
        return found
    rows = rubric.review_rows(run.answers, run.verdicts, options["review"], options["seed"])
    path = out / "review.csv"
    chosen: dict[str, str] = {}
    if sys.stdin.isatty() and sys.stderr.isatty() and not as_json:
        shown = {row[0]: visible("\n---\n".join(row[1:])) for row in rows}
        chosen = mark_each(shown, rubric.MARKS, lambda text: str(click.prompt(text, err=True)))
    if not dry_run:
        write_sheet(path, rubric.COLUMNS, rows, chosen)
        log(f"wrote {path}: mark `met` or `not met`, then --marked {path} with the same --out")
    return {"review": str(path), "rows": len(rows), "marked": len(chosen)}


@evaluate.command("report")
@runs_argument
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default the first run's.")
@click.option("--without-text", is_flag=True, help="Leave exam text and responses out.")
@dry_run_option
@json_option
def report_command(
    runs: tuple[Path, ...], out: Path | None, without_text: bool, dry_run: bool, as_json: bool
) -> None:
    """Write one HTML page and its Markdown twin."""
    finish = Finish(as_json=as_json)
    from evaluation.report import write_report
    from evaluation.results import read_runs
    from evaluation.rubric import is_rubric_run
    from evaluation.rubric_report import write_rubric_report

    folder = out or runs[0]
    if any(map(is_rubric_run, runs)):
        if len(runs) > 1:
            raise UsageError(
                "a run against a rubric has a page of its own",
                fix="report it alone; `meadow compare` compares two",
            )
        if dry_run:
            finish({"html": str(folder / "report.html")}, rows_in=1)
            return
        written = write_rubric_report(runs[0], folder, with_text=not without_text)
        log(written["verdict"])
        finish(written, rows_in=1, rows_out=2)
        return
    if dry_run:
        names = [run.name for run in read_runs(list(runs))]
        finish({"runs": names, "html": str(folder / "report.html")}, rows_in=len(runs))
        return
    written = write_report(runs, folder, with_text=not without_text)
    log(written["verdict"])
    log(f"wrote {written['html']} and {written['markdown']}")
    finish(written, rows_in=len(runs), rows_out=2)


@evaluate.command("exams")
@json_option
def exams_command(as_json: bool) -> None:
    """List the exams that are read by name.

    With their form, and where they are downloaded from.
    """
    finish = Finish(as_json=as_json)
    from evaluation.download import REMOTES

    rubrics = dict.fromkeys(REMOTES, "prompts with a rubric, for eval rubric")
    other_names = {name: alias for alias, name in ALIASES.items()}
    found: list[dict[str, Any]] = []
    for name, form in {**rubrics, **EXAMS}.items():
        place = REMOTES.get(name)
        address = f"hf://datasets/{place.repository}" if place else None
        found.append(
            {"exam": name, "alias": other_names.get(name), "form": form, "download": address}
        )
        if not as_json:
            shown = address or "no download: name its files with --file"
            click.echo(f"{name}: {form}\n    {shown}")
    finish(found)


@evaluate.command("audit-images")
@files_option
@json_option
def audit_command(files: Sequence[str], as_json: bool) -> None:
    """Show which USMLE questions are left out for an image.

    By each reading of the list of images, and why.
    """
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
@convert_option
@list_option("--model", "places", metavar="ROW=PATH", help="Weights of a row that "
              "lie elsewhere.")  # fmt: skip
@modes_option
@limit_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder per row.")
@dry_run_option
@json_option
def paper_command(out: Path, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Print the twelve rows of the 2023 table beside your runs."""
    finish = Finish(as_json=as_json)
    from evaluation import paper
    from evaluation.modes import parse_modes

    moved = dict(place.split("=", 1) for place in options["places"] if "=" in place)
    paper.chosen(list(moved))
    wanted = paper.chosen(options["names"])
    failed: dict[str, str] = {}
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
            try:
                place, own = moved.get(row.key), row.key in moved
                agreed = {"convert": options["convert_weights"]}
                adapter = None if own or not row.adapter else row.adapter
                model = safe_weights(place or row.model, **agreed)
                adapter = safe_weights(adapter, adapter=True, **agreed) if adapter else None
                with telling_counts(f"loading {row.title}") as progress:
                    backend = load(model, adapter=adapter, dtype="auto" if own else row.load)
                    run(backend, items, settings, out / row.key, limit=options["limit"],
                        progress=progress, command=["meadow", *sys.argv[1:]])  # fmt: skip
            except (MeadowError, OSError, RuntimeError) as error:
                # the other rows are not this one's fault: memory, network, a gated repository
                failed[row.key] = hide_secrets(str(error).strip().partition("\n")[0])[:300]
                log(f"{row.title} failed: {failed[row.key]}")
    rows = paper.table(out)
    if not as_json:
        click.echo("\n".join(paper.lines(rows)))
    done = sum(row["run"] is not None for row in rows)
    finish({"rows": rows, "failed": failed}, rows_in=len(rows), rows_out=done,
           rejected=len(rows) - done)  # fmt: skip
    if failed:
        sys.exit(ExitCode.FAILED)


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
    """Ask a model whether it has seen an exam.

    By its log-likelihoods: evidence, not proof.
    """
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
    """Write a run in the forms of other tools.

    As lm-eval's files, a model-index block and a record of Every Eval Ever.
    """
    finish = Finish(as_json=as_json)
    from evaluation.export import export_every_eval_ever, export_harness, export_model_index
    from evaluation.results import read_run
    from evaluation.rubric import is_rubric_run, read_rubric_run

    target = out or folder / "export"
    paths: list[Path] = []
    if is_rubric_run(folder):
        marked = read_rubric_run(folder)
        paths = [] if dry_run else export_every_eval_ever(marked, target)
    else:
        run = read_run(folder)
        if not dry_run:
            paths = [*export_harness(run, target), export_model_index(run, target),
                     *export_every_eval_ever(run, target)]  # fmt: skip
    for path in paths:
        log(f"wrote {path}")
    finish({"files": [str(path) for path in paths]}, rows_in=1, rows_out=len(paths))


@evaluate.command("import")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--exam", required=True, help="The exam's name, as in the runs to compare with.")
@answer_is_option
@click.option("--contamination", type=click.Path(path_type=Path), help="A mix, for the strata.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@dry_run_option
@json_option
def import_command(
    logs: tuple[Path, ...], exam: str, out: Path, dry_run: bool, as_json: bool, **more: Any
) -> None:
    """Make a run of logs of other tools.

    Of sample logs of lm-eval (samples_*.jsonl) or inspect (.eval, .json).
    """
    finish = Finish(as_json=as_json)
    from evaluation.foreign import import_logs, read_log

    name = ALIASES.get(exam, EXAM if exam == SAMPLE else exam)
    if dry_run:
        found = [read_log(log) for log in logs]
        samples = sum(len(log.samples) for log in found)
        finish({"samples": samples, "models": [log.model for log in found]}, rows_in=samples)
        return
    summary = import_logs(logs, name, out, command=["meadow", *sys.argv[1:]], **more)
    for mode, cell in summary["modes"].items():
        log("{}: {:.3f} [{:.3f}, {:.3f}] of {}".format(
            mode, cell["accuracy"], *cell["ci95"], cell["n"]))  # fmt: skip
    left = sum(summary["excluded"].values())
    finish(summary, rows_in=summary["n"] + left, rows_out=summary["n"], rejected=left)


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

    Of one exam or of one rubric. Says of each mode whether a difference is shown, or equality
    within the margin.
    """
    finish = Finish(as_json=as_json)
    from evaluation.compare import compare as compare_runs
    from evaluation.compare import proof_sentence, read_comparable, sentence

    document = compare_runs(read_comparable(runs), margin / 100)
    for entry in document["pairs"]:
        for mode in entry["modes"]:
            text = sentence(entry, mode)
            log(text) if as_json else click.echo(text)
            for flip in entry["modes"][mode]["flips"] if flips and not as_json else ():
                right = f", right is {flip['gold']}" if flip["gold"] else ""
                click.echo(f"  {flip['item_id']} {flip['a']} -> {flip['b']}{right}")
        if proof := proof_sentence(entry):
            log(proof) if as_json else click.echo(proof)
        for warning in entry["warnings"]:
            log(f"warning: {warning}")
    finish(document, rows_in=len(runs))


@click.command("why")
@run_argument
@click.argument("item")
@click.option("-n", "count", type=click.IntRange(1, 100), default=5, show_default=True,
              help="How many rows.")  # fmt: skip
@click.option("--training", type=click.Path(path_type=Path), help="The training run of the model, "
              "where it cannot be found from the evaluation.")  # fmt: skip
@click.option("--mix", type=click.Path(path_type=Path), help="Where the run's mix lies now.")
@click.option(
    "--exam", help="With a training run for RUN: the exam of the item, as for `eval run`."
)
@files_option
@answer_is_option
@click.option("--semantic", type=click.Path(path_type=Path), metavar="MODEL", help="An embedding "
              "model's folder: rows that are near by meaning, too; extra semantic.")  # fmt: skip
@click.option("--index", "cache", type=click.Path(path_type=Path), metavar="DIR", help="Where the "
              "indexes of mixes are kept; default: the cache of the user.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="PAGE.html",
              help="Also write a page.")  # fmt: skip
@dry_run_option
@json_option
def why(as_json: bool, dry_run: bool, folder: Path, item: str, **options: Any) -> None:
    """Show the training rows that are nearest to a question.

    RUN is an evaluation run, or a training run or one of its models with --exam; ITEM an item's
    id, its beginning, or its number in the exam. Of each row: how near it is and what it holds of
    the item, its licence, address and raw files, the duplicates that it stood for, and the
    optimizer steps that saw it. The words of a mix are indexed once. Nearness is not cause.
    """
    finish = Finish(as_json=as_json)
    from evaluation.results import RUN
    from evaluation.why import asked_in_run, asked_of_model, find_mix, lines, write_page
    from evaluation.why import why as explain
    from meadow.chat.review import visible
    from meadow.exams.nearest import is_indexed

    if (folder / RUN_MANIFEST).is_file() and not (folder / RUN).is_file():
        if not options["exam"]:
            raise UsageError(
                "a training run has answered no question: its item needs an exam",
                where=str(folder),
                fix="--exam NAME, with --file where it has no download",
            )
        exam, files = exam_files(options["exam"], options["files"])
        asked = asked_of_model(folder, item, load_exam(exam, files, answer_is=options["answer_is"]))
    else:
        asked = asked_in_run(folder, item, options["training"])
    mix = find_mix(asked.trained, options["mix"])
    if dry_run:
        indexed = is_indexed(mix, options["cache"])
        log(f"would look in {len(mix):,} rows of {mix.folder}"
            + ("" if indexed else ", after indexing their words"))  # fmt: skip
        finish({"mix": str(mix.folder), "rows": len(mix), "indexed": indexed})
        return
    encoder, cache, count = (options[name] for name in ("semantic", "cache", "count"))
    answer = explain(asked, mix, count=count, encoder=encoder, cache=cache, progress=log)
    for line in () if as_json else lines(answer):
        click.echo(visible(line))
    if options["out"]:
        write_page(answer, options["out"], ["meadow", *sys.argv[1:]])
        log(f"wrote {options['out']}")
    finish(answer.to_json(), rows_in=len(mix), rows_out=len(answer.neighbours))
