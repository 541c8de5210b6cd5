"""Corpora to publish, built by the real build from the embedded samples or from invented files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import find_inputs
from meadow.samples import FOLDER, sampled_sources
from meadow.source import OriginName
from meadow.sources import SOURCES

DECIDED = {"licence": "mit", "who": "A. Tester", "when": "2026-11-28"}
"""What the tests' meadow.toml would say of a disputed licence."""


def build(folder: Path, names: Iterable[str], raw: Path = FOLDER) -> Path:
    """Build sources from a raw folder (the embedded samples)."""
    chosen = tuple(names)
    origins = {
        name: OriginName.UPSTREAM if SOURCES[name].upstream else OriginName.PUBLISHED
        for name in chosen
    }
    inputs = {
        name: find_inputs(SOURCES[name], SOURCES[name].origin(origins[name]), raw)
        for name in chosen
    }
    vouched = {name: DECIDED for name in chosen if SOURCES[name].disputed}
    build_corpus(BuildSettings(sources=chosen, origins=origins, vouched=vouched), inputs, folder)
    return folder


def publishable_samples() -> list[str]:
    """The sampled sources that may be published, the disputed ones by decision."""
    names = sampled_sources()
    return [name for name in names if SOURCES[name].publishable in ("yes", "disputed")]


def write_medqa(raw: Path, questions: Iterable[dict[str, object]]) -> None:
    """A MedQA training file below a raw folder."""
    path = raw / "medqa" / "train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(question) + "\n" for question in questions)
    path.write_text("".join(lines), encoding="utf-8")


def invented_questions(count: int, seed: int) -> list[dict[str, object]]:
    """Questions of the length of real ones, from random words."""
    dice = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(dice.choices(letters, k=dice.randint(3, 11))) for _ in range(4000)]

    def sentence(length: int) -> str:
        return " ".join(dice.choices(words, k=length)).capitalize()

    questions = []
    for number in range(count):
        options = {letter: sentence(3) for letter in "ABCDE"}
        answer = dice.choice("ABCDE")
        questions.append(
            {
                "question": f"{sentence(90)} {seed} {number}?",
                "answer": options[answer],
                "options": options,
                "meta_info": "step1",
                "answer_idx": answer,
            }
        )
    return questions
