"""Near duplicates: ours against datasketch (MinHash.bulk and LSH) and datatrove, on one corpus.

A tenth of the rows are planted copies with up to eight words replaced; a fifth carry one of six
greetings and one of six closings of forty words around their own text, as forum posts do. Both look
for pairs with a Jaccard similarity of at least 0.7 on the word 3-grams of the same texts. Recall is
over the planted pairs whose true similarity, computed with Python sets, reaches the threshold; a
false pair is one below it. The peers give candidates and are not asked to verify them: datasketch
with 128 permutations, datatrove with its own 14 buckets of 8 hashes and its English tokenizer.
datatrove takes ten minutes, in the environment of `peers`: it is recorded (`record`), as is what a
million rows need; without that environment it is left out, and the result says so. Exact
duplicates alone are looked for too, in the same texts.

With MEADOW_UPSTREAM, facts are looked at too, on MedQuAD, whose similar answers are mostly a form
letter with another disease in it: of the near duplicates that are dropped, how many have another
focus than the row that stays and a question with other distinctive words; and how many of 200
planted copies that say the same (a sentence more or less, other marks, another article) are found.
The command fails where a target is missed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.peers import NotToBeHad, interpreter, versions
from support.measured import interleaved, measured, table

THRESHOLD = 0.7
EXACT = "exact duplicates alone, rows/s of CPU"
TARGETS = {"datasketch, CPU": 4, "datatrove, CPU": 20, EXACT: 85_000}
"""The last is what fastdedup publishes."""
ROWS_PER_MB = 2_400
ROWS = 160_000
MANY_ROWS = 1_000_000
WORDS = 30_000


def corpus(rows: int) -> tuple[list[str], list[tuple[int, int]]]:
    """The texts, and the (original, copy) pairs that were planted."""
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)
    vocabulary = np.array([f"w{number}" for number in range(WORDS)])
    stream = vocabulary[draw.choice(WORDS, size=2_000_000, p=share / share.sum())]
    frames = [" ".join(stream[n * 40 : n * 40 + 40]) for n in range(6)]
    texts: list[str] = []
    planted = []
    for row in range(rows):
        kind = draw.random()
        if kind < 0.1 and row:
            original = int(draw.integers(row))
            words = texts[original].split()
            for _ in range(draw.integers(0, 9)):
                words[draw.integers(len(words))] = vocabulary[draw.integers(WORDS)]
            planted.append((original, row))
            texts.append(" ".join(words))
            continue
        length = int(draw.integers(30, 130))
        start = int(draw.integers(len(stream) - length))
        words = stream[start : start + length].copy()
        words[draw.integers(0, length, size=length // 3)] = vocabulary[
            draw.integers(0, WORDS, size=length // 3)
        ]
        text = " ".join(words[: length // 2 if kind < 0.3 else length])
        if kind < 0.3:
            text = f"{frames[draw.integers(6)]} {text} {frames[draw.integers(6)]}"
        texts.append(text)
    return texts, planted


def grams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[n : n + 3]) for n in range(max(1, len(words) - 2))}


def similarity(texts: list[str], left: int, right: int) -> float:
    one, other = grams(f"q {texts[left]}"), grams(f"q {texts[right]}")
    return len(one & other) / len(one | other)


def ours(texts: list[str], near: bool = True) -> dict[str, Any]:
    from meadow.mix.duplicates import find_duplicates

    found = find_duplicates(_frame(texts), near=near, facts=False)
    dropped = found.dropped.select("kept_id", "dropped_id", "jaccard")
    return {
        "pairs": found.pairs.select("left_id", "right_id").rows(),
        "gone": dropped["dropped_id"].to_list(),
        "dropped": dropped.height,
    }


def exact(texts: list[str]) -> dict[str, Any]:
    return ours(texts, near=False)


def _frame(texts: list[str]) -> Any:
    import polars as pl

    return pl.DataFrame(
        {
            "id": [f"{row:08d}" for row in range(len(texts))],
            "instruction": "Answer.",
            "input": "q",
            "output": texts,
            "license": "mit",
        }
    )


def datasketch(texts: list[str]) -> dict[str, Any]:
    from datasketch import MinHash, MinHashLSH

    sets = ([gram.encode() for gram in grams(f"q {text}")] for text in texts)
    hashes = MinHash.bulk(sets, num_perm=128)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    with index.insertion_session() as session:
        for row, value in enumerate(hashes):
            session.insert(row, value)
    pairs = set()
    for row, value in enumerate(hashes):
        pairs |= {(other, row) for other in index.query(value) if other < row}
    return {"pairs": [(f"{a:08d}", f"{b:08d}") for a, b in sorted(pairs)], "gone": []}


def datatrove(texts: list[str]) -> dict[str, Any]:
    """Signatures, buckets and clusters, each as one task; the files between them are in memory."""
    import struct
    import tempfile

    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.text import TextNormConfig
    from loguru import logger

    logger.remove()
    # the words of the corpus hold digits, all of which would become "0"
    config = MinhashConfig(n_grams=3, norm_config=TextNormConfig(norm_numbers=False))
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        names = [f"{folder}/{part}" for part in ("signatures", "buckets", "removed")]
        documents = (Document(text=f"q {text}", id=str(row)) for row, text in enumerate(texts))
        MinhashDedupSignature(names[0], config=config).run(documents)
        buckets = MinhashDedupBuckets(names[0], names[1], config=config)
        for rank in range(config.num_buckets):
            buckets.run(rank=rank, world_size=config.num_buckets)
        MinhashDedupCluster(names[1], names[2], config=config).run()
        pairs = set()
        for path in Path(names[1]).glob("*.dups"):
            for _, one, _, other in struct.iter_unpack("<4I", path.read_bytes()):
                pairs.add((min(one, other), max(one, other)))
        gone = [
            row
            for path in Path(names[2]).glob("*.remove")
            for (row,) in struct.iter_unpack("<I", path.read_bytes())
        ]
    return {
        "pairs": [(f"{a:08d}", f"{b:08d}") for a, b in sorted(pairs)],
        "gone": [f"{row:08d}" for row in gone],
    }


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


_FRAME_TEXT = """
a an the of for in to is are was were do does what which who how when where why can i my and or with
be have has there
"""
FRAME = frozenset(_FRAME_TEXT.split())
COPIES = 200


def facts(root: Path) -> dict[str, float]:
    """Other facts among the dropped near duplicates of MedQuAD, and the recall of true ones."""
    import hashlib

    import polars as pl
    from benchmarks.bench_contamination import medquad

    from meadow.mix.duplicates import find_duplicates

    rows = [(f"{n:05d}", *row) for n, row in enumerate(medquad(root))]
    long = [row for row in rows if len(row[2].split()) >= 60]
    chosen = sorted(long, key=lambda row: hashlib.sha256(row[0].encode()).digest())[:COPIES]
    copies = [(f"copy{n}-{row[0]}", row[1], _told_again(row[2], n), row[3])
              for n, row in enumerate(chosen)]  # fmt: skip
    frame = pl.DataFrame([*rows, *copies], ["id", "input", "output", "focus"], orient="row")
    frame = frame.with_columns(
        pl.lit("Answer.").alias("instruction"), pl.lit("mit").alias("license")
    )
    found = find_duplicates(frame)
    texts = {row[0]: row for row in (*rows, *copies)}
    near = found.dropped.filter(pl.col("kind") == "near").select("kept_id", "dropped_id").rows()
    own = [(a, b) for a, b in near if not (a + b).count("copy")]
    other = sum(
        texts[a][3] != texts[b][3] and _distinctive(texts[a][1]) != _distinctive(texts[b][1])
        for a, b in own
    )
    # a copy is found where it, or what it was copied from, went
    gone = set(found.dropped["dropped_id"])
    true = [
        (copy, row) for copy, row in zip(copies, chosen, strict=True)
        if _jaccard(f"{copy[1]} {copy[2]}", f"{row[1]} {row[2]}") >= THRESHOLD
    ]  # fmt: skip
    hits = sum(copy[0] in gone or row[0] in gone for copy, row in true)
    return {
        "near": len(own),
        "other facts": round(other / max(1, len(own)), 4),
        "copies": len(true),
        "recall": round(hits / max(1, len(true)), 4),
    }


def _told_again(text: str, number: int) -> str:
    """The same answer with other marks, one sentence more, one less, or another article."""
    sentences = re.split(r"(?<=[.?!])\s+", text)
    if number % 4 == 0:
        return re.sub(r"[,;:]", "", text).upper()
    if number % 4 == 1 or len(sentences) < 6:
        return f"{text} Ask your doctor or nurse for further information."
    if number % 4 == 2:
        shortest = min(range(len(sentences)), key=lambda n: (len(sentences[n].split()) < 4,
                                                             len(sentences[n])))  # fmt: skip
        return " ".join(s for n, s in enumerate(sentences) if n != shortest)
    return re.sub(r"\bthe\b", "a", text, count=1)


def _distinctive(question: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", question.lower())) - FRAME


def _jaccard(one: str, other: str) -> float:
    left, right = grams(one), grams(other)
    return len(left & right) / len(left | right)


def judged(
    found: dict[str, Any], texts: list[str], planted: list[tuple[int, int]]
) -> dict[str, Any]:
    """Recall over the planted pairs, and the share of false pairs among (up to 20,000) reported."""
    true = [pair for pair in planted if similarity(texts, *pair) >= THRESHOLD]
    pairs = {(int(a), int(b)) for a, b in found["pairs"]}
    gone = {int(value) for value in found["gone"]}
    hits = sum(pair in pairs or pair[0] in gone or pair[1] in gone for pair in true)
    sample = sorted(pairs)[:: max(1, len(pairs) // 20_000)]
    false = sum(similarity(texts, *pair) < THRESHOLD for pair in sample)
    return {
        "pairs": len(pairs),
        "true": len(true),
        "recall": hits / max(1, len(true)),
        "false": false / max(1, len(sample)),
    }


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print the table.

    Args:
        size_mb: Text in megabytes: 67, the default, is 160,000 rows.
    """
    rows = size_mb * ROWS_PER_MB if size_mb else ROWS
    rounds = 3 if rows <= 20 * ROWS_PER_MB else 1
    result = compared(rows, ["ours", "exact", "datasketch"], rounds)
    result["ratios"][EXACT] = round(rows / result["measured"]["exact"]["cpu_s"])
    if upstream := os.environ.get("MEADOW_UPSTREAM"):
        told = facts(Path(upstream))
        print(told)
        result["ratios"]["MedQuAD: dropped with another fact"] = told["other facts"]
        result["ratios"]["MedQuAD: recall of true copies"] = told["recall"]
        result["notes"] = [
            f"MedQuAD: {told['near']:,} near duplicates; {told['copies']} planted copies."
        ]
    else:
        missing = ("MedQuAD: dropped with another fact", "MedQuAD: recall of true copies")
        result["not_run"] = dict.fromkeys(missing, "MEADOW_UPSTREAM is not set")
    return result


def record() -> dict[str, Any]:
    """datatrove on as many rows as the others, and ours on a million."""
    missing = {}
    names, known = ["ours"], {}
    try:
        known = versions(interpreter())
        names.append("datatrove")
    except NotToBeHad as error:
        missing["datatrove, CPU"] = str(error)
    result = compared(ROWS, names, 1)
    many = compared(MANY_ROWS, ["ours"], 1)
    result["measured"]["ours, 1,000,000 rows"] = many["measured"]["ours"]
    for what in ("recall", "false pairs", "peak GiB"):
        result["ratios"][f"1,000,000 rows: {what}"] = many["ratios"][what]
        for part in ("targets", "limits"):
            if what in result[part]:
                result[part][f"1,000,000 rows: {what}"] = result[part][what]
    return {**result, "versions": known, "not_run": missing}


def compared(rows: int, names: list[str], rounds: int) -> dict[str, Any]:
    """What each takes and finds on the same rows, with the ratios to ours."""
    results = interleaved(
        Path(__file__), names, [str(rows)], rounds,
        {"datatrove": interpreter()} if "datatrove" in names else None,
    )  # fmt: skip
    title = f"{rows:,} rows, a tenth of them planted copies; medians of {rounds}."
    print(title)
    for took in results.values():
        took["rows_per_s"] = rows / took["wall_s"]
    columns = ["cpu_s", "wall_s", "peak_mb", "growth_mb", "pairs", "true", "recall", "false"]
    table(results, columns)
    own = results["ours"]
    ratios = {"recall": own["recall"], "false pairs": own["false"]}
    for name in names[1:]:
        if name != "exact":
            ratios[f"{name}, CPU"] = round(results[name]["cpu_s"] / own["cpu_s"], 2)
            added = results[name]["growth_mb"] / own["growth_mb"]
            ratios[f"{name}, memory added"] = round(added, 2)
    ratios["peak GiB"] = round(own["peak_mb"] / 1074, 2)
    return {
        "bench": "dedup",
        "rows": rows,
        "ratios": ratios,
        "targets": {"recall": 0.999, "MedQuAD: recall of true copies": 0.99} | TARGETS,
        "limits": {"false pairs": 0, "peak GiB": 6, "MedQuAD: dropped with another fact": 0.02},
        "input_text": title,
        "measured": results,
    }


def run_child(name: str, rows: int) -> None:
    texts, planted = corpus(rows)
    work = {"ours": ours, "exact": exact, "datasketch": datasketch, "datatrove": datatrove}[name]
    found, took = measured(lambda: work(texts))
    print(json.dumps(took | judged(found, texts, planted)))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run_child(sys.argv[1], int(sys.argv[2]))
    else:
        print(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
