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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from meadow.errors import FileError, UsageError
from meadow.readers.archives import damage_is_an_error
from meadow.readers.sevenzip import open_member
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Input, Options
from meadow.sources.stack_exchange.stack_rows import POSTS, USERS, parse_row, scan

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
