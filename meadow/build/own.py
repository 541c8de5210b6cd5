"""Sources of somebody's own: the TOML files that a build is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from meadow.config import Config
from meadow.corpus.manifest import NAME, read_manifest
from meadow.errors import FileError, UsageError
from meadow.source import Source
from meadow.sources import SOURCES, with_own

if TYPE_CHECKING:
    from meadow.sources.own.source import Document


def known_sources(own: Iterable[str | Path], config: Config) -> Mapping[str, Source]:
    """The sources of the house, of meadow.toml and of the TOML files that are given."""
    return with_own(own_documents(config.source_files()) | own_documents(own))


def own_documents(places: Iterable[str | Path]) -> dict[str, Document]:
    """Name -> what is said of a source.

    Args:
        places: TOML files, folders of them, or folders that a build or mix has written (or their
            MANIFEST.json): those keep what their sources were.

    Raises:
        UsageError: A file is wrong, or has the name of another source.
        FileError: A file cannot be read, or a folder holds none.
    """
    found: dict[str, Document] = {}
    stands: dict[str, Path] = {}
    for place in map(Path, places):
        for name, document, path in _documents(place.parent if place.name == NAME else place):
            if name in SOURCES:
                raise UsageError(
                    f"the name {name!r} is that of a source of the house",
                    where=str(path),
                    fix="give yours another name",
                )
            if name in found and found[name] != document:
                raise UsageError(
                    f"two sources have the name {name!r}",
                    where=f"{stands[name]} and {path}",
                    fix="give one of them another name",
                )
            found[name], stands[name] = document, path
    return found


def _documents(place: Path) -> Iterable[tuple[str, Document, Path]]:
    if (place / NAME).is_file():
        own = read_manifest(place).own_sources
        if not own:
            raise FileError("the folder has no source of its own", where=str(place))
        # one of a package that is installed here is at hand already
        return [(name, told, place) for name, told in own.items() if name not in SOURCES]
    paths = sorted(place.glob("*.toml")) if place.is_dir() else [place]
    from meadow.sources.own.source import document_of, read_own

    if not paths:
        raise FileError(
            "the folder holds no TOML file", where=str(place), fix="name one: --source mine.toml"
        )
    read = [(read_own(path), path) for path in paths]
    return [(own.name, document_of(own), path) for own, path in read]
