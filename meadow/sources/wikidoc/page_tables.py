"""Tables of wiki pages made rectangular, so that they can be written as Markdown.

A cell that spans rows is repeated in each of them, so that every row can be read by itself; a cell
that spans columns is followed by empty ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MAX_COLUMNS = 100
MAX_ROW_SPAN = 500


class Cell(NamedTuple):
    """A cell as its page has it: its inner HTML and how many columns and rows it covers."""

    html: str
    header: bool = False
    columns: int = 1
    rows: int = 1


def rectangular(rows: Iterable[Iterable[Cell]]) -> str:
    """The HTML of a table whose rows are all equally long; "" without any text."""
    grid: list[list[Cell]] = []
    spans: dict[int, tuple[Cell, int]] = {}
    for row in rows:
        line: list[Cell] = []
        for cell in row:
            _carry(line, spans)
            for offset in range(max(1, min(cell.columns, MAX_COLUMNS - len(line)))):
                here = cell if offset == 0 else Cell("", cell.header)
                if cell.rows > 1:
                    spans[len(line)] = (here, min(cell.rows, MAX_ROW_SPAN) - 1)
                line.append(here)
            if len(line) >= MAX_COLUMNS:
                break
        _carry(line, spans)
        if any(cell.html.strip() for cell in line):
            grid.append(line)
    width = max((len(line) for line in grid), default=0)
    body = []
    for line in grid:
        cells = [*line, *[Cell("")] * (width - len(line))]
        names = ["th" if cell.header else "td" for cell in cells]
        body.append(
            "".join(
                f"<{name}>{cell.html}</{name}>" for name, cell in zip(names, cells, strict=True)
            )
        )
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in body) + "</table>" if body else ""


def _carry(line: list[Cell], spans: dict[int, tuple[Cell, int]]) -> None:
    """Repeat the cells that reach down from the rows above."""
    while (found := spans.get(len(line))) is not None:
        cell, left = found
        if left == 1:
            del spans[len(line)]
        else:
            spans[len(line)] = (cell, left - 1)
        line.append(cell)
