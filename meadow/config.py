"""Config is data: TOML read into pydantic models, for every room; and meadow.toml itself.

An unknown key is an error that names the file, the key and the nearest known one; nothing in a
settings file is ever imported or executed.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from meadow.errors import FileError, UsageError
from meadow.licenses import LICENSES

NAME = "meadow.toml"
DEFAULT_RAW = Path("~/.cache/medical-meadow/raw")


class Settings(BaseModel):
    """A table of a settings file: frozen, and with no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ModelType = TypeVar("ModelType", bound=BaseModel)


def read_settings(path: Path, model: type[ModelType]) -> ModelType:
    """Read a TOML file into a pydantic model whose unknown keys are forbidden.

    Raises:
        UsageError: It is not TOML, or a key or value is wrong; with the nearest known key.
        FileError: The file cannot be read.
    """
    return parse_settings(read_toml(path), model, where=str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as it stands, for what is changed before it is validated.

    Raises:
        UsageError: It is not TOML.
        FileError: The file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(
            f"the file cannot be read: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not TOML: {error}", where=str(path), fix="mend the line") from error


def parse_settings(
    document: Mapping[str, Any], model: type[ModelType], *, where: str, fix: str = "mend the value"
) -> ModelType:
    """Validate a document; `where` and, for a wrong value, `fix` stand in the message.

    Raises:
        UsageError: The first thing that is wrong, as key and what to write instead.
    """
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt key often shows up as a missing one too: the spelling is the cause.
        first = min(found, key=lambda entry: entry["type"] != "extra_forbidden")
        location = first["loc"]
        key = ".".join(str(part) for part in location)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        if first["type"] == "extra_forbidden":
            known = _keys_at(model, location[:-1])
            what = f"unknown key {key!r}"
            fix = did_you_mean(str(location[-1]), known) + f"known here: {', '.join(known)}"
        else:
            what = (f"{key}: " if key else "") + first["msg"].removeprefix("Value error, ")
        raise UsageError(what + more, where=where, fix=fix) from error


_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A key of TOML that needs no quotes."""


def toml_key(key: str) -> str:
    """A key as TOML writes it."""
    return key if _BARE.fullmatch(key) else toml_value(key)


def toml_value(value: Any) -> str:
    """A JSON value as TOML writes it on one line; a null in a table is left out.

    >>> toml_value({"a b": [1, True, "c"]})
    '{"a b" = [1, true, "c"]}'
    """
    if isinstance(value, Mapping):
        pairs = (f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\u007f", "\\u007f")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of the known names, with a space behind it; or nothing.

    >>> did_you_mean("biuld", ["fetch", "build"])
    "did you mean 'build'? "
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that a table knows, given the way to it from the top."""
    for part in location:
        field = model.model_fields.get(str(part))
        # A place in a list or a name in a table of tables is no field: the model stays.
        model = (_model_in(field.annotation) if field is not None else None) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `tuple[Part, ...]` or `Build | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


class Vouch(Settings):
    """Who answers for the licence of a source's rows that state none, or a disputed one.

    Args:
        licence: The key of the licence that the rows are under.
        who: Who says so, and can be asked.
        when: The day on which it was decided.
        url: Where the texts stand; needed where the licence asks for attribution.
    """

    licence: str
    who: str = Field(min_length=1)
    when: date
    url: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = LICENSES.get(self.licence)
        if known is None or known.redistribute != "yes":
            free = ", ".join(key for key, each in LICENSES.items() if each.redistribute == "yes")
            raise ValueError(f"licence is {self.licence!r}, and should be one of {free}")
        if known.attribution and not self.url:
            raise ValueError(f"{self.licence} asks for attribution: say with url where texts stand")
        return self


class Provider(Settings):
    """What only whoever puts a model on the market can say: for `meadow summary`.

    Args:
        name: Name and contact details.
        representative: The authorised representative in the Union.
        model: The model's versioned name.
        base: The models that it depends on, where the summary is of no checkpoint.
        released: When it was placed on the Union market.
        acquired: When data was last acquired.
        private: Data sets of third parties that are not public.
        user_data: Data of the users of the provider's services.
        reservations: How reservations of rights to text and data mining are respected.
        illegal_content: What was done to remove illegal content.
        version: Of the summary.
        updated: When the summary was last changed.
    """

    name: str = ""
    representative: str = ""
    model: str = ""
    base: str = ""
    released: str = ""
    acquired: str = ""
    private: str = ""
    user_data: str = ""
    reservations: str = ""
    illegal_content: str = ""
    version: str = ""
    updated: str = ""


class Config(Settings):
    """meadow.toml: the few settings of a machine or a project.

    Args:
        vouch: Source -> who answers for the licence of its rows.
        raw: The raw folder.
        contact: An address for the crawler's User-Agent and for takedown requests; never invented.
        exclude: The file of ids taken down.
        sources: TOML files of sources of one's own, or folders of them.
        provider: Who puts a model on the market, for the public summary of its training content.
    """

    vouch: dict[str, Vouch] = {}
    raw: str = ""
    contact: str = ""
    exclude: str = "exclude_ids.txt"
    sources: tuple[str, ...] = ()
    provider: Provider = Provider()
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder that relative settings refer to."""
        return self._folder

    def raw_folder(self, given: Path | None = None) -> Path:
        """`--raw`, else the key `raw`, else the cache of the user."""
        if given is not None:
            return given
        return self.folder / self.raw if self.raw else DEFAULT_RAW.expanduser()

    def source_files(self) -> list[Path]:
        """The places of the key `sources`."""
        return [self.folder / place for place in self.sources]

    def excluded_ids(self) -> frozenset[str]:
        """The ids taken down: one a line, `#` begins a comment."""
        path = self.folder / self.exclude
        return frozenset(listed_ids(path)) if path.is_file() else frozenset()


def listed_ids(path: Path) -> list[str]:
    """The ids of a file: one a line, `#` begins a comment."""
    lines = map(str.strip, path.read_text(encoding="utf-8").splitlines())
    # an id may hold a "#": only one at the line's beginning or behind a space is a comment
    ids = (line.partition(" #")[0].strip() for line in lines if not line.startswith("#"))
    return list(filter(None, ids))


def read_config(path: Path | None = None) -> Config:
    """Read `path`, or meadow.toml in the current folder or the nearest one above it.

    Raises:
        FileError: A path was given and cannot be read.
        UsageError: It is no TOML, or a key is unknown.
    """
    if path is None:
        here = Path.cwd()
        path = next((p / NAME for p in (here, *here.parents) if (p / NAME).is_file()), None)
        if path is None:
            return Config()
    config = read_settings(path, Config)
    config._folder = path.parent
    return config


def override(document: dict[str, Any], change: str) -> None:
    """Apply one dotted `key=value` to a document, in place; a bare word is a text."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"not an override: {change!r}", fix="write KEY=VALUE")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, last = key.strip().split(".")
    table = document
    for part in tables:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {key}: {part} is not a table", fix="check the key")
        table = inner
    table[last] = value
