"""Seeded mutants and generated inputs of every kind, each checked in a child process under limits.

A night takes tens of thousands of each (`support/fuzz/kinds`); the default run a small share, in
one process, and every input that ever failed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fuzz.engine import Kind, fuzz, report, run
from support.fuzz.kinds import NIGHTLY

CORPUS = Path(__file__).parent / "corpus"
SHARE = 250
"""The default run takes one of so many inputs of a night, and at least two of a kind."""


def kept() -> list[str]:
    """The names of all inputs that once failed."""
    return [
        f"{folder.name}:{path}"
        for folder in sorted(CORPUS.iterdir())
        if folder.is_dir()
        for path in sorted(folder.iterdir())
    ]


def test_every_input_that_once_failed() -> None:
    names = kept()
    assert names, "the corpus of failures is not there"
    outcome = run(names)
    assert outcome.inputs == len(names)
    report(outcome)


def test_every_kept_input_is_told_of() -> None:
    told = (CORPUS / "README.md").read_text(encoding="utf-8")
    missing = [name for name in kept() if f"`{Path(name.partition(':')[2]).name}`" not in told]
    assert not missing


def test_a_sample_of_every_kind() -> None:
    names = [name for kind in NIGHTLY for name in kind.names(SHARE)]
    outcome = run(names)
    assert outcome.inputs == len(names)
    report(outcome)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", NIGHTLY, ids=lambda kind: kind.name)
def test_a_night(kind: Kind) -> None:
    fuzz(kind)


def test_a_failing_input_is_seen_and_does_not_end_the_run(tmp_path: Path) -> None:
    """The harness itself: an exception and a crash are failures, and the rest goes on."""
    names = []
    for name, text in (("good", "1"), ("raises", "1/0"), ("ends", "os._exit(3)"), ("better", "2")):
        path = tmp_path / name
        path.write_text(text)
        names.append(f"harness:{path}")
    outcome = run(names)
    assert outcome.inputs == 4
    assert [failure.name.rpartition("/")[2] for failure in outcome.failures] == ["raises", "ends"]
    assert "ZeroDivisionError" in outcome.failures[0].how
    with pytest.raises(AssertionError, match="2 inputs failed"):
        report(outcome)
