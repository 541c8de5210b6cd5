"""Personal-data patterns against presidio's, on the project's own labelled rows."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from meadow.errors import UsageError
from meadow.quality.audit import find, make_analyzer
from meadow.text.privacy import scrub

ROWS = Path(__file__).parent.parent / "fixtures" / "privacy"
ROUNDS = 5


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print time per row, ours and presidio's pattern recognisers, interleaved.

    Args:
        size_mb: Not used: the rows are those of the fixture.
    """
    del size_mb
    labelled = [
        line
        for name in ("found.txt", "clean.txt")
        for line in (ROWS / name).read_text(encoding="utf-8").splitlines()
    ]
    texts = [re.sub(r"\{\{\w+:(.*?)\}\}", r"\1", line) for line in labelled]
    ways: dict[str, Callable[[str], object]] = {"ours": scrub}
    try:
        ways["presidio"] = partial(find, make_analyzer())
    except UsageError as error:
        print(f"only ours is timed: {error.what}; {error.fix}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.process_time()
            for text in texts:
                way(text)
            if round_:
                seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) / len(texts) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<10} {value * 1e6:10.1f} microseconds of CPU a row, {len(texts)} rows")
    ratios = {}
    if "presidio" in medians:
        ratios["presidio/ours"] = round(medians["presidio"] / medians["ours"], 1)
    return {"bench": "privacy", "ratios": ratios, "targets": {}}


if __name__ == "__main__":
    print(json.dumps(main()))
