"""The demo from raw samples to scores: the one training and evaluation that `make test` runs."""

from __future__ import annotations

import json

import pytest
from support.command import run_meadow

import meadow
from meadow.corpus.shards import read_parquet


@pytest.mark.timeout(600)
def test_the_demo_trains_and_evaluates_offline(root, tmp_path) -> None:
    ran = run_meadow("demo", "--out", tmp_path / "demo", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["mix"] > 100
    assert told["loss"]["last"] < told["loss"]["first"]
    readme = (root / "README.md").read_text(encoding="utf-8").partition("<!-- demo -->\n```\n")[2]
    shown = readme.partition("\n```")[0].splitlines()
    printed = ran.err.replace(f"{tmp_path}/", "").splitlines()
    # the figures of a trained model differ a little from one processor to another
    learned = ("trained ", "exam, ", "base answers ", "out ")
    assert [line for line in shown if not line.startswith(learned)] == [
        line for line in printed if not line.startswith(learned)
    ]
    assert abs(float(readme.partition(" -> ")[2][:4]) - told["loss"]["last"]) < 0.05
    for name in ("base", "tuned"):
        assert told["exam"][name]["n"] == 54
        low, high = told["exam"][name]["ci95"]
        assert low <= told["exam"][name]["accuracy"] <= high
        assert (tmp_path / "demo/eval" / name / "summary.json").is_file()
    assert (tmp_path / "demo/run/model/README.md").is_file()
    assert (tmp_path / "demo/eval/report/report.html").is_file()
    said = (tmp_path / "demo/eval/report/report.md").read_text().replace("\\", "")
    assert "of 54 demo_exam questions right" in said  # nobody takes invented questions for USMLE's
    assert "tiny answers" in said  # the recipe's name, not the folder's
    assert "usmle" not in said

    demo = tmp_path / "demo"
    document = json.loads(run_meadow("summary", demo / "run", "--json").out)
    assert (
        sum(line["rows"] for line in document["licences"])
        == meadow.open_corpus(demo / "mix").rows()
    )
    assert "its weights were made in this run" in document["summary"]
    taken = meadow.open_corpus(demo / "mix").to_polars(split="train")["id"][0]
    exclude = ("--exclude", demo / "exclude_ids.txt")
    ran = run_meadow("takedown", taken, "--across", demo, *exclude, "--json")
    steps = [item["rows"][taken] for item in json.loads(ran.out)["held"] if item["kind"] == "run"]
    epochs = json.loads((demo / "run" / "run_manifest.json").read_text())["recipe"]["schedule"]
    assert len(steps[0]) == epochs["epochs"], "once in every epoch"
    item = read_parquet(demo / "eval/tuned/items.parquet", ["item_id"])["item_id"][0]
    asked = ("why", demo / "eval/tuned", item, "--index", tmp_path / "index")
    document = json.loads(run_meadow(*asked, "--json").out)
    assert document["training"]["rows"] == told["mix"]
    assert {len(near["steps"]) for near in document["nearest"]} <= {0, epochs["epochs"]}
    assert {answer["mode"] for answer in document["answers"]} >= {"letter", "option", "text"}
