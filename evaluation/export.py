"""A run in the forms that others read: lm-evaluation-harness's files, a model card's results."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.modes import SCORED
from evaluation.results import RUN, Finished
from meadow.atomic import write_text


def export_harness(run: Finished, out: Path) -> list[Path]:
    """`results_<time>.json` and one `samples_<task>_<time>.jsonl` per mode; a mode is a task."""
    ended = datetime.fromtimestamp((run.folder / RUN).stat().st_mtime, UTC)
    stamp = ended.strftime("%Y-%m-%dT%H-%M-%S.%f")
    exam = run.summary["exam"]
    tasks = {mode: f"{exam}_{mode}" for mode in run.modes}
    shots = len(run.run["settings"]["framing"]["shots"])
    results, configs, samples = {}, {}, {}
    for mode, task in tasks.items():
        cell = run.summary["modes"][mode]
        share, n = cell["accuracy"], cell["n"]
        error = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else 0.0
        results[task] = {"alias": task, "acc,none": share, "acc_stderr,none": error}
        configs[task] = {
            "task": task,
            "output_type": "multiple_choice" if mode in SCORED else "generate_until",
            "num_fewshot": shots,
            "metric_list": [{"metric": "acc"}],
            "metadata": {"version": 1, "prompt_sha256": run.run["prompts_sha256"]},
        }
        samples[task] = {"original": len(run.items), "effective": n}
    document = {
        "results": results,
        "configs": configs,
        "versions": dict.fromkeys(results, 1),
        "n-shot": dict.fromkeys(results, shots),
        "n-samples": samples,
        "config": {"model": run.run["model"].get("backend"), "model_args": run.run["model"]},
        "date": ended.timestamp(),
        "model_name": run.name,
        "total_evaluation_time_seconds": str(run.run["wall_seconds"]),
    }
    paths = [out / f"results_{stamp}.json"]
    write_text(paths[0], json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    for mode, task in tasks.items():
        rows = [row for row in run.rows if row["mode"] == mode and not row["variant"]]
        text = "".join(
            json.dumps(_sample(run, row, index), ensure_ascii=False) + "\n"
            for index, row in enumerate(rows)
        )
        paths.append(out / f"samples_{task}_{stamp}.jsonl")
        write_text(paths[-1], text)
    return paths


def _sample(run: Finished, row: dict[str, Any], index: int) -> dict[str, Any]:
    item = run.items[row["item_id"]]
    doc = {
        "item_id": row["item_id"],
        "question": item["question"],
        "options": dict(zip(item["labels"], item["options"], strict=True)),
        "answer": item["answer"],
    }
    answers: list[Any] = [[row["text"]]]
    if row["logliks"] is not None:
        pairs = zip(row["logliks"], row["labels"], strict=True)
        answers = [[[value, label == row["pred"]]] for value, label in pairs]
    text = json.dumps(doc, sort_keys=True, ensure_ascii=False)
    return {
        "doc_id": index,
        "doc": doc,
        "target": row["gold"],
        "resps": answers,
        "filtered_resps": [answer[0] for answer in answers],
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": hashlib.sha256(text.encode()).hexdigest(),
        "prompt_hash": hashlib.sha256(row["prompt"].encode()).hexdigest(),
        "target_hash": hashlib.sha256(str(row["gold"]).encode()).hexdigest(),
        "acc": float(row["correct"]),
    }


def export_model_index(run: Finished, out: Path) -> Path:
    """`model-index.yml`: the block that a model card's front matter takes."""
    import yaml
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    exam = run.summary["exam"]
    found = [
        EvalResult(
            task_type="multiple-choice",
            dataset_type=exam,
            dataset_name=exam,
            metric_type="accuracy",
            metric_name=f"accuracy ({mode})",
            metric_value=round(cell["accuracy"], 4),
            metric_args={
                "n": cell["n"],
                "ci95": [round(value, 4) for value in cell["ci95"]],
                "chance": round(run.summary["chance"], 4),
                "prompt_sha256": run.run["prompts_sha256"][:16],
                "run": run.run["key"][:16],
            },
        )
        for mode, cell in run.summary["modes"].items()
    ]
    index = eval_results_to_model_index(run.name, found)
    path = out / "model-index.yml"
    write_text(path, yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True))
    return path
