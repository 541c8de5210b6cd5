"""A run: one checkpoint on one exam, journalled, resumable, the same from any number of processes.

What a run computes is fixed by its key (weights, tokenizer, items, prompt, settings): the batches
are cut from the whole exam, so that a killed run, a resumed one and one over several processes give
the same log-likelihoods to the last bit on the same machine with the same number of threads.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluation import generate
from evaluation.backend import Backend, World
from evaluation.journal import Journal
from evaluation.modes import GENERATED, kinds_of, parse_modes, scored_rows
from evaluation.questions import Framing, Question, Unit, ask, fit, units
from evaluation.results import ITEMS, PREDICTIONS, RUN, SUMMARY, items_table, predictions_table
from evaluation.summary import read_contamination, summarise
from evaluation.trie import Score
from meadow.atomic import locked, write_json
from meadow.corpus.manifest import hash_json
from meadow.corpus.shards import write_parquet
from meadow.errors import FileError, UsageError
from meadow.exams.items import ExamItem, eligible
from meadow.net.redaction import hide_secrets
from meadow.prompt import EXAM_CUE, EXAM_INSTRUCTION, exam_prompt

LIBRARIES = ("medical-meadow", "torch", "transformers", "tokenizers", "peft", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """The libraries at hand, on which a number can depend."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """What the last bits of a log-likelihood can depend on."""
    import torch

    capability = str(getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")())
    return {
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "cpu_capability": capability,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


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
    questions = _questions(eligible(items), settings, backend)
    work, _ = units(questions, ["letter"], pmi=False)
    batches = backend.plan(work, cut_left=False)
    results: dict[str, Any] = {}
    for index, members in enumerate(batches.members):
        for member, parts in zip(members, backend.score(batches, index), strict=True):
            results[work[member].key] = _to_value(parts)
    rows = _rows(questions, settings, results)
    document = summarise(settings.exam, rows)
    cell = document["modes"]["letter"]
    return {
        "exam": settings.exam,
        "accuracy": cell["accuracy"],
        "ci95": cell["ci95"],
        "n": cell["n"],
        "chance": document["chance"],
        "n_truncated": document["n_truncated"],
        "n_unscorable": document["n_unscorable"],
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
    world: World | None = None,
    image_audit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score everything that the journal lacks and write the run's files, run.json last.

    Returns:
        The content of summary.json; on other ranks than 0 an empty mapping.

    Raises:
        UsageError: The folder holds another run, or there is nothing to score.
    """
    started = time.monotonic()
    world = world or World.from_environment()
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
    lock = locked(out) if world.rank == 0 else contextlib.nullcontext()
    with lock:
        journal = Journal(out, key[:16], world.rank)
        journal.load()
        questions = _questions(chosen, settings, backend)
        _score(backend, questions, settings, journal, world, progress)
        asked = _generate(backend, chosen, settings, journal, world, progress)
        world.wait()
        summary: dict[str, Any] = {}
        if world.rank == 0:
            journal.load()
            rows = _rows(questions, settings, journal.done)
            rows += _generated_rows(asked, settings, journal.done)
            excluded = Counter(
                (item.exclusion_reason or "").partition(":")[0]
                for item in items
                if item.exclusion_reason
            )
            summary = summarise(settings.exam, rows, levels=levels, excluded=excluded)
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
                    "versions": versions(),
                    "machine": machine(),
                    "processes": world.size,
                    "wall_seconds": round(time.monotonic() - started, 3),
                    "work": backend.work(),
                    "image_audit": image_audit,
                },
            )
        world.wait()
    world.leave()
    return summary


def _questions(
    items: Sequence[ExamItem], settings: Settings, backend: Backend, reserve: int = 0
) -> dict[str, list[Question]]:
    """The fitted variants of every item; `reserve` tokens are kept free for a response."""
    tokenizer = getattr(backend, "tokenizer", None)
    found = {}
    for item in items:
        asked = ask(item, settings.framing, tokenizer)
        if backend.limit:
            room = backend.limit - reserve
            asked = [fit(q, settings.framing, room, backend.count, tokenizer) for q in asked]
        found[item.item_id] = asked
    return found


def _score(
    backend: Backend,
    questions: Mapping[str, Sequence[Question]],
    settings: Settings,
    journal: Journal,
    world: World,
    progress: Progress | None,
) -> None:
    kinds = kinds_of(settings.modes)
    if not kinds:
        return
    work = units(questions, kinds, pmi="text_pmi" in settings.modes)
    for what, part in zip(("scoring", "bare options"), work, strict=True):
        if not part or not journal.missing(unit.key for unit in part):
            continue
        batches = backend.plan(part, cut_left=settings.framing.cut == "left")
        for index, members in enumerate(batches.members):
            keys = [part[member].key for member in members]
            if world.owns(index) and journal.missing(keys):
                scores = backend.score(batches, index)
                journal.append({k: _to_value(parts) for k, parts in zip(keys, scores, strict=True)})
            if progress:
                progress(what, index + 1, len(batches.members))


def _generate(
    backend: Backend,
    items: Sequence[ExamItem],
    settings: Settings,
    journal: Journal,
    world: World,
    progress: Progress | None,
) -> dict[str, list[Question]]:
    """Draw what is missing; returns the questions of each generating mode."""
    asked: dict[str, list[Question]] = {}
    for mode in (mode for mode in settings.modes if mode in GENERATED):
        tokens = generate.new_tokens(mode, backend.limit, settings.max_new_tokens)
        fitted = _questions(items, settings, backend, reserve=tokens)
        questions = [variants[0] for variants in fitted.values()]
        asked[mode] = questions
        able = [question for question in questions if question.scorable]
        chunks = [
            able[start : start + generate.CHUNK] for start in range(0, len(able), generate.CHUNK)
        ]
        for index, chunk in enumerate(chunks):
            keys = [generate.unit_key(mode, question) for question in chunk]
            if world.owns(index) and journal.missing(keys):
                journal.append(
                    generate.draw(
                        backend,
                        mode,
                        chunk,
                        seed=settings.seed,
                        samples=settings.samples,
                        tokens=tokens,
                    )
                )
            if progress:
                progress(mode, index + 1, len(chunks))
    return asked


def _to_value(parts: Sequence[Sequence[Score]]) -> list[list[list[Any]]]:
    return [[[s.loglik, s.greedy, s.tokens] for s in scores] for scores in parts]


def _from_value(value: Sequence[Sequence[Sequence[Any]]]) -> Iterator[list[Score]]:
    for scores in value:
        yield [
            Score(float("nan") if loglik is None else float(loglik), bool(greedy), int(tokens))
            for loglik, greedy, tokens in scores
        ]


def _rows(
    questions: Mapping[str, Sequence[Question]],
    settings: Settings,
    results: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The rows of the scored modes, in the order of the exam."""
    kinds = kinds_of(settings.modes)
    if not kinds:
        return []
    items, cues = units(questions, kinds, pmi="text_pmi" in settings.modes)
    by_key: dict[str, Unit] = {unit.key: unit for unit in (*items, *cues)}
    rows = []
    for item_id, variants in questions.items():
        scores: dict[str, dict[str, list[Score]]] = {}
        for key in (item_id, f"cue:{item_id}"):
            if key not in by_key:
                continue
            if key not in results:
                raise FileError(f"the journal lacks item {item_id}", fix="run the command again")
            for part, found in zip(by_key[key].parts, _from_value(results[key]), strict=True):
                scores.setdefault(part.variant, {})[part.kind] = found
        alone = scores.get("", {}).get("text_given_cue")
        for question in variants:
            own = scores.get(question.variant)
            if own is not None and alone is not None:
                own = {**own, "text_given_cue": alone}
            rows += scored_rows(settings.modes, question, own if question.scorable else None)
    return rows


def _generated_rows(
    asked: Mapping[str, Sequence[Question]], settings: Settings, results: Mapping[str, Any]
) -> list[dict[str, Any]]:
    return [
        row
        for mode, questions in asked.items()
        for question in questions
        for row in generate.rows(
            mode,
            question,
            results[generate.unit_key(mode, question)] if question.scorable else None,
        )
    ]
