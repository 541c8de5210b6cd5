"""Rows that came as columns, held to the same rules: only those that need a second look get one.

What a clean text cannot hold is asked of whole columns; a row that might be changed, refused or
taken down goes through `admission` alone and is put back in its place.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from meadow.build.transform import Admission, Rules, decide, to_arrow
from meadow.schema import Block, Record, Reject, Style, from_row
from meadow.text.clean import MAX_CHARACTERS, is_free_text

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_TEXTS = ("instruction", "input", "output")
_ASKED = ("id", *_TEXTS, "source", "source_id", "url")
_SUSPECT = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\x{ad}\x{180e}\x{200b}\x{200e}\x{200f}\x{2028}-\x{202e}"
    r"\x{2060}-\x{2064}\x{2066}-\x{2069}\x{feff}"
    r"\x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]"
    r"|[ \t]\n|\n\n\n|\A[ \t\n]|[ \t\n]\z|\?\?|[ÃÂ\x{fffd}]|â€|ï»¿"
)
"""What the cleaner may change or flag, as polars says it."""


def admit_block(block: Block, rules: Rules, most: int | None = None) -> Admission:
    """Decide on the rows of a block as `admission.admit` would on each.

    Args:
        block: As a reader gives it.
        rules: What the rows are held to.
        most: Only so many candidates; None for all.
    """
    rows, rejects, places = _first(block, most)
    odd = _odd_rows(rows, rules)
    if odd.any():
        rows, refused = _look_again(rows, odd, rules)
        for row, item in refused.items():
            rejects[int(places[row])] = item
    return Admission.of(
        rows,
        rejects=[rejects[place] for place in sorted(rejects)],
        facts=Counter(),
        ids=rows["id"].to_pylist(),
        texts=zip(*(rows[name].to_pylist() for name in _TEXTS), strict=True),
        upstream_ids=rows["source_id"].to_pylist(),
    )


def _first(
    block: Block, most: int | None
) -> tuple[pa.RecordBatch, dict[int, Reject], NDArray[np.int64]]:
    """The rows, the rejects by their places among all candidates, and the places of the rows."""
    import numpy as np

    rows = block.rows
    # a reject stands behind so many rows and so many rejects
    rejects = {
        rows_before + index: item
        for index, (rows_before, item) in enumerate(zip(block.places, block.rejects, strict=True))
    }
    if most is not None and most < rows.num_rows + len(rejects):
        rejects = {place: item for place, item in rejects.items() if place < most}
        rows = rows.slice(0, most - len(rejects))
    free = np.ones(rows.num_rows + len(rejects), np.bool_)
    free[list(rejects)] = False
    return rows, rejects, np.flatnonzero(free)


def _odd_rows(rows: pa.RecordBatch, rules: Rules) -> NDArray[np.bool_]:
    """The rows that a rule may change or refuse."""
    import numpy as np
    import polars as pl

    frame = pl.DataFrame(pl.from_arrow(rows.select(_ASKED)))
    odd = np.zeros(len(frame), np.bool_)
    if rules.exclude:
        named = sorted(rules.exclude)
        column = pl.concat_str("source", pl.lit(":"), pl.col("source_id"))
        found = pl.any_horizontal(
            *(pl.col(name).is_in(named) for name in ("id", "source_id", "url")),
            column.is_in(named),
        )
        odd |= frame.select(found.fill_null(False)).to_series().to_numpy()
    if is_free_text(rules.source):
        return np.ones(len(frame), np.bool_)
    blank = {name: frame[name].str.strip_chars() == "" for name in _TEXTS}
    odd |= (blank["output"] | (blank["input"] & blank["instruction"])).to_numpy()
    if rules.options.style is Style.PUBLISHED_2023:
        return odd
    for name in _TEXTS:
        texts = frame[name]
        if texts.n_unique() == 1:
            texts = texts.head(1)  # an instruction, the same for all
        suspect = texts.str.contains(_SUSPECT) | (texts.str.len_bytes() > MAX_CHARACTERS)
        marks = suspect.to_numpy().copy()
        foreign = (~suspect & (texts.str.len_bytes() != texts.str.len_chars())).arg_true()
        composed = [
            not unicodedata.is_normalized("NFC", text) for text in texts.gather(foreign).to_list()
        ]
        marks[foreign.to_numpy()] = composed
        odd |= marks
    return odd


def _look_again(
    rows: pa.RecordBatch, odd: NDArray[np.bool_], rules: Rules
) -> tuple[pa.RecordBatch, dict[int, Reject]]:
    """The rows with the odd ones as they are after cleaning, and those that were refused."""
    import numpy as np
    import pyarrow as pa

    looked_at = np.flatnonzero(odd)
    found = rows.take(pa.array(looked_at))
    places = found["_where"].to_pylist()
    outcomes = decide([from_row(row) for row in found.to_pylist()], places, rules)
    kept = [index for index, item in enumerate(outcomes) if isinstance(item, Record)]
    others = to_arrow(
        [item for item in outcomes if isinstance(item, Record)], [places[index] for index in kept]
    )
    whole = np.flatnonzero(~odd)
    order = np.argsort(np.concatenate((whole, looked_at[kept])), kind="stable")
    table = pa.Table.from_batches([rows.take(pa.array(whole)), others])
    (batch,) = table.take(pa.array(order)).combine_chunks().to_batches() or (others,)
    refused = {
        int(row): item
        for row, item in zip(looked_at, outcomes, strict=True)
        if isinstance(item, Reject)
    }
    return batch, refused
