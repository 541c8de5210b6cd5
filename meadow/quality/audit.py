"""An audit of scrubbed texts with presidio: what another tool still finds, on a sample.

Optional (extra `pii`), slow, and never in the path of a build. It uses presidio's own pattern
recognisers on a blank English pipeline, so that nothing is downloaded; names are not looked for.
`meadow check DIR --privacy` runs it.
The rate comes with Wilson's 95 % interval: a sample says how sure one can be, not more.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from meadow.charts import wilson
from meadow.corpus.folder import Corpus
from meadow.errors import UsageError

KINDS = ("EMAIL_ADDRESS", "PHONE_NUMBER", "US_SSN", "IP_ADDRESS", "CREDIT_CARD", "IBAN_CODE")
SAMPLE = 2000
_LEAST_SCORE = 0.5


@dataclass(frozen=True, slots=True)
class Audit:
    """What presidio found in a sample.

    Args:
        rows: Texts looked at.
        hits: Texts with at least one finding.
        kinds: presidio's kind -> findings.
        low: Lower end of the 95 % interval of the rate.
        high: Upper end.
    """

    rows: int
    hits: int
    kinds: dict[str, int]
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The share of texts with a finding."""
        return self.hits / self.rows if self.rows else 0.0


def require_presidio() -> None:
    """Say at once that presidio is missing, before anything long begins.

    Raises:
        UsageError: presidio is not installed.
    """
    if importlib.util.find_spec("presidio_analyzer") is None:
        raise UsageError("presidio is not installed", fix="pip install 'medical-meadow[pii]'")


def row_texts(corpus: Corpus) -> Iterator[str]:
    """The free text of every row: input and output. Names of authors have columns of their own."""
    for table in corpus.iter_tables(columns=["input", "output"]):
        for given, output in pl.DataFrame(table).iter_rows():
            yield f"{given}\n{output}".strip()


def audit(texts: Iterable[str], size: int = SAMPLE, seed: int = 0) -> Audit:
    """Look for personal data in a sample of texts, chosen by hash of (seed, text).

    Raises:
        UsageError: presidio is not installed.
    """
    require_presidio()

    def rank(text: str) -> bytes:
        return hashlib.sha256(f"{seed}\x1f{text}".encode("utf-8", "replace")).digest()

    unique = sorted(set(texts), key=rank)[:size]
    analyzer = _make_analyzer()
    kinds: Counter[str] = Counter()
    hits = 0
    for text in unique:
        results = analyzer.analyze(
            text=text, language="en", entities=list(KINDS), score_threshold=_LEAST_SCORE
        )
        kinds.update(item.entity_type for item in results)
        hits += bool(results)
    low, high = wilson(hits, len(unique))
    return Audit(len(unique), hits, dict(sorted(kinds.items())), low, high)


def _make_analyzer() -> Any:
    """Presidio with its pattern recognisers on a blank pipeline: no model, no network."""
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer import predefined_recognizers as known
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # presidio checks the ends of addresses; the list inside tldextract will do for that
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    engine: Any = SpacyNlpEngine()
    engine.nlp = {"en": spacy.blank("en")}
    registry = RecognizerRegistry(supported_languages=["en"])
    for recognizer in (
        known.CreditCardRecognizer,
        known.EmailRecognizer,
        known.IbanRecognizer,
        known.IpRecognizer,
        known.PhoneRecognizer,
        known.UsSsnRecognizer,
    ):
        registry.add_recognizer(recognizer())
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
