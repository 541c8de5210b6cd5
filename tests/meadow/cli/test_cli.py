"""The command line keeps its own laws: help, names, exit codes."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from support.command import in_a_terminal, run_meadow

from meadow.api import open_corpus
from meadow.build.sort import PROGRESS
from meadow.build.worker import PARTS, built_so_far
from meadow.cli.app import APPLICATIONS, COMMANDS, GROUPS, cli
from meadow.errors import UsageError
from meadow.quality.browse import write_site
from meadow.samples import FOLDER


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_the_help_that_the_list_gives(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").strip().splitlines()[0] == COMMANDS[name][1]
    for kind in (command, *getattr(command, "commands", {}).values()):
        first = (kind.help or "").strip().splitlines()[0]
        assert kind is command or len(first) <= 60, "a group's list would cut it"
        for option in kind.params:
            if isinstance(option, click.Option):
                assert (option.help or "").endswith("."), option.name


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_stands_in_the_readme(name: str, root: Path) -> None:
    assert re.search(rf"`?meadow {name}\b", (root / "README.md").read_text(encoding="utf-8"))


def test_only_the_command_line_imports_by_name(root: Path) -> None:
    found = {
        path.relative_to(root).as_posix()
        for package in ("meadow", "pipelines", "training", "evaluation")
        for path in (root / package).rglob("*.py")
        if re.search(r"\b(import_module|__import__)\(", path.read_text(encoding="utf-8"))
    }
    assert found <= {"meadow/cli/app.py"}


def test_version_and_help() -> None:
    told = run_meadow("--help").out
    assert told.count("\n") > len(COMMANDS) == sum(map(len, GROUPS.values()))
    assert all(f"\n{title}:" in told for title in GROUPS)
    assert "0.1.0" in run_meadow("--version").out


def test_the_help_of_a_wheel_lists_only_what_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel has `meadow` alone; nothing of the applications is imported to find that out."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in APPLICATIONS else find(name)
    )
    told = run_meadow("--help").out
    listed = set(re.findall(r"^  ([a-z]+)  ", told, re.MULTILINE))
    here = {name for name, (where, _) in COMMANDS.items() if where.startswith("meadow.")}
    assert listed == here
    assert "Train:" not in told


def built(folder: Path, *names: str) -> Path:
    """A corpus of the samples, which hold broken rows on purpose: the command ends with 3."""
    given = [word for name in names for word in ("--only", name)]
    ran = run_meadow("build", *given, "--raw", FOLDER, "--out", folder)
    assert ran.code == 3, ran.err
    assert re.search(r"error: more than 1 % .* \(\w+ \d+ of \d+\)", ran.err)
    return folder


def test_a_list_takes_commas_and_repeats(tmp_path: Path) -> None:
    once = built(tmp_path / "once", "medqa,mmmlu")
    twice = built(tmp_path / "twice", "medqa", "mmmlu")
    shards = [{s.sha256 for s in open_corpus(one).manifest.shards()} for one in (once, twice)]
    assert shards[0] == shards[1]
    assert open_corpus(twice).configs == ["medqa", "mmmlu"]
    ways = {"a": ["medqa,mmmlu"], "b": ["medqa", "mmmlu"]}
    for name, given in ways.items():
        accepted = [word for one in given for word in ("--accept-licence", one)]
        ran = run_meadow("mix", "full", "--corpus", once, *accepted, "--out", tmp_path / name)
        assert ran.code == 0, ran.err
    files = [(tmp_path / name / "MANIFEST.json").read_bytes() for name in ways]
    assert files[0] == files[1]
    strange = ("--accept-licence", "medqa,nobody", "--out", tmp_path / "c")
    assert run_meadow("mix", "full", "--corpus", once, *strange).code == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [("seed=3", "--seed"), ("exclud=[]", "did you mean 'exclude'"), ("x", "KEY=VALUE"),
     ("exclude=3", "exclude")],
)  # fmt: skip
def test_a_wrong_key_of_a_mix_is_a_usage_error(change: str, told: str, tmp_path: Path) -> None:
    ran = run_meadow("mix", "clean", "--corpus", "c", "--set", change, "--out", tmp_path / "m")
    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "m").exists()


def test_every_list_option_takes_both_manners() -> None:
    """NAME=VALUE items part where another NAME= follows; `--set` is no list but assignments."""
    commands = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    for command in commands:
        assert command is not None
        kinds = [command, *getattr(command, "commands", {}).values()]
        options = [o for kind in kinds for o in kind.params if isinstance(o, click.Option)]
        for option in options:
            if option.multiple and "--set" not in option.opts:
                given = option.callback(None, option, ("a=1,2,b=3", "c=4"))  # type: ignore[misc]
                assert given == ("a=1,2", "b=3", "c=4"), option.opts


@pytest.mark.parametrize(
    "words",
    ["compare NONE NONE", "eval report NONE",
     "card NONE", "card NONE --dry-run", "publish NONE a/b", "publish NONE a/b --dry-run",
     "report NONE", "report NONE --dry-run", "check NONE", "show NONE", "diff NONE NONE",
     "mix clean --corpus NONE --out MADE", "rephrase anki --corpus NONE --model m"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["absent", "other"])
def test_what_is_no_corpus_stays_as_it_was(words: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "corpsu"
    if kind == "other":
        folder.mkdir()
    given = words.replace("NONE", str(folder)).replace("MADE", str(tmp_path / "made"))
    ran = run_meadow(*given.split())
    assert ran.code == 1
    lacking = "run.json is missing" if words.startswith(("compare", "eval")) else "no MANIFEST.json"
    assert ("there is no such folder" if kind == "absent" else lacking) in ran.err
    assert list(tmp_path.rglob("*")) == ([folder] if kind == "other" else [])


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        ("build --file medqa=none.jsonl --out x", 1, "does not exist"),
        ("mix clean --corpus corpsu --out x", 1, "no such folder"),
        ("sources pubmed_casual", 2, "unknown source"),
        ("show corpsu -n 0", 2, "not in the range"),
        ("biuld", 2, "Did you mean 'build'?"),
        ("build --nope", 2, "No such option"),
    ],
)
def test_an_error_is_the_one_document_too(
    words: str, code: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_meadow(*words.split(), "--json")
    assert ran.code == code
    document = json.loads(ran.out)
    assert sorted(document) == ["fix", "what", "where"]
    assert what in document["what"]


def test_a_finding_is_told_in_the_commands_own_document(tmp_path: Path) -> None:
    built(tmp_path / "c", "medqa")
    (tmp_path / "c" / "README.md").write_text("edited\n")
    ran = run_meadow("check", tmp_path / "c", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["findings"]


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_colours_stay_where_they_are_wanted(setting: dict[str, str], tmp_path: Path) -> None:
    code, said = in_a_terminal("show", built(tmp_path / "c", "medqa"), "-n", "1", **setting)
    assert code == 0
    assert "medqa" in said
    assert ("\x1b[" in said) is not bool(setting)
    assert "time " not in said


def test_after_ctrl_c_only_what_continues_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", stopped)
    for words, said in (
        (("build", "--out", "x"), "to continue"),
        (("mix", "clean"), "nothing was"),
    ):
        ran = run_meadow(*words)
        assert ran.code == 130
        assert said in ran.err


def test_a_corpus_of_no_rows_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"a":\nnot json\n')
    ran = run_meadow("build", "--file", f"medqa={tmp_path}/bad.jsonl", "--out", tmp_path / "c")
    assert ran.code == 1
    assert "medqa (bad_json 2 of 2)" in ran.err
    assert not (tmp_path / "c" / "MANIFEST.json").exists()


def test_sources_and_doctor_never_fail_and_print_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanarycanarycanary")
    for words in (("sources",), ("sources", "medqa"), ("doctor",), ("doctor", "--json")):
        ran = run_meadow(*words)
        assert ran.code == 0, ran.err
        assert "canary" not in ran.out + ran.err


@pytest.mark.parametrize("words", [
    ("doctor",), ("plan", "tiny"), ("plan", "tyni"), ("train", "tyni", "--mix", "m", "--out", "o"),
    ("plan", "tiny", "--mix", "nope"), ("train", "tiny", "--mix", "nope", "--out", "o"),
    ("export", "no-run", "--out", "x"),
    ("eval", "run", "--model", "owner/none", "--exam", "sample", "--out", "x"),
])  # fmt: skip
def test_what_needs_no_model_imports_no_torch(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('torch was imported')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-m", "meadow", *words], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path, "HF_ENDPOINT": "https://hub.invalid"}, check=False,
    )  # fmt: skip
    assert "torch was imported" not in ran.stderr
    assert ran.returncode in {0, 1, 2}
    assert "Traceback" not in ran.stderr


def test_an_unknown_settings_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meadow.toml").write_text('contcat = "a@example.org"\n')
    monkeypatch.chdir(tmp_path)
    ran = run_meadow("doctor")
    assert ran.code == 2
    assert "contact" in ran.err


@pytest.mark.parametrize("value", ["medqa", "=x", "a:b:c:d=x", "medqa:=x"])
def test_a_wrong_file_option_shows_the_form(value: str, tmp_path: Path) -> None:
    ran = run_meadow("build", "--file", value, "--out", tmp_path / "o")
    assert ran.code == 2
    assert "SOURCE[:SUBSET[:ROLE]]=PATH" in ran.err


BRACKETS = "https://ann:s3cret@[x]/v1"
"""An address whose host is none, which Python's own parser refuses with a ValueError."""


def test_what_is_no_address_is_refused_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_meadow("build", "--raw", FOLDER, "--only", "anki", "--out", "c")
    assert ran.code in (0, 3), ran.err

    def refused(*arguments: str) -> None:
        ran = run_meadow(*arguments)
        assert (ran.code, "s3cret" in ran.err + ran.out) == (2, False), ran.err
        assert "address" in ran.err

    refused("report", "c", "--out", "r", "--page", BRACKETS)
    refused(
        "rephrase", "anki", "--corpus", "c", "--model", "m", "--out", "o", "--base-url", BRACKETS
    )
    refused("build", "--only", "anki", "--raw", BRACKETS, "--out", "o")
    with pytest.raises(UsageError) as told:
        write_site(tmp_path / "site", shard_origin=BRACKETS)
    assert "s3cret" not in str(told.value)
    # the Hub's client reads it when it is imported
    monkeypatch.setenv("HF_ENDPOINT", BRACKETS)
    refused("pull", "ann/corpus@v1", "--out", "o")
    refused("verify", "ann/corpus@v1")


def test_a_connection_beyond_loopback_fails_the_test() -> None:
    import socket

    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as outside,
        pytest.raises(AssertionError, match="tried to reach"),
    ):
        outside.connect(("192.0.2.1", 9))


def test_a_signal_that_a_library_dresses_up_still_ends_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiled code turns what a handler raises inside it into an error of its own."""

    def dressed_up(**_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except SystemExit as error:
            raise RuntimeError("failed inside a library") from error

    monkeypatch.setattr("meadow.cli.app.cli.main", dressed_up)
    assert run_meadow("sources").code == 143


def test_a_terminal_is_told_how_far_a_build_is(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("sentence,label\nAspirin helps.,1\n")
    words = ("build", "--file", f"pubmed_causal={tmp_path}/few.csv", "--out")
    code, said = in_a_terminal(*words, tmp_path / "c")
    assert code == 0
    assert f"building {tmp_path}/c"[:50] in said  # however short it was; a long path is cut
    assert "in 1 · out 1" in said
    assert "\x1b[" not in run_meadow(*words, tmp_path / "d").err
    # what the line says of a longer one is read from its staging folder
    for part, rows in {"00000": 4000, "00001.part": 96}.items():
        (folder := tmp_path / "staging" / "medqa" / f"{PARTS}0a" / part).mkdir(parents=True)
        (folder / PROGRESS).write_text(str(rows))
        (folder / "rows").write_bytes(b"x" * 94)
    assert built_so_far(tmp_path / "staging") == {"medqa": (4096, 2 * 94 + 6)}
    assert not list((tmp_path / "c").rglob(PROGRESS))
