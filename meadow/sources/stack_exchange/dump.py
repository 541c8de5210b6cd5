"""Stack Exchange data dumps: Posts.xml (and Users.xml), plain or inside the site's 7z archive.

A dump has one `<row .../>` on each line, and each line stands alone: a bad one is one reject and
spoils no other, and nothing can be declared in one line that another expands. The first pass keeps
numbers only, ids, scores and byte positions, and goes over ranges of the file wherever there is a
core. Blocks of lines are held to one regular expression, which says of a line that it is a row as
Stack Exchange writes them, well-formed to the last character; any other line is parsed. The second
pass fetches runs of the selected answers and their questions by position, so that memory holds no
text but that of the rows in hand, however large the dump is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from meadow.atomic import replacing
from meadow.errors import FileError, UsageError
from meadow.readers.archives import damage_is_an_error, open_7z_member
from meadow.readers.spans import Span, line_spans
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Apply, Cutting, Input, Options, Piece, apply_here

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]

MAX_ROW_BYTES = 1024 * 1024
MIN_SCORE = 5
QUESTION, ANSWER = 1, 2
_KINDS = {QUESTION: "question", ANSWER: "answer"}
_NUMBERS = {
    "posts": ("Id", "PostTypeId", "Score", "AcceptedAnswerId", "ParentId"),
    "users": ("Id",),
}
"""Root element -> the attributes that are numbers; the first three are needed."""
_ORDER = {
    "posts": (
        "Id PostTypeId AcceptedAnswerId ParentId CreationDate Score ViewCount Body OwnerUserId "
        "OwnerDisplayName LastEditorUserId LastEditorDisplayName LastEditDate LastActivityDate "
        "Title Tags AnswerCount CommentCount FavoriteCount ClosedDate CommunityOwnedDate "
        "ContentLicense"
    ),
    "users": (
        "Id Reputation CreationDate DisplayName EmailHash LastAccessDate WebsiteUrl Location Age "
        "AboutMe Views UpVotes DownVotes ProfileImageUrl AccountId"
    ),
}
"""Root element -> the attributes of a row, in the order of the dumps. `DeletionDate`, which public
dumps do not have, is left to the parser."""
_ATTRIBUTES = {f" {name}=": name for names in _ORDER.values() for name in names.split()}
"""What stands between two values of a row -> the name."""
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SEVENZIP = b"7z\xbc\xaf\x27\x1c"
_PARQUET = b"PAR1"
_PROLOGUE = re.compile(
    rb"""\s*+(?:<\?xml\s(?P<declaration>[^>]*+)> | (?P<doctype><!(?:DOCTYPE|ENTITY)[^>]*+>?)
    | <!--(?:(?!--).)*+--> | <(?P<close>/?)(?P<name>[A-Za-z][\w.-]*+)\s*+(?P<empty>/?)>)""",
    re.VERBOSE | re.DOTALL,
)


class RowError(ValueError):
    """A line is no row; `reason` is for its reject."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


REPAIRED = "_repaired_characters"
"""Attribute of a row in which character references were mended: how many."""


def parse_row(line: bytes) -> dict[str, str]:
    """The attributes of one row; references to characters that XML has not are dropped, counted.

    The two halves of a surrogate pair (`&#xD83D;&#xDE00;`) are the character that they make.

    Raises:
        RowError: Not a well-formed row.
    """
    return dict(_element(line).items())


def _parse_plain(line: bytes) -> dict[str, str]:
    """`parse_row` of a line that `_plain_rows` knows: cut at its quotation marks."""
    from turbohtml import unescape

    # NUL stands in no such line, so that marks and entities need one look at all of it; HTML has
    # the few entities that it may hold, with the same meaning
    parts = unescape(line.decode().removeprefix("<row").replace('"', "\0")).split("\0")
    return dict(zip(map(_ATTRIBUTES.__getitem__, parts[:-1:2]), parts[1::2], strict=True))


_REFERENCE = re.compile(rb"&#(?:[xX]([0-9A-Fa-f]{1,8})|([0-9]{1,8}));")
_REFERENCES = re.compile(rb"(?:&#(?:[xX][0-9A-Fa-f]{1,8}|[0-9]{1,8});)+")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _mend_references(line: bytes) -> tuple[bytes, int]:
    """The line with references to characters that XML allows, and how many were not."""
    count = 0

    def mend(match: re.Match[bytes]) -> bytes:
        nonlocal count
        codes = [
            int(found[1], 16) if found[1] else int(found[2])
            for found in _REFERENCE.finditer(match[0])
        ]
        text = "".join(chr(code) for code in codes if code <= 0x10FFFF)
        text = _PAIR.sub(
            lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
        )
        kept = [
            c
            for c in text
            if c in "\t\n\r" or " " <= c < "\ud800" or "\udfff" < c < "\ufffe" or c > "\uffff"
        ]
        count += len(codes) - len(kept)
        return "".join(f"&#{ord(character)};" for character in kept).encode()

    return _REFERENCES.sub(mend, line), count


def _element(line: bytes) -> Any:
    parse, fault_of_syntax = _parser()
    try:
        element = parse(line)
    except fault_of_syntax as fault:
        mended, count = _mend_references(line)
        if count:
            element = _element(mended)
            element.set(REPAIRED, str(count))
            return element
        try:
            line.decode()
        except UnicodeDecodeError as bad:
            raise RowError(Reason.BAD_ENCODING, str(bad)) from bad
        raise RowError(Reason.BAD_XML, f"not well-formed: {fault.msg}") from fault
    if element.tag != "row" or len(element):
        raise RowError(Reason.BAD_XML, "a row holds other elements")
    return element


@cache
def _parser() -> tuple[Callable[[bytes], Any], type[Any]]:
    """What parses a row, and what it raises."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return partial(etree.fromstring, parser=parser), etree.XMLSyntaxError


def _numbers(element: Any, names: Sequence[str]) -> tuple[int, ...]:
    found = []
    for index, value in enumerate(map(element.get, names)):
        if not value:
            if index < 3:
                raise RowError(Reason.MISSING_FIELD, f"the row has no {names[index]}")
            found.append(0)
        elif _NUMBER.fullmatch(value):
            found.append(int(value))
        else:
            raise RowError(Reason.BAD_VALUE, f"{names[index]} is {value[:40]!r}, not a number")
    return (*found, int(element.get("DeletionDate") is not None))


@dataclass(slots=True)
class _State:
    """What the lines before say of the next one."""

    rooted: bool = False
    commented: bool = False
    ended: bool = False


def _read_line(
    block: _Block, at: int, task: _Range, now: _State
) -> tuple[int, ...] | Reject | None:
    """A row's numbers and place, as `_COLUMNS`; a reject; None: a line that holds no row.

    Raises:
        FileError: No dump of this kind, or it declares entities.
    """
    start, end = block.borders[at : at + 2].tolist()
    offset, number, data = block.offset + start, block.number + at, block.data[start:end]
    where = f"{task.label}:{number}"
    text = data.strip()
    if now.commented or not text.endswith(b"/>"):
        start, end, now.commented = _outside_comments(data, now.commented)
        offset, data = offset + start, data[start:end]
        text = data.strip()
    try:
        if len(data) > MAX_ROW_BYTES:
            raise RowError(Reason.TOO_LARGE, "over 1 MiB on one line")
        if text.startswith(b"<row"):
            found = _numbers(_element(text), _NUMBERS[task.root])
            return (*found[:-1], *[0] * (6 - len(found)), found[-1], offset, len(data), number, 0)
        for name, opens, ends in _tags(text, where):
            if opens and name != task.root:
                raise _not_a_dump(task.label, task.root, f"its root element is {name}")
            if opens and now.rooted:
                raise FileError("two documents in one file", where=where, fix="split them")
            now.rooted, now.ended = now.rooted or opens, now.ended or ends
    except RowError as fault:
        if not now.rooted:
            raise _not_a_dump(task.label, task.root) from fault
        excerpt = data[:500].decode("utf-8", "replace").strip()
        return Reject(where, fault.reason, str(fault), excerpt)
    return None


def _outside_comments(line: bytes, inside: bool) -> tuple[int, int, bool]:
    """What of a line is outside comments that reach over lines, and whether one goes on behind."""
    start, end = 0, len(line)
    if inside:
        closing = line.find(b"-->")
        if closing < 0:
            return end, end, True
        start = closing + 3
    opening = line.rfind(b"<!--", start)
    if opening < 0 or line.find(b"-->", opening) >= 0:
        return start, end, False
    return start, opening, True


_BLOCK_BYTES = 8 * MAX_ROW_BYTES


class _Block(NamedTuple):
    """Whole lines of a file; of a line that is longer than a block just more than the cap."""

    offset: int
    number: int
    """Of the first line."""
    data: bytes
    borders: Numbers
    """Where each line begins, and where the last one ends."""


def _blocks(file: BinaryIO, span: Span) -> Iterator[_Block]:
    import numpy as np

    offset, number = span.start, span.line
    while data := os.pread(file.fileno(), min(_BLOCK_BYTES, span.end - offset), offset):
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
        if len(ends):
            size = int(ends[-1])
        else:  # the last line of the file, or one that is longer than a block
            size = len(data)
            while more := os.pread(file.fileno(), _BLOCK_BYTES, offset + size):
                end = more.find(b"\n") + 1
                size += end or len(more)
                if end:
                    break
            data = data[: MAX_ROW_BYTES + 1]
            ends = np.array([len(data)])
        yield _Block(offset, number, data, np.concatenate([[0], ends]))
        offset, number = offset + size, number + len(ends)


@cache
def _pattern(root: str) -> str:
    """An expression for a whole row, as Stack Exchange writes it.

    Without a group it costs one look at each byte. A value holds what XML takes as it stands, and
    the references that dumps have; a tab would be a space, and is the parser's.
    """
    text = r"(?:[^\"<&\x00-\x1f\x{fffe}\x{ffff}]|&(?:amp|lt|gt|quot|apos|#xA|#xD|#x9);)*"
    numbers = _NUMBERS[root]

    def attribute(name: str) -> str:
        value = f' {name}="{_NUMBER.pattern if name in numbers else text}"'
        return value if name in numbers[:3] else f"(?:{value})?"

    row = "".join(map(attribute, _ORDER[root].split()))
    return f"^[ \t]*<row{row} ?/>[ \t\r\n]*$"


def _plain_rows(block: _Block, root: str) -> tuple[Bools, Numbers]:
    """Which lines are rows as Stack Exchange writes them, and those rows, as `_COLUMNS`.

    Of the other lines nothing is said. Every attribute stands in its place, once, so that none can
    be there twice.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = len(block.borders) - 1
    buffers = [None, pa.py_buffer(block.borders), pa.py_buffer(block.data)]
    lines = pa.Array.from_buffers(pa.large_binary(), count, buffers)
    try:
        texts = lines.cast(pa.large_string())
    except pa.ArrowInvalid:  # not UTF-8: in which line, the parser says
        return np.zeros(count, bool), np.empty((0, len(_COLUMNS)), np.int64)
    sizes = np.diff(block.borders)
    matches = pc.match_substring_regex(texts, _pattern(root))
    # by way of DLPack, since `to_numpy` would import all of pandas
    plain: Bools = np.from_dlpack(matches.cast(pa.uint8())).astype(bool)
    plain &= sizes <= MAX_ROW_BYTES
    starts = block.borders[:-1][plain]
    rows = np.zeros((len(starts), len(_COLUMNS)), np.int64)
    for name, values in _numbers_of(block.data, starts, root):
        rows[:, _NUMBERS[root].index(name)] = values
    rows[:, 6] = block.offset + starts
    rows[:, 7] = sizes[plain]
    rows[:, 8] = block.number + np.flatnonzero(plain)
    rows[:, 9] = 1
    return plain, rows


def _numbers_of(data: bytes, starts: Numbers, root: str) -> Iterator[tuple[str, Numbers]]:
    """Name and values of each number of rows that are written as in the dumps; 0 for none.

    Args:
        data: A block.
        starts: Where the rows begin in it.
        root: The root element.
    """
    import numpy as np

    at = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(at == ord('"'))
    mark = np.searchsorted(marks, starts)
    names = _ORDER[root].split()
    for name in names[: max(map(names.index, _NUMBERS[root])) + 1]:
        # of the names that may stand here, each begins with another letter
        there = (
            at[marks[mark - 1] + 2] == ord(name[0]) if name != "Id" else np.ones_like(mark, bool)
        )
        if name in _NUMBERS[root]:
            start, end = marks[mark] + 1, marks[mark + 1]
            minus = at[start] == ord("-")
            start += minus
            width = np.where(there, end - start, 0)
            value = np.zeros(len(starts), np.int64)
            for digit in range(width.max(initial=0)):
                more = value * 10 + at.take(start + digit, mode="clip") - ord("0")
                value = np.where(digit < width, more, value)
            yield name, np.where(minus, -value, value)
        mark += 2 * there


def _tags(text: bytes, where: str) -> Iterator[tuple[str, bool, bool]]:
    """Name, whether it opens, whether it ends: the tags of a line that holds no row."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00")):
        raise FileError("the file is not UTF-8", where=where, fix="convert it to UTF-8")
    text = text.removeprefix(b"\xef\xbb\xbf")
    position = 0
    while part := _PROLOGUE.match(text, position):
        position = part.end()
        stated = re.search(rb"encoding\s*=\s*[\"']([^\"']*)", part["declaration"] or b"")
        if stated and stated[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            raise FileError(
                f"the file says that it is {stated[1].decode('ascii', 'replace')}",
                where=where,
                fix="convert it to UTF-8",
            )
        if part["doctype"] and (b"[" in part["doctype"] or b"ENTITY" in part["doctype"].upper()):
            raise FileError(
                "the file declares its own entities, which no data dump does",
                where=where,
                fix="do not trust this file; download the dump again",
            )
        if part["name"]:
            ends = bool(part["close"] or part["empty"])
            yield part["name"].decode("ascii", "replace"), not part["close"], ends
    if text[position:].strip():
        raise RowError(Reason.BAD_XML, "not a row")


def _not_a_dump(label: str, root: str, detail: str = "") -> FileError:
    detail = detail or "it has no <posts> or <users> element"
    return FileError(
        f"this is no {root.capitalize()}.xml of a Stack Exchange dump: {detail}",
        where=label,
        fix=f"give the {root.capitalize()}.xml of the site, or its 7z archive",
    )


class DumpReader:
    """A reader of dumps that can cut the pairs of a site into runs."""

    def __call__(self, inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject | Fact]:
        """Every pair with an answer score of at least 5, site by site, by answer id.

        A raw row holds `site`, `question` and `answer` (attribute -> text) and the display names of
        both authors where a Users.xml is at hand. An answer whose question is not in the file is a
        reject, and so is a bad line. Files of stack-exchange-preferences (Parquet) are told by
        their first bytes and read by `meadow.sources.stack_exchange.preferences`.

        Raises:
            FileError: A file is missing, truncated, no dump, or declares entities.
            UsageError: A file without a site, or two dumps of one site.
        """
        with tempfile.TemporaryDirectory(prefix="meadow-") as folder:
            for piece in self.pieces(inputs, options, Cutting(Path(folder))):
                yield from piece()

    def pieces(
        self, inputs: Sequence[Input], options: Options, cutting: Cutting
    ) -> Iterator[Piece]:
        """Runs of pairs: each reads its answers and their questions by position."""
        for number, (site, posts, users) in enumerate(group_by_site(inputs)):
            if all(_magic(item.path, 4) == _PARQUET for item in posts):
                from meadow.sources.stack_exchange import preferences as stack_preferences

                for item in posts:
                    yield partial(stack_preferences.read_site, site, [item], options)
                continue
            if len(posts) > 1:
                raise UsageError(
                    f"two dumps are given for the site {site}",
                    where=", ".join(item.label for item in posts),
                    fix="keep one of them",
                )
            yield from _site_pieces(_Site(site, number, posts[0], users), options, cutting)


read = DumpReader()


_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


def site_name(given: str) -> str:
    """A site's short name: the label of a stackexchange.com host, else the host itself.

    >>> site_name("academia.stackexchange.com"), site_name("academia.meta.stackexchange.com")
    ('academia', 'academia.meta.stackexchange.com')

    Raises:
        UsageError: Neither a host nor a label: links to authors would be made of it.
    """
    host = re.sub(r"^https?://|/.*$", "", given.strip().lower())
    if host and not _HOST.fullmatch(host):
        raise UsageError(
            f"{given!r} is no site",
            where="stack_exchange",
            fix="give its label or its host: biology, biology.stackexchange.com, mathoverflow.net",
        )
    if host.endswith(".meta"):
        host += ".stackexchange.com"
    label = host.removesuffix(".stackexchange.com").removesuffix(".stackexchange")
    return host if "." in label else label


def group_by_site(inputs: Sequence[Input]) -> list[tuple[str, list[Input], Input | None]]:
    """(site, its posts, its users), in order of the site's name.

    Raises:
        UsageError: A file whose site is not said, or users without posts.
    """
    sites: dict[str, tuple[list[Input], list[Input]]] = {}
    for item in inputs:
        found_site, kind = _site_of_file(item.path)
        cut = item.role not in {"data", "posts", "users"}  # an address, cut at its colon
        site = site_name(f"{item.subset}:{item.role}" if cut else item.subset) or found_site
        if not site:
            raise UsageError(
                "which site is this a dump of?",
                where=item.label,
                fix=f"give it as --file stack_exchange:SITE={item.path.name}",
            )
        is_users = item.role == "users" or kind == "users"
        sites.setdefault(site, ([], []))[is_users].append(item)
    found = []
    for site, (posts, users) in sorted(sites.items()):
        if not posts or len(users) > 1:
            raise UsageError(
                f"the site {site} needs one file of posts and at most one of users",
                where=", ".join(item.label for item in (*posts, *users)),
                fix=f"--file stack_exchange:{site}=Posts.xml",
            )
        found.append((site, posts, users[0] if users else None))
    return found


def _site_of_file(path: Path) -> tuple[str, str]:
    """Site and kind that an archive's name says: `academia.stackexchange.com-Posts (1).7z`."""
    match = re.match(r"(?i)(.+?\.[a-z.]+?)(?:-([a-z]+))?(?: ?\(\d+\))?\.7z$", path.name)
    return (site_name(match[1]), (match[2] or "").lower()) if match else ("", "")


# First bytes of packed files that are not read in place, and what unpacks them.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unzstd"),
    b"\xfd7zXZ": ("xz", "unxz"),
}


def plain_dump(path: Path, member: str, target: Path, apply: Apply = apply_here) -> Path | None:
    """A dump as a plain file: itself, or `member` of the 7z archive that it is, unpacked.

    Args:
        path: The dump.
        member: "Posts.xml" or "Users.xml".
        target: Where it is unpacked to; a file that is there already is taken.
        apply: Who unpacks.

    Returns:
        None: the archive has no such member.
    """
    magic = _magic(path, 6)
    for start, (form, unpack) in _PACKED.items():
        if magic.startswith(start):
            raise FileError(
                f"a dump in a {form} file is not read",
                where=str(path),
                fix=f"unpack it with {unpack}, or give the site's 7z archive",
            )
    if re.search(r"\.7z\.\d+$", path.name):
        raise FileError(
            "this is one part of a split 7z archive",
            where=str(path),
            fix=f"join the parts: cat {path.name[:-3]}* > {path.name.rpartition('.')[0]}",
        )
    if magic != _SEVENZIP:
        return path
    if target.exists() or next(apply(_unpack, [(path, member.lower(), target)])):
        return target
    return None


def _unpack(task: tuple[Path, str, Path]) -> bool:
    """Unpack a member; whether there was one."""
    path, ending, target = task

    def wanted(name: str) -> bool:
        return name.lower().rpartition("/")[2] == ending

    with open_7z_member(path, wanted) as file:
        if file is None:
            return False
        with replacing(target) as temporary, temporary.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    return True


def _magic(path: Path, size: int) -> bytes:
    with damage_is_an_error(path), path.open("rb") as file:
        return file.read(size)


_COLUMNS = (
    *("id", "kind", "score", "accepted", "parent", "deleted"),
    *("offset", "size", "line", "plain"),
)
"""Of a row: its numbers (0: none), its place, and whether it is written as in the dumps."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of a dump that somebody scans."""

    path: Path
    label: str
    root: str
    span: Span
    whole: bool
    """Whether the range is the file; else it begins behind the opening tag, unless it is first."""


@dataclass(frozen=True, slots=True)
class _Scanned:
    """What stands in a range.

    Args:
        rows: A row of numbers for each post that may be needed, or for each user, as `_COLUMNS`.
        rejects: Bad lines, and answers that cannot be used, with their lines.
        kinds: How many posts of each kind there are.
        state: How it stands at the end.
        lines: How many lines it has.
    """

    rows: Numbers
    rejects: list[tuple[int, Reject]]
    kinds: Counter[int]
    state: _State
    lines: int


def _scan_range(task: _Range) -> _Scanned:
    import numpy as np

    now = _State(rooted=task.span.start > 0)
    kept = [np.empty((0, len(_COLUMNS)), np.int64)]
    rejects: list[tuple[int, Reject]] = []
    number = task.span.line - 1
    with damage_is_an_error(task.path):
        file = task.path.open("rb", buffering=0)
    with file:
        for block in _blocks(file, task.span):
            plain, rows = _plain_rows(block, task.root)
            unclear, at = ~plain, 0
            while at < len(unclear):
                if not now.commented:
                    at += int(unclear[at:].argmax())
                    if not unclear[at]:
                        break
                unclear[at] = True  # in a comment no line is what it seems
                found = _read_line(block, at, task, now)
                if isinstance(found, Reject):
                    rejects.append((block.number + at, found))
                elif found is not None:
                    kept.append(np.array([found]))
                at += 1
            kept.append(rows[~unclear[plain]])
            number = block.number + len(plain) - 1
    if task.whole and not now.rooted:
        raise _not_a_dump(task.label, task.root)
    if task.whole and not now.ended:
        raise FileError(
            f"the file is truncated: it ends on line {number:,} without </{task.root}>",
            where=task.label,
            fix="download or unpack it again",
        )
    rows = np.concatenate(kept)
    rows = rows[np.argsort(rows[:, 6])]
    kinds: Counter[int] = Counter()
    if task.root == "posts":
        kind, score, _, parent, deleted = rows[:, 1:6].T
        kinds.update(kind.tolist())
        chosen = (kind == ANSWER) & (score >= MIN_SCORE)
        unusable = chosen & ((deleted != 0) | (parent == 0))
        for row in rows[unusable].tolist():
            reason, detail = _UNUSABLE[row[5]]
            rejects.append((row[8], Reject(f"{task.label}:{row[8]}", reason, detail)))
        rows = rows[(chosen & ~unusable) | (kind == QUESTION)]
    rejects.sort(key=itemgetter(0))
    return _Scanned(rows, rejects, kinds, now, number - task.span.line + 1)


_UNUSABLE = (
    (Reason.MISSING_FIELD, "an answer without ParentId"),
    (Reason.DELETED, "the answer was deleted on the site"),
)


def _scanned(path: Path, label: str, root: str, cutting: Cutting) -> _Scanned:
    """A whole file: its ranges put together, where each began as the one before it had ended.

    A range numbers its lines from 1: how many there are before it, only they can say.
    """
    import numpy as np

    ranges = line_spans(path, cutting.size)
    found: list[_Scanned] = []
    if len(ranges) > 1:
        tasks = [_Range(path, label, root, span, whole=False) for span in ranges]
        with contextlib.suppress(FileError):  # told below as it is met from the beginning on
            found = list(cutting.apply(_scan_range, tasks))
    states = [each.state for each in found]
    if any(state.ended for state in states) and all(
        state.rooted and not state.commented for state in states
    ):
        lines, rejects = 0, []
        for each in found:
            each.rows[:, _COLUMNS.index("line")] += lines
            rejects += [
                (lines + line, replace(reject, where=f"{label}:{lines + line}"))
                for line, reject in each.rejects
            ]
            lines += each.lines
        return _Scanned(
            np.concatenate([each.rows for each in found]),
            rejects,
            sum((each.kinds for each in found), Counter()),
            states[-1],
            lines,
        )
    whole = _Range(path, label, root, Span(0, sys.maxsize, 1), whole=True)
    return next(cutting.apply(_scan_range, [whole]))


@dataclass(frozen=True, slots=True)
class _Site:
    """A site, its number among those of the input, and its files."""

    name: str
    number: int
    posts: Input
    users: Input | None

    def unpacked(self, folder: Path, member: str) -> Path:
        """Where a member of its archive is unpacked to."""
        return folder / f"{self.number:05d}-{member}"


def _site_pieces(site: _Site, options: Options, cutting: Cutting) -> Iterator[Piece]:
    """The selected pairs of one site, by answer id."""
    import numpy as np

    target = site.unpacked(cutting.folder, "Posts.xml")
    path = plain_dump(site.posts.path, "Posts.xml", target, cutting.apply)
    if path is None:
        raise FileError(
            "the archive holds no Posts.xml",
            where=str(site.posts.path),
            fix="fetch the archive of the main site",
        )
    found = _scanned(path, site.posts.label, "posts", cutting)
    told: list[Reject | Fact] = [reject for _, reject in found.rejects]
    for kind, count in sorted(found.kinds.items()):
        told.append(Fact("posts_read", _KINDS.get(kind, f"type {kind}"), count))
    names = _names(site, cutting)
    pairs = _pairs(found.rows, options)
    # bytes of an answer and its question, both of which will be converted
    reached = np.cumsum(pairs[:, 1] + pairs[:, 6])
    size = cutting.size or max(int(reached[-1]) if len(reached) else 0, 1)
    cuts = np.flatnonzero(np.diff(reached // size)) + 1
    for part in np.split(pairs, cuts):
        yield partial(_read_pairs, site.name, site.posts.label, path, part, names, tuple(told))
        told = []


def _pairs(rows: Numbers, options: Options) -> Numbers:
    """The answers that `options.answers` asks for, by answer id.

    Returns:
        For each its offset, size, whether it is plain, line and question; then the question's
        offset, size (0: not in the file) and whether it is plain.
    """
    import numpy as np

    column = {name: index for index, name in enumerate(_COLUMNS)}
    answers = rows[rows[:, column["kind"]] == ANSWER]
    answers = answers[np.argsort(answers[:, 0], kind="stable")]
    questions = rows[rows[:, column["kind"]] == QUESTION]
    # of two questions of one number the first counts
    numbers, first = np.unique(questions[:, 0], return_index=True)
    parents = answers[:, column["parent"]]
    at = np.searchsorted(numbers, parents)
    at[at == len(numbers)] = 0
    there = numbers[at] == parents if len(numbers) else np.zeros(len(answers), bool)
    question = questions[first[at]] if len(numbers) else np.zeros_like(answers)
    question = np.where(there[:, None], question, 0)
    accepted = there & (question[:, column["accepted"]] == answers[:, 0])
    if options.answers == "accepted":
        kept = np.flatnonzero(accepted)
    elif options.answers == "top":
        # of equal scores the accepted one, then the older one, is the top answer
        best = np.lexsort((answers[:, 0], ~accepted, -answers[:, column["score"]], parents))
        asked, first = np.unique(parents[best], return_index=True)
        top = answers[best[first], 0]
        kept = np.flatnonzero(answers[:, 0] == top[np.searchsorted(asked, parents)])
    else:
        kept = np.arange(len(answers))
    place = [column[name] for name in ("offset", "size", "plain")]
    chosen = answers[kept][:, [*place, column["line"], column["parent"]]]
    return np.hstack([chosen, question[kept][:, place]])


def _read_pairs(
    site: str,
    label: str,
    path: Path,
    pairs: Numbers,
    names: tuple[Path, Path] | None,
    told: Sequence[Reject | Fact],
) -> Iterator[Raw | Reject | Fact]:
    """What the scan of a site has to tell, and pairs, by position."""
    yield from told
    with ExitStack() as stack:
        with damage_is_an_error(path):
            file = stack.enter_context(path.open("rb", buffering=0))
        # few users write most posts
        name_of = lru_cache(maxsize=1024)(_Names(stack, *names).of) if names else _unnamed
        row_at = partial(_row_at, file.fileno())
        question_at = lru_cache(maxsize=64)(row_at)
        for *place, line, parent, question_offset, question_size, plain in pairs.tolist():
            where = f"{label}:{line}"
            if not question_size:
                detail = f"question {parent} is not in the file"
                excerpt = _bytes_at(file.fileno(), *place[:2])[:500].decode("utf-8", "replace")
                yield Reject(where, Reason.ORPHAN, detail, excerpt)
                continue
            question, answer = question_at(question_offset, question_size, plain), row_at(*place)
            if "DeletionDate" in question:
                title = question.get("Title", "")
                yield Reject(where, Reason.DELETED, "its question was deleted", title)
                continue
            yield {
                "_where": where,
                "site": site,
                "question": question,
                "answer": answer,
                "question_name": name_of(question.get("OwnerUserId")),
                "answer_name": name_of(answer.get("OwnerUserId")),
            }


def _unnamed(_: str | None) -> None:
    """The name of a user where there is no Users.xml."""


def _bytes_at(file: int, offset: int, size: int) -> bytes:
    return os.pread(file, size, offset).strip()


def _row_at(file: int, offset: int, size: int, plain: int) -> dict[str, str]:
    """The row at a place of a dump, as its scan found it."""
    return (_parse_plain if plain else parse_row)(_bytes_at(file, offset, size))


class _Names:
    """Display names by user number: positions in a mapped table, texts on the disk.

    Args:
        stack: What closes the file.
        path: The Users.xml.
        table: What `_names` wrote of it.
    """

    def __init__(self, stack: ExitStack, path: Path, table: Path) -> None:
        import numpy as np

        self._file = stack.enter_context(path.open("rb", buffering=0))
        self._users = np.load(table, mmap_mode="r")

    def of(self, number: str | None) -> str | None:
        """The user's display name; None where the file has none."""
        if number is None or not _NUMBER.fullmatch(number):
            return None
        ids = self._users[0]
        at = int(ids.searchsorted(int(number)))
        if at == len(ids) or ids[at] != int(number):
            return None
        row = _row_at(self._file.fileno(), *self._users[1:, at].tolist())
        return row.get("DisplayName") or None


def _names(site: _Site, cutting: Cutting) -> tuple[Path, Path] | None:
    """The given Users.xml, or the one beside Posts.xml in the archive, and a table of its users.

    The table has their numbers in order, with offsets, sizes and whether they are plain.
    """
    import numpy as np

    if site.users is None and _magic(site.posts.path, 6) != _SEVENZIP:
        return None
    source = site.users or site.posts
    path = plain_dump(
        source.path, "Users.xml", site.unpacked(cutting.folder, "Users.xml"), cutting.apply
    )
    if path is None:
        return None
    table = site.unpacked(cutting.folder, "users.npy")
    if not table.exists():
        rows = _scanned(path, source.label, "users", cutting).rows
        rows = rows[np.lexsort((rows[:, 6], rows[:, 0]))]
        cutting.folder.mkdir(parents=True, exist_ok=True)
        with replacing(table) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(rows[:, [0, 6, 7, 9]].T))
    return path, table
