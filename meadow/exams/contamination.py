"""Training rows held against exam items: does a mix hold the questions that it will be scored on?

Everything is compared by words (see `meadow.text.ngrams`), field by field: instruction, input,
output. Two shares say how much of an item's stem a field has: the *score*, of its word 8-grams, and
the *aligned* share, of its words in common runs of four words or more, in any order. Runs that more
than sixteen stems share, or that hold nothing but the frame of a question ("which of the following
is the most likely diagnosis"), tell nothing and do not count. The *level*:

- `stem`: a field equals the stem after normalisation, or the score is at least 0.2, or the aligned
  share at least 0.5, or a field is a near duplicate of the stem (Jaccard similarity of word 3-grams
  of at least 0.7); a stem of fewer than eight words, or one that is a mere frame, where a field has
  it together with every option (a short one also with the right answer in the output);
- `stem+answer`: besides, the output gives the right answer: its text, or its letter where the row
  lists the options;
- `options`: not the stem, but every option word for word, most of them of five words and more;
- `semantic`: none of it, but another wording (`meadow.exams.semantic`, only where it is asked for);
- `none`: less. Per item the row that came nearest is reported, if it came near at all.

Candidates are the pairs that share a few telling runs of four words; each is then looked at word by
word. A stem of which every fifth word was replaced keeps runs of four words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from meadow.corpus.folder import CONTAMINATION, Corpus
from meadow.errors import RefusedError
from meadow.exams.index import ItemTable
from meadow.exams.overlap import FOUND, Level, Verdict, judge
from meadow.text.ngrams import (
    Integers,
    Ragged,
    chunks,
    offsets_of,
    sorted_distinct,
    word_hashes,
    word_lists,
)

if TYPE_CHECKING:
    from meadow.exams.items import ExamItem

FIELDS = ("instruction", "input", "output")
COLUMNS = ("exam", "item_id", "row_id", "level", "score", "aligned", "matched")


def find_contamination(frame: pl.DataFrame, items: Sequence[ExamItem]) -> pl.DataFrame:
    """Compare every row with every item.

    >>> from meadow.samples import FOLDER
    >>> items = meadow.load_exam("demo_exam", [FOLDER / "exam"])
    >>> frame = meadow.open_corpus("corpus").to_polars()
    >>> found = meadow.find_contamination(frame, items)
    >>> found.columns[:4]
    ['exam', 'item_id', 'row_id', 'level']

    Args:
        frame: Columns id, instruction, input, output.
        items: Exam items, of several exams if need be.

    Returns:
        exam, item_id, row_id, level, score, aligned, matched: every pair that has a level, and for
        each item without one the row with the highest aligned share. `matched` names what matched:
        exact, 13-gram, 8-gram, near_duplicate, aligned, contained, options.
    """
    table = ItemTable.of(_unique(items))
    found: list[tuple[int, str, Verdict]] = []
    weaker: dict[int, tuple[str, Verdict]] = {}
    sizes = frame.select(pl.sum_horizontal(pl.col(*FIELDS).str.len_bytes())).to_series()
    for start, stop in chunks(sizes.to_numpy().astype(np.int64)) if table.items else ():
        part = frame.select("id", *FIELDS)[start:stop]
        for item, row_id, verdict in _judged(part, table):
            if verdict.level is not Level.NONE:
                found.append((item, row_id, verdict))
            elif verdict.aligned > (weaker[item][1].aligned if item in weaker else 0.0):
                weaker[item] = (row_id, verdict)
    flagged = {item for item, *_ in found}
    found += [(item, *pair) for item, pair in weaker.items() if item not in flagged]
    rows = [
        (table.items[item].exam, table.items[item].item_id, row_id, *verdict)
        for item, row_id, verdict in found
    ]
    schema = dict.fromkeys(COLUMNS, pl.String) | {"score": pl.Float64, "aligned": pl.Float64}
    result = pl.DataFrame(rows, schema=schema, orient="row")
    return result.sort("exam", "item_id", "row_id")


def summarise(contamination: pl.DataFrame, items: Sequence[ExamItem]) -> dict[str, dict[str, Any]]:
    """The verdict per exam, as a mix's manifest has it.

    Returns:
        exam -> items (their number), items_found and rows (number per level: options, stem and
        stem+answer, each item and row at its highest level), verdict.
    """
    summary = {}
    flagged = contamination.filter(pl.col("level") != Level.NONE.value)
    for exam, count in Counter(item.exam for item in _unique(items)).items():
        mine = flagged.filter(pl.col("exam") == exam)
        counts = {}
        for name, key in (("items_found", "item_id"), ("rows", "row_id")):
            levels = mine.group_by(key).agg(pl.col("level").max())["level"].to_list()
            counts[name] = {
                level: levels.count(level)
                for level in FOUND
                if level != Level.SEMANTIC or level in levels  # looked for only where asked
            }
        share = mine["item_id"].n_unique() / count
        verdict = "no item found" if not len(mine) else f"{share:.1%} of the items found"
        summary[exam] = {"items": count, **counts, "verdict": verdict}
    return summary


def rows_to_drop(contamination: pl.DataFrame, drop: str) -> pl.Series:
    """The ids of rows that `--drop stem` (every level) or `--drop stem+answer` removes."""
    levels = {"none": [], "stem": FOUND, "stem+answer": [Level.STEM_AND_ANSWER.value]}[drop]
    return contamination.filter(pl.col("level").is_in(levels))["row_id"].unique().sort()


def remaining(folder: Path) -> pl.DataFrame:
    """The contamination.parquet of a mix without the rows that are not in the mix.

    The file tells what was found before anything was dropped or sampled; what a checkpoint was
    trained on is this.
    """
    mix = Corpus.open(folder)
    ids = mix.to_polars(columns=["id"])
    return mix.contamination().join(ids, left_on="row_id", right_on="id", how="semi")


def check_contamination(corpus: Corpus, *, allow: bool) -> dict[str, Any]:
    """Refuse a mix that holds exam items.

    Returns:
        What the run manifest says: whether there is a record, the rows by exam and level, whether
        the refusal was overridden, and a warning.

    Raises:
        RefusedError: Rows match an exam's stem, and `allow` is not set.
    """
    record = corpus.manifest.details.get("contamination")
    if not isinstance(record, dict) or not record:
        return {
            "checked": False,
            "rows": {},
            "allowed": allow,
            "warning": "the mix has no contamination record: its exam scores prove little",
        }
    rows = _contaminated_rows(corpus, record)
    found = {"checked": True, "exams": sorted(record), "rows": rows, "allowed": allow}
    if rows:
        listed = "; ".join(
            f"{exam}: " + ", ".join(f"{n} rows ({level})" for level, n in levels.items())
            for exam, levels in rows.items()
        )
        if not allow:
            raise RefusedError(
                f"exam items are in the mix: {listed}",
                where=str(corpus.folder / CONTAMINATION),
                fix="mix again with the decontamination step, or pass --allow-contaminated "
                "(the run manifest will say so)",
            )
        found["warning"] = f"trained on exam items: {listed}"
    return found


def _contaminated_rows(corpus: Corpus, record: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Exam -> level -> rows of the mix that match one of the exam's items.

    The table of matches says which rows; those that the mix left out do not count. Without the
    table, the record's own counts stand.
    """
    if (corpus.folder / CONTAMINATION).is_file():
        matches = remaining(corpus.folder).select("exam", "row_id", "level").unique()
        counted = matches.group_by("exam", "level").len().rows()
    else:
        told = ((exam, facts.get("rows", {})) for exam, facts in record.items())
        counted = [(exam, level, n) for exam, rows in told for level, n in rows.items()]
    found: dict[str, dict[str, int]] = {}
    for exam, level, n in sorted(counted):
        if level in FOUND and n:
            found.setdefault(exam, {})[level] = n
    return found


def _unique(items: Sequence[ExamItem]) -> list[ExamItem]:
    return list({(item.exam, item.item_id): item for item in reversed(items)}.values())[::-1]


def _judged(part: pl.DataFrame, table: ItemTable) -> Iterator[tuple[int, str, Verdict]]:
    """The pairs of a chunk that have a level, and per item the best of the others."""
    words, layout = _take_apart(part)
    item, row, count = _shared(layout.to_rows(*table.runs.hits(words)), table.runs.postings)
    likely = count >= table.least[item]
    pairs = set(zip(item[likely].tolist(), row[likely].tolist(), strict=True))
    for index in (*table.wholes, *table.choices):
        others = _shared(layout.to_rows(*index.hits(words)), index.postings)
        pairs.update(zip(others[0].tolist(), others[1].tolist(), strict=True))
    near = np.flatnonzero(~likely & (2 * count >= table.least[item]))
    order = near[np.lexsort((row[near], -count[near] / table.least[item[near]], item[near]))]
    best = order[np.unique(item[order], return_index=True)[1]]
    pairs.update(zip(item[best].tolist(), row[best].tolist(), strict=True))
    ids = part["id"].to_list()
    fields = words_of(part, sorted({r for _, r in pairs}))
    for i, r in sorted(pairs):
        yield i, ids[r], judge(table.stem(i), fields[r])


def _take_apart(part: pl.DataFrame) -> tuple[Ragged, _Layout]:
    """The words of every field of a chunk.

    An instruction is usually the same for thousands of rows: each is taken apart once.
    """
    instructions = part["instruction"].unique(maintain_order=True)
    numbers = pl.DataFrame({"instruction": instructions}).with_row_index("number")
    numbered = part.select("instruction").join(
        numbers, on="instruction", how="left", maintain_order="left"
    )
    number = numbered["number"].to_numpy().astype(np.int64)
    order = np.argsort(number, kind="stable")
    users = Ragged(order.astype(np.uint64), offsets_of(np.bincount(number)))
    words = word_hashes(pl.concat([instructions, part["input"], part["output"]]))
    return words, _Layout(part.height, users)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which row a text of a chunk belongs to: instructions first, then inputs, then outputs.

    Args:
        rows: Rows of the chunk.
        users: The rows that have each instruction.
    """

    rows: int
    users: Ragged

    def to_rows(self, texts: Integers, keys: Integers) -> tuple[Integers, Integers]:
        """(text, key) pairs as distinct (row, key) pairs, in this order."""
        shared = len(self.users.offsets) - 1
        of_instruction = texts < shared
        users = self.users.take(texts[of_instruction])
        rows = np.append(
            users.values.astype(np.int64), (texts[~of_instruction] - shared) % self.rows
        )
        keys = np.append(np.repeat(keys[of_instruction], users.lengths), keys[~of_instruction])
        packed = sorted_distinct((rows << 32) | keys)
        return packed >> 32, packed & 0xFFFFFFFF


def _shared(
    hits: tuple[Integers, Integers], postings: Ragged
) -> tuple[Integers, Integers, Integers]:
    """Item, row and number of common n-grams, for every pair that has one.

    Args:
        hits: Row and n-gram of each hit, distinct.
        postings: n-gram -> items.
    """
    rows, keys = hits
    owners = postings.take(keys)
    scale = int(rows.max()) + 1 if len(rows) else 1
    packed = owners.values.astype(np.int64) * scale + np.repeat(rows, owners.lengths)
    pairs, counts = np.unique(packed, return_counts=True)
    return pairs // scale, pairs % scale, counts


def words_of(part: pl.DataFrame, rows: list[int]) -> dict[int, list[list[str]]]:
    """Row -> the words of its fields."""
    columns = [word_lists(part[name][rows]).to_list() for name in FIELDS]
    return {row: [column[i] for column in columns] for i, row in enumerate(rows)}
