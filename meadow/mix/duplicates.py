"""Exact and near duplicates: verified pairs only, and a keep rule that anyone can repeat.

Two rows are compared by one text: the question (`input`, or `instruction` where the input is
blank), a line break, and `output`. They are *exact* duplicates when the words of that text are the
same (see `meadow.text.ngrams`: case, white space and punctuation do not count), and *near*
duplicates when the Jaccard similarity of their sets of word 3-grams is at least the threshold
(0.7). An instruction that stands beside an input is the same for a whole source and is left out.
And they say the same: `meadow.mix.facts` holds questions and answers apart, since a corpus repeats
its form letters with another disease in each.

The keep rule: rows are taken in the order better licence, longer answer, smaller id; a row is
dropped when a row already kept is its duplicate. So every dropped row has a kept row whose
similarity was computed, no two kept rows are duplicates, and nothing is dropped because of a chain
(a like b, b like c) or of an unverified guess.

How pairs are found without comparing all of them is in `meadow.mix.similarity`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from meadow.licenses import LICENSES, License
from meadow.mix.facts import question_key, same_fact
from meadow.mix.similarity import Grams, Pairs, possible_rows, similar_pairs
from meadow.schema import THINKING
from meadow.text.ngrams import Hashes, Integers, Ragged, gather, mixed, word_lists

THRESHOLD = 0.7
SHINGLE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found.

    Args:
        dropped: One row per dropped row: kept_id, dropped_id, jaccard, kind ("exact" | "near"),
            question_jaccard and answer_jaccard (of words), and question and source of both.
        pairs: The ledger of verified near-duplicate pairs between distinct texts: left_id,
            right_id, jaccard.
        clusters: Every row that has a duplicate: cluster (the smallest id in it), id, kept.
        crowded: Rows with a 3-gram that thousands of rows of the same question have: pairs that
            share no rarer one were not looked at.
    """

    dropped: pl.DataFrame
    pairs: pl.DataFrame
    clusters: pl.DataFrame
    crowded: int = 0

    @property
    def dropped_ids(self) -> pl.Series:
        """The ids that do not stay."""
        return self.dropped["dropped_id"]


def comparison_text(frame: pl.DataFrame) -> pl.Series:
    """The text that rows are compared by: question, line break, output."""
    return pl.select(
        pl.concat_str(question_text(frame), frame["output"], separator="\n")
    ).to_series()


def question_text(frame: pl.DataFrame) -> pl.Series:
    """What a row asks: its input, or its instruction where that is blank."""
    blank = pl.col("input").str.strip_chars() == ""
    return frame.select(pl.when(blank).then("instruction").otherwise("input")).to_series()


def _answers(columns: pl.DataFrame) -> pl.DataFrame:
    """The rows without their reasoning: what two models thought makes no two of one answer."""
    if not columns["output"].str.starts_with(THINKING[0]).any():
        return columns
    return columns.with_columns(pl.col("output").str.replace(rf"(?s)\A{'.*?'.join(THINKING)}", ""))


def license_rank(license: License) -> int:
    """The order of licences in the keep rule: 0 is the freest."""
    if license.redistribute != "yes":
        return 9 if license.redistribute == "no" else 8
    return 4 * license.non_commercial + 2 * license.share_alike + license.attribution


def preference(frame: pl.DataFrame) -> Integers:
    """Row numbers, the one that is kept first in front: licence, longer answer, id."""
    ranks = {key: license_rank(license) for key, license in LICENSES.items()}
    order = frame.select(
        pl.col("license")
        .cast(pl.String)
        .replace_strict(ranks, default=9, return_dtype=pl.Int64)
        .alias("rank"),
        pl.col("output").str.len_chars().alias("length"),
        "id",
    ).with_row_index("row")
    sorted_rows = order.sort(["rank", "length", "id"], descending=[False, True, False])
    return sorted_rows["row"].to_numpy().astype(np.int64)


def find_duplicates(
    frame: pl.DataFrame,
    *,
    threshold: float = THRESHOLD,
    near: bool = True,
    facts: bool = True,
    held: pl.DataFrame | None = None,
) -> Duplicates:
    """Find the duplicates of a table and say which rows stay.

    >>> import polars
    >>> frame = meadow.open_corpus("corpus").to_polars()
    >>> twice = polars.concat([frame, frame.with_columns(polars.col("id").str.reverse())])
    >>> len(meadow.find_duplicates(twice).dropped_ids) >= len(frame)
    True

    Args:
        frame: Columns id, instruction, input, output, license; ids are unique.
        threshold: The least Jaccard similarity of a near duplicate.
        near: Whether near duplicates are looked for, or only equal texts.
        facts: Whether near duplicates have to say the same; else similarity is enough.
        held: Rows that somebody has already, in the same columns: they are kept before any other,
            and their ids stand behind "held:" in what is returned.
    """
    order = preference(frame)
    if held is not None and held.height:
        order = np.append(preference(held), order + held.height)
        held = held.select(pl.format("held:{}", "id").alias("id"), pl.exclude("id"))
        frame = pl.concat([held.select(frame.columns).cast(frame.schema), frame])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    columns = _answers(frame.select("instruction", "input", "output"))
    questions = question_text(columns)
    keys = {text: question_key(text) for text in questions.unique()} if near and facts else {}
    salts = [keys.get(text, 0) for text in questions] if keys else [0] * frame.height
    sizes = columns.select(pl.sum_horizontal(pl.all().str.len_bytes())).to_series()
    grams = Grams(
        lambda rows: comparison_text(columns[rows]),
        sizes.to_numpy().astype(np.int64),
        SHINGLE_WORDS,
        np.array(salts, np.uint64),
    )
    first_of, small = _scan(grams, rank, near=near)
    pairs = Pairs.none()
    unique_rows = np.flatnonzero(first_of == np.arange(len(first_of)))
    if near and len(unique_rows) > 1:
        possible = unique_rows[possible_rows(small.take(unique_rows), threshold)]
        del small
        pairs = similar_pairs(grams, possible, threshold)
    same = None
    if facts:

        def same(one: int, other: int) -> bool:
            rows = [(questions[row], columns["output"][row]) for row in (one, other)]
            return same_fact(rows[0], rows[1])

    return _decide(frame, first_of, pairs, rank, same)


def _scan(grams: Grams, rank: Integers, *, near: bool) -> tuple[Integers, Ragged]:
    """Go through the texts once.

    Returns:
        For each row the preferred row of the same words (itself, where it is that one), and 32 bits
        of every row's n-grams.
    """
    hashes: list[tuple[Hashes, Hashes]] = []
    held: list[Ragged] = []
    for rows, texts, words in grams.words_of(np.arange(len(rank))):
        hashes.append(_sequence_hashes(texts, words))
        if near:
            part = grams.sets(rows, words)
            held.append(Ragged((part.values >> np.uint64(18)).astype(np.uint32), part.offsets))
    groups = pl.DataFrame(
        {
            "low": np.concatenate([np.empty(0, np.uint64), *(low for low, _ in hashes)]),
            "high": np.concatenate([np.empty(0, np.uint64), *(high for _, high in hashes)]),
            "rank": rank,
            "row": np.arange(len(rank)),
        }
    )
    best = groups.select(pl.col("row").sort_by("rank").first().over("low", "high"))
    return best.to_series().to_numpy().astype(np.int64), gather(held)


def _sequence_hashes(texts: pl.Series, words: Ragged) -> tuple[Hashes, Hashes]:
    """Two hashes of the sequence of words of each text; of the text itself where it has no word."""
    position = np.arange(len(words.values)) - np.repeat(words.offsets[:-1], words.lengths)
    place = mixed(position.astype(np.uint64) + np.uint64(0x51ED270B))
    wordless = words.lengths == 0
    results = []
    for seed in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F):
        terms = mixed(words.values * np.uint64(seed) + place)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        total = sums[words.offsets[1:]] - sums[words.offsets[:-1]]
        own = texts.str.strip_chars().hash(seed & 0xFFFF).to_numpy()
        results.append(np.where(wordless, own, total))
    return results[0], results[1]


def _decide(
    frame: pl.DataFrame,
    first_of: Integers,
    found: Pairs,
    rank: Integers,
    same: Callable[[int, int], bool] | None,
) -> Duplicates:

    # An equal text goes where its preferred row goes.
    kept = found.greedy(rank, same)[first_of]
    rows = np.flatnonzero(kept != np.arange(len(kept)))
    value = dict(zip(zip(found.left.tolist(), found.right.tolist(), strict=True),
                     found.jaccard.tolist(), strict=True))  # fmt: skip
    ends = zip(first_of[rows].tolist(), kept[rows].tolist(), strict=True)
    jaccard = [1.0 if one == other else value[min(one, other), max(one, other)]
               for one, other in ends]  # fmt: skip
    kind = np.where(kept[rows] == first_of[rows], "exact", "near")
    ids = frame["id"]
    dropped = pl.DataFrame(
        {
            "kept_id": ids[kept[rows]],
            "dropped_id": ids[rows],
            "jaccard": pl.Series(jaccard, dtype=pl.Float64),
            "kind": pl.Series(kind.tolist(), dtype=pl.String),
            **_sides(frame, kept[rows], rows),
        }
    ).sort("kept_id", "dropped_id")
    dropped = dropped.filter(~pl.col("dropped_id").str.starts_with("held:"))
    pairs = pl.DataFrame(
        {"left_id": ids[found.left], "right_id": ids[found.right], "jaccard": found.jaccard}
    ).sort("left_id", "right_id")
    equal = np.flatnonzero(first_of != np.arange(len(first_of)))
    label = components(
        len(first_of),
        np.concatenate([found.left, equal]),
        np.concatenate([found.right, first_of[equal]]),
    )
    return Duplicates(dropped, pairs, _clusters(ids, label, kept), found.crowded)


def _sides(frame: pl.DataFrame, kept: Integers, dropped: Integers) -> dict[str, pl.Series]:
    """Per dropped row how similar question and answer are, by their words, and both sides' own."""
    sides: dict[str, pl.Series] = {}
    found = {}
    for name, rows in (("kept", kept), ("dropped", dropped)):
        part = frame[rows]
        found[name] = (question_text(part), part["output"])
        source = part["source"] if "source" in part.columns else pl.Series([""] * len(rows))
        sides |= {f"{name}_question": found[name][0], f"{name}_source": source.cast(pl.String)}
    similar = {}
    for place, name in enumerate(("question_jaccard", "answer_jaccard")):
        pair = pl.DataFrame(
            {side: word_lists(texts[place]) for side, texts in found.items()},
            schema=dict.fromkeys(found, pl.List(pl.String)),
        )
        both = pl.col("kept").list.set_intersection("dropped").list.len()
        either = pl.col("kept").list.set_union("dropped").list.len()
        value = pl.when(either == 0).then(1.0).otherwise(both / either)
        similar[name] = pair.select(value.alias(name)).to_series()
    return similar | sides


def _clusters(ids: pl.Series, label: Integers, kept: Integers) -> pl.DataFrame:

    rows = pl.DataFrame({"label": label, "id": ids, "kept": kept == np.arange(len(kept))})
    return (
        rows.filter(pl.len().over("label") > 1)
        .select(pl.col("id").min().over("label").alias("cluster"), "id", "kept")
        .sort("cluster", "id")
    )


def components(count: int, left: Integers, right: Integers) -> Integers:
    """For each of `count` nodes the smallest that edges, each from `left` to `right`, lead to."""
    label = np.arange(count)
    while True:
        lowest = np.minimum(label[left], label[right])
        before = label.copy()
        np.minimum.at(label, left, lowest)
        np.minimum.at(label, right, lowest)
        # The roots follow too, so that long chains close in few rounds.
        np.minimum.at(label, before[left], lowest)
        np.minimum.at(label, before[right], lowest)
        while True:
            jumped = label[label]
            if np.array_equal(jumped, label):
                break
            label = jumped
        if np.array_equal(before, label):
            return label
