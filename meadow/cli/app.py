"""The command line: one group whose commands are imported only when they run.

The table below names each command, where it is and its line of help; a test holds the lines to the
commands' own. `pipelines`, `training` and `evaluation` are reached by name only, so that the wheel,
which ships `meadow` alone, can say in one line where they are.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pkgutil
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import click

from meadow.errors import ExitCode, MeadowError
from meadow.net.redaction import guard_logs, hide_secrets, redact, without_values

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Data": {
        "sources": ("meadow.cli.sources:sources", "List the sources: licence, files, counts."),
        "source": ("meadow.cli.sources:source", "Make a source of your own, without code."),
        "fetch": ("meadow.cli.fetch:fetch", "Download raw files, resumable and checked."),
        "build": ("meadow.cli.build:build", "Build verified shards from raw files."),
        "rephrase": ("meadow.cli.rephrase:rephrase", "Rewrite rows with a language model."),
        "reason": ("meadow.cli.rephrase:reason",
                   "Let a language model reason about questions with a key."),
    },
    "Look": {
        "show": ("meadow.cli.corpus:show", "Show rows of a corpus."),
        "check": ("meadow.cli.corpus:check", "Verify a corpus folder."),
        "diff": ("meadow.cli.corpus:diff", "Compare two corpora row by row."),
        "card": ("meadow.cli.corpus:card", "Render the dataset card again."),
        "report": ("meadow.cli.corpus:report", "Write the quality report."),
        "browse": ("meadow.cli.corpus:browse", "Browse a corpus in the browser."),
        "summary": ("meadow.cli.summary:summary",
                    "Summarise the training content for the EU AI Act."),
        "trace": ("meadow.cli.trace:trace",
                  "Say where a row went: corpora, mixes, runs, steps, checkpoints."),
        "takedown": ("meadow.cli.trace:takedown",
                     "Say who holds a row, and keep it out from now on."),
    },
    "Mix": {
        "mix": ("meadow.cli.mix:mix", "Mix a corpus into a training set."),
        "convert": ("meadow.cli.mix:convert", "Write a mix as lines of JSON for other trainers."),
    },
    "Publish": {
        "publish": ("meadow.cli.hub:publish", "Publish a corpus to the Hub in one commit."),
        "pull": ("meadow.cli.hub:pull", "Download a published corpus, verified."),
        "verify": ("meadow.cli.hub:verify", "Verify a published corpus."),
    },
    "Train": {
        "train": ("training.cli:train", "Fine-tune a model on a mix."),
        "plan": ("training.cli:plan", "Say what a training run needs before it starts."),
        "export": ("training.cli:export", "Merge adapters and export a checkpoint."),
    },
    "Evaluate": {
        "eval": ("evaluation.cli:evaluate", "Score checkpoints on exams."),
        "compare": ("evaluation.cli:compare", "Compare evaluation runs, paired."),
        "why": ("evaluation.cli:why", "Show the training rows that are nearest to a question."),
        "study": ("pipelines.study:command", "Run a whole study, from raw files to the report."),
    },
    "This machine": {
        "doctor": ("meadow.cli.doctor:doctor", "Say what this machine has and what is missing."),
        "demo": ("meadow.cli.demo:demo", "Run the main job on the embedded samples."),
    },
}  # fmt: skip
"""The commands as `meadow --help` groups them: name -> where it is, and its line of help."""
COMMANDS = {name: told for group in GROUPS.values() for name, told in group.items()}

RESUMED = ("fetch", "build", "rephrase", "reason", "publish", "pull", "train", "eval", "study")
"""The commands that continue where a run of them was stopped; the others begin again."""

APPLICATIONS = ("pipelines", "training", "evaluation")


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command, or say where it is."""
        if name not in COMMANDS:
            return None
        where = COMMANDS[name][0]
        try:
            command: click.Command = pkgutil.resolve_name(where)
        except ModuleNotFoundError as error:
            return _missing(name, _remedy(error, where))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where there is none of that name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from meadow.config import did_you_mean

            hint = did_you_mean(args[0], COMMANDS).capitalize()
            raise click.UsageError(f"No such command {args[0]!r}. {hint}".rstrip(), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The tables of the commands that can run here, without importing any."""
        for title, group in GROUPS.items():
            rows = [(name, told) for name, (where, told) in group.items() if _is_here(where)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _is_here(where: str) -> bool:
    """Whether a command's package is installed; the wheel has `meadow` alone."""
    return importlib.util.find_spec(where.partition(".")[0]) is not None


def _remedy(error: ModuleNotFoundError, where: str) -> str:
    """What has to be installed for a module; one of `meadow` itself that is missing is a defect."""
    package = (error.name or "").partition(".")[0]
    if package == "meadow":
        raise error
    if package in APPLICATIONS:
        return (
            "it is in a checkout of the repository: clone it, and there pip install -e "
            "'.[train,eval]'"
        )
    extra = {"training": "train", "evaluation": "eval"}.get(where.partition(".")[0], "dev")
    return f"{package} is not installed: pip install 'medical-meadow[{extra}]'"


def _missing(name: str, fix: str) -> click.Command:
    """A command that says what has to be installed before it can run."""

    @click.command(name, context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1)
    def missing(rest: tuple[str, ...]) -> None:
        raise MeadowError(f"`meadow {name}` cannot run here", fix=fix)

    return missing


def application(where: str, what: str) -> Any:
    """What a package has that only a checkout has, reached by name: MODULE:NAME.

    Raises:
        MeadowError: It (or a library that it needs) is not installed.
    """
    try:
        return pkgutil.resolve_name(where)
    except ModuleNotFoundError as error:
        raise MeadowError(f"{what} cannot run here", fix=_remedy(error, where)) from error


def exam_scorer(exams: Iterable[str], template: str) -> Callable[[Any, Any], list[dict[str, Any]]]:
    """Scores a model in training on exams: (model, tokenizer) -> a line per exam.

    Args:
        exams: As NAME=FILE; an exam of several files is named several times.
        template: The prompts' frame.

    Raises:
        MeadowError: Evaluation is not installed, or an exam cannot be read.
    """
    from meadow.exams.items import load_exam

    score = application("evaluation.run:letter_accuracy", "--exam")
    sheets = [load_exam(name, list(map(Path, files))) for name, files in grouped(exams).items()]
    return lambda model, tokenizer: [
        dict(score(model, tokenizer, items, template=template)) for items in sheets
    ]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="medical-meadow", prog_name="meadow")
@click.option("--debug", is_flag=True, help="Show tracebacks of expected faults too.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Medical instruction data that anyone can regenerate, trust, train on and evaluate."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False  # every context below inherits it; no-color.org
    if endpoint := os.environ.get("HF_ENDPOINT"):
        from meadow.net.http import split_address

        split_address(endpoint, "HF_ENDPOINT")  # which the client reads when it is imported


class Finish:
    """A command's end: one JSON document on stdout if asked for, in/out/rejected/time on stderr.

    A command that counts nothing, since it only reads, ends without that line.
    """

    told = False
    """Whether this process has put its document on stdout; there is one, also with an error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.started = time.monotonic()

    def __call__(
        self,
        document: Mapping[str, Any] | list[dict[str, Any]],
        *,
        page: str = "",
        rows_in: int | None = None,
        rows_out: int | None = None,
        rejected: int | None = None,
    ) -> None:
        """Print the document where it was asked for, else the page, and the closing line."""
        if self.as_json:
            Finish.told = True
            text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
            click.echo(without_values(text))
        elif page:
            click.echo(page)
        seconds = time.monotonic() - self.started
        counts = [
            f"{name} {value:,}"
            for name, value in (("in", rows_in), ("out", rows_out), ("rejected", rejected))
            if value is not None
        ]
        if counts:
            click.echo(" · ".join([*counts, f"time {seconds:.1f} s"]), err=True)


_lines: list[Any] = []
"""The line that `telling` keeps at the bottom of the terminal, while it does."""


def log(message: str) -> None:
    """One line for the person at the terminal, on stderr, without secrets."""
    if _lines:
        _lines[-1].console.out(hide_secrets(message), highlight=False)
    else:
        click.echo(hide_secrets(message), err=True)


def listed(_: click.Context, __: click.Parameter, value: Iterable[str]) -> tuple[str, ...]:
    """The items of a list option: `--only a,b` and `--only a --only b` are the same.

    A comma separates NAME=VALUE items only where another NAME= follows, and paths only where no
    file has the whole for its name, so that a path may hold one.
    """
    items = []
    for text in value:
        if "=" in text:
            items += re.split(r",(?=[\w.:+-]+=)", text)
        else:
            items += [text] if os.path.lexists(text) else text.split(",")
    return tuple(stripped for item in items if (stripped := item.strip()))


def list_option(*names: str, help: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that takes a list, in the one manner that all of them have."""
    told = f"{help.rstrip('.')}. Takes commas and repeats."
    return click.option(*names, multiple=True, callback=listed, help=told, **settings)


@contextlib.contextmanager
def telling(describe: Callable[[], str]) -> Iterator[None]:
    """Say on a terminal what is being done and how far it is, twice a second; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    started, ended = time.monotonic(), threading.Event()
    console = Console(stderr=True)

    def line() -> Text:
        seconds = f" · {time.monotonic() - started:.0f} s"
        text = Text(hide_secrets(describe()))
        # a line that wraps would leave its halves behind
        text.truncate(max(0, console.width - 2 - len(seconds)), overflow="ellipsis")
        return text + seconds

    with console.status(line()) as status:

        def follow() -> None:
            while not ended.wait(0.5):
                status.update(line())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        _lines.append(status)
        try:
            yield
        finally:
            _lines.clear()
            ended.set()
            thread.join()


@contextlib.contextmanager
def out_of_the_way() -> Iterator[None]:
    """Take the line of `telling` away, for whoever draws on the terminal itself meanwhile."""
    for line in _lines:
        line.stop()
    try:
        yield
    finally:
        for line in _lines:
            line.start()


@contextlib.contextmanager
def telling_steps(what: str) -> Iterator[Callable[[str], None]]:
    """As `telling`, of work that tells its steps by lines: they are logged, and the last one stays.

    Args:
        what: What is being done, until the first line.
    """
    said = [what]

    def progress(line: str) -> None:
        said.append(f"{what}, after: {line}")
        log(line)

    with telling(lambda: said[-1]):
        yield progress


@contextlib.contextmanager
def telling_counts(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """As `telling`, of work that tells what it does, how many are done and how many there are.

    Args:
        what: What is being done, until something is done.
    """
    said = [what]

    def progress(what: str, done: int, total: int) -> None:
        said[0] = f"{what}: {done:,} of {total:,}"

    with telling(lambda: said[0]):
        yield progress


def grouped(options: Iterable[str]) -> dict[str, list[str]]:
    """NAME=PATH options as name -> paths, in the order in which they were given."""
    found: dict[str, list[str]] = {}
    for option in options:
        name, _, path = option.partition("=")
        found.setdefault(name, []).append(path)
    return found


PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout; logs on stderr."
)
"""Every command has it."""
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done; write nothing."
)
"""Every command that writes has it."""
config_option = click.option("--config", type=PATH, help="A meadow.toml to use.")
own_option = list_option(
    "--source",
    "own",
    metavar="PATH",
    help="A source of your own: a TOML file, or a folder of them (docs/own-source.md).",
)
answer_is_option = list_option(
    "--answer-is",
    "answers",
    metavar="NAME=KIND",
    help="What an exam's answers are, where its files do not tell: label, index0, index1, text.",
)


def errata_option(default: str = "off") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The `--errata` option of what reads exams or writes training rows."""
    return list_option(
        "--errata",
        default=[default],
        show_default=True,
        metavar="known|off|FILE",
        help="Known errors of exams and training sets; a FILE of yours is used beside the known "
        "ones.",
    )


def _os_error(error: OSError) -> MeadowError:
    """What the system refused, as an expected fault."""
    from meadow.atomic import is_disk_full

    full = is_disk_full(error)
    return MeadowError(
        "the disk is full" if full else f"{error.strerror or error}",
        where=str(error.filename or ""),
        fix=f"{'make room' if full else 'look at that file'} and run the same command again",
    )


_asked_to_end: list[ExitCode] = []


def _terminate(signum: int, frame: object) -> NoReturn:
    _asked_to_end.append(ExitCode.TERMINATED)
    raise SystemExit(ExitCode.TERMINATED)


def _swallowed(told: sys.UnraisableHookArgs) -> None:
    """What the interpreter calls for an exception that compiled code cannot let through.

    A signal that came at such a moment would be lost: it is sent once more, when that is over.
    """
    if told.exc_type is KeyboardInterrupt or (told.exc_type is SystemExit and _asked_to_end):
        number = signal.SIGTERM if told.exc_type is SystemExit else signal.SIGINT
        again = threading.Timer(0.01, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(told)


def _traceback(error: BaseException) -> str:
    """The traceback without secrets: libraries put addresses and servers' answers into theirs."""
    return redact("".join(traceback.format_exception(error)).rstrip())


def _fault(what: str, where: str = "", fix: str = "") -> None:
    """An error as the one JSON document, where `--json` asked for one."""
    if "--json" in sys.argv[1:] and not Finish.told:
        document = {"what": what, "where": where, "fix": fix}
        click.echo(without_values(json.dumps(document, ensure_ascii=False, indent=2)))


def _again() -> str:
    """What to do after Ctrl-C, which differs by command."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if command in RESUMED:
        return "run the same command again to continue"
    return "nothing was finished; run the same command again"


def _report_defect(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What the interpreter calls for an exception that nobody expected."""
    click.echo(_traceback(error.with_traceback(trace)), err=True)


def main() -> NoReturn:
    """Run the command line and end with an exit code of `meadow.errors.ExitCode`."""
    _asked_to_end.clear()
    Finish.told = False
    signal.signal(signal.SIGTERM, _terminate)
    sys.excepthook = _report_defect
    sys.unraisablehook = _swallowed
    guard_logs()
    debug = "--debug" in sys.argv[1:] or os.environ.get("MEADOW_DEBUG") == "1"
    try:
        status = cli.main(prog_name="meadow", standalone_mode=False)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        log(f"interrupted: {_again()}")
        _fault("interrupted", fix=_again())
        status = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        _fault(error.format_message())
        status = ExitCode.USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitCode.FAILED
    except (MeadowError, OSError) as error:
        fault = error if isinstance(error, MeadowError) else _os_error(error)
        log(_traceback(error) if debug else f"error: {fault}")
        _fault(*map(hide_secrets, (fault.what, fault.where, fault.fix)))
        status = fault.exit_code
    except BaseException:
        # inside compiled code a signal can come out as an error of another kind
        if not _asked_to_end:
            raise
        status = _asked_to_end[-1]
    sys.exit(int(status or 0))
