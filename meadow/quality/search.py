"""Full-text search over a corpus on disk: what the local browse page asks its server.

The page without a server finds the same rows by scanning; a test holds the two to each other.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meadow.corpus.folder import Corpus
from meadow.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

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

        def text(name: str) -> str | None:
            return parameters.get(name) or None

        def number(name: str) -> int | None:
            given = text(name)
            if given is not None and not re.fullmatch(r"[0-9]{1,12}", given):
                raise UsageError(f"{name} is not a number of characters: {given[:40]!r}")
            return None if given is None else int(given)

        return cls(
            q=text("q"),
            task=text("task"),
            license=text("license"),
            origin=text("origin"),
            contamination=text("contamination"),
            min=number("min"),
            max=number("max"),
        )


def terms(text: str) -> list[str]:
    """The words of a search; a phrase in quotation marks is one term."""
    found = [phrase or word.replace('"', "") for phrase, word in _TERM.findall(text)]
    return [term.strip() for term in found if term.strip()]


class Search:
    """Searches one corpus; a split's texts are read once and kept."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._frames: dict[tuple[str, str], pl.DataFrame] = {}
        self._levels: pl.DataFrame | None = None
        self._lock = threading.Lock()

    def rows(self, source: str, split: str, query: Query) -> tuple[list[int], int]:
        """The numbers of the rows that pass, in order (the first 20,000), and how many pass.

        Raises:
            UsageError: There is no such source or split.
        """
        frame = self._frame(source, split)
        mask = self._mask(query)
        hits = frame.with_row_index("row").filter(mask)["row"]
        return hits.head(MOST_ROWS).to_list(), len(hits)

    def _frame(self, source: str, split: str) -> pl.DataFrame:
        import polars as pl

        with self._lock:
            if (source, split) not in self._frames:
                table = self.corpus.to_arrow(source, split, COLUMNS)
                frame = pl.from_arrow(table)
                assert isinstance(frame, pl.DataFrame)
                self._frames[source, split] = frame
            return self._frames[source, split]

    def _mask(self, query: Query) -> pl.Expr:
        import polars as pl

        mask = pl.lit(value=True)
        for term in terms(query.q or ""):
            pattern = "(?i)" + pl.escape_regex(term)
            mask &= pl.any_horizontal(pl.col(name).str.contains(pattern) for name in TEXTS)
        for column, value in (
            ("task", query.task),
            ("license", query.license),
            ("source", query.origin),
        ):
            if value is not None:
                mask &= pl.col(column) == value
        if query.min is not None:
            mask &= pl.col("output").str.len_chars() >= query.min
        if query.max is not None:
            mask &= pl.col("output").str.len_chars() <= query.max
        if query.contamination is not None:
            mask &= self._contaminated(query.contamination)
        return mask

    def _contaminated(self, level: str) -> pl.Expr:
        import polars as pl

        if self._levels is None:
            path = self.corpus.folder / CONTAMINATION
            named = CONTAMINATION in self.corpus.manifest.named()
            empty = pl.DataFrame(schema={"row_id": pl.String, "level": pl.String})
            self._levels = (
                pl.read_parquet(path, columns=["row_id", "level"]) if named else empty
            ).filter(pl.col("level") != "none")
        found = self._levels
        if level in ("any", "none"):
            inside = pl.col("id").is_in(found["row_id"].unique().implode())
            return ~inside if level == "none" else inside
        ids = found.filter(pl.col("level") == level)["row_id"].unique()
        return pl.col("id").is_in(ids.implode())
