"""Rewriting a corpus by the command: rows, card, originals, reviews, and runs that are killed."""

import csv
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import meadow
from meadow.api import open_corpus
from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import find_inputs
from meadow.chat.client import Cache, request_key
from meadow.chat.prompts import latest_prompt
from meadow.chat.review import mark_each
from meadow.chat.scripted import (
    MODEL,
    Reply,
    ScriptedChat,
    scripted_chat,
    scripted_reasoning,
)
from meadow.cli.app import cli
from meadow.quality.check import check_corpus
from meadow.rephrase.review import MARKS, sample_rows, shown
from meadow.samples import FOLDER
from meadow.source import OriginName
from meadow.sources import SOURCES


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "built"
    names = ("anki", "wikidoc", "medqa")
    inputs = {
        name: find_inputs(SOURCES[name], SOURCES[name].origin(OriginName.UPSTREAM), FOLDER)
        for name in names
    }
    build_corpus(BuildSettings(sources=names), inputs, out)
    return out


def command(*arguments: object):
    return CliRunner().invoke(cli, ["rephrase", *map(str, arguments)])


def rephrase(source: str, folder: Path, out: Path, server: ScriptedChat, *more: object):
    return command(
        source, "--corpus", folder, "--out", out, "--model", MODEL, "--base-url", server.base_url,
        "--cache", out.parent / "cache.sqlite", "--raw", FOLDER, "--json", *more,
    )  # fmt: skip


def test_cards_and_sections_become_rows_with_provenance(corpus: Path, tmp_path: Path) -> None:
    with scripted_chat() as server:
        first = rephrase("anki", corpus, tmp_path / "one", server)
        assert first.exit_code == 0, first.output
        second = rephrase("wikidoc", tmp_path / "one", tmp_path / "two", server)
        assert second.exit_code == 0, second.output
        assert server.keys == {"none"}
    before, after = open_corpus(corpus), open_corpus(tmp_path / "two", verify=True)
    assert check_corpus(tmp_path / "two") == []
    done = json.loads(first.stdout)["rewritten"]
    rows = after.to_arrow("anki").to_pylist()
    rewritten = [row for row in rows if row["rephrased_by"]]
    assert len(rewritten) == done > 20
    assert [row["id"] for row in rows] == [r["id"] for r in before.to_arrow("anki").to_pylist()]
    facts = json.loads(rewritten[0]["meta"])["rephrase"]
    assert facts["model"] == MODEL
    assert facts["prompt_sha256"] == latest_prompt("flashcard").sha256
    assert len(facts["request_sha256"]) == 64
    assert facts["finish_reason"] == "stop"
    # the originals are there, to the byte, under the same ids
    shard = after.manifest.details["sidecars"]["raw_pairs"]["original"][0]
    originals = {
        row["id"]: row for row in pq.read_table(tmp_path / "two" / shard["path"]).to_pylist()
    }
    for row in before.to_arrow("anki").to_pylist():
        if row["id"] in originals:
            assert originals[row["id"]] == row
    # a section's text is never touched, and its reject is gone from the quarantine
    entry = after.manifest.sources["wikidoc"]
    assert entry.rows_in == entry.rows_out + sum(entry.rejected.values())
    assert "no_heading_rule" not in entry.rejected
    assert "no_heading_rule" not in (tmp_path / "two/quarantine/wikidoc.jsonl").read_text()
    new = [row for row in after.to_arrow("wikidoc").to_pylist() if row["rephrased_by"]]
    assert len(new) == 3
    for row in new:
        assert row["output"] == originals[row["id"]]["output"]
        assert row["input"].endswith("?")
    # the other source is as it was
    assert after.manifest.sources["medqa"] == before.manifest.sources["medqa"]
    card = (tmp_path / "two/README.md").read_text()
    assert "config_name: raw_pairs" in card
    assert f"| anki | {MODEL} | flashcard-1 " in card


CARDS = """
name = "knots"
title = "Cards on knots"
license = "cc0-1.0"
free_text = false
rewrite = "Answer this question truthfully."
[read]
format = "csv"
[[files]]
name = "cards.csv"
[row]
task = "open_qa"
instruction = "Turn the card over."
input = "{front}"
output = "{back}"
"""


def test_the_cards_of_ones_own_source_are_rewritten_where_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "cards.csv").write_text("front,back\nReef knot,It joins two ropes of one size\n")
    for name, text in (("yes", CARDS), ("no", re.sub("rewrite = .*", "", CARDS))):
        toml = tmp_path / f"{name}.toml"
        toml.write_text(text)
        meadow.build(own=[toml], files={"knots": tmp_path / "cards.csv"}, out=tmp_path / name)
    with scripted_chat() as server:
        refused = rephrase("knots", tmp_path / "no", tmp_path / "out", server)
        assert "say `rewrite` in its TOML file" in str(refused.exception)
        assert rephrase("knots", tmp_path / "yes", tmp_path / "out", server).exit_code == 0
    assert check_corpus(tmp_path / "out") == []
    (row,) = open_corpus(tmp_path / "out")
    assert row["rephrased_by"] == MODEL
    assert row["instruction"] == "Answer this question truthfully."
    assert row["input"].endswith("?")


OWN = 'id = "x"\nkind = "heading"\nmax_tokens = 5\ntemperature = 0\nsystem = "s"\nuser = '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('id = "x"\nkind = "flashcard"\n', "keys"),
        (f'{OWN}"{{topic}} {{heading}}"', "does not use sentence"),
        (f'{OWN}"{{topic}} {{heading}} {{sentence}}"', "one for a flashcard is needed"),
        ("no toml", "cannot be read"),
    ],
)
def test_a_prompt_of_ones_own_is_validated(
    corpus: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "p.toml").write_text(text)
    with scripted_chat() as server:
        found = rephrase("anki", corpus, tmp_path / "o", server, "--prompt", tmp_path / "p.toml")
    assert message in str(found.exception)


def test_a_dry_run_sends_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    with scripted_chat() as server:
        result = rephrase("anki", corpus, tmp_path / "out", server, "--dry-run")
        assert server.requests == []
    assert result.exit_code == 0, result.output
    planned = json.loads(result.stdout)
    assert planned["estimate"]["requests"] == planned["items"] > 20
    assert not (tmp_path / "out").exists()


def test_wrong_uses_are_named(corpus: Path, tmp_path: Path) -> None:
    with scripted_chat() as server:
        for arguments, message in (
            (("medqa", "--corpus", corpus), "nothing in 'medqa' is rewritten"),
            (("anki", "--corpus", corpus), "which model"),
            (("wikidoc", "--corpus", corpus, "--model", "m", "--raw", tmp_path), "missing"),
        ):
            found = command(*arguments)
            assert message in str(found.exception), found.output
        assert rephrase("anki", corpus, tmp_path / "out", server).exit_code == 0
        again = rephrase("anki", tmp_path / "out", tmp_path / "other", server)
        assert "rewritten already" in str(again.exception)
        into = rephrase("wikidoc", corpus, tmp_path / "out", server)
        assert "of other options" in str(into.exception)


def test_what_leaves_the_machine_is_said_before_it_leaves(corpus: Path, tmp_path: Path) -> None:
    result = command(
        "anki", "--corpus", corpus, "--out", tmp_path / "o", "--model", "gpt-4o-mini", "--base-url",
        "https://192.0.2.1/v1", "--allow-remote", "--cache", tmp_path / "c", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "leaving this machine for https://192.0.2.1/v1" in result.stderr
    assert "user-supplied" in result.stderr
    budget = command(
        "anki", "--corpus", corpus, "--model", "unpriced", "--base-url", "https://192.0.2.1/v1",
        "--allow-remote", "--cache", tmp_path / "c", "--budget-usd", "1",
    )  # fmt: skip
    assert "no price is known" in str(budget.exception)


def test_review_gives_an_error_rate_with_an_interval(corpus: Path, tmp_path: Path) -> None:
    with scripted_chat() as server:
        assert rephrase("anki", corpus, tmp_path / "out", server).exit_code == 0
    written = command("anki", "--corpus", tmp_path / "out", "--review", "10")
    assert written.exit_code == 0, written.output
    path = tmp_path / "out-review.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    for number, row in enumerate(rows):
        row["mark"] = "bad" if number < 3 else "good"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    taken = command("anki", "--corpus", tmp_path / "out", "--marked", path)
    assert taken.exit_code == 0, taken.output
    # the interval as published tables give it
    card = (tmp_path / "out/README.md").read_text()
    assert "30.0% (3 of 10 marked bad; 95 % interval 10.8% to 60.3%)" in card
    assert check_corpus(tmp_path / "out") == []
    rows = sample_rows(open_corpus(tmp_path / "out"), "rephrase", "anki", 4)
    typed = iter(["x", "g", "s", "b", "q"])
    pages = {cells[0]: shown("rephrase", cells) for cells in rows}
    marked = mark_each(pages, MARKS, lambda text: next(typed))
    assert list(marked.values()) == ["good", "bad"]


def a_deck(raw: Path, count: int) -> str:
    deck = raw / "anki/deck.txt"
    deck.parent.mkdir(parents=True)
    lines = [
        f"Enzyme number {n} of glycolysis\tMeadowase {n}; it does not need ATP, {n} mg suffice"
        for n in range(count)
    ]
    deck.write_text("#separator:tab\n#html:false\n" + "\n".join(lines) + "\n")
    return "anki"


def an_exam(raw: Path, count: int) -> str:
    (raw / "medqa").mkdir(parents=True)
    lines = [
        {"question": f"Which enzyme of glycolysis is number {n} of those that need no ATP at all?",
         "options": {label: f"Meadowase {n}{label}" for label in "ABCDE"},
         "answer": f"Meadowase {n}{'ABCDE'[n % 5]}", "answer_idx": "ABCDE"[n % 5]}
        for n in range(count)
    ]  # fmt: skip
    (raw / "medqa/train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "medqa"


@pytest.mark.parametrize(
    ("kind", "make", "kills"),
    [
        ("rephrase", a_deck, 2),
        pytest.param("reason", an_exam, 10, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_killed_at_any_moment_the_rows_are_those_of_a_whole_run(
    kind: str, make: Callable[[Path, int], str], kills: int, tmp_path: Path
) -> None:
    """kill -9 again and again; nothing is sent again once it is answered."""
    count = 80
    source = make(tmp_path / "raw", count)
    meadow.build([source], raw=tmp_path / "raw", out=tmp_path / "corpus")
    seen: list[str] = []

    def script(request, count):
        seen.append(request_key(request))
        return Reply(scripted_reasoning(request).content, delay=0.01)

    generator = random.Random(5)
    with scripted_chat(script) as server:

        def arguments(out: str, cache: str) -> list[str]:
            return [
                sys.executable, "-m", "meadow", kind, source, "--corpus",
                str(tmp_path / "corpus"), "--out", str(tmp_path / out), "--model", MODEL,
                "--base-url", server.base_url, "--cache", str(tmp_path / cache),
            ]  # fmt: skip

        for _ in range(kills):
            process = subprocess.Popen(arguments("killed", "a.sqlite"), stderr=subprocess.DEVNULL)
            stored_before = stored(tmp_path / "a.sqlite")
            mark = len(seen)
            # wait until it asks, then kill at a random moment of the asking
            goal = mark + generator.randrange(5, 16)
            deadline = time.monotonic() + 60
            while len(seen) < goal and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
            assert stored_before.isdisjoint(seen[mark:])
        mark, stored_before = len(seen), stored(tmp_path / "a.sqlite")
        assert stored_before
        subprocess.run(arguments("killed", "a.sqlite"), check=True, capture_output=True)
        assert stored_before.isdisjoint(seen[mark:])
        assert (rest := seen[mark:])
        mark = len(seen)
        subprocess.run(arguments("whole", "b.sqlite"), check=True, capture_output=True)
    assert {*stored_before, *rest} == set(seen[mark:])
    assert len(seen) - mark == len(stored_before) + len(rest) >= count
    one, other = open_corpus(tmp_path / "killed"), open_corpus(tmp_path / "whole")
    assert one.rows(source) == count
    assert one.to_arrow().equals(other.to_arrow())
    assert one.manifest.to_json() == other.manifest.to_json()


def stored(path: Path) -> set[str]:
    return Cache(path).keys() if path.exists() else set()
