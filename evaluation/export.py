"""A run in the forms that others read: lm-eval's files, a model card, Every Eval Ever's store."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.modes import SCORED
from evaluation.results import RUN, Finished
from evaluation.rubric import Marked
from meadow.atomic import write_text
from meadow.charts import CONFIDENCE


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


EVERY_EVAL_EVER = "0.3.0"
"""The version of the schema (evalevalai.com) that `export_every_eval_ever` writes."""


def export_every_eval_ever(run: Finished | Marked, out: Path) -> list[Path]:
    """A record of the Every Eval Ever store and its samples, in the store's own folders.

    What nobody told us (who evaluates, who made the model) stands there as "unknown" or "other".

    Returns:
        `data/EXAM/DEVELOPER/MODEL/UUID.json` and `..._samples.jsonl`, the UUID from the run's key.
    """
    key, about = run.run["key"], run.run
    exam = about["exam"] if isinstance(run, Marked) else run.summary["exam"]
    model = about["model"]
    name = run.name if isinstance(run, Finished) else str(model["name"])
    developer, _, short = name.rpartition("/") if name.count("/") == 1 else ("unknown", "", name)
    ended = (run.folder / RUN).stat().st_mtime
    names = [re.sub(r"[^\w.+-]+", "_", part) or "_" for part in (exam, developer, short)]
    stem = str(uuid.UUID(hex=key[:32], version=4))
    place = Path("data", *names)
    evaluation = f"{exam}/{name}/{ended:.0f}"
    results, samples = _of_rubric(run) if isinstance(run, Marked) else _of_exam(run)
    shared = {"schema_version": EVERY_EVAL_EVER, "evaluation_id": evaluation}
    lines = "".join(
        json.dumps({**shared, "model_id": name, "interaction_type": "single_turn", **sample},
                   ensure_ascii=False) + "\n"
        for sample in samples
    )  # fmt: skip
    served = model.get("backend") == "openai" or "backend" not in model
    document = {
        **shared,
        "evaluation_timestamp": f"{ended:.0f}",
        "retrieved_timestamp": f"{ended:.0f}",
        "source_metadata": {
            "source_name": f"Medical Meadow, run {key[:16]}",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "medical-meadow",
            "version": str(about["versions"].get("medical-meadow", "unknown")),
            "additional_details": _strings(about["versions"]),
        },
        "model_info": {
            "name": name,
            "id": name,
            "developer": developer,
            "additional_details": {
                "deployment_type": "unknown" if served else "self_deployed",
                "model_availability": "unknown",
                **_strings(model),
            },
        },
        "evaluation_results": results,
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": (place / f"{stem}_samples.jsonl").as_posix(),
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(lines.encode()).hexdigest(),
            "total_rows": len(samples),
        },
    }
    paths = [out / place / f"{stem}.json", out / place / f"{stem}_samples.jsonl"]
    write_text(paths[0], json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    write_text(paths[1], lines)
    return paths


def _strings(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as the schema's open tables take them."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in facts.items()
        if value is not None
    }


def _result(
    name: str, metric: str, exam: str, cell: Mapping[str, Any], method: str, **more: Any
) -> dict[str, Any]:
    """One figure with its interval, as the schema has it."""
    low, high = cell["ci95"]
    interval = {"lower": low, "upper": high, "confidence_level": CONFIDENCE, "method": method}
    return {
        "evaluation_result_id": f"{name}#{metric}",
        "evaluation_name": name,
        "source_data": {"dataset_name": exam, **more.pop("source", {"source_type": "other"})},
        "metric_config": {
            "metric_id": metric,
            "metric_name": metric,
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
            **more.pop("marking", {}),
        },
        "score_details": {
            "score": cell.get("accuracy", cell.get("score")),
            "uncertainty": {"confidence_interval": interval, "num_samples": cell["n"]},
        },
        **more,
    }


def _of_exam(run: Finished) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    exam, settings = run.summary["exam"], run.run["settings"]
    told: dict[str, Any] = {"prompt_template": settings["framing"]["template"]}
    if run.run["command"]:
        told["execution_command"] = shlex.join(run.run["command"])
    if settings["max_new_tokens"]:
        told["max_tokens"] = settings["max_new_tokens"]
    source: dict[str, Any] = {"source_type": "other"}
    places = {(f.get("repository"), f.get("revision")) for f in run.run.get("exam_files", ())}
    if len(places) == 1 and all(next(iter(places))):
        ((repository, revision),) = places
        source = {
            "source_type": "hf_dataset",
            "hf_repo": repository,
            "additional_details": {"revision": revision},
        }
    results = [
        _result(f"{exam}_{mode}", "accuracy", exam, cell, "Wilson", source=source,
                generation_config={
            "generation_args": told,
            "additional_details": {"mode": mode, "prompts_sha256": run.run["prompts_sha256"]},
        })
        for mode, cell in run.summary["modes"].items()
    ]  # fmt: skip
    samples = []
    for row in run.rows:
        if row["variant"]:
            continue
        item, said = run.items[row["item_id"]], row["pred"] or ""
        how = "log-likelihood" if row["mode"] in SCORED else row["rule"] or "none"
        text = said if row["text"] is None else row["text"]
        asked = {"raw": item["question"], "formatted": row["prompt"], "reference": [row["gold"]],
                 "choices": list(item["options"])}  # fmt: skip
        score = {"score": float(row["correct"]), "is_correct": bool(row["correct"])}
        facts = {"status": row["status"], "step": item["step"], "discipline": item["discipline"]}
        name = f"{exam}_{row['mode']}"
        samples.append(
            {"evaluation_name": name, "evaluation_result_id": f"{name}#accuracy",
             "sample_id": row["item_id"], **_said(asked, text, said, how), "evaluation": score,
             "metadata": _strings(facts)}
        )  # fmt: skip
    return results, samples


def _of_rubric(run: Marked) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    exam, judge = run.run["exam"], run.run["judge"]
    marker = {"name": judge["model"], "id": judge["model"], "additional_details": {
        "deployment_type": "unknown", "model_availability": "unknown"}}  # fmt: skip
    scoring = {
        "llm_scoring": {
            "judges": [{"model_info": marker}],
            "input_prompt": f"{judge['prompt']}, SHA-256 {judge['prompt_sha256']}",
            "additional_details": _strings(run.summary["verdicts"]),
        }
    }
    results = [
        _result(exam, metric, exam, cell, "bootstrap over prompts", marking=dict(scoring))
        for metric, cell in (
            ("rubric_score", run.summary), ("length_adjusted_score", run.summary["adjusted"])
        )
        if cell["score"] is not None
    ]  # fmt: skip
    samples = [
        {"evaluation_name": exam, "evaluation_result_id": f"{exam}#rubric_score",
         "sample_id": row["prompt_id"],
         **_said({"raw": row["conversation"], "reference": []}, row["answer"], row["answer"],
                 "llm_judge"),
         "evaluation": {"score": row["score"], "is_correct": row["score"] == 1.0},
         "metadata": _strings({"tags": row["tags"], "fault": row["fault"] or None})}
        for row in run.answers
        if row["score"] is not None
    ]  # fmt: skip
    return results, samples


def _said(asked: Mapping[str, Any], text: str, value: str, method: str) -> dict[str, Any]:
    """A question, its answer, and what was read out of it."""
    whole = asked["raw"] + "".join(asked["reference"])
    read = {"turn_idx": 0, "source": "output.raw", "extracted_value": value,
            "extraction_method": method, "is_terminal": True}  # fmt: skip
    return {
        "sample_hash": hashlib.sha256(whole.encode()).hexdigest(),
        "input": dict(asked),
        "output": {"raw": [text]},
        "answer_attribution": [read],
    }
