"""Sections of MediaWiki pages from a page store, saved HTML or an XML export.

Every form of a page gives the same sections under the same anchors (heading with underscores, `_2`
for a second one of that name), so that a record keeps its id whichever way its page came. A page
that cannot be split is one reject; a redirect, a talk page or a page of another system, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit

from meadow.readers import json_rows
from meadow.readers.archives import open_input
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Input, Options
from meadow.sources.wikidoc.html_pages import (
    NotAnArticleError,
    Page,
    Section,
    holds_articles,
    read_page,
)
from meadow.sources.wikidoc.wikitext import read_wikitext
from meadow.sources.wikidoc.xml_export import ExportedPage, read_pages
from meadow.text.render import HtmlLimitError

MAX_HTML_BYTES = 16 * 1024**2
MAX_NAMES = 1_000
"""Names of templates that a manifest counts one by one."""
STORE_KEYS = ("title", "html")


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject | Fact]:
    """The sections of every page in file order, and how many pages and images there were.

    A raw row has: title, heading, level, parents, text, unread, anchor, url, revision, timestamp,
    site.

    Raises:
        FileError: A file is missing, damaged, or no export although it is XML.
    """
    facts: Counter[tuple[str, str]] = Counter()
    first: dict[str, str] = {}
    for item in inputs:
        with open_input(item) as file:
            head = file.peek(1024)[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
        if head.startswith((b"<mediawiki", b"<?xml")) and b"<html" not in head.lower():
            rows = _export(item, facts)
        elif head.startswith(b"{"):
            rows = _store(item, options, facts)
        else:
            rows = _saved(item, facts)
        yield from _once(rows, first)
    yield from _told(facts)


def _told(facts: Counter[tuple[str, str]]) -> Iterator[Fact]:
    """Each count by group and name; of very many names in a group the rarest in one."""
    groups: dict[str, Counter[str]] = {}
    for (group, value), count in sorted(facts.items()):
        groups.setdefault(group, Counter())[value] = count
    for group, counts in groups.items():
        named = dict(counts.most_common(MAX_NAMES))
        for value in sorted(named):
            yield Fact(group, value, named[value])
        if rest := counts.total() - sum(named.values()):
            yield Fact(group, "(others)", rest)


def _once(rows: Iterator[Raw | Reject], first: dict[str, str]) -> Iterator[Raw | Reject]:
    """The rows of pages that no earlier one has: of two exports of a page the first one counts."""
    told = ""
    for row in rows:
        if isinstance(row, Reject):
            yield row
            continue
        title, page = str(row["title"]), str(row["_where"]).removesuffix(f"#{row['anchor']}")
        if first.setdefault(title, page) == page:
            yield row
        elif told != page:
            told = page
            yield Reject(page, Reason.DUPLICATE, f"{title}: read already from {first[title]}")


def _store(
    item: Input, options: Options, facts: Counter[tuple[str, str]]
) -> Iterator[Raw | Reject]:
    for raw in json_rows.read_lines([item], options):
        if isinstance(raw, Reject):
            yield raw
            continue
        where = str(raw["_where"])
        if "error" in raw:
            detail = f"the wiki would not render it: {raw['error']}"
            yield Reject(where, Reason.NOT_A_TARGET, detail, str(raw.get("title")))
            continue
        missing = [key for key in STORE_KEYS if not isinstance(raw.get(key), str)]
        if missing:
            yield Reject(where, Reason.MISSING_FIELD, f"no {', '.join(missing)}", str(dict(raw)))
            continue
        facts["pages_read", "page store"] += 1
        try:
            page = read_page(raw["html"], title=raw["title"], url=str(raw.get("url") or ""))
        except (HtmlLimitError, NotAnArticleError) as error:
            yield Reject(where, error.reason, str(error), raw["title"])
            continue
        revision = str(raw.get("revision") or page.revision)
        yield from _rows(
            where, page, facts, revision=revision, timestamp=str(raw.get("timestamp") or "")
        )


def _saved(item: Input, facts: Counter[tuple[str, str]]) -> Iterator[Raw | Reject]:
    with open_input(item) as file:
        data = file.read(MAX_HTML_BYTES + 1)
    if len(data) > MAX_HTML_BYTES:
        yield Reject(item.label, Reason.TOO_LARGE, f"over {MAX_HTML_BYTES:,} bytes of HTML")
        return
    html = _decode(data)
    if html is None:
        yield Reject(item.label, Reason.BAD_ENCODING, "neither UTF-8 nor what its charset says")
        return
    facts["pages_read", "saved HTML"] += 1
    try:
        page = read_page(html)
    except (HtmlLimitError, NotAnArticleError) as error:
        yield Reject(item.label, error.reason, str(error), html[:500])
        return
    yield from _rows(item.label, page, facts, revision=page.revision)


def _decode(data: bytes) -> str | None:
    declared = re.search(rb"charset\s*=\s*[\"']?([\w-]{2,20})", data[:4096])
    for name in ("utf-8-sig", declared[1].decode("ascii") if declared else "utf-8"):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return None


def _export(item: Input, facts: Counter[tuple[str, str]]) -> Iterator[Raw | Reject]:
    with open_input(item) as file:
        for exported in read_pages(file, item.label):
            where = f"{item.label}#{exported.title}"
            facts["pages_read", "XML export"] += 1
            if exported.refused is not None:
                yield Reject(where, *exported.refused, exported.title)
                continue
            if not holds_articles(exported.namespace):
                detail = f"namespace {exported.namespace} holds no articles"
                yield Reject(where, Reason.NOT_AN_ARTICLE, detail, exported.title)
                continue
            try:
                page = read_wikitext(
                    exported.text,
                    title=exported.title,
                    url=_address(exported),
                    namespace=exported.namespace,
                )
            except (HtmlLimitError, NotAnArticleError) as error:
                yield Reject(where, error.reason, str(error), exported.text[:500])
                continue
            yield from _rows(
                where,
                page,
                facts,
                revision=exported.revision,
                timestamp=exported.timestamp,
                site=exported.site,
            )


def _address(page: ExportedPage) -> str:
    """The page's address beside the main page that the export names."""
    if not page.base.startswith(("http://", "https://")):
        return ""
    folder = page.base.rpartition("/")[0]
    return f"{folder}/{quote(page.title.replace(' ', '_'), safe=';@$!*(),/~:')}"


def _rows(
    where: str,
    page: Page,
    facts: Counter[tuple[str, str]],
    *,
    revision: str = "",
    timestamp: str = "",
    site: str = "",
) -> Iterator[Raw]:
    facts.update(page.facts)
    for section, anchor in anchored(page.sections):
        if not section.heading and not section.text and not section.unread:
            continue  # no lead: nothing was there that could be a candidate
        yield {
            "_where": f"{where}#{anchor}" if anchor else where,
            "title": page.title,
            "heading": section.heading,
            "level": section.level,
            "parents": section.parents,
            "text": section.text,
            "unread": section.unread,
            "anchor": anchor,
            "url": page.url,
            "revision": revision,
            "timestamp": timestamp,
            "site": site or _host(page.url),
        }


def _host(url: str) -> str:
    """The host of an address; "" where it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def anchored(sections: Sequence[Section]) -> Iterator[tuple[Section, str]]:
    """Each section with the anchor that MediaWiki gives it; "" for the lead."""
    seen: Counter[str] = Counter()
    for section in sections:
        anchor = section.heading.replace(" ", "_")
        # anchors differ by more than case, as MediaWiki's do
        key = anchor.casefold()
        seen[key] += 1
        yield section, f"{anchor}_{seen[key]}" if anchor and seen[key] > 1 else anchor
