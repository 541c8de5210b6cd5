"""CSV, JSON and Parquet: against the standard library's parse, row by row; damage is refused."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from support.corpora import write_corpus
from support.fuzz.engine import Kind, SilentDifferenceError
from support.fuzz.kinds.archives import MAGIC
from support.fuzz.mutate import encodable, mutant, mutate_value, odd_text, odd_value
from support.fuzz.rows import TEXT_TOKENS, check_item, collected, outcome, write_input

from meadow.api import open_corpus
from meadow.errors import FileError, MeadowError, UpstreamChangedError
from meadow.quality.check import check_corpus
from meadow.readers import delimited, json_rows
from meadow.readers.delimited import MAX_FIELD, read_file
from meadow.samples import FOLDER
from meadow.schema import Raw, Reject, from_row, has_lone_surrogate
from meadow.source import Input, Options
from meadow.sources import SOURCES

CSV_TOKENS = (
    *(b'"', b'""', b'"""', b",", b",,", b"\n", b"\r", b"\r\n", b"\n\n", b"\x00", b"\xff"),
    *(b"\xc3\xa9", b'","', b'"\n"', b'a"b', b'" ', b"\xef\xbb\xbf", b"\t", b";", b"NA"),
    *(b"\xe2\x80\xa8", b"\x0b", b"\x1c", b"\x85", b"\xc2\x85", b"\xed\xa0\x80", b"'" * 3),
    b"x" * 140_000,
)
CSV_SEEDS = [
    *(path.read_bytes() for path in sorted(FOLDER.glob("*/*.csv"))),
    b'a,b,c\n1,"two\nlines",3\r\n"q ""x""",,\n',
    b"\xef\xbb\xbfa,b\n\n1,2\n",
]


def make_csv(chance: random.Random, index: int) -> bytes:
    """A mutant of a sample, or of a table of odd texts that the strict writer wrote."""
    if index % 2:
        return mutant(chance, chance.choice(CSV_SEEDS), CSV_TOKENS)
    width = chance.randint(1, 5)
    written = io.StringIO()
    end = chance.choice(("\n", "\r\n", "\r"))
    quoting = chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    table = csv.writer(written, lineterminator=end, quoting=quoting)
    table.writerow([f"c{i}" for i in range(width)])
    for _ in range(chance.randint(0, 12)):
        table.writerow([encodable(odd_text(chance)) for _ in range(width)])
    data = written.getvalue().encode()
    return mutant(chance, data, CSV_TOKENS, most=3) if index % 4 else data


def check_csv(data: bytes, folder: Path) -> str:
    """With a header and without one: rows, rejects and errors are those of the strict reader."""
    if data in (b"\xef", b"\xef\xbb") or data.startswith(MAGIC):
        return "passed over"  # half a byte order mark and nothing else; or a packed file
    item = write_input(folder, "table.csv", data)
    _compare(item, data, None)
    with mock.patch.multiple(delimited, BLOCK=64, _LEAST_BLOCK=0):  # also told from its bytes
        _compare(item, data, None)
        return _compare(item, data, ("a", "b", "c"))


def _compare(item: Input, data: bytes, columns: tuple[str, ...] | None) -> str:
    rows, broken = _strictly(data)
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


def _strictly(data: bytes) -> tuple[list[list[str]], bool]:
    """What the standard library's strict reader reads, and whether it breaks."""
    csv.field_size_limit(MAX_FIELD)
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            rows.append(row)
    except csv.Error:
        return rows, True
    return rows, False


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


GOOD_LINES = [
    line
    for path in sorted(FOLDER.glob("*/*.jsonl"))
    for line in path.read_bytes().splitlines()
    if len(line) < 3000 and _is_object(line)
]
ODD_LINES = (
    *(b"", b" ", b"\t", b"[]", b"1", b'"a"', b"null", b"true", b"{}", b'{"a":1}{"b":2}'),
    *(b"{'a':1}", b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1,"a":2}', b'{"a":"\\ud800"}'),
    *(b'{"\\udfff":1}', b'{"a":"\\ud83d\\ude00"}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}'),
    *(b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":' + b"[" * 3000, b'{"a":' * 3000),
    *(b"\xef\xbb\xbf{}", b'{"a":"b\x0bc"}', b'{"a":"\\u0000"}', b'{"a":"\xe2\x80\xa8"}'),
    *(b'{"a":"x"}\r', b'\x85{"a":1}', b'{"_where":"elsewhere"}', b'{"a":"\x1c"}'),
    *(b'\x1c{"a":1}\x1d', b"\xc2\xa0{}", b'{"a":01}'),
    *(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":1.0e}', b'{"a":"\\x"}', b'{"a" 1}'),
)


def make_lines(chance: random.Random, index: int) -> bytes:
    """Twenty lines: good ones, mutants, odd values and the known odd ones."""
    lines = []
    for _ in range(20):
        good = chance.choice(GOOD_LINES)
        how = chance.random()
        if how < 0.4:
            line = good
        elif how < 0.6:
            line = mutant(chance, good, TEXT_TOKENS)
        elif how < 0.75:
            line = json.dumps(mutate_value(chance, json.loads(good))).encode()
        elif how < 0.85:
            line = encodable(json.dumps(odd_value(chance), ensure_ascii=False)).encode()
        else:
            line = chance.choice(ODD_LINES)
        lines.append(line.replace(b"\n", b" "))
    return b"\n".join(lines) + (b"\n" if chance.random() < 0.8 else b"")


def check_lines(data: bytes, folder: Path) -> str:
    """Each good line is kept as it is, each other one is a reject: RFC 8259, line by line."""
    item = write_input(folder, "lines.jsonl", data)
    found = list(json_rows.read_lines([item], Options()))
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    assert len(found) == len(expected), f"{len(expected)} lines in, {len(found)} rows out"
    rejects = 0
    for (number, line), row in zip(expected, found, strict=True):
        value = _value_of(line)
        where = row.where if isinstance(row, Reject) else row["_where"]
        assert where == f"lines.jsonl:{number}", (where, number)
        if isinstance(row, Reject):
            check_item(row)
            rejects += 1
            assert value is None, (line, row)
        else:
            assert value is not None, (line, row)
            assert _plain(row) == _plain(value), row
            json.dumps(dict(row), ensure_ascii=False).encode("utf-8")
    return "rejects" if rejects else "rows"


def _value_of(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None where it is no object that can be kept."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key that stands twice")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise ValueError(name)

    try:
        text = line.decode("utf-8").strip()
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError):
        return None
    lone = has_lone_surrogate(json.dumps(value, ensure_ascii=False))
    return value if isinstance(value, dict) and not lone else None


def _plain(value: Any) -> Any:
    """A row without its place."""
    return {k: v for k, v in value.items() if k != "_where"} if isinstance(value, dict) else None


ARRAYS = [path.read_bytes() for path in sorted(FOLDER.glob("*/*.json"))]


def make_array(chance: random.Random, index: int) -> bytes:
    """A mutant of a sample, or an array of good and odd rows."""
    if index % 2:
        rows = [chance.choice((b'{"a": "b"}', *ODD_LINES)) for _ in range(chance.randint(0, 6))]
        return b"[" + chance.choice((b",", b" ,\n ", b",\r\n")).join(rows) + b"]"
    return mutant(chance, chance.choice(ARRAYS), TEXT_TOKENS)


def check_array(data: bytes, folder: Path) -> str:
    """An array that parses whole gives its objects in order, and a reject for each other value."""
    json_rows.CHUNK = (5, 100, 1 << 20)[len(data) % 3]
    item = write_input(folder, "array.json", data)
    wanted = None
    try:
        whole = json.loads(data.decode("utf-8").removeprefix("\ufeff"))
        wanted = whole if isinstance(whole, list) else None
    except (ValueError, RecursionError):
        pass
    try:
        kept, rejects, _ = collected(json_rows.read_array([item], Options()))
    except FileError:
        assert wanted is None, data[:300]
        raise
    if wanted is not None:
        assert len(kept) + len(rejects) == len(wanted), f"{len(wanted)} in, {len(kept)} kept"
        values = iter(wanted)
        for row in kept:
            # in order: each is the next one of its value, whatever was rejected in between
            assert any(_plain(value) == _plain(row) for value in values), row
    return "rejects" if rejects else "rows"


PARQUET_TOKENS = (
    *(b"PAR1", b"PARE", b"\xff" * 8, b"\x00" * 8, b"\x15\x00\x15", b"\x7f\xff\xff\xff"),
    b"\x28\xb5\x2f\xfd",
)
SHARD = "data/medquad/train-00000-of-00001.parquet"


def parquet_mutant(chance: random.Random, seed: bytes, index: int) -> bytes:
    """A few flips, cuts and wrong numbers; half of them in the footer."""
    if index % 2:
        cut = chance.randrange(len(seed) // 3, len(seed) - 8)
        return seed[:cut] + mutant(chance, seed[cut:], PARQUET_TOKENS, most=2, binary=True)
    return mutant(chance, seed, PARQUET_TOKENS, most=2, binary=index % 4 != 0)


@cache
def original(folder: Path | None) -> tuple[bytes, list[dict[str, Any]]]:
    """A shard's bytes and rows, in a corpus below `folder`."""
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return original(Path(place))
    fixtures = FOLDER.parents[1] / "tests/fixtures/medquad/expected.jsonl"
    rows = [json.loads(line) for line in fixtures.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["meta"] = row["meta"] if isinstance(row["meta"], str) else json.dumps(row["meta"])
    corpus = write_corpus(folder / "corpus", [from_row(row) for row in rows])
    return (folder / "corpus" / SHARD).read_bytes(), corpus.to_arrow().to_pylist()


def check_shard(data: bytes, folder: Path) -> str:
    """The manifest's hash refuses it; without the hash it is read or refused, and never ends us."""
    content, rows = original(folder)
    place = folder / "corpus"
    (place / SHARD).write_bytes(data)
    if data == content:
        return "same"
    unhashed = "refused"
    with contextlib.suppress(MeadowError):
        unhashed = "same" if open_corpus(place).to_arrow().to_pylist() == rows else "different"
    try:
        open_corpus(place, verify=True)
    except MeadowError:
        pass
    else:
        raise SilentDifferenceError("open_corpus(verify=True) took a damaged shard")
    if not any(finding.kind == "changed_file" for finding in check_corpus(place)):
        raise SilentDifferenceError("meadow check took a damaged shard")
    return f"refused; without the manifest {unhashed}"


MESSAGE = {
    "message_id": "a", "parent_id": None, "text": "What is sepsis?", "role": "prompter",
    "lang": "en", "rank": None, "deleted": False, "review_result": True, "message_tree_id": "a",
    "synthetic": False,
}  # fmt: skip
REPLY = MESSAGE | {
    "message_id": "b", "parent_id": "a", "text": "A reaction to infection.", "role": "assistant",
    "rank": 0.0,
}  # fmt: skip
PREFERENCE = {
    "qid": 7, "question": "<p>Why?</p>", "date": "2020/01/02",
    "metadata": ["https://x.org/users/3/ann"],
    "answers": [
        {"answer_id": 9, "author": "Bob", "author_profile": "https://x.org/users/4/bob",
         "pm_score": 5, "selected": True, "text": "<p>Because.</p>"}
    ],
}  # fmt: skip


@cache
def foreign_parquet() -> list[tuple[str, bytes]]:
    """(source, file): messages and preferences, each packed in three ways."""
    found = []
    messages = [
        row | {"message_id": f"{n or ''}{row['message_id']}"}
        for n in range(3)
        for row in (MESSAGE, REPLY)
    ]
    for source, values in (
        ("openassistant", messages),
        ("stack_exchange", [PREFERENCE | {"qid": n} for n in range(5)]),
    ):
        for packing in ("zstd", "snappy", "none"):
            buffer = io.BytesIO()
            pq.write_table(
                pa.Table.from_pylist(values), buffer, compression=packing,
                use_dictionary=packing != "none", write_page_checksum=packing == "zstd",
            )  # fmt: skip
            found.append((source, buffer.getvalue()))
    return found


def make_parquet(chance: random.Random, index: int) -> bytes:
    """The source on the first line, then the damaged file."""
    source, seed = chance.choice(foreign_parquet())
    return source.encode() + b"\n" + parquet_mutant(chance, seed, index)


def check_parquet(data: bytes, folder: Path) -> str:
    """The whole source from the file."""
    source, _, content = data.partition(b"\n")
    item = write_input(folder, "file.parquet", content, subset="fuzz")
    return outcome(SOURCES[source.decode()].upstream, [item])


KINDS = (
    Kind("delimited", make_csv, check_csv, 10_000, "csv"),
    Kind("json_lines", make_lines, check_lines, 1_000, "jsonl", rows=20),
    Kind("json_array", make_array, check_array, 3_000, "json_array"),
    Kind(
        "shards",
        lambda chance, index: parquet_mutant(chance, original(None)[0], index),
        check_shard,
        3_000,
        "parquet",
        prepare=original,
    ),
    Kind("parquets", make_parquet, check_parquet, 2_000, "parquet"),
)
