"""The audit with presidio: a rate with an interval, offline."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from support.command import run_meadow
from support.corpora import record, write_corpus

from meadow.api import open_corpus
from meadow.quality.audit import audit, row_texts


def test_a_sample_is_audited_without_the_network() -> None:
    pytest.importorskip("presidio_analyzer", reason="needs the extra pii")
    texts = [f"take {number} mg twice a day" for number in range(30)]
    found = audit([*texts, "write to ann@mail.com", "write to ben@web.org"], size=50)
    assert (found.rows, found.hits) == (32, 2)
    assert found.kinds == {"EMAIL_ADDRESS": 2}
    assert found.low < found.rate < found.high
    assert audit(texts, size=10) == audit(reversed(texts), size=10)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 rows of which 2 hold an address."""
    rows = [record("toy", number, f"take {number} mg twice a day") for number in range(38)]
    rows += [record("toy", 100 + n, f"write to person{n}@mail.com") for n in range(2)]
    folder = tmp_path_factory.mktemp("audited") / "corpus"
    write_corpus(folder, rows)
    return folder


def test_the_command_names_the_missing_extra(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ran = run_meadow("check", corpus, "--privacy")
    assert ran.code == 2
    assert "medical-meadow[pii]" in ran.err


def test_the_free_text_of_every_row_is_looked_at(corpus: Path) -> None:
    texts = list(row_texts(open_corpus(corpus)))
    assert len(texts) == 40
    assert "question 3 of toy\ntake 3 mg twice a day" in texts
    assert not any("A. Writer" in text for text in texts), "attribution is no free text"


def test_the_command_audits_a_sample(corpus: Path) -> None:
    pytest.importorskip("presidio_analyzer", reason="needs the extra pii")
    ran = run_meadow("check", corpus, "--privacy", "--json")
    document = json.loads(ran.out)["privacy"]
    assert (document["rows"], document["hits"]) == (40, 2)
    assert document["low"] < document["rate"] == 0.05 < document["high"]
    assert "2 of 40 sampled rows" in ran.err
    assert "person0" not in ran.out + ran.err, "kinds and counts, never values"
    fewer = json.loads(run_meadow("check", corpus, "--privacy", "7", "--json").out)
    assert fewer["privacy"]["rows"] == 7
