"""Every source, listed: a TOML file each; or a module each, and two lines here.

>>> meadow.SOURCES["medqa"].license
'mit'

A source of somebody else's stands in a TOML file that a build is given, and from then on in the
manifest of every folder that has rows of it (`with_own`); or in a package that is installed, under
the entry point `medical_meadow.sources`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from meadow.source import Source


class _Sources(Mapping[str, Source]):
    """Name -> source; a source is imported when it is asked for, since a build takes but few."""

    def __getitem__(self, name: str) -> Source:
        if name == "afrimed_qa":
            from meadow.sources.afrimed_qa import SOURCE
        elif name == "anki":
            from meadow.sources.anki.source import SOURCE
        elif name == "chatdoctor":
            from meadow.sources.chatdoctor import SOURCE
        elif name == "cord19":
            from meadow.sources.cord19 import SOURCE
        elif name == "health_advice":
            from meadow.sources.health_advice import SOURCE
        elif name == "mediqa":
            from meadow.sources.mediqa import SOURCE
        elif name == "mediqa_qa":
            from meadow.sources.mediqa_qa import SOURCE
        elif name == "medmcqa":
            from meadow.sources.medmcqa import SOURCE
        elif name == "medquad":
            from meadow.sources.medquad import SOURCE
        elif name == "mmmlu":
            from meadow.sources.mmmlu import SOURCE
        elif name == "openassistant":
            from meadow.sources.openassistant import SOURCE
        elif name == "stack_exchange":
            from meadow.sources.stack_exchange.source import SOURCE
        elif name == "wikidoc":
            from meadow.sources.wikidoc.textbook import SOURCE
        elif name == "wikidoc_patient_information":
            from meadow.sources.wikidoc.patients import SOURCE
        elif name in HOUSE:
            return _from_toml(name)
        else:
            from meadow.sources.own.installed import installed, installed_source

            if name in installed():
                return installed_source(name)[0]
            raise KeyError(name)
        return SOURCE

    def __contains__(self, name: object) -> bool:
        if name in HOUSE:
            return True
        from meadow.sources.own.installed import installed

        return name in installed()  # whether it can be loaded or not

    def __iter__(self) -> Iterator[str]:
        from meadow.sources.own.installed import installed

        return iter(sorted({*HOUSE, *installed()}))

    def __len__(self) -> int:
        return len(list(iter(self)))


@lru_cache(maxsize=64)
def _from_toml(name: str) -> Source:
    from meadow.sources.own.source import own_source, read_own

    return own_source(read_own(Path(__file__).with_name(f"{name}.toml")))


_MODULES = (
    *("afrimed_qa", "anki", "chatdoctor", "cord19", "health_advice", "mediqa"),
    *("mediqa_qa", "medmcqa", "medquad", "mmmlu", "openassistant"),
    *("stack_exchange", "wikidoc", "wikidoc_patient_information"),
)
HOUSE = frozenset({*_MODULES, *(path.stem for path in Path(__file__).parent.glob("*.toml"))})
"""The names of the house's own sources."""
SOURCES: Mapping[str, Source] = _Sources()


def kept_of(name: str) -> dict[str, Any]:
    """What a folder keeps of a source, so that it is understood where no package has it.

    Nothing of one of the house's.
    """
    if name in HOUSE:
        return {}
    from meadow.sources.own.installed import installed_source

    return installed_source(name)[1]


class _WithOwn(Mapping[str, Source]):
    """The sources at hand, and others; a name of the house's, or of a package's, is theirs."""

    def __init__(self, own: Mapping[str, Mapping[str, Any]]) -> None:
        self._own = {name: told for name, told in own.items() if name not in SOURCES}

    def __getitem__(self, name: str) -> Source:
        if name not in self._own:
            return SOURCES[name]
        from meadow.sources.own.source import source_of

        return source_of(name, self._own[name], where=f"the manifest, source {name[:80]!r}")

    def __iter__(self) -> Iterator[str]:
        yield from SOURCES
        yield from self._own

    def __len__(self) -> int:
        return len(SOURCES) + len(self._own)


def with_own(own: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Source]:
    """The sources at hand, and those that a build was given or a folder has.

    Args:
        own: Name -> what its TOML file says, as `meadow.sources.own.source.document_of` gives it.
    """
    return _WithOwn(own) if own else SOURCES
