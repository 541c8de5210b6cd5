"""Open answers, marked by a judge against a rubric: HealthBench's form, on one's own machine first.

An exam is rows of `prompt_id`, `prompt` (a text, or turns of `role` and `content` that end with the
user's) and `rubrics`: a list of `criterion`, `points` (below 0 for a fault) and `tags`;
`example_tags` name the strata. A model answers every prompt once, then a judge is asked about every
criterion by itself. Of an answer the score is the points met over the points above 0, and of an
exam the mean of its prompts, held between 0 and 1 (Arora et al. 2025, arXiv:2505.08775). Beside it
stands the score adjusted for length (HealthBench Professional 2026, arXiv:2604.27470): 0.0147 less
for every 500 characters beyond 2,000, and more below.

A verdict that cannot be read is asked for once more and then counted. It is no "not met": its
points leave both sums, and `bounds` says how far the score could be off for it.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from evaluation import generate
from evaluation.backend import Backend, Response, Sampling
from evaluation.journal import Journal
from evaluation.results import RUN, SUMMARY, check_same_run, read_documents
from evaluation.stats import bootstrap
from meadow.atomic import hash_json, locked, write_json
from meadow.charts import wilson
from meadow.chat.client import (
    Answer,
    Asked,
    Cache,
    Endpoint,
    FaultError,
    Meter,
    announced,
    ask_all,
    estimate,
    json_in,
)
from meadow.chat.prompts import Prompt
from meadow.chat.review import sample
from meadow.config import parse_settings
from meadow.corpus.shards import read_parquet, write_parquet
from meadow.errors import FileError, UsageError
from meadow.exams.answers import answer_of
from meadow.exams.formats import exam_files, rows_of
from meadow.models.machine import hardware, versions
from meadow.net.redaction import hide_secrets
from meadow.prompt import render, render_chat, stop_texts

FORMAT = 1
"""Of a run's folder."""
ANSWERS = "answers.parquet"
VERDICTS = "verdicts.parquet"
REVIEW = "review.json"
KIND = "rubric"
"""What run.json calls a run of this kind."""
CENTRE, STEP, PENALTY = 2000, 500, 0.0147
"""Characters, characters and share of the score of the adjustment for length."""
JUDGED = "judged"
SILENT = "no answer"
MARKS = {"met": True, "m": True, "1": True, "not met": False, "n": False, "0": False}
COLUMNS = ("id", "conversation", "answer", "criterion")
"""Of a sheet to be marked by hand; what the judge said is not in it."""

ANSWER_COLUMNS = pa.schema(
    {
        "prompt_id": pa.string(),
        "tags": pa.list_(pa.string()),
        "conversation": pa.string(),
        "answer": pa.string(),
        "fault": pa.string(),
        "cut": pa.bool_(),
        "characters": pa.int32(),
        "score": pa.float64(),
        "adjusted": pa.float64(),
    }
)
VERDICT_COLUMNS = pa.schema(
    {
        "id": pa.string(),
        "prompt_id": pa.string(),
        "criterion": pa.string(),
        "points": pa.float64(),
        "tags": pa.list_(pa.string()),
        "met": pa.bool_(),
        "status": pa.string(),
        "explanation": pa.string(),
        "request_sha256": pa.string(),
    }
)
Row = Mapping[str, Any]
Progress = Callable[[str, int, int], None]


class _Part(BaseModel):
    """Public files bring columns of their own along."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, strict=True)


Part = TypeVar("Part", bound=_Part)


class Turn(_Part):
    """What one side of a conversation says."""

    role: Annotated[str, Field(pattern="^(system|developer|user|assistant)$")]
    content: Annotated[str, Field(min_length=1)]


def _turns(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class Criterion(_Part):
    """What an answer is marked against."""

    criterion: Annotated[str, Field(min_length=1)]  # what has to be so
    points: float  # what that is worth; below 0 for a fault
    tags: list[str] = []  # strata of the criteria, as "axis:accuracy"


class Case(_Part):
    """One prompt of an exam with its rubric."""

    prompt_id: Annotated[str, Field(min_length=1)]
    # the conversation up to the answer
    prompt: Annotated[list[Turn], BeforeValidator(_turns), Field(min_length=1)]
    rubrics: Annotated[list[Criterion], Field(min_length=1)]  # what the answer is marked against
    example_tags: list[str] = []  # strata of the prompts, as "theme:emergencies"

    @model_validator(mode="after")
    def _can_be_scored(self) -> Case:
        if self.prompt[-1].role != "user":
            raise ValueError("prompt: the last turn is not the user's")
        if not any(one.points > 0 for one in self.rubrics):
            raise ValueError("rubrics: no criterion has points above 0, so no answer has a score")
        return self

    @property
    def turns(self) -> list[dict[str, str]]:
        """The conversation as a chat request has it."""
        return [turn.model_dump() for turn in self.prompt]

    @property
    def conversation(self) -> str:
        """The conversation as text."""
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in self.prompt)


def read_cases(paths: Sequence[Path]) -> list[Case]:
    """An exam of prompts and criteria, whole or not at all.

    Raises:
        FileError: A file or a row cannot be read, cannot be scored, or an id comes twice.
    """
    cases: dict[str, Case] = {}
    for path in exam_files(paths):
        for where, row in rows_of(path):
            case = _validated(row, Case, where)
            if case.prompt_id in cases:
                raise FileError(
                    f"prompt_id {case.prompt_id!r} is there twice",
                    where=where,
                    fix="an exam has every prompt once: take one of them out",
                )
            cases[case.prompt_id] = case
    if not cases:
        raise FileError("no prompt in the files", where=", ".join(map(str, paths)))
    return list(cases.values())


def _validated(row: Row, model: type[Part], where: str) -> Part:
    own = {name: value for name, value in row.items() if not name.startswith("_")}
    try:
        return parse_settings(own, model, where=where)
    except UsageError as error:  # of data, not of a command
        raise FileError(
            f"a row of the exam cannot be read: {error.what}",
            where=where,
            fix=f"mend the row, which has {', '.join(model.model_fields)}",
        ) from error


class _Given(_Part):
    prompt_id: str
    response: str


def read_answers(path: Path, cases: Sequence[Case]) -> list[Asked[Response]]:
    """Answers that somebody wrote already: rows of `prompt_id` and `response`.

    Raises:
        FileError: A prompt has none, or two, or one is of no prompt of the exam.
    """
    found: dict[str, str] = {}
    for where, row in rows_of(path):
        given = _validated(row, _Given, where)
        if given.prompt_id in found:
            raise FileError(f"two responses to prompt {given.prompt_id!r}", where=where)
        found[given.prompt_id] = given.response
    ids = [case.prompt_id for case in cases]
    if lacking := [one for one in ids if one not in found]:
        raise FileError(
            f"{len(lacking)} of {len(ids)} prompts have no response, {lacking[0]!r} first",
            where=str(path),
            fix="give every prompt one, an empty text where nothing was said",
        )
    if strange := sorted(found.keys() - set(ids)):
        raise FileError(f"no prompt of the exam has the id {strange[0]!r}", where=str(path))
    return [Asked(Response(found[one], False)) for one in ids]


def served_answers(
    cases: Sequence[Case],
    endpoint: Endpoint,
    cache: Cache,
    meter: Meter,
    tokens: int,
    progress: Progress,
) -> list[Asked[Response]]:
    """The answers of a model behind an address, kept in the cache as verdicts are."""

    def make(case: Case, attempt: int) -> dict[str, Any]:
        return {"model": endpoint.model, "messages": case.turns, "temperature": 0.0,
                "max_tokens": tokens, "seed": attempt}  # fmt: skip

    def read(case: Case, answer: Answer, request: Mapping[str, Any]) -> Response:
        return Response(answer.text, answer.finish_reason == "length")

    return ask_all(
        cases, make, read, endpoint, cache, meter,
        progress=lambda done: progress("answers", done, len(cases)),
    )  # fmt: skip


def local_answers(
    cases: Sequence[Case],
    backend: Backend,
    journal: Journal,
    template: str,
    tokens: int,
    progress: Progress,
) -> list[Asked[Response]]:
    """The answers of a checkpoint in its own template, journalled a batch at a time.

    A conversation that fills the context has no answer ("too_long"), rather than one to its end.
    """
    journal.load()
    stop = stop_texts(template, backend.tokenizer)
    limit = min(tokens, backend.limit * 3 // 4) if backend.limit else tokens
    prompts = {case.prompt_id: _framed(case, template, backend.tokenizer) for case in cases}
    able = [
        key
        for key, text in prompts.items()
        if not backend.limit or backend.count(text) < backend.limit
    ]
    for start in range(0, len(able), backend.together):
        chunk = able[start : start + backend.together]
        if journal.missing(chunk):
            sent = [prompts[key] for key in chunk]
            found = generate.respond(backend, sent, [Sampling(limit, stop=stop)] * len(chunk), 0)
            said = [[response.text, response.at_limit] for response in found]
            journal.append(dict(zip(chunk, said, strict=True)))
        progress("answers", start + len(chunk), len(able))
    return [
        Asked(Response(*journal.done[key])) if key in journal.done else Asked(fault="too_long")
        for key in prompts
    ]


def _framed(case: Case, template: str, tokenizer: Any) -> str:
    """The conversation as a checkpoint gets it; in a template of one task, as what went before."""
    if template == "chat":
        return render_chat(tokenizer, case.turns)
    *before, last = case.prompt
    said = "\n\n".join(f"{turn.role}: {turn.content}" for turn in before)
    return render(template, last.content, said)


@dataclass(frozen=True, slots=True)
class Judge:
    """Who marks, with what words, and within what limits."""

    endpoint: Endpoint
    prompt: Prompt
    cache: Cache
    meter: Meter


def judge_answers(
    cases: Sequence[Case],
    # what is marked; "" meets nothing and is not sent, None (there is no answer, and it is not the
    # model's fault) has no verdicts
    answers: Sequence[str | None],
    judge: Judge,  # its prompt is of kind verdict
    *,
    tell: Callable[[str], None] = lambda line: None,  # told one line before anything is sent
    progress: Progress = lambda what, done, total: None,  # told (what, done, of)
) -> list[dict[str, Any]]:
    """A verdict on every criterion, in the order of the exam: rows of verdicts.parquet.

    Raises:
        NetworkError: The judge is gone; every verdict so far is in the cache.
    """
    prompt, endpoint, cache, meter = judge.prompt, judge.endpoint, judge.cache, judge.meter
    rows = [
        {
            "id": f"{case.prompt_id}#{number}",
            "prompt_id": case.prompt_id,
            **criterion.model_dump(),
            "met": None if answer is None else False,
            "status": "not answered" if answer is None else SILENT,
            "explanation": "",
            "request_sha256": "",
        }
        for case, answer in zip(cases, answers, strict=True)
        for number, criterion in enumerate(case.rubrics, 1)
    ]
    texts = {
        case.prompt_id: {"conversation": case.conversation, "answer": answer}
        for case, answer in zip(cases, answers, strict=True)
        if answer
    }

    def make(row: Row, attempt: int) -> dict[str, Any]:
        values = {**texts[row["prompt_id"]], "criterion": row["criterion"]}
        return prompt.request(endpoint.model, values, attempt)

    open_rows = [row for row in rows if row["prompt_id"] in texts]
    planned = estimate((make(row, 0) for row in open_rows), cache)
    tell(announced(f"{len(open_rows):,} criteria to judge", endpoint, planned, meter))
    asked = ask_all(
        open_rows, make, _verdict, endpoint, cache, meter,
        progress=lambda done: progress("verdicts", done, len(open_rows)),
    )  # fmt: skip
    for row, found in zip(open_rows, asked, strict=True):
        met, explanation = found.value or (None, "")
        row |= {"met": met, "explanation": explanation, "request_sha256": found.key,
                "status": found.fault or JUDGED}  # fmt: skip
    return rows


def _verdict(row: Row, answer: Answer, request: Mapping[str, Any]) -> tuple[bool, str]:
    """(whether it is met, why) out of a judge's answer, behind its thinking."""
    text = answer_of(answer.text)
    try:
        found = json_in(text or "")
    except FaultError:
        cut = text is None or answer.finish_reason == "length"
        raise FaultError("truncated" if cut else "malformed") from None
    if not isinstance(found, dict) or not isinstance(found.get("criteria_met"), bool):
        raise FaultError("malformed")
    return found["criteria_met"], str(found.get("explanation") or "")


def score_of(rows: Iterable[Row]) -> float | None:
    """Points met over points above 0, of criteria with a verdict; None where none is above 0."""
    judged = [row for row in rows if row["met"] is not None]
    possible = sum(row["points"] for row in judged if row["points"] > 0)
    return sum(row["points"] for row in judged if row["met"]) / possible if possible else None


def adjusted(score: float, characters: int) -> float:
    """A score less what its answer's length is charged."""
    return score - PENALTY * (characters - CENTRE) / STEP


def cell(values: Sequence[float | None]) -> dict[str, Any]:
    """The mean of the prompts with a score, held between 0 and 1, and its bootstrap interval."""
    known = [value for value in values if value is not None]
    low, high = bootstrap(known) if len(known) > 1 else (0.0, 1.0)
    mean = fmean(known) if known else None
    held = [None if v is None else min(1.0, max(0.0, v)) for v in (mean, low, high)]
    return {"score": held[0], "ci95": held[1:], "n": len(known)}


def summarise(answers: Sequence[Row], verdicts: Sequence[Row]) -> dict[str, Any]:
    """Everything that the page says, from the rows of the two tables."""
    of_prompt = by_prompt(verdicts)
    by_tag: dict[str, list[float | None]] = defaultdict(list)
    by_axis: dict[str, list[float | None]] = defaultdict(list)
    for answer in answers:
        for tag in answer["tags"]:
            by_tag[tag].append(answer["score"])
        rows = of_prompt[answer["prompt_id"]]
        for tag in {tag: None for row in rows for tag in row["tags"]}:
            by_axis[tag].append(score_of(row for row in rows if tag in row["tags"]))
    names = {True: "met", False: "not met", None: None}
    counts = Counter(names[row["met"]] or row["status"] for row in verdicts)
    order = dict.fromkeys(("met", "not met", *sorted(counts)))
    worst, best = (
        fmean(score_of(_assumed(rows, good)) or 0.0 for rows in of_prompt.values())
        for good in (False, True)
    )
    lengths = [answer["characters"] for answer in answers if not answer["fault"]]
    return {
        "prompts": len(answers),
        "criteria": len(verdicts),
        **cell([answer["score"] for answer in answers]),
        "bounds": [min(1.0, max(0.0, worst)), min(1.0, max(0.0, best))],
        "adjusted": cell([answer["adjusted"] for answer in answers]),
        "verdicts": {name: counts[name] for name in order if counts[name]},
        "undecided": sum(row["met"] is None for row in verdicts),
        "silent": sum(not answer["answer"] and not answer["fault"] for answer in answers),
        "cut": sum(answer["cut"] for answer in answers),
        "characters": {"mean": fmean(lengths), "median": median(lengths)} if lengths else None,
        "strata": {tag: cell(by_tag[tag]) for tag in sorted(by_tag)},
        "axes": {tag: cell(by_axis[tag]) for tag in sorted(by_axis)},
    }


def by_prompt(verdicts: Iterable[Row]) -> dict[str, list[Row]]:
    """The verdicts of each prompt."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in verdicts:
        groups[row["prompt_id"]].append(row)
    return groups


def _assumed(rows: Iterable[Row], good: bool) -> list[Row]:
    """The rows with every verdict that is lacking in the answer's favour, or against it."""
    return [
        {**row, "met": (row["points"] > 0) is good} if row["met"] is None else row for row in rows
    ]


def agreement(verdicts: Sequence[Row], marks: Mapping[str, bool]) -> dict[str, Any]:
    """How often a person and the judge said the same of one criterion.

    Raises:
        UsageError: A mark is of a verdict that the run does not have.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    said = {row["id"]: row["met"] for row in verdicts if row["status"] == JUDGED}
    if strange := marks.keys() - said.keys():
        raise UsageError(
            f"the run has no verdict with the id {min(strange)!r}", fix="mark this run's own sheet"
        )
    table = [
        [sum(human is h and said[key] is j for key, human in marks.items()) for j in (True, False)]
        for h in (True, False)
    ]
    same, n = table[0][0] + table[1][1], len(marks)
    one_sided = not all(map(sum, table)) or not all(map(sum, zip(*table, strict=True)))
    return {
        "marked": n,
        "agree": same,
        "share": same / n,
        "ci95": list(wilson(same, n)),
        # without both words from both sides there is nothing to be above chance of
        "kappa": None if one_sided else float(cohens_kappa(table).kappa),
        "met_by_person_only": table[0][1],
        "met_by_judge_only": table[1][0],
    }


def review_rows(answers: Sequence[Row], verdicts: Sequence[Row], count: int, seed: int) -> Any:
    """Rows of a sheet (`COLUMNS`): a sample of the verdicts, without what the judge said."""
    texts = {answer["prompt_id"]: answer for answer in answers}
    rows = {row["id"]: row for row in verdicts if row["status"] == JUDGED}
    return [
        (key, texts[row["prompt_id"]]["conversation"], texts[row["prompt_id"]]["answer"],
         row["criterion"])
        for key in sample(rows, count, seed)
        for row in [rows[key]]
    ]  # fmt: skip


def run(
    cases: Sequence[Case],
    answer: Callable[[str], Sequence[Asked[Response]]],  # gives the answers, told the run's key
    judge: Judge,
    about: Mapping[str, Any],  # what else identifies the run: exam, model and how it was asked
    out: Path,
    *,
    command: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda what, done, total: None,  # told (what, done, of)
) -> dict[str, Any]:
    """Answer, judge, and write a run's folder, run.json last; the same command continues.

    Returns:
        The content of summary.json.

    Raises:
        UsageError: The folder holds another run.
    """
    started = time.monotonic()
    prompt = judge.prompt
    marked_by = {"model": judge.endpoint.model, "prompt": prompt.id, "prompt_sha256": prompt.sha256}
    about = {**about, "judge": marked_by}
    key = hash_json({"format": FORMAT, "cases": [case.model_dump() for case in cases], **about})
    with locked(out):
        check_same_run(out, key)
        found = answer(key)
        texts = [
            None if one.value is None else (answer_of(one.value.text) or "").strip()
            for one in found
        ]
        verdicts = judge_answers(cases, texts, judge, tell=tell, progress=progress)
        of_prompt = by_prompt(verdicts)
        answers = []
        for case, one, text in zip(cases, found, texts, strict=True):
            score = score_of(of_prompt[case.prompt_id])
            answers.append(
                {
                    "prompt_id": case.prompt_id,
                    "tags": case.example_tags,
                    "conversation": case.conversation,
                    "answer": text or "",
                    "fault": one.fault,
                    "cut": bool(one.value and one.value.at_limit),
                    "characters": len(text or ""),
                    "score": score,
                    "adjusted": None if score is None else adjusted(score, len(text or "")),
                }
            )
        summary = summarise(answers, verdicts)
        write_parquet(pa.Table.from_pylist(answers, schema=ANSWER_COLUMNS), out / ANSWERS)
        write_parquet(pa.Table.from_pylist(verdicts, schema=VERDICT_COLUMNS), out / VERDICTS)
        write_json(out / SUMMARY, summary)
        write_json(
            out / RUN,
            {
                "format": FORMAT,
                "kind": KIND,
                "key": key,
                **about,
                "command": [hide_secrets(part) for part in command],
                "versions": versions(("medical-meadow", "pyarrow", "numpy")),
                "machine": hardware(),
                "wall_seconds": round(time.monotonic() - started, 3),
            },
        )
    return summary


@dataclass(frozen=True, slots=True)
class Marked:
    """A run's folder as values: run.json, summary.json, its two tables and, if any, review.json."""

    folder: Path
    run: dict[str, Any]
    summary: dict[str, Any]
    answers: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    review: dict[str, Any] | None


def is_rubric_run(folder: Path) -> bool:
    """Whether a folder is a run of this kind."""
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return isinstance(found, dict) and found.get("kind") == KIND
    except (OSError, ValueError):
        return False


def read_rubric_run(folder: Path) -> Marked:
    """Read a run's folder.

    Raises:
        FileError: It is not a finished run.
    """
    run, summary = read_documents(folder, "meadow eval rubric", RUN, SUMMARY)
    if run.get("kind") != KIND or run.get("format") != FORMAT:
        raise FileError("not a run of this kind, or of another version", where=str(folder))
    seen = (folder / REVIEW).exists()
    known = read_documents(folder, "meadow eval rubric", REVIEW)[0] if seen else None
    answers, verdicts = (read_parquet(folder / name).to_pylist() for name in (ANSWERS, VERDICTS))
    return Marked(folder, run, summary, answers, verdicts, known)
