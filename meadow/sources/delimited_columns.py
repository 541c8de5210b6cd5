"""CSV as columns: blocks of whole rows, parsed at once where that is certain to be the same.

`delimited.read_file` is the rule; here its rows come as Arrow columns, tens of times cheaper. A
block is parsed at once only where every quote, line break and carriage return in it stands as RFC
4180 has it: then each reader of the format finds the same rows (docs/adr/102 has the argument).
Whatever does not stand so, or does not parse, goes through the strict reader, row by row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from meadow.readers.archives import open_input
from meadow.readers.delimited import MAX_FIELD, read_file, read_lines
from meadow.schema import Raw, Reject
from meadow.source import Input

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BLOCK_BYTES = 8 * 1024**2
_ODD_BYTES = 64 * 1024
"""How much goes row by row behind an odd place; twice that where it is odd again."""
_FEW_ROWS = 64
_BOM = b"\xef\xbb\xbf"
_COMMA, _QUOTE, _LINE_FEED, _RETURN = b',"\n\r'


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows as columns.

    Args:
        table: The wanted columns, text without nulls.
        lines: Per row the number of its first line in the file.
    """

    table: pa.Table
    lines: NDArray[np.int64]


def read_columns(
    item: Input,
    wanted: Sequence[str],
    required: Sequence[str],
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Columns | Raw | Reject]:
    """The rows of a file with a header, as `read_file` gives them, in the same order.

    Args:
        item: The file.
        wanted: The columns to parse; those that the file lacks are left out.
        required: The columns that must be there.
        block_bytes: How much is parsed at once; memory grows with it.

    Raises:
        FileError, UpstreamChangedError: As `read_file`.
    """
    with open_input(item) as stream:
        window = _Window(stream, block_bytes)
        header = csv.reader(window.lines(), strict=True)
        try:
            names = next(header, [])
        except csv.Error:
            names = []
        if len(set(names)) == len(names) and not set(required) - set(names):
            yield from _read_rows(window, _Parser(item.label, names, wanted, required))
            return
    yield from read_file(item, None, required)  # which says what is wrong with the header


def _read_rows(window: _Window, parser: _Parser) -> Iterator[Columns | Raw | Reject]:
    odd_bytes = _ODD_BYTES
    while window.fill():
        plain = find_rows(window.data, window.ended)
        if plain.end:
            yield from parser.parse(memoryview(window.data)[: plain.end], plain, window.line)
            window.take(plain.end, plain.breaks)
            odd_bytes = _ODD_BYTES
        elif not plain.odd and len(window.data) < MAX_FIELD:
            window.grow()
        else:
            until = window.taken + odd_bytes
            for row in parser.read(window.lines(), window.line):
                yield row
                if window.taken >= until:
                    break
            odd_bytes *= 2


class _Window:
    """What is at hand of a stream: it grows at its end and is taken from its beginning.

    `line` is the number of the line with which it begins, `taken` the bytes before it.
    """

    def __init__(self, stream: IO[bytes], block_bytes: int) -> None:
        self._stream = stream
        self._block_bytes = block_bytes
        self._at = 0
        self.data = b""
        self.ended = False
        self.taken = 0
        self.line = 1
        self.fill()
        if self.data.startswith(_BOM):
            self.take(len(_BOM), 0)

    def grow(self) -> None:
        """Another block behind what is there."""
        more = self._stream.read(self._block_bytes)
        self.ended = not more
        self.data = self.data[self._at :] + more
        self._at = 0

    def fill(self) -> bool:
        """At least a block, where the stream has it; whether anything is there."""
        self.data = self.data[self._at :]
        self._at = 0
        while not self.ended and len(self.data) < self._block_bytes:
            self.grow()
        return bool(self.data)

    def take(self, size: int, lines: int) -> None:
        """Drop what is done."""
        self._at += size
        self.taken += size
        self.line += lines

    def lines(self) -> Iterator[str]:
        """Lines as a text file opened with newline="" has them, each taken as it is given."""
        while True:
            end = self.data.find(b"\n", self._at) + 1
            while not end and not self.ended:
                known = len(self.data) - self._at
                self.grow()
                end = self.data.find(b"\n", known) + 1
            text = self.data[self._at : end or len(self.data)].decode("utf-8", "surrogateescape")
            if not text:
                return
            for line in io.StringIO(text, newline=""):
                self.take(len(line.encode("utf-8", "surrogateescape")), 1)
                yield line


@dataclass(frozen=True, slots=True)
class PlainRows:
    """The rows at the beginning of some bytes that stand as RFC 4180 has them.

    Args:
        end: Where they end.
        breaks: The line feeds in them.
        ends: Per row where the next one begins.
        first_lines: Per row the line feeds before it.
        odd: Whether what follows is known not to stand so (else more bytes may tell).
    """

    end: int
    breaks: int
    ends: NDArray[np.int64]
    first_lines: NDArray[np.int64]
    odd: bool


def find_rows(data: bytes, ended: bool) -> PlainRows:
    """How far the rows of `data` stand as RFC 4180 has them, and where each begins.

    A quote must open a field, close it, or be doubled in one; a carriage return must stand before a
    line feed; there must be no NUL and no row of over 16 MiB. Whether a line feed ends a row is
    then told by the number of quotes before it.

    Args:
        data: What begins with a row.
        ended: Whether nothing follows; the last row then needs no line feed.
    """
    import numpy as np

    if ended and not data.endswith(b"\n"):
        data += b"\n"
    values = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(values == _QUOTE)
    breaks = np.flatnonzero(values == _LINE_FEED)
    odd = _first_odd(data, values, quotes, breaks, ended)
    closing = np.flatnonzero(np.searchsorted(quotes, breaks) % 2 == 0)
    ends = breaks[closing] + 1
    starts = np.concatenate(([0], ends[:-1]))
    if (long := np.flatnonzero(ends - starts > MAX_FIELD)).size:
        odd = min(odd, int(starts[long[0]]))
    count = int(np.searchsorted(ends, odd, side="right"))
    ends, closing = ends[:count], closing[:count]
    return PlainRows(
        end=int(ends[-1]) if count else 0,
        breaks=int(closing[-1]) + 1 if count else 0,
        ends=ends,
        first_lines=np.concatenate(([0], closing[:-1] + 1))[:count],
        odd=odd < len(data) or (ended and len(quotes) % 2 == 1),
    )


def _first_odd(
    data: bytes,
    values: NDArray[np.uint8],
    quotes: NDArray[np.int64],
    breaks: NDArray[np.int64],
    ended: bool,
) -> int:
    """Where the first byte stands that RFC 4180 does not have; the length where there is none."""
    import numpy as np

    places = [len(data)]
    opening, closing = quotes[::2], quotes[1::2]
    # before the first byte there is a line feed; a quote at the end may close
    before = values.take(opening - 1, mode="clip")
    if opening.size and opening[0] == 0:
        before[0] = _LINE_FEED
    behind = values.take(closing + 1, mode="clip")
    wrong = (before != _COMMA) & (before != _LINE_FEED) & (before != _QUOTE)
    places.extend(opening[wrong][:1].tolist())
    wrong = (behind != _COMMA) & (behind != _LINE_FEED) & (behind != _QUOTE) & (behind != _RETURN)
    places.extend(closing[wrong][:1].tolist())
    returns = np.count_nonzero(values == _RETURN)
    if returns != np.count_nonzero(values.take(breaks - 1, mode="clip") == _RETURN):
        found = np.flatnonzero(values == _RETURN)
        if not ended and found[-1] == len(data) - 1:
            found = found[:-1]  # its line feed may be the next byte
        places.extend(found[values[found + 1] != _LINE_FEED][:1].tolist())
    if (nul := data.find(b"\0")) >= 0:
        places.append(nul)
    return min(places)


class _Parser:
    """Rows of one file from bytes."""

    def __init__(
        self, label: str, names: list[str], wanted: Sequence[str], required: Sequence[str]
    ) -> None:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        self._label = label
        self._names = names
        self._required = required
        self._parse_options = arrow_csv.ParseOptions(newlines_in_values=True)
        self._convert_options = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=[name for name in wanted if name in names],
            strings_can_be_null=False,
            check_utf8=False,
        )

    def read(self, lines: Iterator[str], line: int) -> Iterator[Raw | Reject]:
        """Rows by the strict reader."""
        return read_lines(lines, self._label, self._names, self._required, start=line)

    def parse(
        self, data: memoryview, rows: PlainRows, line: int
    ) -> Iterator[Columns | Raw | Reject]:
        """The rows of `data`, which begins at line `line`; halved where they do not parse."""
        import numpy as np

        starts = np.concatenate(([0], rows.ends[:-1]))
        yield from self._parse(data, starts, rows.ends, rows.first_lines + line)

    def _parse(
        self,
        data: memoryview,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        lines: NDArray[np.int64],
    ) -> Iterator[Columns | Raw | Reject]:
        part = data[int(starts[0]) : int(ends[-1])]
        table = self._table(part)
        if table is not None:
            if table.num_rows != len(lines):
                # empty lines are no rows
                lines = lines[self._not_empty(data, starts, ends)]
            if table.num_rows == len(lines):
                if len(lines):
                    yield Columns(table, lines)
                return
        if len(lines) > _FEW_ROWS:
            half = len(lines) // 2
            yield from self._parse(data, starts[:half], ends[:half], lines[:half])
            yield from self._parse(data, starts[half:], ends[half:], lines[half:])
            return
        text = bytes(part).decode("utf-8", "surrogateescape")
        yield from self.read(iter(io.StringIO(text, newline="")), int(lines[0]))

    def _not_empty(
        self, data: memoryview, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        import numpy as np

        values = np.frombuffer(data, np.uint8)
        sizes = ends - starts
        text: NDArray[np.bool_] = (sizes > 2) | ((sizes == 2) & (values[starts] != _RETURN))
        return text

    def _table(self, part: memoryview) -> pa.Table | None:
        """The columns; None where a row is of another width or not UTF-8."""
        import numpy as np
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        if part[:3] == _BOM:
            return None  # only at the beginning of a file is it no text
        buffer = pa.py_buffer(part)
        try:
            # of all columns, not only of those wanted
            whole = pa.py_buffer(np.array([0, len(part)], np.int32))
            pa.StringArray.from_buffers(1, whole, buffer).validate(full=True)
            return arrow_csv.read_csv(
                buffer,
                read_options=arrow_csv.ReadOptions(
                    column_names=self._names, use_threads=False, block_size=len(part) + 1
                ),
                parse_options=self._parse_options,
                convert_options=self._convert_options,
            )
        except pa.ArrowInvalid:
            return None
