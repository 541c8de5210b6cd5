"""Search finds what a plain loop finds, whatever is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpora import HOSTILE, hostile_records, plain_records, write_mix

from meadow.api import open_corpus
from meadow.quality.search import Query, Search, terms
from meadow.schema import Record

RECORDS = plain_records(150) + hostile_records() + plain_records(50, "medqa", 2)
LEVELS = {3: "stem", 40: "stem+answer", 41: "none", 180: "stem+answer"}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A search over a mix with findings of decontamination."""
    folder = tmp_path_factory.mktemp("mix")
    findings = [
        {"exam": "e", "item_id": str(row), "row_id": RECORDS[row].id, "level": level}
        for row, level in LEVELS.items()
    ]
    return Search(open_corpus(write_mix(folder, RECORDS, config="clean", matches=findings)))


def passes(row: int, record: Record, query: Query) -> bool:
    """The rule, one row at a time."""
    texts = [text.lower() for text in (record.instruction, record.input, record.output)]
    level = LEVELS.get(row, "none")
    wanted = query.contamination
    return (
        all(any(term.lower() in text for text in texts) for term in terms(query.q or ""))
        and query.task in (None, record.task)
        and query.license in (None, record.license)
        and query.origin in (None, record.source)
        and (query.min or 0) <= len(record.output) <= (query.max or 10**9)
        and wanted in (None, level, "any" if level != "none" else "none")
    )


WORDS = ["sepsis", "STROKE", '"case 1"', "case", "17", "(", "\\d", "[a-z]", ".*", "naïve", *HOSTILE]
QUERIES = st.builds(
    Query,
    q=st.none() | st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join),
    task=st.sampled_from([None, "open_qa", "summarization", "nothing"]),
    license=st.sampled_from([None, "mit", "cc-by-sa-4.0", HOSTILE[0]]),
    origin=st.sampled_from([None, "wikidoc", "medqa", "forum"]),
    contamination=st.sampled_from([None, None, "any", "none", "stem", "stem+answer"]),
    min=st.none() | st.integers(0, 400),
    max=st.none() | st.integers(1, 400),
)


@settings(max_examples=150, deadline=None)
@given(query=QUERIES)
def test_search_equals_a_loop(search: Search, query: Query) -> None:
    wanted = [row for row, record in enumerate(RECORDS) if passes(row, record, query)]
    found = search.rows("clean", "train", query)
    assert (found.rows, found.total) == (wanted, len(wanted))
    assert sum(found.counts.values()) == found.total


def test_terms_are_words_and_phrases() -> None:
    assert terms('chest  "left arm" pain') == ["chest", "left arm", "pain"]
    assert terms('"" " "') == []
    assert terms('open "quote') == ["open", "quote"]


def test_an_empty_parameter_asks_for_nothing() -> None:
    assert Query.of({"q": "", "min": "", "task": "open_qa"}) == Query(task="open_qa")


def test_no_findings_file_means_no_overlap(tmp_path: Path) -> None:
    from support.corpora import source_entry, write_build

    entries = {"wikidoc": source_entry(tmp_path, "wikidoc", plain_records(5))}
    found = Search(open_corpus(write_build(tmp_path, entries)))
    assert found.rows("wikidoc", "train", Query(contamination="any")).rows == []
    assert found.rows("wikidoc", "train", Query(contamination="none")).total == 5
