"""The public summary of training content: every figure is that of the rows, and gaps are said."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.command import run_meadow

import meadow
from meadow.atomic import write_json
from meadow.samples import FOLDER

SECTIONS = ["1.1", "1.2", "1.3", *(f"2.{n}" for n in range(1, 7)), "3.1", "3.2", "3.3"]
SOURCES = ["anki", "cord19", "medqa", "medquad", "stack_exchange", "wikidoc"]


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("summary")
    corpus = meadow.build(SOURCES, raw=FOLDER, out=place / "corpus")
    meadow.mix("full", corpus=corpus, out=place / "mix", accept=["anki"], validation=0.2)
    return place / "mix"


def summary(*words: object) -> dict[str, Any]:
    ran = run_meadow("summary", *words, "--json")
    assert ran.code == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def section(text: str, number: str) -> str:
    return text.partition(f"### {number} ")[2].partition("\n##")[0]


def test_the_licence_bill_adds_up_to_the_rows(mix: Path) -> None:
    rows = meadow.open_corpus(mix).to_polars()
    told = summary(mix)
    counted = dict(rows.group_by("license").len().rows())
    assert {line["licence"]: line["rows"] for line in told["licences"]} == counted
    for line in told["licences"]:
        own = rows.filter(rows["license"] == line["licence"])
        assert line["sources"] == dict(own.group_by("source").len().sort("source").rows())
        assert line["tokens"] is None, "no tokenizer was named"
    assert "MedQA" in told["summary"].partition("## Licences")[2], "its licence is disputed"


def test_every_section_is_there_and_a_source_stands_in_one_of_them(mix: Path) -> None:
    text = summary(mix)["summary"]
    assert re.findall(r"^### (\d\.\d) ", text, re.MULTILINE) == SECTIONS
    public, crawled, other = (section(text, number) for number in ("2.1", "2.3", "2.6"))
    assert "www.wikidoc.org" in crawled
    assert "WikiDoc" not in public
    assert "| anki | 37 |" in other
    assert "Anki" not in public
    rows = meadow.open_corpus(mix).to_polars()
    for name, title in (("cord19", "CORD-19"), ("stack_exchange", "Stack Exchange")):
        count = rows.filter(rows["source"] == name).height
        assert re.search(rf"{title}[^|]*\| {count} \| {count / rows.height:.1%}", public)
    size = sum(rows[n].str.len_bytes().sum() for n in ("instruction", "input", "output"))
    assert f"less than 1 billion tokens: the texts have {size:,} bytes" in section(text, "1.3")
    assert "None: no row names a model" in section(text, "2.5")
    assert "duplicate" in section(text, "3.3")


def test_what_only_the_provider_knows_is_asked_for(mix: Path, tmp_path: Path) -> None:
    config = tmp_path / "meadow.toml"
    config.write_text('[provider]\nname = "A Clinic | Bonn"\nreservations = "robots.txt"\n')
    told = summary(mix, "--config", config)
    assert told["not_said"] == summary(mix)["not_said"] - 2 == told["summary"].count("*not said:")
    assert "A Clinic \\| Bonn" in section(told["summary"], "1.1")
    assert section(told["summary"], "3.1").strip().endswith("\n\nrobots.txt")
    config.write_text('[provider]\nnmae = "x"\n')
    ran = run_meadow("summary", mix, "--config", config)
    assert (ran.code, "'name'" in ran.err) == (2, True)


def test_a_checkpoint_is_summarised_from_the_mix_that_it_was_trained_on(
    mix: Path, tmp_path: Path
) -> None:
    shards = [shard.to_json() for shard in meadow.open_corpus(mix).manifest.shards()]
    run = {
        "status": "finished",
        "base": {"name": "org/base"},
        "recipe": {"schedule": {"epochs": 3}},
        "data": {"tokens": 9102},
        "steps": 27,
        "result": {"steps": 27},
        "mix": {"folder": str(mix), "shards": shards},
    }
    write_json(tmp_path / "run_manifest.json", run)
    out = tmp_path / "SUMMARY.md"
    assert run_meadow("summary", tmp_path, "--out", out, "--dry-run").code == 0
    assert not out.exists()
    assert run_meadow("summary", tmp_path, "--out", out).code == 0
    text = out.read_text()
    assert "org/base; this summary has the content of the modification alone" in text
    assert "9,102 tokens of its own tokenizer, 3 times through; 27 steps made" in text
    other = meadow.mix("full", corpus=mix.parent / "corpus", out=tmp_path / "other", seed=3)
    ran = run_meadow("summary", tmp_path, "--mix", other.folder)
    assert ran.code == 1
    assert "its shards are others" in ran.err
    write_json(tmp_path / "run_manifest.json", {"base": 1})
    assert run_meadow("summary", tmp_path).code == 1
    assert run_meadow("summary", tmp_path / "none").code == 1
