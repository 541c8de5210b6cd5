"""Full-text search over a corpus on disk: what the local browse page asks its server.

The page without a server finds the same rows by scanning; a test compares the two.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from meadow.cards.rows import PAIRS
from meadow.corpus.flags import FLAGS, TEXTS
from meadow.corpus.folder import CONTAMINATION, Corpus
from meadow.errors import UsageError
from meadow.schema import COLUMNS as RECORD_COLUMNS

COLUMNS = [name for name in RECORD_COLUMNS if name != "meta"]
EVERYWHERE = "*"
"""The name of all configs together, laid end to end in the manifest's order."""
ORDERS = ("relevance", "longest", "shortest")
MOST_ROWS = 20_000
"""Row numbers in one answer; the total is always exact."""
_FLAGS = {flag.name: flag for flag in FLAGS}
_TERM = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found.

    Args:
        rows: The numbers of the rows, in order, the first 20,000.
        total: How many there are.
        counts: Source -> how many of them are its own.
    """

    rows: list[int]
    total: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; None means any.

    Args:
        q: Words, and phrases in quotation marks: each must stand in one of the texts.
        task: A task.
        license: A licence key.
        origin: The source of a row, where a mix or all configs are searched.
        subset: A subset of a source.
        flag: A quality flag that is raised.
        rewritten: "yes" or "no": whether a model rewrote the row.
        contamination: "any", "none", "options", "stem" or "stem+answer".
        min: Least characters of the answer.
        max: Most characters of the answer.
        order: "relevance", "longest" or "shortest"; None: as the rows stand.
    """

    q: str | None = None
    task: str | None = None
    license: str | None = None
    origin: str | None = None
    subset: str | None = None
    flag: str | None = None
    rewritten: str | None = None
    contamination: str | None = None
    min: int | None = None
    max: int | None = None
    order: str | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Query:
        """Read a query string.

        Raises:
            UsageError: A length is not a number, or there is no such flag or order.
        """
        given: dict[str, Any] = {
            name: parameters[name] for name in cls.__slots__ if parameters.get(name)
        }
        for name in given.keys() & {"min", "max"}:
            if not re.fullmatch(r"[0-9]{1,12}", given[name]):
                raise UsageError(f"{name} is not a number of characters: {given[name][:40]!r}")
            given[name] = int(given[name])
        for name, known in (("flag", _FLAGS), ("order", ORDERS), ("rewritten", ("yes", "no"))):
            if name in given and given[name] not in known:
                raise UsageError(f"no {name} is called {given[name][:40]!r}")
        return cls(**given)


def terms(text: str) -> list[str]:
    """The words of a search; a phrase in quotation marks is one term."""
    found = [phrase or word.replace('"', "") for phrase, word in _TERM.findall(text)]
    return [term.strip() for term in found if term.strip()]


def _relevance(sought: list[str]) -> pl.Expr:
    """BM25 over the three texts (k1 1.2, b 0.75): often, and in a short row, is better.

    Every hit holds every term, so that a term's rarity is the same for all and drops out of the
    order; a term in the question counts twice.
    """
    length = pl.sum_horizontal(pl.col(TEXTS).str.len_chars())
    norm = 1.2 * (0.25 + 0.75 * length / length.mean())
    score = pl.lit(0.0)
    for term in sought:
        pattern = "(?i)" + pl.escape_regex(term)
        often = pl.sum_horizontal(pl.col(TEXTS).str.count_matches(pattern))
        often += pl.col("input").str.count_matches(pattern)
        score += often / (often + norm)
    return score


class Search:
    """Searches one corpus; a split's texts are read once and kept."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._frames: dict[tuple[str, str], pl.DataFrame] = {}
        self._lock = threading.Lock()

    def rows(self, source: str, split: str, query: Query) -> Hits:
        """The rows that pass.

        Raises:
            UsageError: There is no such source or split.
        """
        frame = self._frame(source, split).with_row_index("row")
        hits = frame.filter(self._mask(query))
        if query.order == "relevance" and (sought := terms(query.q or "")):
            hits = hits.with_columns(rank=-_relevance(sought))
        elif query.order in {"longest", "shortest"}:
            size = pl.col("output").str.len_chars().cast(pl.Int64)
            hits = hits.with_columns(rank=-size if query.order == "longest" else size)
        if "rank" in hits.columns:
            hits = hits.sort("rank", "row")
        counts = hits["source"].value_counts(sort=True)
        return Hits(hits["row"].head(MOST_ROWS).to_list(), len(hits), dict(counts.iter_rows()))

    def _frame(self, source: str, split: str) -> pl.DataFrame:
        with self._lock:  # of several requests at once, one reads
            if (source, split) not in self._frames:
                if source == EVERYWHERE:
                    configs = [name for name in self.corpus.configs if name != PAIRS]
                    parts = [self.corpus.to_polars(name, columns=COLUMNS) for name in configs]
                    self._frames[source, split] = pl.concat(parts)
                else:
                    self._frames[source, split] = self.corpus.to_polars(source, split, COLUMNS)
            return self._frames[source, split]

    def _mask(self, query: Query) -> pl.Expr:
        size = pl.col("output").str.len_chars()
        tests: dict[str, Callable[[Any], pl.Expr]] = {
            "task": lambda name: pl.col("task") == name,
            "license": lambda name: pl.col("license") == name,
            "origin": lambda name: pl.col("source") == name,
            "subset": lambda name: pl.col("subset") == name,
            "rewritten": lambda said: pl.col("rephrased_by").is_not_null() == (said == "yes"),
            "flag": lambda name: _FLAGS[name].raised().fill_null(value=False),
            "min": lambda least: size >= least,
            "max": lambda most: size <= most,
            "contamination": self._contaminated,
        }
        mask = pl.lit(value=True)
        for term in terms(query.q or ""):
            pattern = "(?i)" + pl.escape_regex(term)
            mask &= pl.any_horizontal(pl.col(TEXTS).str.contains(pattern))
        for name, test in tests.items():
            if (asked := getattr(query, name)) is not None:
                mask &= test(asked)
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
        found = self.corpus.contamination().select("row_id", "level")
        return found.filter(pl.col("level") != "none")
