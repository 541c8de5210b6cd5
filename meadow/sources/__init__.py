"""Every source, listed: one file each, and two lines here.

>>> meadow.SOURCES["medqa"].license
'mit'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meadow.source import Source


class _Sources(Mapping[str, Source]):
    """Name -> source; a source is imported when it is asked for, since a build takes but few."""

    def __getitem__(self, name: str) -> Source:
        if name == "afrimed_qa":
            from meadow.sources.afrimed_qa import SOURCE
        elif name == "alpaca":
            from meadow.sources.alpaca import SOURCE
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
        elif name == "medqa":
            from meadow.sources.medqa import SOURCE
        elif name == "medquad":
            from meadow.sources.medquad import SOURCE
        elif name == "mmmlu":
            from meadow.sources.mmmlu import SOURCE
        elif name == "openassistant":
            from meadow.sources.openassistant import SOURCE
        elif name == "pubmed_causal":
            from meadow.sources.pubmed_causal import SOURCE
        elif name == "stack_exchange":
            from meadow.sources.stack_exchange.source import SOURCE
        elif name == "wikidoc":
            from meadow.sources.wikidoc.textbook import SOURCE
        elif name == "wikidoc_patient_information":
            from meadow.sources.wikidoc.patients import SOURCE
        else:
            raise KeyError(name)
        return SOURCE

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = (
    *("afrimed_qa", "alpaca", "anki", "chatdoctor", "cord19", "health_advice", "mediqa"),
    *("mediqa_qa", "medmcqa", "medqa", "medquad", "mmmlu", "openassistant", "pubmed_causal"),
    *("stack_exchange", "wikidoc", "wikidoc_patient_information"),
)
SOURCES: Mapping[str, Source] = _Sources()
