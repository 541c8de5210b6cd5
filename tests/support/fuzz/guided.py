"""A kind under atheris: bytes that reach new lines of ours are kept and changed further.

    PYTHONPATH=tests python -m support.fuzz.guided KIND SECONDS FOLDER

The process ends with 0, or with the traceback of the input that failed, which lies in FOLDER.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

FIRST = 40


def main() -> None:
    """Fuzz one kind for so many seconds, from the first inputs of its seeded suite."""
    kind, seconds, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with atheris.instrument_imports(include=["meadow", "evaluation"]):
        from support.fuzz.engine import check, load, prepare

        module = load(kind)
    seeds = place / "seeds"
    seeds.mkdir(parents=True)
    for index in range(FIRST):
        (seeds / str(index)).write_bytes(module.make(index))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / kind
        prepare(module, folder)

        def one(data: bytes) -> None:
            outcome, how = check(module, data, folder)
            if outcome in {"uncaught", "silent"}:
                raise AssertionError(f"{outcome}: {how}")

        limits = [f"-max_total_time={seconds}", "-seed=1", "-max_len=4096", "-timeout=20"]
        report = ["-print_final_stats=1", f"-artifact_prefix={place}/", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, *report, str(seeds)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
