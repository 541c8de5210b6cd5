"""Sentences of PubMed: characters that upstream has as numbers are characters."""

import pytest

from meadow.schema import Style
from meadow.source import Options
from meadow.sources import SOURCES, health_advice

WRITTEN = r"A dose of \xe2\x89\xa420\u2009mg,\nor 5\\xa0mL, is safe \xf0here."
READ = "A dose of ≤20 mg, or 5 mL, is safe ðhere."


@pytest.mark.parametrize("name", ["health_advice", "pubmed_causal"])
def test_a_number_beside_an_escape_keeps_its_value(name: str) -> None:
    source = SOURCES[name].upstream
    raw = {"_where": "s#1", "label": "1", "pmid": "7", "sentence": WRITTEN}
    (row,) = source.convert(raw, Options())
    assert row.input == READ
    assert row.repairs == ("decoded_escapes",)
    (old,) = source.convert(raw, Options(style=Style.PUBLISHED_2023))
    assert (old.input, old.id) == (WRITTEN, row.id)
    # the second reading finds the same characters its own way
    ((_, texts),) = source.raw_texts.texts({"label": "1", "sentence": WRITTEN}, "")
    assert " ".join(texts["input"].split()) == READ


def test_a_citation_behind_an_escape_goes_with_its_mark() -> None:
    raw = {"_where": "s#1", "label": "0", "pmid": "7", "citation_mentioned": "1"}
    (row,) = health_advice.convert({**raw, "sentence": r"As\xa0reported12,13."}, Options())
    assert row.input == "As reported."
    assert row.repairs == ("decoded_escapes", "removed_glued_citation")
