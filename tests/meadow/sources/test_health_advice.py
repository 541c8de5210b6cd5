"""Sentences of PubMed: characters that upstream has as numbers are characters."""

import pytest
from support.converted import one

from meadow.schema import Style
from meadow.sources import SOURCES

WRITTEN = r"A dose of \xe2\x89\xa420\u2009mg,\nor 5\\xa0mL, is safe \xf0here."
READ = "A dose of ≤20 mg, or 5 mL, is safe ðhere."


@pytest.mark.parametrize("name", ["health_advice", "pubmed_causal"])
def test_a_number_beside_an_escape_keeps_its_value(name: str) -> None:
    source = SOURCES[name].upstream
    raw = {"label": "1", "pmid": "7", "sentence": WRITTEN}
    row = one(source, **raw)
    assert row.input == READ
    assert row.repairs == ("decoded_escapes",)
    old = one(source, style=Style.PUBLISHED_2023, **raw)
    assert (old.input, old.id) == (WRITTEN, row.id)
    # the second reading finds the same characters its own way
    ((_, texts),) = source.raw_texts.texts({"label": "1", "sentence": WRITTEN}, "")
    assert " ".join(texts["input"].split()) == READ


def test_a_citation_behind_an_escape_goes_with_its_mark() -> None:
    raw = {"label": "0", "pmid": "7", "citation_mentioned": "1"}
    row = one(SOURCES["health_advice"].upstream, **raw, sentence=r"As\xa0reported12,13.")
    assert row.input == "As reported."
    assert row.repairs == ("decoded_escapes", "removed_glued_citation")
