"""report.html in a real browser: it needs nothing, complains of nothing and runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.corpora import HOSTILE, hostile_records, plain_records, source_entry, write_build

from meadow.api import open_corpus
from meadow.quality.report import write_report

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_corpus(tmp_path: Path, watch: Any, scheme: str) -> None:
    entries = {
        "forum": source_entry(tmp_path, "forum", hostile_records(), {"bad_json": 2}),
        "medqa": source_entry(tmp_path, "medqa", plain_records(50, "medqa")),
    }
    write_build(tmp_path, entries, warnings=[HOSTILE[0]])
    write_report(open_corpus(tmp_path))
    watched = watch(color_scheme=scheme)
    page = watched.page
    page.goto((tmp_path / "report/report.html").as_uri())
    assert [url for url in watched.requests if not url.startswith("data:")] == [page.url]
    text = page.eval_on_selector("body", "node => node.textContent")
    for hostile in HOSTILE[:6]:
        assert " ".join(hostile.split()) in " ".join(text.split())
    assert page.evaluate("window.hacked") is None
    assert page.locator("script, img, iframe, object").count() == 0
    protocols = page.eval_on_selector_all("a", "nodes => nodes.map(a => a.protocol)")
    assert set(protocols) <= {"file:", "https:"}
    assert page.locator("svg").count() >= 5
    assert page.evaluate("getComputedStyle(document.querySelector('.figures')).display") == "grid"
