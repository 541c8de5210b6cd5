"""Cut a large file into ranges of bytes that begin and end where a line ends, or a CSV row.

Each range is looked at by itself, wherever there is a free core: how many lines and quotation marks
it has, and where its first line ends, in a quoted field and outside. Added up, that gives the
border and the number of the first line of every range. A CSV file may hold quotation marks that
open nothing; whoever reads a range therefore ends where a row ends, or the cut was wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from meadow.atomic import replacing
from meadow.readers.archives import damage_is_an_error, is_packed, open_input
from meadow.source import Cutting, Input


class Span(NamedTuple):
    """A range of bytes of a file, and the number of its first line, counted from 1."""

    start: int
    end: int
    line: int


def line_spans(path: Path, size: int | None) -> list[Span]:
    """Ranges of about `size` bytes (None: one) that begin where a line does, for who counts lines.

    The number of the first line is 1 in each of them: nobody looked at what stands between.
    """
    with damage_is_an_error(path), path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        step = size or max(end, 1)
        borders = {0, end}
        for at in range(step, end, step):
            file.seek(at - 1)
            while line := file.readline(1 << 16):
                if line.endswith(b"\n"):
                    break
            borders.add(file.tell())
    return [Span(start, end, 1) for start, end in pairwise(sorted(borders))] or [Span(0, 0, 1)]


class _Look(NamedTuple):
    """What a range holds: lines, quotation marks, and where its first row may begin.

    `first` has two answers, for a range that begins outside a quoted field and inside one: the
    place, with the lines up to there; None: nowhere.
    """

    lines: int
    quotes: int
    first: tuple[tuple[int, int] | None, tuple[int, int] | None]


def plain_file(item: Input, cutting: Cutting) -> Path:
    """The input as a file that can be read at any place: itself, or unpacked into the folder."""
    if not is_packed(item):
        return item.path
    name = hashlib.sha256(f"{item.label}\0{item.member}".encode()).hexdigest()[:16]
    path = cutting.folder / f"{name}.unpacked"
    if not path.exists():
        next(cutting.apply(partial(_unpack, path), [item]))
    return path


def _unpack(path: Path, item: Input) -> None:
    with open_input(item) as file, replacing(path) as temporary, temporary.open("wb") as target:
        shutil.copyfileobj(file, target, 1 << 20)


def spans(path: Path, cutting: Cutting, *, csv: bool = False) -> list[Span]:
    """Ranges of about `cutting.size` bytes that cover the file.

    Args:
        path: A file that is not packed.
        cutting: The size, and who looks.
        csv: Whether a line that ends in a quoted field ends no row, and CR ends lines too.
    """
    size = path.stat().st_size
    step = cutting.size or max(size, 1)
    starts = range(0, size, step)
    if len(starts) <= 1:
        return [Span(0, size, 1)]
    ranges = [(start, min(start + step, size)) for start in starts]
    found = [Span(0, size, 1)]
    lines = quotes = 0
    looks = cutting.apply(partial(_look, path, csv=csv), ranges)
    for (start, _), look in zip(ranges, looks, strict=True):
        # an odd number of marks before it: the range begins in a quoted field
        border = look.first[quotes % 2]
        if start and border is not None and start + border[0] < size:
            at = start + border[0]
            found[-1:] = [found[-1]._replace(end=at), Span(at, size, lines + border[1] + 1)]
        lines, quotes = lines + look.lines, quotes + look.quotes
    return found


def _look(path: Path, borders: tuple[int, int], *, csv: bool) -> _Look:
    start, end = borders
    with damage_is_an_error(path), path.open("rb") as file:
        # one byte more, since a CR LF may stand across the border
        file.seek(max(start - 1, 0))
        before = file.read(1) if start else b""
        data = file.read(end - start)
    first: list[tuple[int, int] | None] = [None, None]
    quotes = at = 0
    # whether it begins in a quoted field is known when all ranges were looked at: answer both
    while (end := data.find(b"\n", at) + 1) and None in first:
        quotes += data.count(b'"', at, end) if csv else 0
        at = end
        if first[quotes % 2] is None:
            first[quotes % 2] = at, _ends(data[:at], before, csv)
        if not csv:
            break
    quotes = _count(data, b'"') if csv else 0
    return _Look(_ends(data, before, csv), quotes, (first[0], first[1]))


def _ends(data: bytes, before: bytes, csv: bool) -> int:
    """How many lines end in these bytes; CR LF ends one, also where a range begins between."""
    count = _count(data, b"\n")
    if csv and (b"\r" in data or before == b"\r"):
        count += data.count(b"\r") - data.count(b"\r\n")
        count -= before == b"\r" and data.startswith(b"\n")
    return count


def _count(data: bytes, mark: bytes) -> int:
    """`data.count(mark)` of one byte, which stops at each of them, for a third of its price."""
    import numpy as np

    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == mark[0]))


@contextlib.contextmanager
def open_span(path: Path, span: Span) -> Iterator[io.BufferedReader]:
    """The bytes of a range, as a file of their own."""
    with damage_is_an_error(path):
        file = path.open("rb")
    with file:
        file.seek(span.start)
        yield io.BufferedReader(_Window(file, path, span.end - span.start), 1 << 20)


class _Window(io.RawIOBase):
    """The next bytes of a file, up to a number of them."""

    def __init__(self, file: BinaryIO, path: Path, left: int) -> None:
        self._file = file
        self._path = path
        self._left = left

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def readinto(self, buffer: object) -> int:
        """As much as there is before the end."""
        view = memoryview(buffer)[: self._left]  # type: ignore[arg-type]
        with damage_is_an_error(self._path):
            count = self._file.readinto(view)  # type: ignore[attr-defined]
        self._left -= count
        return int(count)
