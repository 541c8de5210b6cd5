"""The bytes of a corpus do not depend on where, when, under which settings or how it is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.budget import note
from support.fault_shim import snapshot

from meadow.samples import FOLDER

ROOT = Path(__file__).resolve().parents[2]
FIRST = {"seed": "0", "zone": "UTC", "locale": "C.UTF-8", "mask": 0o022, "threads": 1, "workers": 1}
OTHERS: dict[str, dict[str, Any]] = {
    "hash_seed": {"seed": "12345"},
    "zone_and_locale": {"zone": "Pacific/Kiritimati", "locale": "C"},
    "mask": {"zone": "America/St_Johns", "locale": "POSIX", "mask": 0o077},
    "threads": {"seed": "1", "threads": 4},
    "workers": {"seed": "2", "zone": "Asia/Kathmandu", "mask": 0o002, "threads": 2, "workers": 2},
    "no_utf8": {
        "seed": "3", "locale": "C", "mask": 0o027, "threads": 3, "workers": 3,
        "more": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1", "COLUMNS": "40"},
    },
}  # fmt: skip
"""What differs from machine to machine: name -> what is other than in `FIRST`."""


def made(folder: Path, **other: Any) -> dict[str, str]:
    """Every file of a build with its report, and of a mix of it, by its hash."""
    here = FIRST | other
    where = folder / "a" / "deeper" / "place" if here["workers"] > 1 else folder
    where.mkdir(parents=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONHASHSEED": here["seed"],
        "TZ": here["zone"],
        "LC_ALL": here["locale"],
        "OMP_NUM_THREADS": str(here["threads"]),
        "POLARS_MAX_THREADS": str(here["threads"]),
        **here.get("more", {}),
    }
    workers = f"--workers {here['workers']}"
    for words in (
        f"build --raw {FOLDER} --only mmmlu,pubmed_causal,medqa {workers} --out corpus",
        "report corpus",
        "mix demo --corpus corpus --out mix",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "meadow", *words.split()], cwd=where, env=environment,
            umask=here["mask"], capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        # 3: the samples hold malformed rows on purpose
        assert done.returncode in {0, 3}, done.stderr[-2000:]
    parts = {"corpus": snapshot(where / "corpus"), "mix": snapshot(where / "mix")}
    return {f"{part}/{name}": sha for part, named in parts.items() for name, sha in named.items()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made(tmp_path_factory.mktemp("surroundings") / "first")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "no_utf8" else pytest.mark.slow) for name in OTHERS],
)
def test_the_same_bytes_elsewhere(name: str, first: dict[str, str], tmp_path: Path) -> None:
    found = made(tmp_path / name, **OTHERS[name])
    differing = sorted(k for k in first.keys() | found.keys() if first.get(k) != found.get(k))
    note("surroundings")
    note("not_identical", int(bool(differing)))
    assert differing == []
