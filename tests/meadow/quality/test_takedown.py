"""Taking rows down: who holds them, under any name, and what keeps them out from then on."""

import csv
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from support.command import run_meadow

import meadow
from meadow.atomic import write_json
from meadow.corpus.names import normal_name
from meadow.corpus.shards import write_parquet
from meadow.samples import FOLDER

PAPER = "10.5555/sample.000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a mix of it, and the plan of a run on the mix."""
    place = tmp_path_factory.mktemp("held")
    corpus = meadow.build(["cord19", "medquad"], raw=FOLDER, out=place / "data" / "corpus")
    mix = meadow.mix("clean", corpus=corpus, out=place / "data" / "mix", validation=0.0)
    ids = mix.to_polars()["id"].to_list()
    run = place / "runs" / "one"
    run.mkdir(parents=True)
    steps = {"record_id": ids, "step": [n // 4 + 1 for n in range(len(ids))]}
    write_parquet(pa.table(steps), run / "plan.parquet")
    write_json(run / "run_manifest.json", {"status": "finished"})
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "meadow.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row_of(paper: str) -> str:
    rows = meadow.open_corpus("data/corpus").to_polars()
    return rows.filter(rows["url"] == f"https://doi.org/{paper}")["id"].item()


@pytest.mark.parametrize(
    "name",
    [
        f"doi:{PAPER}",
        PAPER.upper(),
        f"https://doi.org/{PAPER}",
        "cord19:smp00000",
        "smp00000",
        "the record's id",
    ],
)
def test_corpora_mixes_and_steps_are_named_and_the_next_build_lacks_the_row(
    name: str, place: Path
) -> None:
    record = row_of(PAPER)
    name = record if name == "the record's id" else name
    ran = run_meadow("takedown", name, "--across", ".", "--json", "--why", "request 7")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    corpus, mix, run = told["held"]
    shard = "data/cord19/train-00000-of-00001.parquet"
    assert (corpus["kind"], corpus["rows"]) == ("corpus", {record: [shard]})
    assert (mix["kind"], list(mix["rows"])) == ("mix", [record])
    ids = meadow.open_corpus("data/mix").to_polars()["id"].to_list()
    assert run["rows"] == {record: [ids.index(record) // 4 + 1]}
    assert run["progress"] == "finished"
    assert told["found"] == {normal_name(name): [record]}
    assert Path("exclude_ids.txt").read_text() == f"# request 7\n{normal_name(name)}\n"
    again = run_meadow("takedown", name, "--across", ".", "--json")
    assert json.loads(again.out)["excluded"]["added"] == []
    options = ("build", "--raw", FOLDER, "--only", "cord19,medquad", "--out", "data/corpus")
    assert run_meadow(*options).code in (0, 3)
    built = meadow.open_corpus("data/corpus")
    assert record not in built.to_polars()["id"]
    assert built.manifest.sources["cord19"].rejected["excluded"] == 1
    assert run_meadow("mix", "clean", "--corpus", "data/corpus", "--validation", 0, "--out",
                      "data/mix").code == 0  # fmt: skip
    held = json.loads(run_meadow("takedown", name, "--across", "data", "--json").out)["held"]
    assert held == []


def test_of_a_list_of_retractions_only_what_is_held_is_written(place: Path) -> None:
    columns = ["Title", "RetractionDOI", "OriginalPaperDOI", "OriginalPaperPubMedID"]
    lines = [
        ["one", "10.5555/notice.1", PAPER.upper(), "0", "Retraction"],
        ["two", "10.5555/sample.001", "10.5555/elsewhere", "77", "Retraction"],
        ["three", "", "10.5555/sample.002", "", "Correction"],
    ]
    with Path("list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*columns, "RetractionNature"], *lines])
    ran = run_meadow("takedown", "list.csv", "--across", "data,runs", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["found"] == {f"doi:{PAPER}": [row_of(PAPER)]}
    assert told["missing"] == ["doi:10.5555/elsewhere", "pmid:77"]
    assert Path("exclude_ids.txt").read_text() == f"doi:{PAPER}\n"


def test_a_name_that_nobody_holds_is_written_and_a_dry_run_writes_nothing(place: Path) -> None:
    ran = run_meadow("takedown", "pmid:12", "--across", "data", "--dry-run")
    assert (ran.code, Path("exclude_ids.txt").exists()) == (0, False)
    assert "0 of 1 names are held, by 0 of 2 folders" in ran.err
    assert run_meadow("takedown", "pmid:12", "--across", "data").code == 0
    assert Path("exclude_ids.txt").read_text() == "pmid:12\n"


def test_ledgers_are_named_and_faults_are_errors(place: Path) -> None:
    ledger = {"kept_id": ["a"], "dropped_id": ["b"]}
    write_parquet(pa.table(ledger), place / "data" / "mix" / "duplicates.parquet")
    told = json.loads(run_meadow("takedown", "b", "--across", "data", "--json").out)
    assert told["held"][0]["rows"] == {"b": ["duplicates.parquet"]}
    assert told["found"] == {"b": ["b"]}
    assert run_meadow("takedown", "b", "--across", "nowhere").code == 1
    Path("x.csv").write_text("name,place\na,b\n")
    ran = run_meadow("takedown", "x.csv", "--across", "data")
    assert ran.code == 2
    assert "OriginalPaperDOI".lower() in ran.err
    (place / "runs" / "one" / "run_manifest.json").write_text("{")
    assert run_meadow("takedown", "b", "--across", "runs").code == 1
    assert run_meadow("takedown", "--across", "runs").code == 2


def test_a_message_and_an_author_take_down_every_row_that_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("build", "--raw", FOLDER, "--only", "openassistant,stack_exchange", "--out", "c")
    assert run_meadow(*options).code in (0, 3)
    rows = meadow.open_corpus("c").to_polars()
    later = rows.filter(rows["meta"].str.contains('"message_ids"'))[0]
    message = json.loads(later["meta"].item())["message_ids"][0]
    author = next(a["url"] for row in rows["authors"] for a in row if "/users/" in (a["url"] or ""))
    own = [r["id"] for r in rows.to_dicts() if author in {a["url"] for a in r["authors"]}]
    told = json.loads(run_meadow("takedown", message, author, "--across", "c", "--json").out)
    assert later["id"].item() in told["found"][message]
    assert sorted(told["found"][author]) == sorted(own)
    Path("meadow.toml").write_text("")
    assert run_meadow(*options).code in (0, 3)
    left = meadow.open_corpus("c").to_polars()["id"].to_list()
    assert not {later["id"].item(), *own} & set(left)
