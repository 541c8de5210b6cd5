"""Sample logs of other tools as runs: what a log says stays, and its questions are ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from evaluation.cli import compare as compare_command
from evaluation.cli import evaluate
from evaluation.results import read_run
from meadow.corpus.shards import write_parquet
from meadow.errors import FileError
from meadow.exams.items import ExamItem


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def imported(folder: Path, *logs: Path, more: tuple[object, ...] = ()) -> dict[str, Any]:
    result = invoke("import", *logs, "--exam", "own", "--out", folder, "--json", *more)
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(json.loads(result.stdout))


def harness_log(
    folder: Path, items: list[ExamItem], picks: list[int], *, texts: bool = False
) -> Path:
    """A log as lm-eval 0.4.13 writes it, with the log-likelihoods in words."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (item, pick) in enumerate(zip(items, picks, strict=True)):
        doc = {"question": item.question, "options": dict(item.options), "answer_idx": item.answer}
        tails = [f" {text if texts else label}" for label, text in item.options]
        sent = {f"gen_args_{n}": {"arg_0": "asked", "arg_1": tail} for n, tail in enumerate(tails)}
        scores = [[str(-1.0 - (n != pick)), str(n == pick)] for n in range(len(tails))]
        lines.append(
            {"doc_id": number, "doc": doc, "target": "0", "arguments": sent,
             "resps": [[score] for score in scores], "filtered_resps": scores, "filter": "none",
             "metrics": ["acc"], "acc": float(item.labels[pick] == item.answer)}
        )  # fmt: skip
    path = folder / "samples_own_2026-11-28T11-07-57.024562.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {"model_name": "owner/peer", "lm_eval_version": "0.4.13"}
    (folder / "results_2026-11-28T11-07-57.024562.json").write_text(json.dumps(about))
    return path


def inspect_log(items: list[ExamItem], answers: list[str], texts: list[str]) -> dict[str, Any]:
    samples = [
        {
            "id": number,
            "epoch": 1,
            "input": [{"role": "system", "content": "x"},
                      {"role": "user", "content": [{"type": "text", "text": item.question}]}],
            "choices": [shown for _, shown in item.options],
            "target": [item.answer],
            "output": {"choices": [{"message": {"role": "assistant", "content": text}}],
                       "completion": text},
            "scores": {"choice": {"value": "C" if answer == item.answer else "I",
                                  "answer": answer}},
        }
        for number, (item, answer, text) in enumerate(zip(items, answers, texts, strict=True))
    ]  # fmt: skip
    about = {"task": "t", "model": "owner/peer", "packages": {"inspect_ai": "0.3.285"}}
    return {"version": 2, "eval": about, "samples": samples}


def packed(path: Path, log: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", "{}")
        for sample in log["samples"]:
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            archive.writestr(name, json.dumps(sample))
        archive.writestr("header.json", json.dumps({k: log[k] for k in ("version", "eval")}))
    return path


def test_a_log_of_lm_eval_is_compared_and_has_strata(sample_items, tmp_path) -> None:
    items = sample_items[:12]
    gold = [item.labels.index(item.answer) for item in items]
    wrong = [(place + 1) % len(item.options) for place, item in zip(gold, items, strict=True)]
    mix = tmp_path / "mix"
    mix.mkdir()
    row = {"exam": "own", "item_id": items[0].item_id, "row_id": "r", "level": "stem+answer",
           "score": 1.0, "matched": "x"}  # fmt: skip
    write_parquet(pa.Table.from_pylist([row]), mix / "contamination.parquet")
    first = harness_log(tmp_path / "one", items, gold[:9] + wrong[9:])
    found = imported(tmp_path / "a", first, more=("--contamination", mix))
    assert found["modes"]["letter"]["correct"] == 9
    strata = found["modes"]["letter"]["contamination"]
    assert (strata["none"]["n"], strata["stem+answer"]["n"]) == (11, 1)
    run = read_run(tmp_path / "a")
    assert (run.name, run.run["model"]["backend"]) == ("owner/peer", "lm_eval 0.4.13")
    assert set(run.items) == {item.item_id for item in items}
    assert run.rows[0]["logliks"][gold[0]] == -1.0
    other = imported(tmp_path / "b", harness_log(tmp_path / "two", items, wrong[:4] + gold[4:]))
    assert other["modes"]["letter"]["correct"] == 8
    said = CliRunner().invoke(compare_command, [str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    cell = json.loads(said.stdout)["modes"]["letter"]
    assert (cell["only_a"], cell["only_b"], cell["n"]) == (4, 3, 12)
    assert invoke("report", tmp_path / "a", tmp_path / "b", "--out", tmp_path).exit_code == 0
    assert imported(tmp_path / "b", tmp_path / "two" / first.name) == other  # again, the same
    into = invoke("import", first, "--exam", "own", "--out", tmp_path / "b")
    assert "holds another run" in str(into.exception)
    texts = harness_log(tmp_path / "three", items, gold, texts=True)
    both = imported(tmp_path / "c", first, texts)
    assert set(both["modes"]) == {"letter", "text"}


@pytest.mark.parametrize("form", ["json", "eval"])
def test_a_log_of_inspect_keeps_its_own_verdicts(form, sample_items, tmp_path) -> None:
    items = sample_items[:4]
    texts = [f"ANSWER: {items[0].answer}", "I cannot say.", "who knows", f"({items[3].answer})"]
    log = inspect_log(items, [items[0].answer, "", "", ""], texts)
    log["samples"].append({**log["samples"][0], "epoch": 2})
    log["samples"].append({**log["samples"][1], "id": 9, "scores": None})
    path = tmp_path / f"log.{form}"
    if form == "json":
        path.write_text(json.dumps(log))
    else:
        packed(path, log)
    found = imported(tmp_path / "run", path)
    assert found["excluded"] == {"further epochs": 1, "no score": 1}
    rows = {row["item_id"]: row for row in read_run(tmp_path / "run").rows}
    first, last = rows[items[0].item_id], rows[items[3].item_id]
    assert (first["pred"], first["correct"], first["rule"]) == (
        items[0].answer,
        True,
        "the log's own",
    )
    # a letter that the log's scorer did not see is shown, and its verdict stands
    assert (last["pred"], last["correct"]) == (items[3].answer, False)
    assert found["modes"]["generate"]["correct"] == 1


def test_answers_that_a_log_does_not_explain_are_asked_for(sample_items, tmp_path) -> None:
    items = [item for item in sample_items if len(item.options) == 4 and item.answer in "BC"][:6]
    gold = [item.labels.index(item.answer) for item in items]
    log = harness_log(tmp_path, items, gold)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line, place in zip(lines, gold, strict=True):  # as the harness' own MedQA has them
        shown = line["doc"].pop("options").values()
        line["doc"] |= {f"ending{n}": text for n, text in enumerate(shown)} | {"label": place}
        line["doc"]["sent1"] = line["doc"].pop("question")
        del line["doc"]["answer_idx"]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("import", log, "--exam", "own", "--out", tmp_path / "run")
    assert "--answer-is" in str(invoke(*words).exception)
    wrong = invoke(*words, "--answer-is", "index1")
    assert "samples otherwise than their answers say" in str(wrong.exception)
    found = imported(tmp_path / "run", log, more=("--answer-is", "index0"))
    assert found["modes"]["letter"]["accuracy"] == 1
    assert set(read_run(tmp_path / "run").items) == {item.item_id for item in items}


def test_what_is_no_log_is_said(sample_items, tmp_path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    (tmp_path / "x.jsonl").write_text('{"question": "no log"}\n')
    (tmp_path / "x.eval").write_bytes(b"no zip")
    for name in ("x.json", "x.jsonl", "x.eval", "missing.jsonl"):
        result = invoke("import", tmp_path / name, "--exam", "own", "--out", tmp_path / "o")
        assert isinstance(result.exception, FileError), name
        assert name in result.exception.where
    log = harness_log(tmp_path, sample_items[:3], [0, 0, 0])
    twice = invoke("import", log, log, "--exam", "own", "--out", tmp_path / "o")
    assert "two logs have mode letter" in str(twice.exception)
    planned = invoke("import", log, "--exam", "own", "--out", tmp_path / "o", "--dry-run")
    assert planned.exit_code == 0
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_log_that_lm_eval_has_just_written(upstream, sample_items, tmp_path) -> None:
    rows = [
        {"question": item.question, "options": dict(item.options), "answer_idx": item.answer,
         "choices": list(item.labels)}
        for item in sample_items[:6]
    ]  # fmt: skip
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text(
        "task: own\ndataset_path: json\ntest_split: test\noutput_type: multiple_choice\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/own.jsonl}}}}\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\n'
        'doc_to_target: "{{choices.index(answer_idx)}}"\nmetric_list: [{metric: acc}]\n'
    )
    model = upstream / "tiny_llama" / "stories260K-hf"
    subprocess.run(
        [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
         f"pretrained={model},dtype=float32", "--include_path", tmp_path, "--tasks", "own",
         "--device", "cpu", "--output_path", tmp_path / "out", "--log_samples"],
        check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    (log,) = (tmp_path / "out").glob("*/samples_own_*.jsonl")
    (results,) = (tmp_path / "out").glob("*/results_*.json")
    theirs = json.loads(results.read_text())["results"]["own"]["acc,none"]
    assert imported(tmp_path / "run", log)["modes"]["letter"]["accuracy"] == theirs
