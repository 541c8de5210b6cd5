"""Stack Exchange data dumps: Posts.xml (and Users.xml), plain or inside the site's 7z archive.

A dump has one `<row .../>` on each line, and each line is parsed alone: a bad one is one reject and
spoils no other, nothing can be declared in one line that another expands, and no more than a line
stands in memory. The first pass keeps numbers only: ids, scores and byte positions. The second
fetches the selected answers and their questions by position, so that memory holds no text but that
of the rows in hand, however large the dump is.
"""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from meadow.errors import FileError, UsageError
from meadow.readers.archives import damage_is_an_error, open_7z_member
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Input, Options

MAX_ROW_BYTES = 1024 * 1024
MIN_SCORE = 5
QUESTION, ANSWER = 1, 2
_KINDS = {QUESTION: "question", ANSWER: "answer"}
_NUMBERS = {
    "posts": ("Id", "PostTypeId", "Score", "AcceptedAnswerId", "ParentId"),
    "users": ("Id",),
}
"""Root element -> the attributes that are numbers; the first three are needed."""
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
    from lxml import etree

    try:
        element = etree.fromstring(line, _parser())
    except etree.XMLSyntaxError as fault:
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
def _parser() -> Any:
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True)


def _numbers(element: Any, names: Sequence[str]) -> tuple[int, ...]:
    found = []
    for index, name in enumerate(names):
        value = element.get(name) or ""
        if not value and index < 3:
            raise RowError(Reason.MISSING_FIELD, f"the row has no {name}")
        if value and not _NUMBER.fullmatch(value):
            raise RowError(Reason.BAD_VALUE, f"{name} is {value[:40]!r}, not a number")
        found.append(int(value or 0))
    return (*found, int(element.get("DeletionDate") is not None))


Found = tuple[tuple[int, ...], int, int, int]
"""The row's numbers (0: none; the last: deleted), byte offset, size in bytes, line number."""


def scan(file: BinaryIO, label: str, root: str) -> Iterator[Found | Reject]:
    """The numbers and positions of all rows, and a reject for every bad line.

    Args:
        file: A file on the disk.
        label: How rejects name it.
        root: Its root element: "posts" or "users".

    Raises:
        FileError: No dump of this kind, truncated, or it declares entities.
    """
    names = _NUMBERS[root]
    rooted = ended = commented = False
    number = 0
    for offset, number, line in _lines(file):
        where = f"{label}:{number}"
        text = line.strip()
        if commented or not text.endswith(b"/>"):
            start, end, commented = _outside_comments(line, commented)
            offset, line = offset + start, line[start:end]
            text = line.strip()
        try:
            if len(line) > MAX_ROW_BYTES:
                raise RowError(Reason.TOO_LARGE, "over 1 MiB on one line")
            if text.startswith(b"<row"):
                yield _numbers(_element(text), names), offset, len(line), number
                continue
            for name, opens, ends in _tags(text, where):
                if opens and name != root:
                    raise _not_a_dump(label, root, f"its root element is {name}")
                if opens and rooted:
                    raise FileError("two documents in one file", where=where, fix="split them")
                rooted, ended = rooted or opens, ended or ends
        except RowError as fault:
            if not rooted:
                raise _not_a_dump(label, root) from fault
            excerpt = line[:500].decode("utf-8", "replace").strip()
            yield Reject(where, fault.reason, str(fault), excerpt)
    if not rooted:
        raise _not_a_dump(label, root)
    if not ended:
        raise FileError(
            f"the file is truncated: it ends on line {number:,} without </{root}>",
            where=label,
            fix="download or unpack it again",
        )


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


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Offset, number and bytes of each line; of one over the cap just more than the cap."""
    offset = number = 0
    with open(file.fileno(), "rb", closefd=False) as lines:
        lines.seek(0)
        while line := lines.readline(MAX_ROW_BYTES + 1):
            number += 1
            yield offset, number, line
            offset += len(line)
            while len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
                line = lines.readline(MAX_ROW_BYTES + 1)
                offset += len(line)


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


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject | Fact]:
    """Every question/answer pair with an answer score of at least 5, site by site, by answer id.

    A raw row holds `site`, `question` and `answer` (attribute -> text) and the display names of
    both authors where a Users.xml is at hand. An answer whose question is not in the file is a
    reject, and so is a bad line. Files of stack-exchange-preferences (Parquet) are told by their
    first bytes and read by `meadow.sources.stack_exchange.preferences`.

    Raises:
        FileError: A file is missing, truncated, no dump, or declares entities.
        UsageError: A file without a site, or two dumps of one site.
    """
    for site, posts, users in group_by_site(inputs):
        if all(_magic(item.path, 4) == _PARQUET for item in posts):
            from meadow.sources.stack_exchange import preferences as stack_preferences

            yield from stack_preferences.read_site(site, posts, options)
            continue
        if len(posts) > 1:
            raise UsageError(
                f"two dumps are given for the site {site}",
                where=", ".join(item.label for item in posts),
                fix="keep one of them",
            )
        yield from read_site(site, posts[0], users, options)


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


@contextmanager
def open_dump(path: Path, member: str) -> Iterator[BinaryIO | None]:
    """A dump file, random access: the file itself, or `member` of the 7z archive that it is.

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
    if magic == _SEVENZIP:
        ending = member.lower()
        with open_7z_member(path, lambda name: name.lower().rpartition("/")[2] == ending) as file:
            yield file
    else:
        with damage_is_an_error(path):
            file = path.open("rb", buffering=0)
        with file:
            yield file


def _magic(path: Path, size: int) -> bytes:
    with damage_is_an_error(path), path.open("rb") as file:
        return file.read(size)


@dataclass(slots=True)
class _Rows:
    """Rows of one kind as numbers: one array per column, however many there are."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    links: array[int] = field(default_factory=lambda: array("q"))
    """An answer's question; the answer that a question's author accepted (0: none)."""
    scores: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))

    def add(self, *values: int) -> None:
        """A row: one value per column."""
        for name, value in zip(self.__slots__, values, strict=True):
            getattr(self, name).append(value)

    def bytes_of(self, index: int, file: BinaryIO) -> bytes:
        """A row as it stands in its file."""
        return os.pread(file.fileno(), self.sizes[index], self.offsets[index])


def read_site(
    site: str, posts: Input, users: Input | None, options: Options
) -> Iterator[Raw | Reject | Fact]:
    """The selected pairs of one site, by answer id."""
    with ExitStack() as stack:
        file = stack.enter_context(open_dump(posts.path, "Posts.xml"))
        if file is None:
            raise FileError(
                "the archive holds no Posts.xml",
                where=str(posts.path),
                fix="fetch the archive of the main site",
            )
        answers, questions = _Rows(), _Rows()
        kinds: Counter[int] = Counter()
        for found in scan(file, posts.label, "posts"):
            if isinstance(found, Reject):
                yield found
                continue
            (number, kind, score, accepted, parent, deleted), *place = found
            kinds[kind] += 1
            if kind == ANSWER and score >= MIN_SCORE and deleted:
                where = f"{posts.label}:{place[-1]}"
                yield Reject(where, Reason.DELETED, "the answer was deleted on the site")
            elif kind == QUESTION:
                questions.add(number, accepted, score, *place)
            elif kind == ANSWER and score >= MIN_SCORE:
                if parent:
                    answers.add(number, parent, score, *place)
                else:
                    where = f"{posts.label}:{place[-1]}"
                    yield Reject(where, Reason.MISSING_FIELD, "an answer without ParentId")
        for kind, count in sorted(kinds.items()):
            yield Fact("posts_read", _KINDS.get(kind, f"type {kind}"), count)
        names = _names(posts, users, stack)
        yield from _join(site, posts.label, file, answers, questions, names, options)


def _join(
    site: str,
    label: str,
    file: BinaryIO,
    answers: _Rows,
    questions: _Rows,
    names: _Names | None,
    options: Options,
) -> Iterator[Raw | Reject]:
    place: dict[int, int] = {}
    wanted = set(answers.links)
    for index, number in enumerate(questions.ids):
        if number in wanted:
            place.setdefault(number, index)

    @lru_cache(maxsize=64)
    def question_row(index: int) -> dict[str, str]:
        return parse_row(questions.bytes_of(index, file).strip())

    for index in _choose(answers, questions, place, options):
        where = f"{label}:{answers.lines[index]}"
        data = answers.bytes_of(index, file).strip()
        at = place.get(answers.links[index])
        if at is None:
            detail = f"question {answers.links[index]} is not in the file"
            yield Reject(where, Reason.ORPHAN, detail, data[:500].decode("utf-8", "replace"))
            continue
        question, answer = question_row(at), parse_row(data)
        if "DeletionDate" in question:
            yield Reject(
                where, Reason.DELETED, "its question was deleted", question.get("Title", "")
            )
            continue
        yield {
            "_where": where,
            "site": site,
            "question": question,
            "answer": answer,
            "question_name": names.of(question.get("OwnerUserId")) if names else None,
            "answer_name": names.of(answer.get("OwnerUserId")) if names else None,
        }


def _choose(answers: _Rows, questions: _Rows, place: dict[int, int], options: Options) -> list[int]:
    """The positions of the answers that `options.answers` asks for, by answer id."""

    def accepted(index: int) -> bool:
        at = place.get(answers.links[index])
        return at is not None and questions.links[at] == answers.ids[index]

    chosen = sorted(range(len(answers.ids)), key=answers.ids.__getitem__)
    if options.answers == "accepted":
        return list(filter(accepted, chosen))
    if options.answers == "top":
        best: dict[int, tuple[int, bool, int]] = {}
        for index in chosen:
            # of equal scores the accepted one, then the older one, is the top answer
            rank = (answers.scores[index], accepted(index), -answers.ids[index])
            parent = answers.links[index]
            best[parent] = max(best.get(parent, rank), rank)
        return [i for i in chosen if -best[answers.links[i]][2] == answers.ids[i]]
    return chosen


class _Names:
    """Display names by user number: positions in memory, texts on the disk."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file = file
        self._users = _Rows()
        found = (row for row in scan(file, label, "users") if not isinstance(row, Reject))
        for (number, _), *place in sorted(found):
            self._users.add(number, 0, 0, *place)

    def of(self, number: str | None) -> str | None:
        """The user's display name; None where the file has none."""
        if number is None or not _NUMBER.fullmatch(number):
            return None
        at = bisect_left(self._users.ids, int(number))
        if at == len(self._users.ids) or self._users.ids[at] != int(number):
            return None
        return parse_row(self._users.bytes_of(at, self._file).strip()).get("DisplayName") or None


def _names(posts: Input, users: Input | None, stack: ExitStack) -> _Names | None:
    """Names from the given Users.xml, or from the one beside Posts.xml in the archive."""
    if users is None and _magic(posts.path, 6) != _SEVENZIP:
        return None
    source = users or posts
    file = stack.enter_context(open_dump(source.path, "Users.xml"))
    return _Names(file, source.label) if file is not None else None
