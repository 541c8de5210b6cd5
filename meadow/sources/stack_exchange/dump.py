"""Stack Exchange data dumps: Posts.xml (and Users.xml), plain or inside the site's 7z archive.

The first pass keeps numbers only: ids, scores and byte positions. The second fetches the selected
answers and their questions by position, so that memory holds no text but that of the rows in hand,
however large the dump is.
"""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from meadow.errors import FileError, UsageError
from meadow.readers.archives import damage_is_an_error
from meadow.readers.sevenzip import open_member
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Input, Options

# The rows of a data dump file: one `<row .../>` per line, scanned in blocks, never trusted.
#
# A block that passes five whole-block checks is scanned by one pattern per line; any line that
# differs goes through a strict XML parser alone, and a bad line is one reject. No entity is ever
# expanded, and no more than a block stands in memory. Blocks are read, not mapped: a mapped file
# counts as memory, and one that shrinks while it is read ends the process.


MAX_ROW_BYTES = 1024 * 1024
BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one kind of dump file begin.

    Args:
        root: The root element.
        head: Matches the beginning of a well-formed row; one group per name.
        names: The attributes that the groups hold, in order.
        needed: Those that no row may lack.
        late: For a value of the second group: the group that such a row needs, and how its
            attribute looks where it stands behind the others.
    """

    root: str
    head: re.Pattern[bytes]
    names: tuple[str, ...]
    needed: tuple[str, ...]
    late: Mapping[bytes, tuple[int, bytes]] = field(default_factory=dict)


_PLAIN = rb'[^"<&\x00-\x1f]*'
POSTS = Layout(
    "posts",
    re.compile(
        rb'[ \t]*<row Id="(\d{1,18})" PostTypeId="(\d{1,9})"(?: AcceptedAnswerId="(\d{1,18})")?'
        rb'(?: ParentId="(\d{1,18})")? CreationDate="' + _PLAIN + rb'"(?: DeletionDate="'
        + _PLAIN + rb'")? Score="(-?\d{1,9})" '
    ),
    ("Id", "PostTypeId", "AcceptedAnswerId", "ParentId", "Score"),
    ("Id", "PostTypeId", "Score"),
    {b"1": (2, b' AcceptedAnswerId="'), b"2": (3, b' ParentId="')},
)  # fmt: skip
USERS = Layout("users", re.compile(rb'[ \t]*<row Id="(-?\d{1,18})" '), ("Id",), ("Id",))

Found = tuple[tuple[bytes, ...], int, int, int]
"""The head's groups, byte offset, size in bytes, line number."""

# What a block of well-formed rows cannot hold. Each is one pass of a C routine over 4 MiB.
_BAD_REFERENCE = re.compile(rb"&(?!(?:lt|gt|amp|quot|apos|#x[9AD]);)")
_BAD_QUOTE = re.compile(rb'"(?<!=")(?! [A-Za-z]+="| ?/>)')
_CONTROLS = bytes(sorted(set(range(32)) - {9, 10, 13}))


def _is_plain(block: bytes) -> bool:
    """Whether every line of the block that looks like a row is one, to the last byte."""
    if len(block.translate(None, _CONTROLS)) != len(block):
        return False
    if _BAD_REFERENCE.search(block) or _BAD_QUOTE.search(block):
        return False
    if not block.isascii():
        try:
            block.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def scan(file: BinaryIO, label: str, layout: Layout) -> Iterator[Found | Reject]:
    """The heads and positions of all rows, and a reject for every bad line.

    Raises:
        FileError: No dump of this layout, truncated, or it declares entities.
    """
    slow = _Slow(label, layout)
    match = layout.head.match
    offset = 0
    line = 0
    for block in _blocks(file):
        plain = _is_plain(block)
        position = 0
        end = len(block)
        while position < end:
            line += 1
            stop = block.find(b"\n", position) + 1 or end
            # One odd character spoils the check of a block, not the speed of its other lines.
            if (found := match(block, position)) and (plain or _is_plain(block[position:stop])):
                groups = found.groups(b"")
                if _is_usual(block, found.end(), stop, groups, layout) and (
                    stop - position <= MAX_ROW_BYTES
                ):
                    if slow.pending:
                        yield slow.flush()
                    yield groups, offset + position, stop - position, line
                    position = stop
                    continue
            yield from slow.take(block[position:stop], offset + position, line)
            position = stop
        offset += end
    yield from slow.end(line)


def _is_usual(
    block: bytes, position: int, stop: int, groups: tuple[bytes, ...], layout: Layout
) -> bool:
    """Whether a row that began in the usual form also ends so: alone on its line, `/>` last."""
    tail = stop - 1 - (block[stop - 2] == 13)
    if block[stop - 1] != 10 or block[tail - 2 : tail] != b"/>":
        return False
    if block.find(b"<", position, stop) >= 0:
        return False
    late = layout.late.get(groups[1]) if layout.late else None
    # an attribute behind the others is there all the same: the strict parser finds it
    return late is None or bool(groups[late[0]]) or block.find(late[1], position, stop) < 0


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Blocks of whole lines; a line over `MAX_ROW_BYTES` comes cut into pieces of that size."""
    file.seek(0)
    rest = b""
    while data := file.read(BLOCK_BYTES):
        data = rest + data if rest else data
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) <= MAX_ROW_BYTES:
            rest = data
            continue
        cut = cut or len(data)
        rest = data[cut:]
        yield data[:cut]
    if rest:
        yield rest


class _Slow:
    """Everything that is not a row in the usual form: prologue, odd rows, rubbish."""

    def __init__(self, label: str, layout: Layout) -> None:
        self._label = label
        self._layout = layout
        self._rooted = False
        self._ended = False
        self._oversized = False
        self.pending = b""
        """The beginning of a row that did not end on its line."""
        self._pending_at = (0, 0)

    def take(self, data: bytes, offset: int, line: int) -> Iterator[Found | Reject]:
        """The rows of one line, or its reject."""
        if self._oversized or len(data) > MAX_ROW_BYTES:
            # The pieces of one huge line are one reject, however many there are.
            if not self._oversized:
                yield self._reject(line, Reason.TOO_LARGE, "over 1 MiB on one line", data)
            self._oversized = not data.endswith(b"\n")
            return
        if offset == 0:
            self._check_encoding(data)
            if data.startswith(b"\xef\xbb\xbf"):
                data, offset = data[3:], 3
        text = data.strip()
        if self.pending:
            if not text.startswith((b"<row", b"</", b"<?", b"<!")):
                yield from self._continue(data)
                return
            yield self.flush()
        if text:
            yield from self._split(data, offset, line)

    def _continue(self, data: bytes) -> Iterator[Found | Reject]:
        self.pending += data
        offset, line = self._pending_at
        if len(self.pending) > MAX_ROW_BYTES:
            reject = self._reject(line, Reason.TOO_LARGE, "a row over 1 MiB", self.pending)
            self.pending = b""
            yield reject
        elif self.pending.rstrip().endswith(b">"):
            data, self.pending = self.pending, b""
            yield from self._split(data, offset, line)

    def flush(self) -> Reject:
        """The unfinished row as a reject."""
        reject = self._reject(
            self._pending_at[1], Reason.BAD_XML, "the row does not end", self.pending
        )
        self.pending = b""
        return reject

    def _split(self, data: bytes, offset: int, line: int) -> Iterator[Found | Reject]:
        """The parts of a line: prologue, root tags and rows, each as strict XML has it."""
        found: list[Found] = []
        position = 0
        while part := _PART.match(data, position):
            kind, text = part.lastgroup, part.group(0)
            if kind == "row":
                try:
                    attributes = parse_strictly(text)
                    head = self._head(attributes)
                except UnicodeDecodeError as fault:
                    yield self._reject(line, Reason.BAD_ENCODING, str(fault), data)
                    return
                except _MissingField as fault:
                    yield self._reject(line, fault.reason, str(fault), data)
                    return
                except ValueError as fault:
                    yield self._reject(line, Reason.BAD_XML, str(fault), data)
                    return
                found.append((head, offset + position, len(text), line))
            elif kind:
                self._prologue(kind, text, line)
            position = part.end()
        if data[position:].strip():
            rest = data[position:].lstrip()
            if rest.startswith(b"<row") and not found and not rest.rstrip().endswith(b">"):
                self.pending, self._pending_at = data, (offset, line)
                return
            if not self._rooted and line == 1:
                raise self._not_a_dump()
            yield self._reject(line, Reason.BAD_XML, _explain(rest), data)
            return
        yield from found

    def _head(self, attributes: dict[str, str]) -> tuple[bytes, ...]:
        layout = self._layout
        for name in layout.names:
            value = attributes.get(name, "")
            if not value and name in layout.needed:
                raise _MissingField(Reason.MISSING_FIELD, f"the row has no {name}")
            if value and not re.fullmatch(r"-?[0-9]{1,18}", value):
                raise _MissingField(Reason.BAD_VALUE, f"{name} is {value[:40]!r}, not a number")
        return tuple(attributes.get(name, "").encode() for name in layout.names)

    def _prologue(self, kind: str, text: bytes, line: int) -> None:
        where = f"{self._label}:{line}"
        if kind == "declaration":
            stated = re.search(rb"encoding\s*=\s*[\"']([^\"']*)", text)
            if stated and stated.group(1).lower() not in (b"utf-8", b"utf8", b"us-ascii"):
                raise FileError(
                    f"the file says that it is {stated.group(1).decode('ascii', 'replace')}",
                    where=where,
                    fix="convert it to UTF-8",
                )
        elif kind == "doctype":
            if b"[" in text or b"<!ENTITY" in text.upper():
                raise FileError(
                    "the file declares its own entities, which no data dump does",
                    where=where,
                    fix="do not trust this file; download the dump again",
                )
        elif kind == "open":
            name = re.sub(rb"[</>\s]", b"", text).decode("ascii", "replace")
            if name != self._layout.root:
                raise self._not_a_dump(f"its root element is {name}")
            if self._rooted:
                raise FileError("two documents in one file", where=where, fix="split them")
            self._rooted = True
            self._ended = text.rstrip().endswith(b"/>")
        elif kind == "close":
            self._ended = True

    def _check_encoding(self, data: bytes) -> None:
        if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00")):
            raise FileError("the file is not UTF-8", where=self._label, fix="convert it to UTF-8")

    def end(self, line: int) -> Iterator[Reject]:
        """Hold the file to its end: a dump without its closing tag was cut off."""
        if not self._rooted:
            raise self._not_a_dump()
        if not self._ended:
            raise FileError(
                f"the file is truncated: it ends on line {line:,} without </{self._layout.root}>",
                where=self._label,
                fix="download or unpack it again",
            )
        if self.pending:
            yield self.flush()

    def _not_a_dump(self, detail: str = "it has no <posts> or <users> element") -> FileError:
        return FileError(
            f"this is no {self._layout.root.capitalize()}.xml of a Stack Exchange dump: {detail}",
            where=self._label,
            fix=f"give the {self._layout.root.capitalize()}.xml of the site, or its 7z archive",
        )

    def _reject(self, line: int, reason: Reason, detail: str, data: bytes) -> Reject:
        return Reject(
            f"{self._label}:{line}", reason, detail, data[:500].decode("utf-8", "replace").strip()
        )


class _MissingField(ValueError):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


_PART = re.compile(
    rb"""\s*+(?:
      (?P<row><row(?:\s++[\w:.-]++\s*+=\s*+(?:"[^"]*+"|'[^']*+'))*+\s*+(?:/>|>\s*+</row\s*+>))
    | (?P<declaration><\?xml\s[^>]*+>)
    | (?P<doctype><!DOCTYPE[^>]*+>|<!ENTITY[^>]*+>)
    | (?P<comment><!--(?:(?!--).)*+-->)
    | (?P<open><(?!row\b)[A-Za-z][\w.-]*+\s*+/?>)
    | (?P<close></[A-Za-z][\w.-]*+\s*+>)
    )""",
    re.VERBOSE | re.DOTALL,
)


def _explain(rest: bytes) -> str:
    return "not a row" if not rest.startswith(b"<row") else "not a well-formed row"


_NAMES = (
    "Id PostTypeId AcceptedAnswerId ParentId CreationDate DeletionDate Score ViewCount Body "
    "OwnerUserId OwnerDisplayName LastEditorUserId LastEditorDisplayName LastEditDate "
    "LastActivityDate Title Tags AnswerCount CommentCount FavoriteCount ClosedDate "
    "CommunityOwnedDate ContentLicense PmScore Reputation DisplayName LastAccessDate WebsiteUrl "
    "Location AboutMe Views UpVotes DownVotes ProfileImageUrl EmailHash AccountId Age"
)
_NAME_OF = {f" {name}=": name for name in _NAMES.split()}
"""What stands between two values, and the attribute that it begins; any other is for XML to say."""
_ODD_REFERENCE = re.compile(_BAD_REFERENCE.pattern.decode())


def parse_row(data: bytes) -> dict[str, str]:
    """The attributes of one row; the usual form fast, any other strictly.

    Raises:
        ValueError: Not a well-formed row.
    """
    line = data.rstrip(b"\r\n")
    if b"\t" in line or b"\n" in line or b"\r" in line:
        return parse_strictly(data.strip())
    start = line.find(b"<row") + 4
    text = line[start:].decode("utf-8")
    parts = text.split('"')
    if "<" in text or parts.pop().strip() != "/>" or _ODD_REFERENCE.search(text):
        return parse_strictly(data.strip())
    unescape = _unescape()
    attributes: dict[str, str] = {}
    for between, value in zip(parts[::2], parts[1::2], strict=True):
        name = _NAME_OF.get(between)
        if name is None or name in attributes:
            return parse_strictly(data.strip())
        attributes[name] = unescape(value) if "&" in value else value
    return attributes


@cache
def _unescape() -> Callable[[str], str]:
    """HTML's references are more than XML's; only those that both have get here."""
    from turbohtml import unescape

    return unescape


def parse_strictly(data: bytes) -> dict[str, str]:
    """The attributes of one row as an XML parser sees them; nothing is repaired or expanded.

    Raises:
        ValueError: Not well-formed; UnicodeDecodeError: not UTF-8.
    """
    data.decode("utf-8")
    rows: list[dict[str, str]] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda _, attributes: rows.append(attributes)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as fault:
        raise ValueError(f"not well-formed: {fault}") from fault
    if len(rows) != 1:
        raise ValueError("a row holds other elements")
    return rows[0]


MIN_SCORE = 5

_SEVENZIP = b"7z\xbc\xaf\x27\x1c"
_PARQUET = b"PAR1"


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


def site_name(given: str) -> str:
    """A site's short name: the label of a stackexchange.com host, else the host itself.

    >>> site_name("academia.stackexchange.com"), site_name("academia.meta.stackexchange.com")
    ('academia', 'academia.meta.stackexchange.com')
    """
    host = given.strip().lower().removeprefix("https://").strip("/")
    label = host.removesuffix(".stackexchange.com")
    return host if "." in label else label


def group_by_site(inputs: Sequence[Input]) -> list[tuple[str, list[Input], Input | None]]:
    """(site, its posts, its users), in order of the site's name.

    Raises:
        UsageError: A file whose site is not said, or users without posts.
    """
    sites: dict[str, tuple[list[Input], list[Input]]] = {}
    for item in inputs:
        site = site_name(item.subset) or _site_of_file(item.path)
        if not site:
            raise UsageError(
                "which site is this a dump of?",
                where=item.label,
                fix=f"give it as --file stack_exchange:SITE={item.path.name}",
            )
        sites.setdefault(site, ([], []))[item.role == "users"].append(item)
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


def _site_of_file(path: Path) -> str:
    """The site that the name of an archive says: `academia.stackexchange.com.7z`."""
    match = re.match(r"(?i)(.+\..+)\.7z$", path.name)
    return site_name(match.group(1)) if match else ""


@contextmanager
def open_dump(path: Path, member: str) -> Iterator[BinaryIO | None]:
    """A dump file, random access: the file itself, or `member` of the 7z archive that it is.

    None: the archive has no such member.
    """
    if _magic(path, 6) == _SEVENZIP:
        ending = member.lower()
        with open_member(path, lambda name: name.lower().rpartition("/")[2] == ending) as file:
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
class _Answers:
    """The answers that may be selected: numbers only, one array per column."""

    ids: array[int]
    parents: array[int]
    scores: array[int]
    offsets: array[int]
    sizes: array[int]
    lines: array[int]


@dataclass(slots=True)
class _Questions:
    """Where every question lies, and which answer its author accepted (0: none)."""

    ids: array[int]
    accepted: array[int]
    offsets: array[int]
    sizes: array[int]
    lines: array[int]


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
        answers = _Answers(*(array("q") for _ in range(6)))
        questions = _Questions(*(array("q") for _ in range(5)))
        kinds: dict[bytes, int] = {}
        label = posts.label
        for found in scan(file, label, POSTS):
            if isinstance(found, Reject):
                yield found
                continue
            (number, kind, accepted, parent, score), offset, size, line = found
            kinds[kind] = kinds.get(kind, 0) + 1
            if kind == b"1":
                questions.ids.append(int(number))
                questions.accepted.append(int(accepted or 0))
                questions.offsets.append(offset)
                questions.sizes.append(size)
                questions.lines.append(line)
            elif kind == b"2" and int(score) >= MIN_SCORE:
                if not parent:
                    yield Reject(
                        f"{label}:{line}", Reason.MISSING_FIELD, "an answer without ParentId"
                    )
                    continue
                answers.ids.append(int(number))
                answers.parents.append(int(parent))
                answers.scores.append(int(score))
                answers.offsets.append(offset)
                answers.sizes.append(size)
                answers.lines.append(line)
        for code, count in sorted(kinds.items()):
            yield Fact("posts_read", _KINDS.get(code, f"type {code.decode()}"), count)
        names = _names(site, posts, users, stack)
        yield from _join(site, label, file, answers, questions, names, options)


_KINDS = {b"1": "question", b"2": "answer"}


def _join(
    site: str,
    label: str,
    file: BinaryIO,
    answers: _Answers,
    questions: _Questions,
    names: _Names | None,
    options: Options,
) -> Iterator[Raw | Reject]:
    place: dict[int, int] = {}
    wanted = set(answers.parents)
    for index, number in enumerate(questions.ids):
        if number in wanted:
            place.setdefault(number, index)
    chosen = _choose(answers, questions, place, options)

    @lru_cache(maxsize=64)
    def question_row(index: int) -> dict[str, str]:
        data = os.pread(file.fileno(), questions.sizes[index], questions.offsets[index])
        return parse_row(data)

    for index in chosen:
        where = f"{label}:{answers.lines[index]}"
        data = os.pread(file.fileno(), answers.sizes[index], answers.offsets[index])
        at = place.get(answers.parents[index])
        if at is None:
            yield Reject(
                where,
                Reason.ORPHAN,
                f"question {answers.parents[index]} is not in the file",
                data[:500].decode("utf-8", "replace"),
            )
            continue
        try:
            answer = parse_row(data)
            question = question_row(at)
        except ValueError as fault:
            yield Reject(
                where,
                Reason.BAD_XML,
                f"{fault} (answer, or its question on line {questions.lines[at]})",
                data[:500].decode("utf-8", "replace"),
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


def _choose(
    answers: _Answers, questions: _Questions, place: dict[int, int], options: Options
) -> list[int]:
    """The positions of the answers that `options.answers` asks for, by answer id."""
    chosen = sorted(range(len(answers.ids)), key=answers.ids.__getitem__)
    if options.answers == "accepted":
        return [
            index
            for index in chosen
            if (at := place.get(answers.parents[index])) is not None
            and questions.accepted[at] == answers.ids[index]
        ]
    if options.answers == "top":
        best: dict[int, tuple[int, bool, int]] = {}
        for index in chosen:
            parent = answers.parents[index]
            at = place.get(parent)
            accepted = at is not None and questions.accepted[at] == answers.ids[index]
            # Of equal scores the accepted one, then the older one, is the top answer.
            rank = (answers.scores[index], accepted, -answers.ids[index])
            best[parent] = max(best.get(parent, rank), rank)
        return [i for i in chosen if -best[answers.parents[i]][2] == answers.ids[i]]
    return chosen


class _Names:
    """Display names by user number: positions in memory, texts on the disk."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file = file
        rows = []
        self._ids, self._offsets, self._sizes = array("q"), array("q"), array("q")
        for found in scan(file, label, USERS):
            if not isinstance(found, Reject):
                (number,), offset, size, _ = found
                rows.append((int(number), offset, size))
        for user, offset, size in sorted(rows):
            self._ids.append(user)
            self._offsets.append(offset)
            self._sizes.append(size)

    def of(self, number: str | None) -> str | None:
        """The user's display name; None where the file has none."""
        if number is None or not re.fullmatch(r"-?[0-9]{1,18}", number):
            return None
        at = bisect_left(self._ids, int(number))
        if at == len(self._ids) or self._ids[at] != int(number):
            return None
        data = os.pread(self._file.fileno(), self._sizes[at], self._offsets[at])
        try:
            return parse_row(data).get("DisplayName") or None
        except ValueError:
            return None


def _names(site: str, posts: Input, users: Input | None, stack: ExitStack) -> _Names | None:
    """Names from the given Users.xml, or from the one beside Posts.xml in the archive."""
    if users is None and _magic(posts.path, 6) != _SEVENZIP:
        return None
    source = users or posts
    file = stack.enter_context(open_dump(source.path, "Users.xml"))
    return _Names(file, f"{source.label}") if file is not None else None
