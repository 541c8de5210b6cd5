"""What is taken out of messages and tracebacks, and what stays."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import run_meadow

from meadow.cli.app import main
from meadow.errors import UsageError
from meadow.net.http import plain_address
from meadow.net.redaction import VARIABLES, guard_logs, hide_secrets, redact, without_values

SECRET = "a1B2" * 8
FORMS = [
    f"hf_{SECRET}", f"xet_{SECRET}", f"sk-{SECRET}", f"Authorization: Bearer {SECRET}",
    f"https://user:{SECRET}@host/x", f"https://{SECRET}@host/x", f"https://host/x?token={SECRET}",
    f"https://host/x?a=1&X-Amz-Signature={SECRET}&b=2", f"https://host/x?api_key={SECRET}",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMS)
def test_a_secret_is_known_by_its_form(text: str) -> None:
    assert SECRET not in hide_secrets(f"before {text} after")
    assert SECRET not in redact(f"before {text} after")


@pytest.mark.parametrize("name", VARIABLES)
def test_a_secret_is_known_by_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "pass word/&=")
    for text in ("pass word/&=", "pass%20word%2F%26%3D", "pass+word%2F%26%3D"):
        assert without_values(f"<{text}>") == "<[secret]>"
    monkeypatch.setenv(name, "x")
    assert without_values("an x in a box") == "an x in a box"


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download(repository, name)", "the bearer of this letter", "a risk-adjusted rate",
        "https://wiki.example.org/index.php?title=Gout&action=raw", "x@y.org wrote at 10:30",
        "see https://example.org/a/b#c, or ask",
    ],
)  # fmt: skip
def test_ordinary_text_stays(text: str) -> None:
    assert hide_secrets(text) == text


@given(st.text(max_size=80))
def test_hiding_twice_changes_nothing(text: str) -> None:
    once = hide_secrets(text)
    assert hide_secrets(once) == once


def test_log_records_are_stripped(caplog: pytest.LogCaptureFixture) -> None:
    guard_logs()
    guard_logs()
    log = logging.getLogger("a library")
    with caplog.at_level(logging.DEBUG):
        log.warning("asked with %s", f"Bearer {SECRET}")
        try:
            raise ValueError(f"https://host/x?token={SECRET}")
        except ValueError:
            log.exception("it failed")
    assert "asked with [secret]" in caplog.text
    assert "ValueError: https://host/x" in caplog.text
    assert SECRET not in caplog.text


def test_a_plain_address_holds_nothing_else() -> None:
    assert plain_address("https://host:8000/v1", "--base-url") == "https://host:8000/v1"
    for url in ("host/v1", "ftp://host", "https://u@host", "https://host?x", "https://host#x"):
        with pytest.raises(UsageError, match="plain"):
            plain_address(url, "--base-url")


def test_a_traceback_is_shown_on_request_and_ends_with_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / f"token=hf_{SECRET}")
    assert run_meadow("check", missing).code == 1
    monkeypatch.setattr("sys.argv", ["meadow", "--debug", "check", missing])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "check_corpus" in shown
    assert SECRET not in shown
