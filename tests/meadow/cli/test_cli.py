"""The command line keeps its own laws: help, names, exit codes."""

import os
import re
import signal
import time
from pathlib import Path

import click
import pytest
from support.command import run_meadow

from meadow.cli.app import COMMANDS, cli


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_the_help_that_the_list_gives(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").strip().splitlines()[0] == COMMANDS[name][1]
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in {"help"}:
            assert option.help or option.show_default, option.name


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


def test_an_unknown_command_names_the_nearest() -> None:
    ran = run_meadow("biuld")
    assert ran.code == 2
    assert "build" in ran.err


def test_an_unknown_option_is_a_usage_error() -> None:
    assert run_meadow("build", "--nope").code == 2


def test_version_and_help() -> None:
    assert run_meadow("--help").out.count("\n") > len(COMMANDS)
    assert "0.1.0" in run_meadow("--version").out


def test_sources_and_doctor_never_fail_and_print_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanarycanarycanary")
    for words in (("sources",), ("sources", "medqa"), ("doctor",), ("doctor", "--json")):
        ran = run_meadow(*words)
        assert ran.code == 0, ran.err
        assert "canary" not in ran.out + ran.err


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
