"""Why a model answers so: from an evaluation to the rows and steps, or a plain error on the way."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.command import Ran, run_meadow
from support.corpora import write_mix

from evaluation.results import FORMAT, write_run
from evaluation.why import excerpt
from meadow.atomic import write_json
from meadow.corpus.folder import Corpus
from meadow.corpus.shards import write_parquet
from meadow.exams.items import ExamItem, item_id
from meadow.models.loading import trained_as

HOSTILE = "<script>window.hacked = 1</script>"
STEMS = (
    "A 54-year-old woman with ascites has flapping hands after a meal of meat. What treats it?",
    f"Which vitamin {HOSTILE} is lacking in a sailor whose gums bleed and whose wounds open?",
    "Which vessel brings blood from the gut to the liver of an adult at rest?",
)
ANSWERS = ("Lactulose", "Ascorbic acid", "Portal vein")
MORE = [(f"Which number comes after {n} in a count of tablets?", str(n + 1)) for n in range(15)]


def exam() -> list[ExamItem]:
    items = []
    for number, (stem, answer) in enumerate([*zip(STEMS, ANSWERS, strict=True), *MORE]):
        options = (("A", answer), ("B", "Heparin"), ("C", "Iron"))
        items.append(
            ExamItem("own", item_id(stem, options), stem, options, "A", number=f"q{number}")
        )
    return items


ROWS = [
    ("alpha", "Answer the question.", STEMS[0], "A: Lactulose"),
    ("beta", "What helps sailors with open wounds?", HOSTILE, "Ascorbic acid heals gums."),
    ("alpha", "Answer the question.", "Why do wounds open?", "Without collagen they do."),
    *(("beta", "Sort the words.", f"sleep diet {n}", "diet sleep") for n in range(60)),
]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A mix, a run on it with a checkpoint and a model, and an evaluation of the model."""
    monkeypatch.chdir(tmp_path)
    items = exam()
    probe = Corpus.open(write_mix(tmp_path / "probe", ROWS))
    ids = probe.to_polars()["id"].to_list()
    match = {"exam": "own", "item_id": items[0].item_id, "score": 1.0, "aligned": 1.0,
             "matched": "exact"}  # fmt: skip
    matches = [
        match | {"row_id": ids[0], "level": "stem+answer"},
        match | {"row_id": "dropped", "level": "stem"},
    ]
    details = {"contamination": {"own": {"items": 18, "rows": {"stem+answer": 1}}}}
    mix = Corpus.open(
        write_mix(tmp_path / "mix", ROWS, ROWS[2:3], details=details, matches=matches)
    )
    steps = {"record_id": [*ids, ids[0]], "step": [n // 8 + 1 for n in range(len(ids))] + [8]}
    document = {
        "status": "finished", "recipe": {"name": "tiny"}, "recipe_hash": "r", "plan_hash": "p",
        "base": {"name": "runs/before"}, "steps": 8, "mix": mix.facts(),
        "result": {"model_of_step": 7},
    }  # fmt: skip
    write_parquet(pa.table(steps), tmp_path / "runs/one/plan.parquet")
    for folder in ("runs/one", "runs/one/model"):
        write_json(tmp_path / folder / "run_manifest.json", document)
    write_json(tmp_path / "runs/one/model/COMPLETE.json", {"step": 8, "files": {}})
    predictions = [
        {"item_id": item.item_id, "mode": mode, "variant": "", "pred": pred, "gold": "A",
         "correct": pred == "A", "status": "scored" if pred else "none", "text": text}
        for item in items[:2]
        for mode, pred, text in (("letter", "A", None), ("generate", None, f"Hm {HOSTILE}"))
    ]  # fmt: skip
    model = {"name": "model", "trained": trained_as("runs/one/model")}
    run = {"format": FORMAT, "model": model, "command": ["meadow", "--model", "runs/one/model"]}
    write_run(tmp_path / "eval/own", items, None, predictions, {"modes": {"letter": {}}}, run)
    return tmp_path


def why(*words: Any) -> Ran:
    return run_meadow("why", *words, "--index", "cache")


def told(*words: Any) -> dict[str, Any]:
    ran = why(*words, "--json")
    assert ran.code == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def test_a_contaminated_item_shows_the_row_the_steps_and_what_was_answered(place) -> None:
    document = told("eval/own", exam()[0].item_id[:10])
    assert document["model"] == "tiny"
    assert [(each["mode"], each["correct"]) for each in document["answers"]] == [
        ("letter", True), ("generate", False),
    ]  # fmt: skip
    assert document["training"] == {
        "folder": "runs/one/model", "steps": 7, "mix": str(place / "mix"), "rows": 64,
    }  # fmt: skip
    first = document["nearest"][0]
    assert (first["level"], first["steps"]) == ("stem+answer", [1])  # step 8 came after its weights
    assert first["why"]["license"] == "cc0-1.0"
    assert first["why"]["places"] == [
        {"folder": str(place / "mix"), "config": "small", "split": "train", "times": 1}
    ]
    found = document["contamination"]
    assert (found["held"], found["level"], found["dropped"]) == (True, "stem+answer", 1)
    text = why("eval/own", "q0").out
    assert "tiny answered A in mode letter: right" in text
    assert "contamination: stem+answer: 1 row of the mix holds the item" in text
    assert "by step 1 of 7" in text
    assert "Nearness is not cause" in text


def test_a_clean_item_shows_what_is_near_and_a_page_runs_nothing(place) -> None:
    document = told("eval/own", "q1", "-n", 2, "--out", "page.html")
    assert document["contamination"]["level"] == "none"
    near = document["nearest"]
    assert [each["texts"]["output"] for each in near] == [
        "Ascorbic acid heals gums.", "Without collagen they do.",
    ]  # fmt: skip
    assert {"sailor", "gums"} & set(near[0]["shared"]) == {"gums"}
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "Nearness is not cause" in page
    assert why("eval/own", "q1", "--dry-run").code == 0
    document = told("eval/own", "q2")
    assert document["answers"] == []
    assert "The model was not asked" in document["notes"][0]
    write_json(place / "runs/before/run_manifest.json", {})
    assert "Its base was trained too" in told("eval/own", "q2")["notes"][0]


def test_of_a_long_row_the_part_is_shown_that_is_near() -> None:
    text = f"{'before ' * 100}Ferritin stores iron.{' after' * 100}"
    shown = excerpt(text, ["ferritin", "before"], 60)
    assert "Ferritin stores iron." in shown
    assert (shown[:2], shown[-2:], len(shown)) == ("… ", " …", 64)
    assert excerpt("a\n b") == "a b"
    assert excerpt("abc" * 30, ["z"], 60).startswith("abcabc")


@pytest.mark.browser
def test_the_page_fits_a_phone_and_complains_of_nothing(place, chromium) -> None:
    assert why("eval/own", "q1", "--out", "page.html").code == 0
    complaints: list[str] = []
    for scheme, width in (("light", 1200), ("dark", 390)):
        context = chromium.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.goto((place / "page.html").as_uri())
        page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.hacked") is None
        assert HOSTILE in page.inner_text("body")
        assert complaints == []
        context.close()


def test_a_model_that_was_not_asked_is_explained_by_its_exam(place) -> None:
    lines = [
        {"id": item.number, "question": item.question, "options": dict(item.options), "answer": "A"}
        for item in exam()
    ]
    Path("own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ("--exam", "other", "--file", "own.jsonl")
    document = told("runs/one", "q0", *options)
    assert (document["answers"], document["nearest"][0]["steps"]) == ([], [1, 8])
    assert document["contamination"]["held"] is False
    assert document["contamination"]["level"] == "stem+answer"
    assert "the mix was not held against other" in why("runs/one", "q0", *options).out
    assert "--exam" in why("runs/one", "q0").err


def test_an_exported_model_is_explained_by_the_plan_of_its_run(place) -> None:
    document = json.loads(Path("runs/one/run_manifest.json").read_text())
    write_json(place / "export/run_manifest.json", document | {"export": {"dtype": "float32"}})
    write_json(place / "export/COMPLETE.json", {"step": 8, "files": {}})
    run = json.loads(Path("eval/own/run.json").read_text())
    run |= {"model": {"name": "export", "trained": trained_as("export")}}
    write_json(place / "eval/own/run.json", run | {"command": ["--model", "export"]})
    document = told("eval/own", "q0")
    assert (document["training"]["folder"], document["nearest"][0]["steps"]) == ("export", [1])


def test_what_is_missing_or_differs_is_said(place) -> None:
    def fails(code: int, text: str, *words: Any) -> None:
        ran = why(*words)
        assert (ran.code, text in ran.err) == (code, True), ran.err
        assert "Traceback" not in ran.err

    fails(2, "no item of the exam is called 'zz'", "eval/own", "zz")
    starts = sorted(item.item_id[0] for item in exam())  # of more items than there are digits
    twice = next(one for one, other in pairwise(starts) if one == other)
    fails(2, f"items of the exam are called '{twice}'", "eval/own", twice)
    fails(1, "there is no such folder", "nowhere", "q0")
    shutil.copytree("eval/own", "torn")
    write_parquet(pa.table({"item_id": ["x"]}), place / "torn/items.parquet")
    fails(1, "its tables are not those of a run", "torn", "q0")
    Path("torn/items.parquet").write_bytes(b"PAR1")
    fails(1, "items.parquet", "torn", "q0")
    shutil.copytree("mix", "moved")
    assert told("eval/own", "q0", "--mix", "moved")["training"]["mix"] == "moved"
    write_mix(place / "changed", ROWS[1:])
    fails(5, "2 shards differ", "eval/own", "q0", "--mix", "changed")
    shutil.rmtree("mix")
    fails(1, "the mix of the training run is gone", "eval/own", "q0")
    moved = ("eval/own", "q0", "--mix", "moved")
    plan = Path("runs/one/plan.parquet")
    plan.write_bytes(plan.read_bytes()[:-9])
    fails(1, "the run's plan cannot be used", *moved)
    plan.unlink()
    assert told(*moved)["nearest"][0]["steps"] is None
    assert "not known: the run has no plan.parquet" in why(*moved).out
    shutil.copytree("runs", "elsewhere/deep/down")
    shutil.rmtree("runs")
    fails(1, "the training run of the evaluated model is not at hand", *moved)
    assert told(*moved, "--training", "elsewhere/deep/down/one")["model"] == "tiny"
    other = place / "other" / "run_manifest.json"
    write_json(other, {"recipe_hash": "x", "plan_hash": "p", "base": {"name": "b"}})
    fails(2, "their hashes differ", *moved, "--training", "other")
    fails(1, "no training run here", *moved, "--training", "cache")
    run = json.loads(Path("eval/own/run.json").read_text())
    del run["model"]["trained"]
    write_json(place / "eval/own/run.json", run)
    fails(1, "run.json names no training run of this model", *moved)
    notes = told(*moved, "--training", "elsewhere/deep/down/one")["notes"]
    assert "is your word" in notes[0]
