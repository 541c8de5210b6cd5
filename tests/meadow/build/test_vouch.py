"""Who answers for a licence stands in meadow.toml, in rows and on the card, and opens the gate."""

import json
from pathlib import Path

import pytest
from support.command import Ran, run_meadow

from meadow.api import open_corpus
from meadow.cards.rows import refused_rows
from meadow.errors import ExitCode, RefusedError
from meadow.hub.publish import check_licenses
from meadow.samples import FOLDER
from meadow.sources import SOURCES

DECK = "#separator:tab\n#html:false\nWhat fills a tyre?\tAir, most of the time.\n"
ANSWER = """[vouch.{source}]
licence = "{licence}"
who = "A. Person, person@example.org"
when = 2026-11-28
"""


def built(tmp_path: Path, settings: str, *arguments: str) -> Ran:
    (tmp_path / "meadow.toml").write_text(settings)
    (tmp_path / "deck.txt").write_text(DECK)
    config = str(tmp_path / "meadow.toml")
    return run_meadow("build", *arguments, "--config", config, "--out", str(tmp_path / "c"))


def gate(folder: Path) -> str:
    """What the gate of publishing says; "" where it is open."""
    try:
        check_licenses(folder, open_corpus(folder).manifest)
    except RefusedError as refused:
        return str(refused)
    return ""


def test_own_decks_are_published_under_the_word_of_somebody(tmp_path: Path) -> None:
    deck = f"anki={tmp_path / 'deck.txt'}"
    assert built(tmp_path, "", "--file", deck).code == 0
    assert "[vouch.SOURCE]" in gate(tmp_path / "c")
    settings = ANSWER.format(source="anki", licence="cc0-1.0")
    ran = built(tmp_path, settings, "--file", deck)
    assert ran.code == 0, ran.err
    (row,) = open_corpus(tmp_path / "c").to_arrow().to_pylist()
    assert row["license"] == "cc0-1.0"
    assert json.loads(row["meta"])["vouched"] == {
        "licence": "cc0-1.0",
        "who": "A. Person, person@example.org",
        "when": "2026-11-28",
    }
    assert gate(tmp_path / "c") == ""
    assert run_meadow("check", tmp_path / "c").code == 0
    card = (tmp_path / "c/README.md").read_text()
    assert "license: cc0-1.0" in card
    assert "answers for the licence cc0-1.0 of 1 row, by a decision of 2026-11-28" in card
    assert settings.strip().replace("2026-11-28", '"2026-11-28"') in card
    mixed = run_meadow("mix", "clean", "--corpus", tmp_path / "c", "--out", tmp_path / "m")
    assert mixed.code == 0
    assert gate(tmp_path / "m") == ""
    assert "A. Person" in (tmp_path / "m/README.md").read_text()


def test_who_answers_is_who_is_named(tmp_path: Path) -> None:
    settings = ANSWER.format(source="anki", licence="cc-by-4.0")
    deck = f"anki={tmp_path / 'deck.txt'}"
    ran = built(tmp_path, settings, "--file", deck)
    assert (ran.code, "say with url" in ran.err) == (ExitCode.USAGE, True)
    assert built(tmp_path, settings + 'url = "https://example.org"', "--file", deck).code == 0
    (row,) = open_corpus(tmp_path / "c").to_arrow().to_pylist()
    assert row["authors"][0]["name"] == "A. Person, person@example.org"
    assert run_meadow("check", tmp_path / "c").code == 0


@pytest.mark.parametrize(
    ("source", "licence", "message"),
    [
        ("chatdoctor", "mit", "is stated, and is not for you to say"),
        ("cord19", "mit", "is stated, and is not for you to say"),
        ("anki", "mine", "should be one of cc0-1.0"),
        ("anki", "user-supplied", "should be one of cc0-1.0"),
        ("ankki", "mit", "did you mean 'anki'"),
    ],
)
def test_what_nobody_can_answer_for(
    tmp_path: Path, source: str, licence: str, message: str
) -> None:
    settings = ANSWER.format(source=source, licence=licence)
    ran = built(tmp_path, settings, "--file", f"anki={tmp_path / 'deck.txt'}")
    assert ran.code == ExitCode.USAGE
    assert message in ran.err


def test_a_disputed_licence_is_published_by_decision_alone(tmp_path: Path) -> None:
    raw = ("--only", "medqa", "--raw", str(FOLDER))
    question = "https://github.com/jind11/MedQA/issues/19"
    assert built(tmp_path, "", *raw).code in (0, 3)  # the samples hold broken rows
    card = (tmp_path / "c/README.md").read_text()
    assert question in card
    assert "Nobody has decided it for 22 rows here" in card
    assert question in gate(tmp_path / "c")
    mixed = run_meadow("mix", "clean", "--corpus", tmp_path / "c", "--out", tmp_path / "m")
    assert "[vouch.medqa]" in mixed.err, "trained on as before, and said"
    assert open_corpus(tmp_path / "m").rows() > 0
    assert built(tmp_path, ANSWER.format(source="medqa", licence="mit"), *raw).code in (0, 3)
    card = (tmp_path / "c/README.md").read_text()
    assert question in card
    assert "A. Person, person@example.org answers for the licence mit of 22 rows" in card
    assert gate(tmp_path / "c") == ""


def test_a_row_that_says_vouched_of_another_licence_is_a_finding(tmp_path: Path) -> None:
    import pyarrow as pa
    from support.corpora import record, write_corpus

    words = {"vouched": {"licence": "mit", "who": "somebody", "when": "2026-01-01"}}
    lying = record("anki", 1, "Air.", license="cc0-1.0", meta=words)
    write_corpus(tmp_path / "c", [lying])
    run_meadow("card", tmp_path / "c")
    assert "bad_vouch" in run_meadow("check", tmp_path / "c").err
    said = record("medqa", 2, "Air.", meta={"text": '"vouched":'})
    table = pa.Table.from_pylist([{n: getattr(said, n) for n in ("source", "license", "meta")}])
    assert sum(refused_rows(table.select, SOURCES).values()) == 1, (
        "a text that says so is no decision"
    )
