"""Where rows went, under any of their names, and what keeps them out from then on."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.command import run_meadow
from support.corpora import write_mix

import meadow
from meadow.atomic import write_json
from meadow.corpus.names import normal_name
from meadow.corpus.shards import read_parquet, write_parquet
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
    document = {
        "status": "finished", "recipe_hash": "r", "plan_hash": "p", "base": {"name": "b"},
        "steps": steps["step"][-1], "mix": mix.facts(),
    }  # fmt: skip
    write_json(run / "run_manifest.json", document)
    return place


@pytest.fixture
def models(place: Path) -> Path:
    """Beside it what comes of a run: checkpoints, its model, an export; and a release."""
    run = place / "runs" / "one"
    document = json.loads((run / "run_manifest.json").read_text())
    for name, step, told in (
        ("runs/one/checkpoint-2", 2, {}),
        ("runs/one/model", document["steps"], {"result": {"model_of_step": 3}}),
        ("exports/one", document["steps"], {"export": {"dtype": "float32"}}),
    ):
        write_json(place / name / "run_manifest.json", document | told)
        write_json(place / name / "COMPLETE.json", {"step": step, "files": {}})
    files = {shard["path"]: {"sha256": shard["sha256"]} for shard in document["mix"]["shards"]}
    receipt = {"repository": "who/mix", "tag": "v1.1.0", "commit": "c", "files": files}
    other = {name: {"sha256": "other"} for name in files}
    receipt["earlier"] = [receipt | {"tag": None}, receipt | {"tag": "v0.9.0", "files": other}]
    write_json(place / "data" / "mix" / "publish.json", receipt)
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


def traced(*words: str) -> dict[str, Any]:
    """Folder -> what `meadow trace` says of it."""
    ran = run_meadow("trace", *words, "--json")
    assert ran.code == 0, ran.err
    return {holding["folder"]: holding for holding in json.loads(ran.out)["held"]}


def test_a_row_is_traced_to_splits_releases_steps_checkpoints_and_exports(models: Path) -> None:
    ids = meadow.open_corpus("data/mix").to_polars()["id"].to_list()
    step = {record: n // 4 + 1 for n, record in enumerate(ids)}
    late, early = ids[-1], ids[0]
    assert step[late] > 3
    held = traced(late[:12], ".")
    assert held["data/mix"]["splits"] == {late: ["clean/train"]}
    assert held["data/mix"]["published"] == ["who/mix@v1.1.0", "who/mix@c"]
    # the checkpoint and the best step's model are older than the row's step
    assert {name: each["rows"] for name, each in held.items() if name.startswith(("r", "e"))} == {
        "runs/one": {late: [step[late]]},
        "exports/one": {late: [step[late]]},
    }
    held = traced(early, ".")
    assert {name for name in held if name.startswith(("r", "e"))} == {
        "runs/one", "runs/one/checkpoint-2", "runs/one/model", "exports/one",
    }  # fmt: skip
    shutil.rmtree("runs")  # of an export alone its mix is known, and no step
    assert traced(early, ".")["exports/one"]["rows"] == {early: []}
    text = run_meadow("trace", early, "data/mix", "exports").out
    assert "published as who/mix@v1.1.0" in text
    assert "the plan with the steps is not here" in text
    ran = run_meadow("trace", early, "exports", "--json")
    assert (ran.code, json.loads(ran.out)["unknown"]) == (1, ["exports/one"])


def test_a_trace_that_finds_nothing_or_cannot_read_says_so(models: Path) -> None:
    ran = run_meadow("trace", "pmid:12", ".")
    assert ran.code == 1
    assert "nothing holds pmid:12: 6 folders were looked at" in ran.err
    ids = sorted(meadow.open_corpus("data/corpus").to_polars()["id"].to_list())
    rows = pa.table({"record_id": ids, "step": [1] * len(ids)})
    write_parquet(rows, Path("runs/one/plan.parquet"))
    ran = run_meadow("trace", ids[0], "runs")
    assert (ran.code, "it ends with step 1, and the run has" in ran.err) == (1, True)
    Path("runs/one/plan.parquet").write_bytes(b"PAR1")
    ran = run_meadow("trace", ids[0], "runs", "--json")
    assert (ran.code, "plan.parquet" in json.loads(ran.out)["where"]) == (1, True)
    Path("data/mix/publish.json").write_text("[]")
    assert run_meadow("trace", ids[0], "data").code == 1


def test_the_beginning_of_several_ids_is_refused(tmp_path: Path) -> None:
    rows = [(f"{name}", "Say.", "a", "b") for name in ("x", "y")]
    folder = write_mix(tmp_path / "mix", rows)
    table = read_parquet(next(folder.rglob("*.parquet")))
    ids = [f"abcdef{n}" for n in range(2)]
    write_parquet(table.set_column(0, "id", pa.array(ids)), next(folder.rglob("*.parquet")))
    ran = run_meadow("trace", "abcdef", folder, "--json")
    assert (ran.code, json.loads(ran.out)["where"]) == (2, "abcdef0, abcdef1")
    assert run_meadow("trace", "abcdef1", folder).code == 0


@pytest.mark.parametrize(
    "name",
    [f"doi:{PAPER}", PAPER.upper(), f"https://doi.org/{PAPER}", "cord19:smp00000", "smp00000",
     "the record's id"],
)  # fmt: skip
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
    assert "names held: 0 of 1, by 0 of 2 folders" in ran.err
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
