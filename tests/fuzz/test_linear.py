"""The cost of cleaning is linear: 100 KB of the worst characters for each of our patterns."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.budget import note, sample
from support.fuzz.patterns import all_patterns
from support.fuzz.patterns import sample as sample_of
from support.fuzz.slopes import texts
from support.stopwatch import Stopwatch

from meadow.exams.answers import parse

ROOT = Path(__file__).resolve().parents[2]


def run(count: int, told: Path, cpu_seconds: int) -> None:
    """Measure in a child process, so that a pattern that explodes is named and ends alone."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))

    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-m", "support.fuzz.slopes", str(count), str(told)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=told.parent,
        preexec_fn=limit,
        capture_output=True,
        check=False,
    )
    lines = told.read_text().splitlines() if told.exists() else ["null"]
    last = json.loads(lines[-1])
    assert ended.returncode == 0, f"ended at {last}: {ended.stderr.decode()[-1000:]}"
    for name, (seconds, pattern) in sorted(last["worst"].items(), key=lambda p: -p[1][0]):
        print(f"{name}: at most {seconds:.3f} s for 100 KB (attacking {pattern})")
    print(f"{last['tried']:,} attacks on {len(last['worst'])} functions")
    note("fuzz_inputs.regex", last["tried"])
    note("uncaught", len(last["bad"]))
    assert not last["bad"], json.dumps(last["bad"][:5], indent=1)


def test_the_patterns_are_found_and_sampled() -> None:
    import random

    found = all_patterns()
    assert len(found) > 100
    assert any(name.startswith("meadow.text.privacy.") for name, _ in found)
    chance = random.Random(1)
    hits = sum(bool(pattern.search(sample_of(pattern, chance))) for _, pattern in found)
    # lookarounds are not followed: most samples match, not all
    assert hits > 0.7 * len(found)
    assert len(texts()) > 300


def test_a_sample_of_attacks_costs_little(tmp_path: Path) -> None:
    run(12, tmp_path / "told.jsonl", 120)


@pytest.mark.parametrize("unit", ["-.A.x", "correct\t\t", "only ", "the final "])
def test_words_by_the_thousand_in_one_answer_cost_little(unit: str) -> None:
    watch = Stopwatch()
    parse("\n'" + unit * (100_000 // len(unit)), (("A", "Warfarin"), ("B", "Sodium")))
    assert watch.within(2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_attack_costs_little(tmp_path: Path) -> None:
    run(0 if sample() == 1 else max(1, len(texts()) // sample()), tmp_path / "told.jsonl", 3000)
