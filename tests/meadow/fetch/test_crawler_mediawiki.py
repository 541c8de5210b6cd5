"""The crawler against a real MediaWiki: stopped in the middle and resumed, no page comes twice."""

import bz2
import json
from pathlib import Path

import pytest
from support.servers import HINT, has_mediawiki, mediawiki

from meadow.fetch.crawler import STORE, crawl
from meadow.schema import Fact, Reject
from meadow.source import Input, Options, Wanted
from meadow.sources.wikidoc import pages as reader
from meadow.sources.wikidoc.xml_export import read_pages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realdata,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not has_mediawiki(), reason=HINT),
]
PAGES = 40


class Stopped(Exception):
    """Somebody pulled the plug."""


@pytest.fixture(scope="module")
def export(upstream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture's export, cut after its first articles: importing all 206 pages takes minutes."""
    packed = upstream / "mediawiki/xml"
    whole = bz2.decompress(
        (
            packed / "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
        ).read_bytes()
    ).decode()
    parts = whole.split("  <page>")
    articles = [part for part in parts[1:] if "<redirect" not in part]
    redirects = [part for part in parts[1:] if "<redirect" in part]
    kept = [*articles[:PAGES], *redirects[:5]]
    text = "  <page>".join([parts[0], *(part.replace("</mediawiki>", "") for part in kept)])
    path = tmp_path_factory.mktemp("export") / "export.xml"
    path.write_text(text.rstrip() + "\n</mediawiki>\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def wiki(export: Path, tmp_path_factory: pytest.TempPathFactory):
    with mediawiki(tmp_path_factory.mktemp("wiki"), export) as address:
        yield address


def titles(folder: Path) -> list[str]:
    return [json.loads(line)["title"] for line in (folder / STORE).read_text("utf-8").splitlines()]


def test_stopped_and_resumed_it_fetches_no_page_twice(
    wiki: str, export: Path, tmp_path: Path
) -> None:
    def stop_after(count: int):
        seen = 0

        def progress(stored: int, title: str) -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                raise Stopped

        return progress

    wanted = Wanted(wiki)
    for count in (7, 5, 12):
        with pytest.raises(Stopped):
            crawl(wanted, tmp_path, contact="t@example.org", pause=0, progress=stop_after(count))
    # and once torn in the middle of a line
    with (tmp_path / STORE).open("ab") as store:
        store.write(b'{"title": "half a pa')
    done = crawl(wanted, tmp_path, contact="t@example.org", pause=0)
    assert done.complete
    assert done.stored == len(titles(tmp_path)) == len(set(titles(tmp_path)))
    assert done.fetched == done.stored - (7 + 5 + 12)
    again = crawl(wanted, tmp_path, contact="t@example.org", pause=0)
    assert again.fetched == 0
    with export.open("rb") as file:
        exported = {page.title for page in read_pages(file, "export") if not page.redirect}
    # the wiki's own front page comes on top; redirects do not
    assert set(titles(tmp_path)) - {"Main Page"} == exported


def test_sections_of_the_store_are_those_of_the_export(
    wiki: str, export: Path, tmp_path: Path
) -> None:
    """Rendered by the wiki or read from wikitext, a page has the same sections and ids."""
    crawl(Wanted(wiki, max_pages=25), tmp_path, contact="t@example.org", pause=0)
    stored = sections(tmp_path / STORE)
    exported = sections(export)
    assert len(stored) > 60
    common = [key for key in stored if key in exported]
    # templates make a few headings of their own, nothing else may differ
    assert len(common) >= 0.95 * len(stored)
    # a template that this wiki does not have is printed as a link to it
    plain = [key for key in common if "Template:" not in stored[key] and exported[key]]
    different = [key for key in plain if words(stored[key]) != words(exported[key])]
    assert len(plain) > 100
    assert len(different) < 0.1 * len(plain), different
    for text in stored.values():
        assert "[edit" not in text
        assert "mw-" not in text


def test_prefix_and_max_pages(wiki: str, tmp_path: Path) -> None:
    found = crawl(Wanted(wiki, prefix="Al", max_pages=3), tmp_path, contact="t@x.org", pause=0)
    assert found.stored == 3
    assert all(title.startswith("Al") for title in titles(tmp_path))


def sections(path: Path) -> dict[tuple[str, str], str]:
    return {
        (row["title"], row["anchor"]): row["text"]
        for row in reader.read([Input(path, path.name)], Options())
        if not isinstance(row, Reject | Fact)
    }


def words(text: str) -> str:
    return "".join(character for character in text if character.isalnum())
