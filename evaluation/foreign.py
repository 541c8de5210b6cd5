"""Runs of other tools as runs of ours: sample logs of lm-evaluation-harness and of inspect_ai.

A log becomes a run's folder, so that `compare`, `report` and the contamination strata take it. Its
questions get the ids that the same texts have in any exam; which answer is right, what was answered
and what was scored right stay the log's own. A log is read whole or not at all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.modes import prediction
from evaluation.questions import Question
from evaluation.results import FORMAT, check_same_run, write_run
from evaluation.summary import read_contamination, summarise
from meadow.atomic import hash_json, locked, sha256_file
from meadow.errors import FileError, UsageError
from meadow.exams.answers import parse
from meadow.exams.formats import Rows, read_json, rows_of
from meadow.exams.items import ExamItem, items_of
from meadow.exams.meaning import AnswerIs
from meadow.net.redaction import hide_secrets
from meadow.readers.archives import members

RIGHT = ("acc", "exact_match")
"""Metrics of lm-eval that say whether a sample is right, the first one that a sample has."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Said:
    """What a log says of one sample."""

    where: str  # file and line
    row: dict[str, Any]  # the question, as a row of an exam
    mode: str  # of `evaluation.modes.MODES`
    right: bool  # whether it was scored right
    prompt: str = ""  # as it was sent; "" where the log has none
    logliks: tuple[float, ...] = ()  # one per option, in their order
    text: str | None = None  # what was written
    answer: str = ""  # what the log's own scorer read out of it; "" leaves that to our parser


@dataclass(frozen=True, slots=True)
class Log:
    """One log."""

    tool: str  # who wrote it, with its version where the log says it
    model: str  # as the log names it
    samples: list[Said]
    # why others are no part of the run -> how many
    left_out: dict[str, int] = field(default_factory=dict)


def import_logs(
    paths: Sequence[Path],
    exam: str,  # the exam's name, by which the run is compared and its strata are found
    out: Path,
    *,
    answer_is: AnswerIs | None = None,  # what the answers in the logs are, where they do not tell
    contamination: Path | None = None,  # a mix whose contamination.parquet gives the strata
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Write one run's folder from the logs of one model; each mode may come from a log of its own.

    Returns:
        The content of summary.json.

    Raises:
        FileError: A log cannot be read, holds no multiple-choice questions, or scored others right
            than the answers say that stand in it.
        UsageError: The logs are of several models, or two of them are of one mode.
    """
    logs = [read_log(path) for path in paths]
    models = {log.model for log in logs}
    if len(models) != 1:
        raise UsageError(f"the logs are of several models: {', '.join(sorted(models))}")
    levels = read_contamination(contamination, exam) if contamination else None
    items: dict[str, ExamItem] = {}
    rows: list[dict[str, Any]] = []
    excluded: Counter[str] = Counter()
    for path, log in zip(paths, logs, strict=True):
        own = items_of(exam, [(said.where, said.row) for said in log.samples], path, answer_is)
        excluded.update(log.left_out)
        excluded.update(item.exclusion_reason for item in own if item.exclusion_reason)
        items |= {item.item_id: item for item in own}
        rows += [
            _row(item, said)
            for item, said in zip(own, log.samples, strict=True)
            if not item.exclusion_reason
        ]
    if not rows:
        raise FileError("no sample of the logs can be scored", where=", ".join(map(str, paths)))
    scored = [row for row in rows if row["logliks"]]
    odd = [row for row in scored if row["correct"] != (row["pred"] == row["gold"])]
    if len(odd) > len(scored) / 20:
        raise FileError(
            f"the logs scored {len(odd)} of {len(scored)} samples otherwise than their answers say",
            where=", ".join(map(str, paths)),
            fix="say what the answers are: --answer-is label, index0, index1 or text",
        )
    times = Counter((row["mode"], row["item_id"]) for row in rows)
    if twice := next((mode for (mode, _), count in times.items() if count > 1), None):
        raise UsageError(
            f"two logs have mode {twice}, and a question has one answer in a mode",
            where=", ".join(map(str, paths)),
            fix="import them into a folder each",
        )
    summary = summarise(exam, rows, levels=levels, excluded=excluded)
    prompts = hash_json([row["prompt"] for row in rows])
    model = {"name": models.pop(), "backend": logs[0].tool}
    files = {path.name: sha256_file(path) for path in paths}
    run = {
        "format": FORMAT,
        "key": hash_json({"files": files, "exam": exam, "answer_is": answer_is}),
        "model": model,
        "settings": {
            "exam": exam,
            "modes": list(summary["modes"]),
            "framing": {"template": f"as {logs[0].tool} asked", "shots": []},
            "seed": 0,
            "max_new_tokens": None,
        },
        "prompts_sha256": prompts,
        "items_sha256": hash_json(list(items)),
        "imported": files,
        "command": [hide_secrets(part) for part in command],
        "versions": {},
        "wall_seconds": 0.0,
        "work": {},
        "cost": {},
    }
    with locked(out):
        check_same_run(out, str(run["key"]))
        write_run(out, list(items.values()), levels, rows, summary, run)
    return summary


def _row(item: ExamItem, said: Said) -> dict[str, Any]:
    """A sample as a row of predictions.parquet."""
    question = Question(item, "", tuple(range(len(item.options))), said.prompt, mode=said.mode)
    found: dict[str, Any] = {"correct": said.right, "text": said.text, "status": "scored"}
    if said.text is not None:
        read = parse(said.text, question.options)
        found |= {"pred": read.letter, "rule": read.rule, "status": read.status.value}
        if said.answer in item.labels:
            found |= {"pred": said.answer, "rule": "the log's own", "status": "parsed"}
    elif len(said.logliks) == len(item.options):
        best = max(said.logliks)
        found |= {"logliks": list(said.logliks), "pred": item.labels[said.logliks.index(best)]}
    return prediction(said.mode, question, **found)


def read_log(path: Path) -> Log:
    """A sample log of either tool, told by its content.

    Raises:
        FileError: It is neither.
    """
    if not path.is_file():
        raise FileError("there is no such log", where=str(path), fix="name a file")
    try:
        if path.suffix == ".eval":
            return _inspect(path, *_unpacked(path))
        if path.suffix == ".json":
            document = read_json(path)
            return _inspect(path, document, document.get("samples") or [])
        return _harness(path, rows_of(path))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"neither a sample log of lm-eval nor one of inspect: {type(error).__name__} {error}",
            where=str(path),
            fix="lm_eval --log_samples writes samples_*.jsonl; inspect writes .eval or .json",
        ) from error


def _harness(path: Path, rows: Rows) -> Log:
    """samples_TASK_TIME.jsonl; the model stands in results_TIME.json beside it."""
    beside = path.with_name(f"results_{path.stem.rpartition('_')[2]}.json")
    about = read_json(beside) if beside.is_file() else {}
    filters = Counter(str(row.get("filter", "none")) for _, row in rows)
    kept = next(iter(filters))
    samples = []
    for where, row in rows:
        if str(row.get("filter", "none")) != kept:
            continue
        metric = next((name for name in RIGHT if name in row), None)
        if metric is None:
            raise LookupError(f"no {' or '.join(RIGHT)} in a sample")
        right = float(row[metric]) >= 0.5
        answers = [str(value) for value in _flat(row["filtered_resps"])]
        sent = row.get("arguments") or {}
        asked = [_sent(one) for one in (sent.values() if isinstance(sent, dict) else sent)]
        prompt = asked[0][0] if asked else ""
        if isinstance(row["resps"][0][0], str):
            text = str(row["resps"][0][0])
            samples.append(Said(where, dict(row["doc"]), "generate", right, prompt, text=text))
        else:  # pairs of log-likelihood and greediness
            numbers = tuple(float(value) for value in answers[::2])
            tails = [tail.strip() for _, tail in asked]
            mode = "letter" if all(len(tail.strip("().")) <= 1 for tail in tails) else "text"
            mode = "option" if tails and all(tail[1:3] in (": ", ". ") for tail in tails) else mode
            samples.append(Said(where, dict(row["doc"]), mode, right, prompt, numbers))
    name = str(about.get("model_name") or path.parent.name)
    tool = f"lm_eval {about.get('lm_eval_version', '')}".strip()
    left = {f"filter {name}": n for name, n in filters.items() if name != kept}
    return Log(tool, Path(name).name if name.startswith("/") else name, samples, left)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _sent(arguments: Any) -> tuple[str, str]:
    """(context, continuation) of a request, as either form of the logs has them."""
    values = list(arguments.values()) if isinstance(arguments, Mapping) else list(arguments)
    return str(values[0]), values[1] if isinstance(values[1], str) else ""


def _unpacked(path: Path) -> tuple[Any, list[Any]]:
    """Header and samples of a log in inspect's packed form."""
    header, samples = None, []
    try:
        for name, stream in members(path, suffix=".json"):
            if name == "header.json":
                header = json.loads(stream.read())
            elif name.startswith("samples/"):
                samples.append(json.loads(stream.read()))
    except NotImplementedError as error:  # zstd in a zip, which Python learns in 3.14
        raise FileError(
            f"the log is packed in a way that is not read here: {error}",
            where=str(path),
            fix="inspect log convert --to json --output-dir DIR LOG",
        ) from error
    return header, samples


def _inspect(path: Path, header: Any, samples: Sequence[Any]) -> Log:
    """EvalLog: what `eval` says of the run, and samples with choices, target and scores."""
    about = header["eval"]
    first = [sample for sample in samples if int(sample.get("epoch") or 1) == 1]
    left = Counter({"further epochs": len(samples) - len(first)})
    found = []
    for sample in first:
        if not sample.get("scores"):  # it failed before it was scored
            left["no score"] += 1
            continue
        where = f"{path}: sample {sample['id']}"
        choices = [str(choice) for choice in sample["choices"]]
        target = sample["target"]
        label = str(target[0] if isinstance(target, list) else target)
        asked = sample["input"]
        question = asked if isinstance(asked, str) else _last_user(asked)
        row = {"question": question, "options": dict(zip(LETTERS, choices, strict=False)),
               "answer": label}  # fmt: skip
        score = next(iter(sample["scores"].values()))
        right = score["value"] in ("C", True) or score["value"] == 1
        text = str(sample["output"].get("completion") or "") or _said(sample["output"])
        answer = str(score.get("answer") or "").strip()
        found.append(Said(where, row, "generate", right, text=text, answer=answer))
    version = (about.get("packages") or {}).get("inspect_ai", "")
    return Log(f"inspect_ai {version}".strip(), str(about["model"]), found, dict(+left))


def _last_user(messages: Iterable[Any]) -> str:
    return [_content(message) for message in messages if message["role"] == "user"][-1]


def _said(output: Any) -> str:
    choices = output.get("choices") or []
    return _content(choices[0]["message"]) if choices else ""


def _content(message: Any) -> str:
    """The text of a message, of which the content is a text or a list of parts."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")
