"""A run: one checkpoint on one exam, journalled, resumable, the same from any number of processes.

What a run computes is fixed by its key (weights, tokenizer, items, prompt, settings): the batches
are cut from the whole exam, so that a killed run, a resumed one and one over several processes give
the same log-likelihoods to the last bit on the same machine with the same number of threads.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evaluation import generate
from evaluation.backend import Backend, Batches
from evaluation.journal import Journal
from evaluation.modes import GENERATED, kinds_of, scored_rows
from evaluation.questions import (
    Count,
    Framing,
    Part,
    Question,
    Sheet,
    Unit,
    ask,
    continuations,
    fit,
)
from evaluation.results import FORMAT, write_run
from evaluation.summary import read_contamination, summarise
from evaluation.trie import Score
from meadow.atomic import hash_json, locked
from meadow.errors import FileError, UsageError
from meadow.exams.items import ExamItem, eligible
from meadow.models.frames import tokenize
from meadow.models.machine import ProcessGroup, hardware, versions
from meadow.net.redaction import hide_secrets
from meadow.prompt import EXAM_CUE, stop_texts

LIBRARIES = ("medical-meadow", "torch", "transformers", "tokenizers", "peft", "numpy", "pyarrow")
"""On which a number can depend."""
COST = ("requests", "tokens", "plain_tokens", "prompt_tokens", "new_tokens")
"""What a backend counts of its work that a run adds up, batch by batch."""
Progress = Callable[[str, int, int], None]
"""Told (what, done, of)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run computes, beside the model and the items."""

    exam: str
    modes: tuple[str, ...]  # of `evaluation.modes.MODES`
    framing: Framing = field(default_factory=Framing)  # how items become prompts
    seed: int = 0  # of sampled modes
    samples: int = 5  # draws of generate_sc
    # limit of a response (of what follows the thinking, where that has a budget); by default the
    # mode's own
    max_new_tokens: int | None = None
    # tokens after which thinking is closed; 0: it has no budget of its own
    thinking_budget: int = 0

    def new_tokens(self, mode: str, limit: int | None) -> int:
        """The limit of a response, thinking included.

        At most a quarter of the context, which the prompt needs; half of it where a model is to
        reason, and three quarters where the limit was asked for.
        """
        thinking, budget, asked = self.framing.thinking, self.thinking_budget, self.max_new_tokens
        reasons = budget or (
            self.framing.template == "chat" and (thinking or (mode == "cot" and thinking is None))
        )
        own = generate.CHAT_TOKENS if reasons and not budget else generate.NEW_TOKENS[mode]
        wanted = (asked or own) + budget
        share = 3 if asked else 2 if reasons else 1
        return min(wanted, max(1, limit * share // 4)) if limit else wanted

    def to_json(self) -> dict[str, Any]:
        """As it stands in run.json and in the run's key."""
        document = asdict(self)
        document["framing"]["shots"] = [shot.item_id for shot in self.framing.shots]
        return document


def letter_accuracy(
    model: Any,
    tokenizer: Any,
    items: Sequence[ExamItem],
    *,
    template: str = "medalpaca",
) -> dict[str, Any]:
    """The letter score of a model in memory, without a folder: for a training callback.

    Returns:
        The cell of summary.json's modes with `exam`, `chance` and `n_unscorable` beside it.
    """
    from evaluation.local import LocalBackend

    backend = LocalBackend(model, tokenizer)
    settings = Settings(items[0].exam if items else "", ("letter",), Framing(template=template))
    chosen = eligible(items)
    sheet = _sheet(chosen, settings, backend)
    batches = backend.plan(sheet.items, cut_left=False)
    results: dict[str, Any] = {}
    for index in range(len(batches.members)):
        results |= _score(backend, batches, index)
    summary = summarise(settings.exam, _scored_rows(sheet, settings, results))
    whole = ("exam", "chance", "n_truncated", "n_unscorable")
    letter = {name: summary["modes"]["letter"][name] for name in ("accuracy", "ci95", "n")}
    return {**{name: summary[name] for name in whole}, **letter}


def run(
    backend: Backend,
    items: Sequence[ExamItem],  # of one exam; excluded ones are left out and counted
    settings: Settings,
    out: Path,
    *,
    limit: int | None = None,  # only the first so many items
    contamination: Path | None = None,  # a mix whose contamination.parquet gives the strata
    command: Sequence[str] = (),
    progress: Progress | None = None,  # told after every batch
    # the processes that share the run; by default those of the environment
    group: ProcessGroup | None = None,
    # what `evaluation.images.audit` found, for run.json
    image_audit: Mapping[str, Any] | None = None,
    # what `meadow.exams.errata.corrections` says of faulty items; the scores with the errata
    # applied stand beside the others, and change none of them
    corrected: Mapping[str, tuple[str, str]] | None = None,
    # the exam's files with their hashes and where they came from, for run.json
    files: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Score everything that the journal lacks and write the run's files, run.json last.

    Returns:
        The content of summary.json; on other ranks than 0 an empty mapping.

    Raises:
        UsageError: The folder holds another run, or there is nothing to score.
    """
    started = time.monotonic()
    group = group or ProcessGroup.from_environment()
    chosen = eligible(items)[:limit]
    if not chosen:
        raise UsageError(f"no item of exam {settings.exam} can be scored", fix="check --file")
    levels = read_contamination(contamination, settings.exam) if contamination else None
    description = backend.describe()
    sheet = _sheet(chosen, settings, backend)
    # every prompt as it is sent: another template, another cut or another day is another run
    prompts = hash_json(sheet.prompts)
    key = hash_json(
        {
            "format": FORMAT,
            "model": description,
            "items": [item.item_id for item in chosen],
            "answers": [item.answer for item in chosen],
            "prompts": prompts,
            "settings": settings.to_json(),
        }
    )
    summary: dict[str, Any] = {}
    with locked(out) if group.first else contextlib.nullcontext():
        journal = Journal(out, key[:16], group.rank)
        journal.load()
        _compute(backend, sheet, settings, journal, group, progress)
        group.wait()
        if group.first:
            journal.load()
            rows = _scored_rows(sheet, settings, journal.done)
            rows += _generated_rows(sheet, journal.done)
            reasons = [item.exclusion_reason for item in items if item.exclusion_reason]
            excluded = Counter(reason.partition(":")[0] for reason in reasons)
            summary = summarise(
                settings.exam, rows, levels=levels, excluded=excluded, corrected=corrected
            )
            write_run(
                out,
                items,
                levels,
                rows,
                summary,
                {
                    "format": FORMAT,
                    "key": key,
                    "model": description,
                    "settings": settings.to_json(),
                    "prompts_sha256": prompts,
                    "exam_files": list(files),
                    "items_sha256": hash_json([item.item_id for item in chosen]),
                    "limit": limit,
                    "command": [hide_secrets(part) for part in command],
                    "versions": versions(LIBRARIES),
                    "machine": hardware(),
                    "processes": group.size,
                    "wall_seconds": round(time.monotonic() - started, 3),
                    "work": backend.work(),
                    "cost": _cost(journal.done),
                    "image_audit": image_audit,
                    "errata": {key: list(value) for key, value in (corrected or {}).items()},
                },
            )
        group.wait()
    group.leave()
    return summary


def preview(
    backend: Any, items: Sequence[ExamItem], settings: Settings, count: int
) -> list[dict[str, Any]]:
    """The first prompts of a run in every mode, as text and as the tokens that are sent.

    `backend` is one, or what stands in for it: limit, count and tokenizer.

    Returns:
        item_id, mode, prompt and token_ids (None where a server tokenises).
    """
    sheet = _sheet(eligible(items)[:count], settings, backend)
    asked = {(item, mode): text for item, mode, variant, text in sheet.prompts if not variant}
    found = []
    for item in dict.fromkeys(item for item, _ in asked):
        for mode in settings.modes:
            text = asked[item, mode if mode in GENERATED else ""]
            ids = None if backend.count(text) == 0 else tokenize(backend.tokenizer, [text])[0]
            found.append({"item_id": item, "mode": mode, "prompt": text, "token_ids": ids})
    return found


def _sheet(items: Sequence[ExamItem], settings: Settings, backend: Any) -> Sheet:
    """The sheet of a run, in the order of the exam."""
    framing, limit, tokenizer = settings.framing, backend.limit, backend.tokenizer
    kinds, drawing = kinds_of(settings.modes), [m for m in settings.modes if m in GENERATED]
    questions: dict[str, list[Question]] = {}
    drawn: dict[str, list[Question]] = {mode: [] for mode in drawing}
    for item in items:
        counted = lru_cache(maxsize=None)(backend.count)  # variants and modes share most texts

        def fitted(question: Question, reserve: int, counted: Count = counted) -> Question:
            if not limit:
                return question
            return fit(question, framing, limit - reserve, counted, tokenizer)

        if kinds:
            asked = ask(item, framing, tokenizer)
            questions[item.item_id] = [fitted(question, 0) for question in asked]
        for mode in drawing:
            (question,) = ask(item, framing, tokenizer, mode)
            drawn[mode].append(fitted(question, settings.new_tokens(mode, limit)))
    scored, cues = [], []
    for key, variants in questions.items():
        parts = tuple(
            Part(kind, q.variant, q.context, tuple(continuations(q.options, kind)))
            for q in variants
            if q.scorable
            for kind in kinds
        )
        if parts:
            scored.append(Unit(key, parts))
        if "text_pmi" in settings.modes and parts:
            texts = tuple(continuations(list(variants[0].item.options), "text"))
            cues.append(Unit(f"cue:{key}", (Part("text_given_cue", "", EXAM_CUE, texts),)))
    return Sheet(questions, scored, cues, drawn)


def _compute(
    backend: Backend,
    sheet: Sheet,
    settings: Settings,
    journal: Journal,
    group: ProcessGroup,
    progress: Progress | None,
) -> None:
    """Score and draw what the journal lacks, batch by batch."""

    def work_off(
        what: str, keys: Sequence[Sequence[str]], compute: Callable[[int], Mapping[str, Any]]
    ) -> None:
        for index, wanted in enumerate(keys):
            if group.owns(index) and journal.missing(wanted):
                before, started = backend.work(), time.monotonic()
                values = compute(index)
                after = backend.work()
                cost = {k: after[k] - before[k] for k in COST if after.get(k) != before.get(k)}
                cost = {"seconds": time.monotonic() - started, **cost}
                # in the journal, so that what a killed process did counts as well
                journal.append({**values, f"cost:{what}:{index}": cost})
            if progress:
                progress(what, index + 1, len(keys))

    for what, units in (("scoring", sheet.items), ("bare options", sheet.cues)):
        if not journal.missing(unit.key for unit in units):
            continue  # planning tokenises the whole exam
        batches = backend.plan(units, cut_left=settings.framing.cut == "left")
        keys = [[units[member].key for member in members] for members in batches.members]
        work_off(what, keys, partial(_score, backend, batches))
    # whoever frames the prompt knows where a turn ends; nothing of a frame goes to another one
    stop: tuple[str, ...] = ()
    if sheet.drawn and not backend.chat:
        stop = stop_texts(settings.framing.template, backend.tokenizer)
    for mode, questions in sheet.drawn.items():
        able = [question for question in questions if question.scorable]
        size = backend.together
        chunks = [able[start : start + size] for start in range(0, len(able), size)]
        keys = [[generate.unit_key(mode, question) for question in chunk] for chunk in chunks]
        tokens = settings.new_tokens(mode, backend.limit)
        draw = partial(
            generate.draw,
            backend,
            mode,
            seed=settings.seed,
            samples=settings.samples,
            tokens=tokens,
            budget=min(settings.thinking_budget, tokens // 2),
            stop=stop,
        )
        work_off(mode, keys, lambda index, draw=draw, chunks=chunks: draw(chunks[index]))  # type: ignore[misc]


def _cost(done: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds and tokens by what was computed, over all batches of all processes."""
    total: dict[str, dict[str, float]] = {}
    for unit, value in done.items():
        if unit.startswith("cost:"):
            own = total.setdefault(unit.split(":")[1], {})
            for name, number in value.items():
                own[name] = round(own.get(name, 0) + number, 3)
    return total


def _score(backend: Backend, batches: Batches, index: int) -> dict[str, Any]:
    """One batch: unit key -> value for the journal."""
    return {
        batches.units[member].key: [
            [[score.loglik, score.greedy, score.tokens] for score in scores] for scores in parts
        ]
        for member, parts in zip(batches.members[index], backend.score(batches, index), strict=True)
    }


def _scored_rows(
    sheet: Sheet, settings: Settings, results: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of the scored modes, in the order of the exam."""
    scores: dict[str, dict[str, dict[str, list[Score]]]] = {}
    for unit in (*sheet.items, *sheet.cues):
        if unit.key not in results:
            raise FileError(f"the journal lacks {unit.key}", fix="run the command again")
        item = scores.setdefault(unit.key.removeprefix("cue:"), {})
        for part, found in zip(unit.parts, results[unit.key], strict=True):
            item.setdefault(part.variant, {})[part.kind] = [Score(*value) for value in found]
    rows = []
    for item_id, variants in sheet.questions.items():
        found = scores.get(item_id, {})
        # the bare options are scored once per item, in the exam's order
        alone = {k: v for k, v in found.get("", {}).items() if k == "text_given_cue"}
        for question in variants:
            own = {**found[question.variant], **alone} if question.scorable else None
            rows += scored_rows(settings.modes, question, own)
    return rows


def _generated_rows(sheet: Sheet, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        row
        for mode, questions in sheet.drawn.items()
        for question in questions
        for row in generate.rows(
            mode,
            question,
            results[generate.unit_key(mode, question)] if question.scorable else None,
        )
    ]
