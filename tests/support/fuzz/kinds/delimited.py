"""CSV against the strict reader of the standard library: the same rows, or an error there too."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

from support.fuzz.mutate import encodable, mutant, odd_text
from support.fuzz.rows import check_item, write_input

from meadow.errors import FileError, UpstreamChangedError
from meadow.readers.delimited import MAX_FIELD, read_file
from meadow.samples import FOLDER
from meadow.schema import Raw, Reject, has_lone_surrogate
from meadow.source import Input

MAGIC = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")
TOKENS = (
    *(b'"', b'""', b'"""', b",", b",,", b"\n", b"\r", b"\r\n", b"\n\n", b"\x00", b"\xff"),
    *(b"\xc3\xa9", b'","', b'"\n"', b'a"b', b'" ', b"\xef\xbb\xbf", b"\t", b";", b"NA"),
    *(b"\xe2\x80\xa8", b"\x0b", b"\x1c", b"\x85", b"\xc2\x85", b"\xed\xa0\x80", b"'" * 3),
    b"x" * 140_000,
)
SEEDS = [
    *(path.read_bytes() for path in sorted(FOLDER.glob("*/*.csv"))),
    b'a,b,c\n1,"two\nlines",3\r\n"q ""x""",,\n',
    b"\xef\xbb\xbfa,b\n\n1,2\n",
]


def make(index: int) -> bytes:
    """A mutant of a sample, or of a table of odd texts that the strict writer wrote."""
    chance = random.Random(f"delimited {index}")
    if index % 2:
        return mutant(chance, chance.choice(SEEDS), TOKENS)
    width = chance.randint(1, 5)
    written = io.StringIO()
    end = chance.choice(("\n", "\r\n", "\r"))
    quoting = chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    table = csv.writer(written, lineterminator=end, quoting=quoting)
    table.writerow([f"c{i}" for i in range(width)])
    for _ in range(chance.randint(0, 12)):
        table.writerow([encodable(odd_text(chance)) for _ in range(width)])
    data = written.getvalue().encode()
    return mutant(chance, data, TOKENS, most=3) if index % 4 else data


def check(data: bytes, folder: Path) -> str:
    """With a header and without one: rows, rejects and errors are those of the strict reader."""
    if data in (b"\xef", b"\xef\xbb") or data.startswith(MAGIC):
        return "passed over"  # half a byte order mark and nothing else; or a packed file
    item = write_input(folder, "table.csv", data)
    _compare(item, data, None)
    return _compare(item, data, ("a", "b", "c"))


def _compare(item: Input, data: bytes, columns: tuple[str, ...] | None) -> str:
    rows, broken = reference(data)
    got: list[Raw | Reject] = []
    error: FileError | UpstreamChangedError | None = None
    try:
        got.extend(read_file(item, columns, ()))
    except (FileError, UpstreamChangedError) as fault:
        error = fault
    names = list(columns) if columns is not None else (rows.pop(0) if rows else None)
    if names is not None and len(set(names)) != len(names):
        assert isinstance(error, UpstreamChangedError)
        return "refused"
    wanted = [row for row in rows if row]
    assert (error is not None) == (broken or names is None), (error, broken)
    assert len(got) == len(wanted), f"{len(wanted)} rows in, {len(got)} out"
    rejects = 0
    for row, found in zip(wanted, got, strict=True):
        # a spreadsheet's empty columns behind the last one are none
        while len(row) > len(names or ()) and not row[-1]:
            row.pop()
        if len(row) != len(names or ()) or has_lone_surrogate(",".join(row)):
            assert isinstance(found, Reject), (row, found)
            check_item(found)
            rejects += 1
        else:
            assert not isinstance(found, Reject), (row, found)
            assert [found[name] for name in names or ()] == row
    return "refused" if error else "rejects" if rejects else "rows"


def reference(data: bytes) -> tuple[list[list[str]], bool]:
    """What the strict reader reads, and whether it breaks."""
    csv.field_size_limit(MAX_FIELD)
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            rows.append(row)
    except csv.Error:
        return rows, True
    return rows, False
