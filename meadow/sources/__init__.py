"""Every source, listed: one file each, and one line here.

>>> meadow.SOURCES["medqa"].license
'mit'
"""

from __future__ import annotations

from meadow.source import Source
from meadow.sources.alpaca import SOURCE as ALPACA
from meadow.sources.anki.source import SOURCE as ANKI
from meadow.sources.chatdoctor import SOURCE as CHATDOCTOR
from meadow.sources.cord19 import SOURCE as CORD19
from meadow.sources.health_advice import SOURCE as HEALTH_ADVICE
from meadow.sources.mediqa import SOURCE as MEDIQA
from meadow.sources.mediqa_qa import SOURCE as MEDIQA_QA
from meadow.sources.medqa import SOURCE as MEDQA
from meadow.sources.medquad import SOURCE as MEDQUAD
from meadow.sources.mmmlu import SOURCE as MMMLU
from meadow.sources.openassistant import SOURCE as OPENASSISTANT
from meadow.sources.pubmed_causal import SOURCE as PUBMED_CAUSAL
from meadow.sources.stack_exchange.source import SOURCE as STACK_EXCHANGE
from meadow.sources.wikidoc.patients import SOURCE as WIKIDOC_PATIENT_INFORMATION
from meadow.sources.wikidoc.textbook import SOURCE as WIKIDOC

_LISTED = (
    ALPACA,
    ANKI,
    CHATDOCTOR,
    CORD19,
    HEALTH_ADVICE,
    MEDIQA,
    MEDIQA_QA,
    MEDQA,
    MEDQUAD,
    MMMLU,
    OPENASSISTANT,
    PUBMED_CAUSAL,
    STACK_EXCHANGE,
    WIKIDOC,
    WIKIDOC_PATIENT_INFORMATION,
)

SOURCES: dict[str, Source] = {source.name: source for source in _LISTED}
