"""MANIFEST.json: the commit of a folder. A file that it does not name does not exist.

A build's manifest gives each source's rows in, out and rejected by reason, its inputs and shards; a
mix's gives the same per step. It is written last, after everything that it names is on disk
(`meadow.corpus.commit`).

A corpus can come from anybody: what is read from its manifest goes into cards, reports, paths and
sums, so the models below hold every part to its type when it is read. What is not documented of
`settings` and `details` is left alone.
"""

from __future__ import annotations

import functools
import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from meadow.atomic import hash_json, sha256_file, write_text
from meadow.errors import FileError
from meadow.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from pydantic import ConfigDict, GetCoreSchemaHandler
    from pydantic_core import CoreSchema

NAME = "MANIFEST.json"
FIX = "build it again; a folder without a whole manifest holds nothing"
VERSION = re.compile(r"v\d+\.\d+\.\d+(?:[-+.][\w.]+)?")
"""A tag that names a version."""
_SAFE_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*")
LIBRARIES = (
    *("medical-meadow", "pyarrow", "polars"),
    # what the readers and the cleaner parse, unpack and decide with
    *("turbohtml", "lxml", "beautifulsoup4", "py7zr", "py3langid"),
)


def is_safe_path(name: object) -> bool:
    """Whether a relative path stays inside its folder."""
    return (
        isinstance(name, str)
        and _SAFE_PATH.fullmatch(name) is not None
        and all(part.strip(".") for part in name.split("/"))
    )


def _plain(name: str) -> str:
    if "/" in name or not is_safe_path(name):
        raise ValueError("should be a plain name")
    return name


def _inside(path: str) -> str:
    if not is_safe_path(path):
        raise ValueError(f"a path outside the folder: {path[:200]!r}")
    return path


class Held:
    """What a value is held to by who reads a manifest: a type within limits, or a check behind it.

    pydantic asks for it, which only readers import: it takes a twentieth of a second.
    """

    def __init__(
        self, kind: str = "", check: Callable[[Any], Any] | None = None, **limits: Any
    ) -> None:
        self.kind, self.check, self.limits = kind, check, limits

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The rule as pydantic has it."""
        from pydantic_core import core_schema

        if self.check is not None:
            return core_schema.no_info_after_validator_function(self.check, handler(source))
        rule: CoreSchema = getattr(core_schema, f"{self.kind}_schema")(strict=True, **self.limits)
        return rule


LARGEST = 2**63
# The widths are no rule of ours: they keep a hostile manifest from filling a page or a sum.
Text = Annotated[str, Held("str", max_length=1_000_000)]
Name = Annotated[str, Held("str", max_length=200), Held(check=_plain)]
RelativePath = Annotated[Text, Held(check=_inside)]
Count = Annotated[int, Held("int", ge=0, lt=LARGEST)]
Counts = dict[Text, Count]

# JSON knows no tuples and no strings that are numbers: strict takes arrays for tuples, and nothing
# else for anything. The order of the fields below is the order in the file.
_KNOWN_ONLY: ConfigDict = {"strict": True, "extra": "forbid"}
_MORE_LEFT_ALONE: ConfigDict = {"strict": True, "extra": "ignore"}
_IF_ANY: dict[str, Any] = {"if_any": True}
"""A field that is not written where it is as it is by itself."""
_SORTED: dict[str, Any] = {"order": lambda told: dict(sorted(told.items()))}
"""A field whose keys stand in order; below it, one whose values' keys do, and files by path."""
_SORTED_GROUPS: dict[str, Any] = {
    "order": lambda told: {group: dict(sorted(counts.items())) for group, counts in told.items()}
}
_BY_PATH: dict[str, Any] = {"order": lambda files: sorted(files, key=lambda file: file.path)}


class _Part:
    """What is written of every part of a manifest: its fields, in their order."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        assert is_dataclass(self)
        document = {}
        for each in fields(self):
            value, rules = getattr(self, each.name), each.metadata
            usual = each.default if each.default_factory is MISSING else each.default_factory()
            if rules.get("if_any") and value == usual:
                continue
            document[each.name] = _as_json(rules["order"](value) if "order" in rules else value)
        return document


def _as_json(value: Any) -> Any:
    if isinstance(value, _Part):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    from pydantic_core import to_jsonable_python  # what TOML has beyond JSON, such as a date

    return to_jsonable_python(value)


@dataclass(frozen=True, slots=True)
class Shard(_Part):
    """One Parquet file: path relative to the folder, rows, bytes, SHA-256."""

    __pydantic_config__: ClassVar[ConfigDict] = _KNOWN_ONLY

    path: RelativePath
    rows: Count
    bytes: Count
    sha256: Text

    @classmethod
    def of(cls, folder: Path, name: str, rows: int) -> Shard:
        """Measure a file."""
        path = folder / name
        return cls(name, rows, path.stat().st_size, sha256_file(path))

    @property
    def file(self) -> NamedFile:
        """The file without its rows."""
        return NamedFile(path=self.path, bytes=self.bytes, sha256=self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile(_Part):
    """Another file of the folder, or a raw input: path, bytes, SHA-256."""

    __pydantic_config__: ClassVar[ConfigDict] = _KNOWN_ONLY

    path: Text
    sha256: Text
    bytes: Count

    @classmethod
    def of(cls, path: Path, name: str) -> NamedFile:
        """Measure a file."""
        return cls(path=name, bytes=path.stat().st_size, sha256=sha256_file(path))


def _file_inside(file: NamedFile) -> NamedFile:
    _inside(file.path)
    return file


FileInside = Annotated[NamedFile, Held(check=_file_inside)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry(_Part):
    """What a build says of one source. Conservation: rows_in == rows_out + sum of rejected.

    Args:
        rows_in: Candidate rows, in the unit that the source's card states.
        rows_out: Records written.
        rejected: Count by reason.
        repaired: Count of records by kind of repair.
        origin: Which of the source's origins the rows come from.
        inputs: The raw files read.
        shards: The Parquet files, in order.
        quarantine: The file that holds the rejects.
        facts: Further counts (licenses, subsets, tasks, languages of some rows, attribution gaps),
            each name -> {value: n}.
        limit: Candidate rows after which reading stopped; None where all were read.
        key: Hash of everything that the bytes depend on; the same key is not built again.
        own: What the TOML file of a source says that is none of the house's, so that who opens the
            folder needs no other file.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _MORE_LEFT_ALONE

    rows_in: Count
    rows_out: Count
    rejected: Counts = field(metadata=_SORTED)
    repaired: Counts = field(metadata=_SORTED)
    origin: Text
    inputs: tuple[NamedFile, ...]
    shards: tuple[Shard, ...]
    quarantine: FileInside
    facts: dict[Text, Counts] = field(default_factory=dict, metadata=_SORTED_GROUPS)
    limit: Count | None = field(default=None, metadata=_IF_ANY)
    key: Text
    own: dict[Text, Any] = field(default_factory=dict, metadata=_IF_ANY)

    @classmethod
    def from_json(cls, text: str) -> SourceEntry:
        """As read back.

        Raises:
            ValueError: It is none.
        """
        from meadow.corpus.documented import entry_of

        return entry_of(text)

    def with_entry(self, other: SourceEntry) -> SourceEntry:
        """What this build and another say of the source together: sums, and the files of both."""

        def total(one: dict[str, int], two: dict[str, int]) -> dict[str, int]:
            return dict(Counter(one) + Counter(two))

        return replace(
            self,
            rows_in=self.rows_in + other.rows_in,
            rows_out=self.rows_out + other.rows_out,
            rejected=total(self.rejected, other.rejected),
            repaired=total(self.repaired, other.repaired),
            origin=self.origin if self.origin == other.origin else f"{self.origin}, {other.origin}",
            inputs=(*self.inputs, *other.inputs),
            shards=(*self.shards, *other.shards),
            facts={
                group: total(self.facts.get(group, {}), other.facts.get(group, {}))
                for group in sorted({*self.facts, *other.facts})
            },
            key=hash_json([self.key, other.key]),
        )

    def files(self) -> tuple[NamedFile, ...]:
        """The shards and the quarantine."""
        return (*(shard.file for shard in self.shards), self.quarantine)


@dataclass(frozen=True, slots=True)
class Step(_Part):
    """One step of a mix: rows before and after, and why the others went."""

    __pydantic_config__: ClassVar[ConfigDict] = _KNOWN_ONLY

    name: Text
    rows_in: Count
    rows_out: Count
    rejected: Counts = field(metadata=_SORTED)


Splits = dict[Name, dict[Name, tuple[Shard, ...]]]
"""Config -> split -> shards."""


def _matching(pattern: str) -> Held:
    """A form to match; pydantic's own patterns match nothing while a signal waits to be handled."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"should match {pattern}")
        return text

    return Held(check=check)


_Short = Annotated[str, Held("str", max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(_Part):
    """Where a folder is published, as its card and its Croissant say it.

    Args:
        repository: `OWNER/NAME` on the Hub.
        revision: The tag, else the branch.
        date: The day of the publication, `YYYY-MM-DD`.
        endpoint: The Hub's address.
        kept_card: Whether the card's words beside its generated parts are those of the Hub.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _KNOWN_ONLY

    # all of it goes into commands and addresses
    repository: Annotated[
        _Short, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
    ]
    revision: Annotated[_Short, _matching(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")]
    date: Annotated[_Short, _matching(r"\d{4}-\d\d-\d\d")]
    endpoint: Annotated[_Short, _matching(r"https?://[A-Za-z0-9.:/_\[\]-]+")]
    kept_card: bool = field(default=False, metadata=_IF_ANY)

    @property
    def owner(self) -> str:
        """Who published it."""
        return self.repository.partition("/")[0]

    @property
    def url(self) -> str:
        """The page of the data set."""
        return f"{self.endpoint}/datasets/{self.repository}"

    @property
    def is_tagged(self) -> bool:
        """Whether the revision is a version, which never moves."""
        return VERSION.fullmatch(self.revision) is not None

    @property
    def key(self) -> str:
        """What BibTeX calls it."""
        return re.sub(r"\W+", "_", f"{self.repository}_{self.revision}")

    @property
    def address(self) -> str:
        """`OWNER/NAME@REVISION`, as every command takes it."""
        return f"{self.repository}@{self.revision.replace('/', '%2F')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(_Part):
    """What a folder holds.

    Args:
        schema_version: Of the rows and of this document.
        stage: "build" or "mix".
        config_hash: Hash of the settings; another hash in the same folder is a usage error.
        settings: The settings themselves, as JSON.
        sources: Name -> entry (build).
        configs: Config -> split -> shards (mix; for a build it follows from `sources`).
        steps: The steps of a mix, in order.
        details: Stage-specific facts (a mix's quotas, expectations, contamination verdicts).
        files: Every other file of the folder.
        versions: Library -> version.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _MORE_LEFT_ALONE

    schema_version: Count = SCHEMA_VERSION
    stage: Text
    config_hash: Text
    settings: dict[str, Any]
    sources: dict[Name, SourceEntry] = field(default_factory=dict, metadata=_SORTED)
    configs: Splits = field(default_factory=dict, metadata=_SORTED | _IF_ANY)
    steps: tuple[Step, ...] = field(default=(), metadata=_IF_ANY)
    details: dict[str, Any] = field(default_factory=dict)
    files: tuple[FileInside, ...] = field(default=(), metadata=_BY_PATH)
    versions: dict[Text, Text] = field(default_factory=dict)

    @property
    def published(self) -> Published | None:
        """Where the folder was published; None where it was not, or where it is still its own."""
        told = self.details.get("published")
        return Published(**told) if told else None

    @property
    def own_sources(self) -> dict[str, dict[str, Any]]:
        """What the folder says of the sources that are none of the house's, for `with_own`."""
        return {name: entry.own for name, entry in self.sources.items() if entry.own}

    @property
    def own_details(self) -> dict[str, Any]:
        """The details without those of a publication: what is made of a folder is not published."""
        return {name: told for name, told in self.details.items() if name != "published"}

    def splits(self) -> Splits:
        """Config -> split -> shards, for builds and mixes alike."""
        if self.configs:
            return self.configs
        return {name: {"train": entry.shards} for name, entry in self.sources.items()}

    def shards(self) -> Iterator[Shard]:
        """Every shard, config by config."""
        for splits in self.splits().values():
            for shards in splits.values():
                yield from shards

    def named(self) -> dict[str, tuple[int, str]]:
        """Every file that exists: path -> (bytes, sha256)."""
        files: list[Shard | NamedFile] = [*self.shards(), *self.files]
        if self.stage == "build":
            files += [entry.quarantine for entry in self.sources.values()]
        return {file.path: (file.bytes, file.sha256) for file in files}

    def text(self) -> str:
        """The document."""
        return json.dumps(self.to_json(), ensure_ascii=False, indent=2) + "\n"

    def write(self, folder: Path) -> None:
        """Write it into a folder as it is; `commit_folder` is the safe way."""
        write_text(folder / NAME, self.text())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        FileError: There is none, or it cannot be read.
        UpstreamChangedError: It was written by a newer schema.
    """
    path = folder / NAME
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except OSError as error:
        what, where, fix = f"MANIFEST.json cannot be read: {error}", str(path), FIX
        if not folder.is_dir():
            what, where, fix = "there is no such folder", str(folder), "check the name"
        elif isinstance(error, FileNotFoundError):
            what, where = "no MANIFEST.json: not a finished folder", str(folder)
        raise FileError(what, where=where, fix=fix) from error


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest that these bytes are; `where` they lie stands in the message.

    Raises:
        FileError: They are none.
        UpstreamChangedError: A newer schema wrote them.
    """
    from meadow.corpus.documented import manifest_of

    return manifest_of(data, where)


def library_versions() -> dict[str, str]:
    """The versions that the bytes of a folder can depend on.

    Python is one of them: its Unicode tables and its own parsers (csv, expat, json).
    """
    return {"python": platform.python_version()} | {name: _installed(name) for name in LIBRARIES}


# what is installed does not change under a run, and each look parses a file of metadata
_installed = functools.cache(metadata.version)
