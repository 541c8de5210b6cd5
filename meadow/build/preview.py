"""What comes of a source's TOML file, before anything is built: some rows beside the raw ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from meadow.build.own import own_documents
from meadow.build.plan import NamedPlace, find_inputs, named_inputs
from meadow.build.transform import Rules, transform_batch
from meadow.build.worker import SourceTask, build_source
from meadow.config import read_config
from meadow.corpus.manifest import SourceEntry
from meadow.schema import Fact, Raw, Reject
from meadow.source import Options, OriginName
from meadow.sources.own.examples import example_faults
from meadow.sources.own.form import OwnSource
from meadow.sources.own.reader import OF_THE_FILE, fields_of, needed_fields
from meadow.sources.own.source import own_source, read_own
from meadow.sources.own.template import heads, look_up

ROWS = 100


@dataclass(frozen=True, slots=True)
class Beside:
    """A raw row (empty where it could not be read), and the row or the reject that it becomes."""

    where: str
    raw: dict[str, Any]
    row: dict[str, Any] = field(default_factory=dict)
    reject: Reject | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What came of the first rows of a source."""

    name: str
    entry: SourceEntry
    """What a build of them counts."""
    shown: tuple[Beside, ...]
    """Rows beside the raw ones: the first that stay, and the first of each reason."""
    examples: int
    faults: tuple[str, ...]
    """Which of the examples are not as they say."""
    notes: tuple[str, ...]
    """What is likely to be an oversight."""


def preview(
    path: Path,
    files: Sequence[Path] = (),
    *,
    raw: Path | None = None,
    rows: int = ROWS,
    show: int = 3,
) -> Preview:
    """Build the first rows of a source's TOML file, and run its examples.

    The raw files are those that are given, else those in the raw folder (`raw`, or the settings').

    Raises:
        UsageError: The file is wrong, or does not fit its raw files.
        UpstreamChangedError: A column is missing, or an id stands for two contents.
        FileError: A raw file is missing or damaged.
    """
    (document,) = own_documents([path]).values()
    own = read_own(path)
    source = own_source(own)
    origin = source.origin(OriginName.UPSTREAM)
    if files:
        named = [NamedPlace(own.name, "", "data", file) for file in files]
        inputs = named_inputs(named, source)
    else:
        inputs = find_inputs(source, origin, read_config().raw_folder(raw).expanduser())
    with tempfile.TemporaryDirectory(prefix="meadow-") as folder:
        entry = build_source(
            SourceTask(
                source=own.name,
                origin=OriginName.UPSTREAM,
                inputs=inputs,
                options=Options(),
                limit=rows,
                exclude=frozenset(),
                expected={},
                staging=Path(folder),
                own=document,
            )
        )
    raws = list(islice(origin.read(inputs, Options()), rows))
    rules = Rules(own.name, OriginName.UPSTREAM, Options(), frozenset(), own=document)
    return Preview(
        own.name,
        entry,
        tuple(_beside(raws, rules, show)),
        len(own.example),
        tuple(example_faults(own)),
        tuple(_notes(own, [row for row in raws if not isinstance(row, Reject | Fact)])),
    )


def _beside(raws: Sequence[Raw | Reject | Fact], rules: Rules, show: int) -> Iterable[Beside]:
    batch = transform_batch(raws, rules)
    columns = {str(raw["_where"]): raw for raw in raws if not isinstance(raw, Reject | Fact)}

    def raw_of(where: str) -> dict[str, Any]:
        found = columns.get(where, {})
        return {name: value for name, value in found.items() if not name.startswith("_")}

    for row in batch.rows.slice(0, show).to_pylist():
        where = row.pop("_where")
        yield Beside(where, raw_of(where), row=row)
    reasons = {item.reason: item for item in reversed(batch.rejects)}
    for item in sorted(reasons.values(), key=lambda item: batch.rejects.index(item)):
        yield Beside(item.where, raw_of(item.where), reject=item)


def _notes(own: OwnSource, raws: Sequence[Raw]) -> Iterable[str]:
    """Optional fields that no row has, and columns that are not used."""
    made = {*own.labels, *OF_THE_FILE}
    for each in fields_of(own):
        given = (look_up(raw, way) for raw in raws for way in each.ways)
        if each.optional and not made.issuperset(each.ways) and all(v is None for v in given):
            yield f"{{{'|'.join(each.ways)}|}} is in none of the {len(raws)} rows"
    used = [way for each in (*fields_of(own), *needed_fields(own)) for way in each.ways]
    if own.options is not None:
        several = own.options.columns
        used += [several] if isinstance(several, str) else several
    known = {head for way in used for head in heads(way)}
    there = dict.fromkeys(name for raw in raws for name in raw if not name.startswith("_"))
    if unused := [name for name in there if name not in known]:
        yield f"columns that are not used: {', '.join(unused)}"
