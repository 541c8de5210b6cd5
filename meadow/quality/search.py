"""Full-text search over a corpus on disk: what the local browse page asks its server.

The page without a server finds the same rows by scanning; a test compares the two.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from meadow.corpus.folder import Corpus
from meadow.corpus.shards import read_parquet
from meadow.errors import UsageError

TEXTS = ("instruction", "input", "output")
COLUMNS = ["id", *TEXTS, "task", "license", "source"]
MOST_ROWS = 20_000
"""Row numbers in one answer; the total is always exact."""
CONTAMINATION = "contamination.parquet"
_TERM = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; None means any.

    Args:
        q: Words, and phrases in quotation marks: each must stand in one of the texts.
        task: A task.
        license: A licence key.
        origin: The source of a row, where a mix holds several.
        contamination: "any", "none", "options", "stem" or "stem+answer".
        min: Least characters of the answer.
        max: Most characters of the answer.
    """

    q: str | None = None
    task: str | None = None
    license: str | None = None
    origin: str | None = None
    contamination: str | None = None
    min: int | None = None
    max: int | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Query:
        """Read a query string.

        Raises:
            UsageError: A length is not a number.
        """
        given: dict[str, Any] = {
            name: parameters[name] for name in cls.__slots__ if parameters.get(name)
        }
        for name in given.keys() & {"min", "max"}:
            if not re.fullmatch(r"[0-9]{1,12}", given[name]):
                raise UsageError(f"{name} is not a number of characters: {given[name][:40]!r}")
            given[name] = int(given[name])
        return cls(**given)


def terms(text: str) -> list[str]:
    """The words of a search; a phrase in quotation marks is one term."""
    found = [phrase or word.replace('"', "") for phrase, word in _TERM.findall(text)]
    return [term.strip() for term in found if term.strip()]


class Search:
    """Searches one corpus; a split's texts are read once and kept."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._frames: dict[tuple[str, str], pl.DataFrame] = {}
        self._lock = threading.Lock()

    def rows(self, source: str, split: str, query: Query) -> tuple[list[int], int]:
        """The numbers of the rows that pass, in order (the first 20,000), and how many pass.

        Raises:
            UsageError: There is no such source or split.
        """
        frame = self._frame(source, split).with_row_index("row")
        hits = frame.filter(self._mask(query))["row"]
        return hits.head(MOST_ROWS).to_list(), len(hits)

    def _frame(self, source: str, split: str) -> pl.DataFrame:
        with self._lock:  # of several requests at once, one reads
            if (source, split) not in self._frames:
                self._frames[source, split] = self.corpus.to_polars(source, split, COLUMNS)
            return self._frames[source, split]

    def _mask(self, query: Query) -> pl.Expr:
        mask = pl.lit(value=True)
        for term in terms(query.q or ""):
            pattern = "(?i)" + pl.escape_regex(term)
            mask &= pl.any_horizontal(pl.col(TEXTS).str.contains(pattern))
        for column, value in (
            ("task", query.task),
            ("license", query.license),
            ("source", query.origin),
        ):
            if value is not None:
                mask &= pl.col(column) == value
        size = pl.col("output").str.len_chars()
        if query.min is not None:
            mask &= size >= query.min
        if query.max is not None:
            mask &= size <= query.max
        if query.contamination is not None:
            mask &= self._contaminated(query.contamination)
        return mask

    def _contaminated(self, level: str) -> pl.Expr:
        found = self._levels
        if level not in {"any", "none"}:
            found = found.filter(pl.col("level") == level)
        inside = pl.col("id").is_in(found["row_id"].unique().implode())
        return ~inside if level == "none" else inside

    @functools.cached_property
    def _levels(self) -> pl.DataFrame:
        """The findings of a mix; none for a corpus that was never compared with an exam."""
        if CONTAMINATION not in self.corpus.manifest.named():
            return pl.DataFrame(schema={"row_id": pl.String, "level": pl.String})
        path = self.corpus.folder / CONTAMINATION
        found = pl.DataFrame(read_parquet(path, ["row_id", "level"]))
        return found.filter(pl.col("level") != "none")
