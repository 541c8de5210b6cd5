"""The curve of the search for exam items: recall and false items by kind of edit, ours and peers'.

300 items of an exam are edited in every kind of `meadow.exams.trial.KINDS` and stand among 20,000
rows; every method sees the same rows and items. `8-gram` and `13-gram` are the usual sets: a row is
hit when it shares any with an item. `two-stage` is the rule of Apertus: any shared 8-gram, then an
alignment of at least half of the item. A planted item is found when its own row is hit for it. The
false items are those of 1,000 that stand in no row but are found all the same: by the planted rows
of each kind, and in all.

With MEADOW_UPSTREAM the exam is MedQA's test, the rows are MedQA's development questions,
ChatDoctor's and MedQuAD's; the 1,000 unrelated items are the rest of MedQA's test, and some of
MMLU's. Without, all are invented. The command fails where a target is missed.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl

from meadow.exams.contamination import find_contamination
from meadow.exams.items import ExamItem, item_id, load_exam
from meadow.exams.trial import KINDS, planted

PLANTED = 300
UNRELATED = 1_000
ROWS = 20_000
EVERY = "every {}th word replaced"
TARGETS = {EVERY.format(k): 0.95 for k in (10, 9, 8)} | {EVERY.format(7): 0.9}
FALSE = 0.02

Row = tuple[str, str, str, str]
Found = set[tuple[str, str]]
"""(row id, item id) of what a method finds."""


def exam_and_rows(count: int) -> tuple[list[ExamItem], list[Row], str]:
    """The items, the rows without any of them, and what they are."""
    upstream = os.environ.get("MEADOW_UPSTREAM")
    if not upstream:
        return [*_invented_items(PLANTED + UNRELATED)], _invented_rows(count), "invented"
    root = Path(upstream)
    items = load_exam("medqa", [root / "medqa/phrases_no_exclude_test.jsonl"])
    texts: list[tuple[str, str]] = []
    with (root / "medqa/questions_US_dev.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            texts.append((row["question"], f"{row['answer_idx']}: {row['answer']}"))
    chats = json.loads((root / "chatdoctor/chatdoctor5k.json").read_text(encoding="utf-8"))
    texts += [(chat["input"], chat["output"]) for chat in chats]
    texts += [(q, a) for q, a, _ in medquad(root)]
    rows = [(f"row{n}", "Answer the question.", q, a) for n, (q, a) in enumerate(texts[:count])]
    cases = load_exam("mmlu", [root / "mmlu/professional_medicine_test.csv"])
    return [*items, *cases], rows, "MedQA's test among MedQA's dev, ChatDoctor and MedQuAD"


def medquad(root: Path) -> list[tuple[str, str, str]]:
    """Question, answer and focus of MedQuAD's pairs, as the source reads them."""
    from meadow.schema import Record
    from meadow.source import Input, Options, OriginName
    from meadow.sources import SOURCES

    path = root / "medquad/medquad.tar.gz"
    origin = SOURCES["medquad"].origin(OriginName.UPSTREAM)
    found = []
    for raw in origin.read((Input(path, path.name),), Options()):
        for record in origin.convert(raw, Options()) if isinstance(raw, dict) else ():
            if isinstance(record, Record):
                focus = str(json.loads(record.meta).get("focus", ""))
                found.append((record.input or record.instruction, record.output, focus))
    return found


def _words(draw: random.Random, count: int) -> str:
    return " ".join(f"w{int(draw.paretovariate(0.7)) % 30_000}" for _ in range(count))


def _invented_items(count: int) -> Sequence[ExamItem]:
    draw = random.Random("items")
    found = []
    for _ in range(count):
        stem = " ".join(f"{_words(draw, 22)}." for _ in range(5))
        stem = f"{stem} Which of the following is the most likely diagnosis?"
        options = tuple((letter, _words(draw, 6)) for letter in "ABCD")
        found.append(ExamItem("invented", item_id(stem, options), stem, options, "A"))
    return found


def _invented_rows(count: int) -> list[Row]:
    draw = random.Random("rows")
    phrase = "Which of the following is the most likely diagnosis?"
    return [
        (f"row{n}", "Answer the question.", f"{_words(draw, draw.randint(30, 120))} {phrase}",
         _words(draw, 40))
        for n in range(count)
    ]  # fmt: skip


def ours(rows: list[Row], items: list[ExamItem]) -> Found:
    frame = pl.DataFrame(rows, ["id", "instruction", "input", "output"], orient="row")
    found = find_contamination(frame, items).filter(pl.col("level") != "none")
    return set(found.select("row_id", "item_id").rows())


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def any_ngram(size: int) -> Callable[[list[Row], list[ExamItem]], Found]:
    """The usual set: a row is hit by every item with which it shares an n-gram."""

    def find(rows: list[Row], items: list[ExamItem]) -> Found:
        owners: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for item in items:
            words = _tokens(item.question)
            for n in range(len(words) - size + 1):
                owners[tuple(words[n : n + size])].add(item.item_id)
        found = set()
        for row_id, _, *fields in rows:
            for words in map(_tokens, fields):
                for n in range(len(words) - size + 1):
                    for item in owners.get(tuple(words[n : n + size]), ()):
                        found.add((row_id, item))
        return found

    return find


def two_stage(rows: list[Row], items: list[ExamItem]) -> Found:
    """Any shared 8-gram, then the longest matching blocks cover half of the item's words."""
    from difflib import SequenceMatcher

    texts = {row[0]: [_tokens(field) for field in row[2:]] for row in rows}
    stems = {item.item_id: _tokens(item.question) for item in items}
    found = set()
    for row_id, item in any_ngram(8)(rows, items):
        stem = stems[item]
        for words in texts[row_id]:
            matcher = SequenceMatcher(None, stem, words, autojunk=False)
            if sum(block.size for block in matcher.get_matching_blocks()) >= 0.5 * len(stem):
                found.add((row_id, item))
                break
    return found


METHODS: dict[str, Callable[[list[Row], list[ExamItem]], Found]] = {
    "ours": ours,
    "8-gram": any_ngram(8),
    "13-gram": any_ngram(13),
    "two-stage": two_stage,
}


Curve = dict[str, dict[str, tuple[float, float]]]


def curve(rows: list[Row], items: list[ExamItem]) -> Curve:
    """Method -> kind of edit -> recall, share of the unrelated items that its rows seem to hold.

    Under "all" stands the recall over all kinds, and the share of the unrelated items that are
    found in any row.
    """
    exam = items[0].exam
    trials = planted([item for item in items if item.exam == exam], PLANTED)
    chosen = {item.item_id for _, item, _ in trials}
    held = [item for item in items if item.item_id not in chosen][:UNRELATED]
    everything = [*rows, *(row for _, _, row in trials)]
    result = {}
    for name, find in METHODS.items():
        found = find(everything, [item for item in items if item.item_id in chosen] + held)
        unrelated = {item.item_id for item in held}
        false: dict[str, set[str]] = defaultdict(set)
        for row_id, item in found:
            if item in unrelated:
                false["all"].add(item)
                false[row_id.partition("\x1f")[0]].add(item)
        result[name] = {}
        for kind in (*KINDS, "all"):
            mine = [(row[0], item.item_id) for own, item, row in trials if kind in (own, "all")]
            recall = sum(pair in found for pair in mine) / max(1, len(mine))
            result[name][kind] = (round(recall, 4), round(len(false[kind]) / len(held), 4))
    return result


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print the curve.

    Args:
        size_mb: Thousands of rows, 20 by default.
    """
    items, rows, what = exam_and_rows((size_mb or ROWS // 1_000) * 1_000)
    found = curve(rows, items)
    print(f"{PLANTED} items and {UNRELATED:,} unrelated ones, {len(rows):,} rows; {what}.")
    print(f"{'recall, false items':<50}" + "".join(f"{name:>15}" for name in found))
    for kind in (*KINDS, "all"):
        cells = (found[name][kind] for name in found)
        print(f"{kind:<50}" + "".join(f"{recall:>8.3f} {false:>6.3f}" for recall, false in cells))
    own = found["ours"]
    return {
        "bench": "contamination",
        "rows": len(rows),
        "ratios": {kind: own[kind][0] for kind in KINDS}
        | {"false items": own["all"][1]}
        | {
            f"{name}: {what}": found[name]["all"][place]
            for name in found
            if name != "ours"
            for place, what in enumerate(("recall of all kinds", "false items"))
        },
        "targets": TARGETS,
        "limits": {"false items": FALSE},
        "input_text": f"{PLANTED} items planted in {len(KINDS)} kinds of edit and {UNRELATED:,} "
        f"unrelated ones, {len(rows):,} rows: {what}.",
        "curve": found,
        "measured": {},
    }


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
