"""Sources of other packages that are installed here: the entry points `medical_meadow.sources`.

An entry point has the name of its source and gives a `Source`, or the path of a TOML file. It is
loaded when its source is asked for and not before: a package that is broken breaks no other build.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from typing import Any

from meadow.errors import MeadowError
from meadow.source import Source
from meadow.sources.own.source import document_of, facts_of, own_source, read_own

GROUP = "medical_meadow.sources"


@lru_cache(maxsize=1)
def installed() -> dict[str, EntryPoint]:
    """Name -> entry point."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


@lru_cache(maxsize=64)
def installed_source(name: str) -> tuple[Source, dict[str, Any]]:
    """An installed source, and what a folder keeps of it.

    Raises:
        MeadowError: The package raises, or gives something else.
    """
    entry = installed()[name]
    package = _package(entry)
    try:
        found = entry.load()
        if isinstance(found, str | PathLike):
            own = read_own(Path(found))
            found, document = own_source(own), document_of(own)
        elif isinstance(found, Source):
            document = facts_of(found, package)
    except MeadowError:
        raise  # of its TOML file, which it names
    except (Exception, SystemExit) as error:
        raise _broken(entry, f"raises {type(error).__name__}: {error}") from error
    if not isinstance(found, Source):
        raise _broken(entry, f"gives a {type(found).__name__}, and no Source and no path")
    if found.name != name:
        raise _broken(entry, f"gives a source of the name {found.name!r}")
    return found, document


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "not known"


def _broken(entry: EntryPoint, what: str) -> MeadowError:
    return MeadowError(
        f"the source {entry.name!r} of an installed package cannot be used: it {what}"[:500],
        where=f"{entry.value}, of {_package(entry)}",
        fix="tell the package's authors; upgrade or uninstall it",
    )
