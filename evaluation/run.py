"""A run: one checkpoint on one exam, journalled, resumable, the same from any number of processes.

What a run computes is fixed by its key (weights, tokenizer, items, prompt, settings): the batches
are cut from the whole exam, so that a killed run, a resumed one and one over several processes give
the same log-likelihoods to the last bit on the same machine with the same number of threads.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from evaluation import generate
from evaluation.backend import Backend, Batches
from evaluation.journal import Journal
from evaluation.modes import GENERATED, kinds_of, parse_modes, scored_rows
from evaluation.questions import Framing, Sheet, make_sheet
from evaluation.results import ITEMS, PREDICTIONS, RUN, SUMMARY, items_table, predictions_table
from evaluation.stats import chance_level
from evaluation.summary import cell, read_contamination, summarise
from evaluation.trie import Score
from meadow.atomic import locked, write_json
from meadow.corpus.manifest import hash_json
from meadow.corpus.shards import write_parquet
from meadow.errors import FileError, UsageError
from meadow.exams.items import ExamItem, eligible
from meadow.models.machine import ProcessGroup, hardware, versions
from meadow.net.redaction import hide_secrets
from meadow.prompt import EXAM_CUE, EXAM_INSTRUCTION, exam_prompt

LIBRARIES = ("medical-meadow", "torch", "transformers", "tokenizers", "peft", "numpy", "pyarrow")
"""On which a number can depend."""
FORMAT = 1

Progress = Callable[[str, int, int], None]
"""Told (what, done, of)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run computes, beside the model and the items.

    Args:
        exam: The exam's name.
        modes: Of `evaluation.modes.MODES`.
        framing: How items become prompts.
        seed: Of sampled modes.
        samples: Draws of generate_sc.
        max_new_tokens: Limit of a response; by default the mode's own.
    """

    exam: str
    modes: tuple[str, ...]
    framing: Framing = field(default_factory=Framing)
    seed: int = 0
    samples: int = 5
    max_new_tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in run.json and in the run's key."""
        framing = asdict(self.framing)
        framing["shots"] = [shot.item_id for shot in self.framing.shots]
        return {
            "exam": self.exam,
            "modes": list(self.modes),
            "framing": framing,
            "prompt_sha256": prompt_hash(self.framing),
            "seed": self.seed,
            "samples": self.samples,
            "max_new_tokens": self.max_new_tokens,
        }


def prompt_hash(framing: Framing) -> str:
    """A hash of the prompt's fixed bytes."""
    if framing.template == "chat":
        return hash_json(["chat", EXAM_INSTRUCTION, EXAM_CUE])
    return hash_json(exam_prompt(framing.template, "{question}", [("A", "{a}"), ("B", "{b}")]))


def evaluate(
    model: Any,
    tokenizer: Any,
    items: Sequence[ExamItem],
    modes: str | Iterable[str],
    out_dir: Path,
    *,
    exam: str = "",
    name: str = "in memory",
    template: str = "medalpaca",
    limit: int | None = None,
    seed: int = 0,
    contamination: Path | None = None,
    budget: int = 0,
) -> dict[str, Any]:
    """Score a model in memory on items and write a run folder.

    Args:
        model: A causal language model.
        tokenizer: Its own.
        items: Of one exam; excluded ones are left out and counted.
        modes: "letter,option,text,generate" or a list.
        out_dir: The run's folder; a run that was killed there continues.
        exam: By default the items' own.
        name: What the report calls the checkpoint.
        template: Of the prompt.
        limit: Only the first so many items.
        seed: Of sampled modes.
        contamination: A mix whose contamination.parquet gives the strata.
        budget: Tokens per batch.

    Returns:
        The content of summary.json.
    """
    from evaluation.local import LocalBackend, fingerprint

    backend = LocalBackend(
        model, tokenizer, identity={"name": name, "weights": fingerprint(model)}, budget=budget
    )
    settings = Settings(
        exam=exam or (items[0].exam if items else ""),
        modes=parse_modes(modes),
        framing=Framing(template=template),
        seed=seed,
    )
    return run(backend, items, settings, out_dir, limit=limit, contamination=contamination)


def letter_accuracy(
    model: Any,
    tokenizer: Any,
    items: Sequence[ExamItem],
    *,
    template: str = "medalpaca",
    budget: int = 0,
) -> dict[str, Any]:
    """The letter score of a model in memory, without a folder: for a training callback.

    Returns:
        The cell of summary.json's modes with `exam`, `chance` and `n_unscorable` beside it.
    """
    from evaluation.local import LocalBackend

    backend = LocalBackend(
        model, tokenizer, identity={"name": "in memory"}, budget=budget, method="auto"
    )
    settings = Settings(items[0].exam if items else "", ("letter",), Framing(template=template))
    chosen = eligible(items)
    sheet = _sheet(chosen, settings, backend)
    batches = backend.plan(sheet.items, cut_left=False)
    results: dict[str, Any] = {}
    for index in range(len(batches.members)):
        results |= _score(backend, batches, index)
    rows = _scored_rows(sheet, settings, results)
    found = cell(rows)
    return {
        "exam": settings.exam,
        "accuracy": found["accuracy"],
        "ci95": found["ci95"],
        "n": found["n"],
        "chance": chance_level([len(item.options) for item in chosen]),
        "n_truncated": sum(row["truncated"] and row["scorable"] for row in rows),
        "n_unscorable": sum(not row["scorable"] for row in rows),
    }


def run(
    backend: Backend,
    items: Sequence[ExamItem],
    settings: Settings,
    out: Path,
    *,
    limit: int | None = None,
    contamination: Path | None = None,
    command: Sequence[str] = (),
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    image_audit: Mapping[str, Any] | None = None,
    corrected: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """Score everything that the journal lacks and write the run's files, run.json last.

    Args:
        backend: The checkpoint.
        items: Of one exam; excluded ones are left out and counted.
        settings: What is computed.
        out: The run's folder.
        limit: Only the first so many items.
        contamination: A mix whose contamination.parquet gives the strata.
        command: The command line, for run.json.
        progress: Told after every batch.
        group: The processes that share the run; by default those of the environment.
        image_audit: What `evaluation.images.audit` found, for run.json.
        corrected: What `meadow.exams.errata.corrections` says of faulty items; the scores with the
            errata applied stand beside the others, and change none of them.

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
    key = hash_json(
        {
            "format": FORMAT,
            "model": description,
            "items": [item.item_id for item in chosen],
            "answers": [item.answer for item in chosen],
            "prompts": [item.prompt for item in chosen if item.prompt],
            "settings": settings.to_json(),
        }
    )
    summary: dict[str, Any] = {}
    with locked(out) if group.first else contextlib.nullcontext():
        journal = Journal(out, key[:16], group.rank)
        journal.load()
        sheet = _sheet(chosen, settings, backend)
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
            write_parquet(items_table(items, levels), out / ITEMS)
            write_parquet(predictions_table(rows), out / PREDICTIONS)
            write_json(out / SUMMARY, summary)
            write_json(
                out / RUN,
                {
                    "format": FORMAT,
                    "key": key,
                    "model": description,
                    "settings": settings.to_json(),
                    "items_sha256": hash_json([item.item_id for item in chosen]),
                    "limit": limit,
                    "command": [hide_secrets(part) for part in command],
                    "versions": versions(LIBRARIES),
                    "machine": hardware(),
                    "processes": group.size,
                    "wall_seconds": round(time.monotonic() - started, 3),
                    "work": backend.work(),
                    "image_audit": image_audit,
                    "errata": {key: list(value) for key, value in (corrected or {}).items()},
                },
            )
        group.wait()
    group.leave()
    return summary


def _sheet(items: Sequence[ExamItem], settings: Settings, backend: Backend) -> Sheet:
    return make_sheet(
        items,
        settings.framing,
        kinds=kinds_of(settings.modes),
        pmi="text_pmi" in settings.modes,
        reserves={
            mode: generate.new_tokens(mode, backend.limit, settings.max_new_tokens)
            for mode in settings.modes
            if mode in GENERATED
        },
        limit=backend.limit,
        count=backend.count,
        tokenizer=getattr(backend, "tokenizer", None),
    )


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
                journal.append(compute(index))
            if progress:
                progress(what, index + 1, len(keys))

    for what, units in (("scoring", sheet.items), ("bare options", sheet.cues)):
        if not journal.missing(unit.key for unit in units):
            continue  # planning tokenises the whole exam
        batches = backend.plan(units, cut_left=settings.framing.cut == "left")
        keys = [[units[member].key for member in members] for members in batches.members]
        work_off(what, keys, partial(_score, backend, batches))
    for mode, questions in sheet.drawn.items():
        able = [question for question in questions if question.scorable]
        size = generate.CHUNK
        chunks = [able[start : start + size] for start in range(0, len(able), size)]
        keys = [[generate.unit_key(mode, question) for question in chunk] for chunk in chunks]
        tokens = generate.new_tokens(mode, backend.limit, settings.max_new_tokens)

        def draw(index: int, mode: str = mode, chunks: Any = chunks, tokens: int = tokens) -> Any:
            return generate.draw(
                backend,
                mode,
                chunks[index],
                seed=settings.seed,
                samples=settings.samples,
                tokens=tokens,
            )

        work_off(mode, keys, draw)


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
