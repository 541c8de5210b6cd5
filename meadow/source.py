"""A source as data: what it is, where its files lie, how they are read and converted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from meadow.errors import FileError, UsageError
from meadow.licenses import LICENSES
from meadow.schema import Fact, Raw, Reason, Record, Reject, Style


class OriginName(StrEnum):
    """Where the rows come from."""

    UPSTREAM = "upstream"
    """The raw files of the people who made them: the default."""
    PUBLISHED = "published"
    """The 2023 release on the Hub at a pinned revision, repaired."""


@dataclass(frozen=True, slots=True)
class File:
    """A raw file: its expected name below `RAW/<source>/` and where it can be had.

    Args:
        name: Path below `RAW/<source>/`; may hold `*` where any name will do (decks, dumps).
        url: An http(s) address, or `hf://datasets/OWNER/NAME@REVISION/PATH`; None: by hand.
        subset: The part of the source that the file holds.
        role: Which part a file plays where a source reads several kinds ("posts", "users").
        sha256: The known hash; None where the first fetch records it.
        size: The known size in bytes.
        max_size: The cap for a download in bytes, where the size is not known.
        optional: Whether the source builds without it.
        member: The member to stream out of an archive, without unpacking.
        also: Further names under which the user may have it (the archive's member, unpacked).
        by_hand: What the user does where it cannot be downloaded.
    """

    name: str
    url: str | None = None
    subset: str = ""
    role: str = "data"
    sha256: str | None = None
    size: int | None = None
    max_size: int = 2 * 1024**3
    optional: bool = False
    member: str | None = None
    also: tuple[str, ...] = ()
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """A raw file at hand.

    Args:
        path: Where it lies.
        label: How rejects and manifests name it: relative to the raw folder.
        subset: The part of the source that it holds; "" where the content says so.
        role: As in `File`.
        member: The archive member to read.
    """

    path: Path
    label: str
    subset: str = ""
    role: str = "data"
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a conversion can be asked for; each field is part of a shard's resume key."""

    style: Style = Style.MEADOW
    answers: Literal["all", "top", "accepted"] = "all"
    images: Literal["refuse", "keep"] = "refuse"
    """stack_exchange: what becomes of questions that show an image, which no text can."""
    note_types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """anki: note type -> the fields of its question and its answer."""


Reader = Callable[[Sequence[Input], Options], Iterator[Raw | Reject | Fact]]
"""Files to raw rows; a row that cannot be read is a reject, a count worth keeping is a fact."""
Piece = Callable[[], Iterator[Raw | Reject | Fact]]
"""Some consecutive raw rows of a source, for whoever reads them: a `functools.partial` of a
module-level function, so that it can be sent to another process."""
Task = TypeVar("Task")
Result = TypeVar("Result")


class Apply(Protocol):
    """`map` for a module-level function and picklable tasks, wherever the work is done."""

    def __call__(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], /
    ) -> Iterator[Result]:
        """The results, in the order of the tasks."""


def apply_here(function: Callable[[Task], Result], tasks: Sequence[Task], /) -> Iterator[Result]:
    """`Apply` in this process."""
    return map(function, tasks)


@dataclass(frozen=True, slots=True)
class Cutting:
    """How an input is to be cut into pieces.

    Args:
        folder: Where a reader may put what its pieces share, such as an unpacked file; what is
            whole there is used again. It stays until the source is built.
        size: Bytes of input that a piece should have; None: one piece for whatever can be one.
        apply: Who looks at the ranges of a large file.
    """

    folder: Path
    size: int | None = None
    apply: Apply = apply_here


@runtime_checkable
class Divisible(Protocol):
    """A `Reader` that can say how its input splits.

    Read one after the other, the pieces give what the reader gives. They do not depend on who
    `apply` is.
    """

    def __call__(
        self, inputs: Sequence[Input], options: Options, /
    ) -> Iterator[Raw | Reject | Fact]:
        """The rows of all inputs."""

    def pieces(
        self, inputs: Sequence[Input], options: Options, cutting: Cutting, /
    ) -> Iterator[Piece]:
        """The same rows, piece by piece."""


class CutError(FileError):
    """A piece did not end where a row ends, so that the input has to be read as one."""


Converter = Callable[[Raw, Options], Iterator[Record | Reject | Fact]]


class NoSecondReader(Exception):
    """A form of raw files that is read only once: what stands there is not checked."""


@dataclass(frozen=True, slots=True)
class RawTexts:
    """Where raw files hold the words of a row, for a reading that shares no code with the source's.

    Args:
        texts: (item of a raw file, name of its document) -> for each row that it may become, the
            row's key (None: the row is told by its words) and column -> the text that it should
            have. An item is what the format gives: a row of a table, a JSON value, an XML element
            (its attributes where it holds nothing else).
        key: `source_id` of a row -> its key.
        markup: What the texts are written in; of a page in wikitext each section is a row, whose
            anchor follows the key behind "#".
        columns: The names of the columns of a table without a header.
        delimiter: Of a table.
        encoding: Of a table.
        element: The XML element that is an item; "" for the whole document.
        member: The member of an archive that holds the rows; "" for all.
        parent: The attribute that names another item, and the one that is its name there; that item
            is then given as "parent".
        repairs: Repair -> what it does to the words, as a pattern of "column: missing → added",
            where "|" is the beginning or the end of a text. A difference that matches is explained
            in rows that went through the repair.
        rules: The same for what a source always does; the name says what.
    """

    texts: Callable[[Any, str], Iterable[tuple[str | None, Mapping[str, str]]]]
    key: Callable[[str], str] = str
    markup: Literal["", "html", "wikitext"] = ""
    columns: tuple[str, ...] = ()
    element: str = ""
    member: str = ""
    parent: tuple[str, str] | None = None
    repairs: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Origin:
    """One way to get a source: its files, how they are read, how a row is converted.

    Args:
        files: What lies below `RAW/<source>/`.
        read: Files -> raw rows and rejects, in a deterministic order, streaming.
        convert: A raw row -> records and rejects. Pure: no I/O, no clock, no randomness.
        expected_rows: Rows of the full upstream, where known; not applied with --file or --limit.
        rank: How good a row is among those with its upstream id, of which the best stays and of
            equal ones the first; None: an upstream id stands once.
        raw_texts: Where its raw files hold the words of a row; or why they cannot be read
            a second time.
    """

    files: tuple[File, ...]
    read: Reader
    convert: Converter
    rank: Callable[[Raw], int] | None = None
    expected_rows: int | None = None
    raw_texts: RawTexts | str = "its raw texts are not told"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pages a crawl is for.

    Args:
        api: The address of api.php.
        category: Pages of this category; "" for all pages.
        prefix: Pages whose title begins so; only without a category.
        max_pages: The most pages that the store may hold; None for all there are.
    """

    api: str
    category: str = ""
    prefix: str = ""
    max_pages: int | None = None

    def identity(self) -> dict[str, str]:
        """What a store is for; one store is for one crawl."""
        return {"api": self.api, "category": self.category, "prefix": self.prefix}


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How a language model may put a source's rows into words.

    Args:
        kind: "flashcard": both sides of a row become a question and its answer; "heading": a
            section whose heading has no rule gets a question, and becomes a row only so.
        instructions: What a row is asked with once it is a question.
        record: For headings: (raw row, question, options) -> the record that it would be.
    """

    kind: Literal["flashcard", "heading"]
    instructions: Mapping[Style, str]
    record: Callable[[Raw, str, Options], Record] | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the rows cannot say of a source: croissant.json tells it in the words of PROV-O.

    Args:
        text_sources: Where the words were first written.
        arxiv: The paper's address there.
        github: The repository of the data.
        derived: Data sets that it was made from.
        creators: Who made the source.
        generated: Models that wrote (part of) the rows before this project ever saw them.
        published_generated: The same, of the 2023 release alone.
    """

    text_sources: tuple[str, ...] = ()
    arxiv: str = ""
    github: str = ""
    derived: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()
    published_generated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Count2023:
    """Rows of the 2023 release, as three places that do not agree give them.

    Args:
        why: Why today's number differs.
        published: Rows of the repository on the Hub, or of its data description.
        mix: Rows in the README's table of the training mix.
        paper: Rows in the paper's collection of 160,076.
        subset: The part of the source; None for all of it.
    """

    why: str
    published: int | None = None
    mix: int | None = None
    paper: int | None = None
    subset: str | None = None


_OTHER_SPLIT = re.compile(r"(?i)(?:^|[^a-z])(?:dev|test|val|valid|validation)(?:set)?(?:[^a-z]|$)")


def other_split(names: Iterable[str]) -> list[str]:
    """The names of files that tell of another split than the training split."""
    return [name for name in names if _OTHER_SPLIT.search(name)]


@dataclass(frozen=True, slots=True)
class Source:
    """Everything the house knows about one source.

    >>> [name for name, source in meadow.SOURCES.items() if source.upstream is None]
    []

    Args:
        name: Lower case, as in shards, cards and recipes.
        title: For people.
        homepage: Where it comes from.
        citation: Whom to cite.
        license: The key of the licence of (most of) its rows.
        free_text: Whether people wrote its texts as they talk, so that personal data may stand
            there and is looked for. No default: whoever adds a source has to answer.
        license_note: What the key cannot say.
        disputed: The address of the public question where the licence of the rows is disputed: they
            are published only where somebody has decided it in meadow.toml.
        varies: Whether rows have licences of their own.
        upstream: Its raw files; None where only the 2023 release exists.
        published: The 2023 release; None where there is none.
        published_refused: Why the 2023 release is not used.
        mixed_languages: Whether texts may be in another language; such rows are refused.
        markup: Whether texts may hold markup; where not, tags and entities are taken out.
        greetings: Whether texts open with a greeting and close with a signature, which go.
        refuse: What else its answers are refused for: TOO_SHORT (no letter and no digit),
            LINK_ONLY.
        rewrite: How a language model may put its rows into words; None: not at all.
        crawl: The wiki that `meadow fetch` crawls for it.
        provenance: What the rows cannot say.
        counts_2023: Its rows of the 2023 release: one count, or one for each subset.
        exam: The rows are an evaluation set elsewhere: left out of default mixes.
        notes: What a user should know before building.
        prose: What its card says, in paragraphs of plain text; "" where `data_cards` has a page.
        version: Raised when its reader or converter changes what it writes: it alone is then
            built again. Of a source in a TOML file the hash of what that says.
    """

    name: str
    title: str
    homepage: str
    citation: str
    license: str
    free_text: bool
    license_note: str = ""
    disputed: str = ""
    varies: bool = False
    upstream: Origin | None = None
    published: Origin | None = None
    published_refused: str = ""
    mixed_languages: bool = False
    markup: bool = True
    greetings: bool = False
    refuse: frozenset[Reason] = frozenset()
    rewrite: Rewrite | None = None
    crawl: Wanted | None = None
    provenance: Provenance = Provenance()
    counts_2023: tuple[Count2023, ...] = ()
    exam: bool = False
    notes: tuple[str, ...] = ()
    prose: str = ""
    version: int | str = 1

    @property
    def published_rows(self) -> int | None:
        """Rows of the 2023 release on the Hub; None where it has none of this source."""
        counts = [count.published for count in self.counts_2023 if count.published is not None]
        return sum(counts) if counts else None

    @property
    def publishable(self) -> str:
        """Whether its rows may be published, in one word or few, as every document says it."""
        stated = LICENSES[self.license].redistribute
        if self.varies:
            return "per row"
        if self.disputed:
            return "disputed"
        return "if vouched" if stated == "unknown" else stated

    @property
    def may_be_vouched(self) -> bool:
        """Whether a user can answer for the licence of its rows."""
        return self.publishable in ("disputed", "if vouched")

    def split_warning(self, origin: Origin, names: Iterable[str], rows: int) -> str:
        """What to say where a file's name tells of another split than the training split.

        Args:
            origin: The origin that was built.
            names: The names of the raw files.
            rows: The rows in them.

        Returns:
            One sentence; "" where nothing is wrong.
        """
        known = " ".join(name for file in origin.files for name in (file.name, *file.also))
        other = other_split(names)
        if "train" not in known or not other:
            return ""
        due = f"{origin.expected_rows:,} rows were expected, " if origin.expected_rows else ""
        return (
            f"{self.name}: {', '.join(other)}: the name tells of another split than the training "
            f"split, which is an exam elsewhere; {due}{rows:,} were found"
        )

    def origin(self, name: OriginName) -> Origin:
        """The origin of that name, or a `UsageError` that says why there is none."""
        if name is OriginName.PUBLISHED and self.published_refused:
            raise UsageError(
                f"{self.name}: origin published is refused: {self.published_refused}",
                fix="use --origin upstream",
            )
        origin = self.upstream if name is OriginName.UPSTREAM else self.published
        if origin is None:
            raise UsageError(
                f"{self.name} has no origin {name.value}",
                fix=f"meadow sources {self.name} lists what there is",
            )
        return origin
