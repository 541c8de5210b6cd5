"""A source as data: what it is, where its files lie, how they are read and converted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from meadow.errors import UsageError
from meadow.schema import Fact, Raw, Record, Reject, Style

CONVERTER_VERSION = 1
"""Raised when any converter or cleaner changes what it writes; finished sources then rebuild."""


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
    note_types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """anki: note type -> the fields of its question and its answer."""


Reader = Callable[[Sequence[Input], Options], Iterator[Raw | Reject | Fact]]
"""Files to raw rows; a row that cannot be read is a reject, a count worth keeping is a fact, and
rows that were converted as columns are a block."""
Converter = Callable[[Raw, Options], Iterator[Record | Reject | Fact]]
Detector = Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Origin:
    """One way to get a source: its files, how they are read, how a row is converted.

    Args:
        files: What lies below `RAW/<source>/`.
        read: Files -> raw rows and rejects, in a deterministic order, streaming.
        convert: A raw row -> records and rejects. Pure: no I/O, no clock, no randomness.
        expected_rows: Rows of the full upstream, where known; not applied with --file or --limit.
        detect: Whether a file given with --file is of this origin, from its first bytes.
    """

    files: tuple[File, ...]
    read: Reader
    convert: Converter
    expected_rows: int | None = None
    detect: Detector | None = None


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
class Source:
    """Everything the house knows about one source.

    Args:
        name: Lower case, as in shards, cards and recipes.
        title: For people.
        homepage: Where it comes from.
        citation: Whom to cite.
        license: The key of the licence of (most of) its rows.
        license_note: What the key cannot say.
        upstream: Its raw files; None where only the 2023 release exists.
        published: The 2023 release; None where there is none.
        published_refused: Why the 2023 release is not used.
        published_rows: Rows of the 2023 release.
        exam: The rows are an evaluation set elsewhere: left out of default mixes.
        notes: What a user should know before building.
    """

    name: str
    title: str
    homepage: str
    citation: str
    license: str
    license_note: str = ""
    upstream: Origin | None = None
    published: Origin | None = None
    published_refused: str = ""
    published_rows: int | None = None
    exam: bool = False
    notes: tuple[str, ...] = ()

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
