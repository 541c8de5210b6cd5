"""`meadow why` on a mix of 160,000 rows: the whole command, against a numpy scan of all rows.

Rows and exam are those of the decontamination benchmark; beside the mix lie the plan of three
epochs and an evaluation of a thousand items. `scan` reads the texts of all rows, takes them apart
and ranks them by the words of the same question, as it would without an index; it knows no steps,
no sources and no contamination. Both are whole programs, imports included; their nearest row is the
same. `index` is what the first question to a mix costs besides, once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
from benchmarks.bench_decontaminate import ROWS_PER_MB, inputs
from support.measured import medians, run_program

DEFAULT_MB = 67
EXAM = 1_000
EPOCHS = 3
ROUNDS = 3
TARGET = {"scan, CPU": 2}


def prepare(folder: Path, rows: int) -> tuple[str, str, str]:
    """A mix, its training run and an evaluation; the item that is asked, and the nearest row."""
    from evaluation.results import FORMAT, write_run
    from meadow.atomic import write_json
    from meadow.corpus.folder import Corpus
    from meadow.corpus.manifest import Manifest
    from meadow.corpus.shards import write_parquet, write_shards
    from meadow.exams.items import ExamItem, item_id
    from meadow.models.loading import trained_as
    from meadow.schema import Task, arrow_schema, make_record, to_rows

    texts, stems, planted = inputs(rows)

    def slices() -> Any:
        for start in range(0, rows, 8_192):
            records = [
                make_record(source="medquad", source_id=str(start + n), input=text,
                            instruction="Answer the question.", output=f"The answer to {n}.",
                            task=Task.OPEN_QA, license="cc-by-4.0")
                for n, text in enumerate(texts[start : start + 8_192])
            ]  # fmt: skip
            yield pa.Table.from_pylist(list(to_rows(records)), schema=arrow_schema())

    mix = folder / "mix"
    shards = write_shards(slices(), mix, "big")
    Manifest(stage="mix", config_hash="bench", settings={}, configs={"big": {"train": shards}},
             details={}).write(mix)  # fmt: skip
    corpus = Corpus.open(mix)
    ids = corpus.to_arrow(columns=["id"])["id"].to_pylist()
    due = np.random.default_rng(0).permutation(np.repeat(np.arange(rows), EPOCHS))
    steps = (np.arange(len(due)) // 256 + 1).tolist()
    plan = pa.table({"record_id": [ids[n] for n in due.tolist()], "step": steps})
    document = {"status": "finished", "recipe": {"name": "big"}, "recipe_hash": "r",
                "plan_hash": "p", "base": {}, "steps": steps[-1],
                "mix": corpus.facts()}  # fmt: skip
    write_parquet(plan, folder / "run/plan.parquet")
    write_json(folder / "run/run_manifest.json", document)
    options = (("A", "yes"), ("B", "no"))
    items = [ExamItem("exam", item_id(stem, options), stem, options, "A") for stem in stems[:EXAM]]
    held = next(
        (item, row)
        for row in sorted(planted)
        for item in items
        if texts[row].endswith(item.question)
    )
    answers = [{"item_id": item.item_id, "mode": "letter", "variant": "", "pred": "B", "gold": "A",
                "correct": False, "status": "scored"} for item in items]  # fmt: skip
    run = {"format": FORMAT, "command": [],
           "model": {"name": "m", "trained": trained_as(str(folder / "run"))}}  # fmt: skip
    write_run(folder / "eval/exam", items, None, answers, {"modes": {"letter": {}}}, run)
    (folder / "question.txt").write_text(held[0].question, encoding="utf-8")
    return held[0].item_id, ids[held[1]], str(len(due))


def scan(mix: str, question: str) -> str:
    """The id of the nearest row, by a look at all of them."""
    import polars as pl

    from meadow.corpus.folder import Corpus
    from meadow.text.ngrams import word_hashes

    asked = np.unique(word_hashes(pl.Series([question])).values)
    ids: list[str] = []
    hits, lengths = [], []
    for table in Corpus.open(Path(mix)).iter_tables(
        columns=["id", "instruction", "input", "output"]
    ):
        frame = pl.DataFrame(table)
        ids += frame["id"].to_list()
        words = word_hashes(
            frame.select(pl.concat_str("instruction", "input", "output", separator=" ")).to_series()
        )
        place = np.searchsorted(asked, words.values)
        place[place == len(asked)] = 0
        found = np.flatnonzero(asked[place] == words.values)
        row = np.searchsorted(words.offsets, found, side="right") - 1
        hits.append(np.unique((row + sum(map(len, lengths))) * len(asked) + place[found]))
        lengths.append(words.lengths)
    pairs, length = np.concatenate(hits), np.concatenate(lengths)
    rarity = np.log1p(
        len(ids) / np.maximum(1, np.bincount(pairs % len(asked), minlength=len(asked)))
    )
    scores = np.bincount(pairs // len(asked), rarity[pairs % len(asked)], minlength=len(ids))
    return ids[int(np.argmax(scores / (1.3 + 0.9 * length / length.mean())))]


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print the table.

    Args:
        size_mb: Text in megabytes: 67 is 160,000 rows.
    """
    rows = (size_mb or DEFAULT_MB) * ROWS_PER_MB
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        item, nearest, planned = prepare(folder, rows)
        why = [sys.executable, "-m", "meadow", "why", folder / "eval/exam", item,
               "--index", folder / "index", "--json"]  # fmt: skip
        peer = [sys.executable, __file__, folder / "mix", folder / "question.txt"]
        first = run_program(why)
        told = json.loads(
            subprocess.run(list(map(str, why)), capture_output=True, check=True).stdout
        )
        seen = subprocess.run(list(map(str, peer)), capture_output=True, check=True, text=True)
        assert told["nearest"][0]["id"] == nearest == seen.stdout.strip()
        assert len(told["nearest"][0]["steps"]) == EPOCHS
        runs = [(run_program(why), run_program(peer)) for _ in range(ROUNDS)]
        size = sum(path.stat().st_size for path in (folder / "index").rglob("*.npy"))
    results = {
        "meadow why": medians([one for one, _ in runs]),
        "scan": medians([other for _, other in runs]),
        "the first question, with the index": first,
    }
    title = f"{rows:,} rows, a plan of {int(planned):,} lines, {EXAM:,} items; medians of {ROUNDS}."
    print(title)
    for name, took in results.items():
        print(f"{name:<36}{took['wall_s']:>8.2f} s{took['cpu_s']:>8.2f} CPU s"
              f"{took['peak_mb']:>8.0f} MB")  # fmt: skip
    own = results["meadow why"]
    return {
        "bench": "why",
        "rows": rows,
        "ratios": {
            "scan, CPU": round(results["scan"]["cpu_s"] / own["cpu_s"], 2),
            "index, bytes a row": round(size / rows),
        },
        "targets": TARGET,
        "input_text": title,
        "measured": results,
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(scan(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8")))
    else:
        print(main())
