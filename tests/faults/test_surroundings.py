"""The bytes of a corpus do not depend on where, when, under which settings or how it is made."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.budget import note
from support.fault_shim import snapshot

from meadow.samples import FOLDER


@dataclass(frozen=True)
class Surroundings:
    """What differs from machine to machine."""

    hash_seed: str
    zone: str
    locale: str
    mask: int
    threads: int
    workers: int
    deep: bool = False
    more: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYTHONHASHSEED": self.hash_seed,
            "TZ": self.zone,
            "LC_ALL": self.locale,
            "OMP_NUM_THREADS": str(self.threads),
            "POLARS_MAX_THREADS": str(self.threads),
            **self.more,
        }


ROOT = Path(__file__).resolve().parents[2]
FIRST = Surroundings("0", "UTC", "C.UTF-8", 0o022, 1, 1)
OTHERS = {
    "hash_seed": Surroundings("12345", "UTC", "C.UTF-8", 0o022, 1, 1),
    "zone_and_locale": Surroundings("0", "Pacific/Kiritimati", "C", 0o022, 1, 1),
    "mask": Surroundings("0", "America/St_Johns", "POSIX", 0o077, 1, 1),
    "threads": Surroundings("1", "UTC", "C.UTF-8", 0o022, 4, 1),
    "workers": Surroundings("2", "Asia/Kathmandu", "C.UTF-8", 0o002, 2, 2, deep=True),
    "no_utf8": Surroundings(
        "3", "UTC", "C", 0o027, 3, 3, deep=True,
        more={"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1", "COLUMNS": "40"},
    ),
}  # fmt: skip


def meadow(where: Path, surroundings: Surroundings, *words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meadow", *map(str, words)],
        cwd=where,
        env=surroundings.environment(),
        umask=surroundings.mask,
        capture_output=True,
        text=True,
        timeout=240,
    )
    # 3: the samples hold malformed rows on purpose
    assert done.returncode in {0, 3}, done.stderr[-2000:]


def made(folder: Path, surroundings: Surroundings) -> dict[str, str]:
    """Every file of a build with its report, and of a mix of it, by its hash."""
    where = folder / "a" / "deeper" / "place" if surroundings.deep else folder
    where.mkdir(parents=True)
    files = {"mmmlu": "mmmlu", "pubmed_causal": "pubmed_causal/pubmed_causal_language_use.csv",
             "medqa": "medqa/train.jsonl"}  # fmt: skip
    words = [
        word
        for name, path in files.items()
        if (FOLDER / path).exists()
        for word in ("--file", f"{name}={FOLDER / path}")
    ]
    workers = ("--workers", surroundings.workers)
    meadow(where, surroundings, "build", *words, *workers, "--out", "corpus")
    meadow(where, surroundings, "report", "corpus")
    meadow(where, surroundings, "mix", "demo", "--corpus", "corpus", "--out", "mix")
    parts = {"corpus": snapshot(where / "corpus"), "mix": snapshot(where / "mix")}
    return {f"{part}/{name}": sha for part, named in parts.items() for name, sha in named.items()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made(tmp_path_factory.mktemp("surroundings") / "first", FIRST)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "no_utf8" else pytest.mark.slow) for name in OTHERS],
)
def test_the_same_bytes_elsewhere(name: str, first: dict[str, str], tmp_path: Path) -> None:
    found = made(tmp_path / name, OTHERS[name])
    differing = sorted(k for k in first.keys() | found.keys() if first.get(k) != found.get(k))
    note("surroundings")
    note("not_identical", int(bool(differing)))
    assert differing == []
