"""The page as a Space holds it: shards come from the Hub's resolve addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from support.corpora import build
from support.hub.server import running
from support.hub.session import Session

from meadow.api import open_corpus
from meadow.quality.report import write_report

pytestmark = pytest.mark.browser


def test_page_reads_a_tagged_release(tmp_path: Path, serve_app: Any, watch: Any) -> None:
    corpus = build(tmp_path / "corpus", ["medquad", "stack_exchange"])
    write_report(open_corpus(corpus))
    row = open_corpus(corpus).to_arrow("medquad").to_pylist()[3]
    with running(tmp_path / "hub") as hub:
        session = Session(hub, tmp_path / "home")
        session.meadow(
            "publish", corpus, "meadow/demo@v1.0.0", "--public", "--space", "meadow/page"
        )
        published = hub.repository("meadow/demo").head.tree
        assert {"croissant.json", "report/report.json"} <= set(published)
        site = tmp_path / "site"
        pushed = hub.repository("meadow/page", "space").head
        for path in pushed.tree:
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_bytes(hub.storage.read(pushed, path))
        address = serve_app(Starlette(routes=[Mount("/", StaticFiles(directory=site, html=True))]))
        watched = watch()
        watched.page.goto(f"{address}#source=medquad&row=3")
        assert row["id"] in watched.row()
        assert row["output"][:60] in watched.page.inner_text(".prompt")
        watched.page.keyboard.press("o")
        watched.page.wait_for_selector(".overview .card")
        rows = json.loads((corpus / "report/report.json").read_text())["rows"]
        assert f"{rows:,}" in watched.page.inner_text(".figures")
        origins = {f"{u.scheme}://{u.netloc}" for u in map(urlsplit, watched.requests)}
        assert origins == {address.rstrip("/"), hub.base}
