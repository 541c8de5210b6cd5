"""Decontamination: ours against Python sets and dictionaries, on the same rows and items.

`python_set` is the usual rule: every 8-gram of every item in a set, and a row is hit when it shares
any. It cannot say which item, how much of it, or whether the answer is there; stock phrases of exam
questions make most of its hits. `python_scores` computes what ours does, without the answer: per
row the share of every item's 8-grams. Both and ours must find every planted item. What a million
rows need is recorded.
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.measured import interleaved, measured, table

ROWS_PER_MB = 2_400
DEFAULT_MB = 66
MANY_ROWS = 1_000_000
TARGETS = {"recall": 1, "python_scores, CPU": 3, "python_set, CPU": 1}
ITEMS = 3_000
PHRASES = (
    "which of the following is the most likely diagnosis in this patient",
    "which of the following is the most appropriate next step in management",
    "comes to the emergency department because of a two day history of",
    "physical examination shows no abnormalities and laboratory studies are within normal limits",
)


def inputs(rows: int) -> tuple[list[str], list[str], set[int]]:
    """Row texts, item stems, and the rows in which an item was planted."""
    draw = random.Random(0)
    words = [f"w{int(draw.paretovariate(0.7)) % 30_000}" for _ in range(400_000)]

    def text(length: int) -> str:
        start = draw.randrange(len(words) - length)
        return " ".join(draw.choices(words[start : start + 2 * length], k=length))

    stems = [
        f"{text(30)} {draw.choice(PHRASES)} {text(60)} {draw.choice(PHRASES)}" for _ in range(ITEMS)
    ]
    texts, planted = [], set()
    for row in range(rows):
        kind = draw.random()
        own = text(draw.randint(30, 90))
        if kind < 0.005:
            own = f"{own} {draw.choice(stems)}"
            planted.add(row)
        elif kind < 0.1:
            own = f"{own} {draw.choice(PHRASES)}"
        texts.append(own)
    return texts, stems, planted


def ours(texts: list[str], stems: list[str]) -> set[int]:
    import polars as pl

    from meadow.exams.contamination import find_contamination
    from meadow.exams.items import ExamItem

    items = [
        ExamItem("exam", f"{n:032x}", stem, (("A", f"answer{n}"), ("B", "none")), "A")
        for n, stem in enumerate(stems)
    ]
    ids = [str(row) for row in range(len(texts))]
    frame = pl.DataFrame({"id": ids, "instruction": "Answer.", "input": texts, "output": "x"})
    found = find_contamination(frame, items)
    return {int(row) for row in found.filter(pl.col("level") != "none")["row_id"]}


def ngrams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[n : n + 8]) for n in range(len(words) - 7)}


def python_set(texts: list[str], stems: list[str]) -> set[int]:
    """The usual rule: the rows that share any 8-gram with any item."""
    known = set().union(*map(ngrams, stems))
    return {row for row, text in enumerate(texts) if not known.isdisjoint(ngrams(text))}


def python_scores(texts: list[str], stems: list[str]) -> set[int]:
    """The same result as ours with dictionaries: the rows with a fifth of an item's 8-grams."""
    owners: dict[str, list[int]] = {}
    sizes = []
    for number, stem in enumerate(stems):
        grams = ngrams(stem)
        sizes.append(len(grams))
        for gram in grams:
            owners.setdefault(gram, []).append(number)
    found = set()
    for row, text in enumerate(texts):
        counts: dict[int, int] = {}
        for gram in ngrams(text):
            for number in owners.get(gram, ()):
                counts[number] = counts.get(number, 0) + 1
        if any(count >= 0.2 * sizes[number] for number, count in counts.items()):
            found.add(row)
    return found


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print the table.

    Args:
        size_mb: Text in megabytes: 66, the default, is 160,000 rows.
    """
    rows = (size_mb or DEFAULT_MB) * ROWS_PER_MB
    result = compared(
        rows, ["ours", "python_scores", "python_set"], 3 if rows <= 20 * ROWS_PER_MB else 1
    )
    return {**result, "limits": {**result["limits"], "seconds": 60}}


def record() -> dict[str, Any]:
    """Ours on a million rows."""
    return compared(MANY_ROWS, ["ours"], 1)


def compared(rows: int, names: list[str], rounds: int) -> dict[str, Any]:
    """What each takes and finds, with the ratios to ours."""
    results = interleaved(Path(__file__), names, [str(rows)], rounds)
    title = f"{rows:,} rows against {ITEMS:,} items; medians of {rounds}."
    print(title)
    for took in results.values():
        took["rows_per_s"] = rows / took["wall_s"]
    table(results, ["cpu_s", "wall_s", "peak_mb", "growth_mb", "found", "planted", "recall"])
    own = results["ours"]
    size = f"{rows:,} rows: " if rows == MANY_ROWS else ""
    ratios = {f"{size}recall": own["recall"]}
    for name in names[1:]:
        ratios[f"{name}, CPU"] = round(results[name]["cpu_s"] / own["cpu_s"], 2)
    ratios[f"{size}seconds"] = round(own["wall_s"], 1)
    ratios[f"{size}peak GiB"] = round(own["peak_mb"] / 1074, 2)
    return {
        "bench": "decontaminate",
        "rows": rows,
        "ratios": ratios,
        "targets": {**TARGETS, f"{size}recall": 1},
        "limits": {f"{size}peak GiB": 4},
        "input_text": title,
        "measured": results,
    }


def run_child(name: str, rows: int) -> None:
    texts, stems, planted = inputs(rows)

    work = {"ours": ours, "python_scores": python_scores, "python_set": python_set}[name]
    found: set[int] = set()
    _, took = measured(lambda: {"found": found.update(work(texts, stems))})
    recall = len(found & planted) / max(1, len(planted))
    print(json.dumps(took | {"found": len(found), "planted": len(planted), "recall": recall}))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run_child(sys.argv[1], int(sys.argv[2]))
    else:
        print(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
