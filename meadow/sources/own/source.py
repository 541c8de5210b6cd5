"""A `Source` made of a TOML file: any other room takes it for one like the others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from meadow.config import parse_settings, read_toml
from meadow.errors import UpstreamChangedError, UsageError
from meadow.schema import Raw, Reason, Refused, Reject, Style, one_record
from meadow.source import (
    Count2023,
    File,
    Input,
    Options,
    Origin,
    Provenance,
    RawTexts,
    Rewrite,
    Source,
)
from meadow.sources.own.form import InstalledSource, OwnFacts, OwnSource
from meadow.sources.own.reader import OF_THE_FILE, OwnReader, needed_fields
from meadow.sources.own.rows import converter
from meadow.sources.published import multiple_choice, published_origin

VERSION = 1
"""Raised when the same TOML file and raw row give another record than before."""

Document = Mapping[str, Any]
"""What a TOML file says, as the manifest of a folder keeps it."""


def read_own(path: Path) -> OwnSource:
    """A source's TOML file.

    Raises:
        UsageError: It is no TOML, or a key or value is wrong; the message names both.
        FileError: It cannot be read.
    """
    document = read_toml(path)
    if "free_text" not in document:
        raise UsageError(
            "free_text is not said",
            where=str(path),
            fix="free_text = true where people wrote as they talk (personal data is then looked "
            "for), false for edited texts",
        )
    return parse_settings(document, OwnSource, where=str(path), fix="see docs/own-source.md")


def document_of(own: OwnSource) -> dict[str, Any]:
    """What a folder keeps of the file, so that who opens it needs no other.

    Examples may be rows of somebody's own, and a key may stand in an address: both stay out.
    """
    told = own.model_dump(mode="json", exclude_defaults=True, exclude={"example"})
    for file in told.get("files", ()):
        if set("@?#") & set(url := file.get("url", "")):
            from meadow.net.http import clean_address

            file["url"] = clean_address(url)
    return told


def source_of(name: str, document: Document, where: str) -> Source:
    """The source that a document describes.

    Args:
        name: The name that it stands under.
        document: As `document_of` gives it.
        where: Where it stands, for the message.

    Raises:
        UpstreamChangedError: It describes none that is understood here.
    """
    source = _made(json.dumps(document, sort_keys=True), where)
    if source.name != name:
        raise UpstreamChangedError(
            f"a source of the name {source.name!r} stands there", where=where
        )
    return source


@lru_cache(maxsize=64)
def _made(text: str, where: str) -> Source:
    document = json.loads(text)
    try:
        if "package" in document:
            facts = parse_settings(document, InstalledSource, where=where)
            return _elsewhere(facts)
        own = parse_settings(document, OwnSource, where=where)
    except UsageError as error:
        raise UpstreamChangedError(
            f"what is said of a source is not understood here: {error.what}",
            where=where,
            fix="upgrade medical-meadow",
        ) from error
    return own_source(own)


def _elsewhere(facts: InstalledSource) -> Source:
    """A source whose rows are understood here, and which cannot be built."""

    def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
        raise UsageError(
            f"the code of {facts.name} is in a package that is not installed: {facts.package}",
            fix="install it, and build again",
        )

    origin = Origin((), read, lambda raw, options: iter(()), raw_texts="its code is not here")
    return Source(**_facts(facts), varies=facts.varies, upstream=origin, published=origin)


def own_source(own: OwnSource) -> Source:
    """The source that a TOML file describes."""
    make = converter(own)
    told = json.dumps([VERSION, document_of(own)], sort_keys=True)
    endings = {"csv": ".csv", "jsonl": ".jsonl", "json": ".json", "parquet": ".parquet"}
    files = tuple(File(**file.model_dump()) for file in own.files)
    return Source(
        **_facts(own),
        varies=own.row.license is not None,
        upstream=Origin(
            files=files or (File(f"*{endings[own.read.format]}*"),),
            read=OwnReader(own),
            convert=one_record(make),
            expected_rows=own.expected_rows,
            raw_texts=_raw_texts(own),
        ),
        # rows of the 2023 release are turned back into upstream's: one id in both origins
        published=published_origin(
            convert=one_record(lambda raw, options: make(multiple_choice(raw), options)),
            **own.published.model_dump(exclude={"layout"}),
        )
        if own.published is not None
        else None,
        published_refused=own.published_refused,
        rewrite=Rewrite("flashcard", {Style.MEADOW: own.rewrite}) if own.rewrite else None,
        counts_2023=tuple(Count2023(**count.model_dump()) for count in own.counts_2023),
        version=sha256(told.encode()).hexdigest(),
    )


def _facts(own: OwnFacts) -> dict[str, Any]:
    """What a source is, in the words of `Source`."""
    facts = {name: getattr(own, name) for name in OwnFacts.model_fields}
    return facts | {
        "refuse": frozenset(map(Reason, own.refuse)),
        "provenance": Provenance(**own.provenance.model_dump()),
    }


def facts_of(source: Source, package: str) -> dict[str, Any]:
    """What a folder keeps of a source whose code is in another package."""
    facts: dict[str, Any] = {
        name: getattr(source, name)
        for name in (*OwnFacts.model_fields, "varies")
        if name not in ("refuse", "provenance")
    }
    facts |= {"refuse": list(source.refuse), "provenance": asdict(source.provenance)}
    told = InstalledSource.model_validate({**facts, "package": package})
    return told.model_dump(mode="json", exclude_defaults=True)


def _raw_texts(own: OwnSource) -> RawTexts | str:
    """Where the words of a row stand in the raw file, for `check --against-raw`.

    Files are read and texts compared by other code than here; what the TOML file says is taken as
    it is, without its repairs, each of which has to explain the difference that it makes.
    """
    read = own.read
    named = {way for field in needed_fields(own) for way in field.ways}
    if named & set(OF_THE_FILE):
        return "columns of the file have no second reader"
    bare = converter(own.model_copy(update={"repair": ()}))
    written = [repair.column for repair in own.repair if repair.do == "escapes"]
    way = [part for part in read.rows.split(".") if part]

    def texts(item: Any, _: str) -> Iterator[tuple[str | None, Mapping[str, str]]]:
        for raw in _inside(item, way) if way else [item]:
            given = {name: as_characters(text) for name, text in raw.items() if name in written}
            # of JSON that cannot be read no row can come; one that did would not be traced
            with suppress(Refused, ValueError):
                held = {
                    name: json_value(text)
                    for name in read.parse
                    if isinstance(text := raw.get(name), str) and text.strip()
                }
                row = bare({**raw, **held, **given, "_where": ""}, Options())
                columns = {"instruction": row.instruction, "output": row.output}
                yield row.source_id, {**columns, "input": row.input}

    return RawTexts(
        texts,
        columns=read.columns,
        member=read.members,
        repairs={repair.name: repair.explains for repair in own.repair if repair.explains},
        delimiter=read.delimiter,
        encoding=read.encoding,
    )


def _inside(value: Any, way: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The rows at the end of a way into a JSON value: the second reader of `read.rows`."""
    match list(way):
        case [] | ["*"]:
            yield from value.values() if isinstance(value, Mapping) else value
        case ["*", *rest]:
            for each in value.values() if isinstance(value, Mapping) else value:
                facts = {k: v for k, v in each.items() if not isinstance(v, list | dict)}
                yield from ({**facts, **row} for row in _inside(each, rest))
        case [key, *rest]:
            yield from _inside(value[key], rest)


_WRITTEN = re.compile(r"(?:\\+(?:x[0-9a-f]{2}|u[0-9a-f]{4}|n))+")


def json_value(text: str | bytes) -> Any:
    """What JSON says, by other code than the readers': the second reader of `read.parse`, too."""
    try:
        return from_json(text)
    except ValueError:
        return json.loads(text)  # half of a surrogate pair, which jiter refuses


def as_characters(text: str) -> str:
    """A text as Python reads it between quotation marks: the second reader of `escapes`."""

    def read(run: re.Match[str]) -> str:
        found = run[0].replace("\\\\", "\\").encode().decode("unicode_escape")
        try:
            return found.encode("latin-1").decode()
        except UnicodeError:
            return found

    return _WRITTEN.sub(read, text)
