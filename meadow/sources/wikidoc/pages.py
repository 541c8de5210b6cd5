"""Sections of MediaWiki pages from a page store, saved HTML or an XML export.

Every form of a page gives the same sections under the same anchors (heading with underscores, `_2`
for a second one of that name), so that a record keeps its id whichever way its page came. A page
that cannot be split is one reject; a redirect, a talk page or a page of another system, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from meadow.readers import json_rows
from meadow.readers.archives import open_input
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Input, Options
from meadow.sources.wikidoc.html_pages import (
    NotAnArticleError,
    Page,
    Section,
    read_page,
)
from meadow.sources.wikidoc.wikitext import read_wikitext
from meadow.sources.wikidoc.xml_export import ExportedPage, read_pages
from meadow.text.render import HtmlLimitError

MAX_HTML_BYTES = 16 * 1024**2
MAX_NAMES = 1_000
"""Names of templates that a manifest counts one by one."""
STORE_KEYS = ("title", "html")


class _Found(NamedTuple):
    """A page before it is split, with what its form tells of it."""

    where: str
    form: str
    split: Callable[[], Page]
    excerpt: str
    revision: str = ""
    timestamp: str = ""
    site: str = ""


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject | Fact]:
    """The sections of every page in file order, and how many pages and images there were.

    A raw row has: title, heading, parents, text, unread, anchor, url, revision, timestamp, site.

    Raises:
        FileError: A file is missing, damaged, or no export although it is XML.
    """
    facts: Counter[tuple[str, str]] = Counter()
    first: dict[str, str] = {}
    for item in inputs:
        with open_input(item) as file:
            head = file.peek(1024)[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
        if head.startswith((b"<mediawiki", b"<?xml")) and b"<html" not in head.lower():
            pages: Iterator[_Found | Reject] = _export(item)
        elif head.startswith(b"{"):
            pages = _store(item, options)
        else:
            pages = _saved(item)
        yield from _once(_split(pages, facts), first)
    yield from _told(facts)


def _split(
    pages: Iterator[_Found | Reject], facts: Counter[tuple[str, str]]
) -> Iterator[Raw | Reject]:
    """The sections of each page; one that cannot be split is a reject."""
    for found in pages:
        if isinstance(found, Reject):
            yield found
            continue
        facts["pages_read", found.form] += 1
        try:
            page = found.split()
        except (HtmlLimitError, NotAnArticleError) as error:
            yield Reject(found.where, error.reason, str(error), found.excerpt)
            continue
        facts.update(page.facts)
        for section, anchor in anchored(page.sections):
            if not section.heading and not section.text and not section.unread:
                continue  # no lead: nothing was there that could be a candidate
            yield {
                "_where": f"{found.where}#{anchor}" if anchor else found.where,
                "title": page.title,
                "heading": section.heading,
                "parents": section.parents,
                "text": section.text,
                "unread": section.unread,
                "anchor": anchor,
                "url": page.url,
                "revision": found.revision or page.revision,
                "timestamp": found.timestamp,
                "site": found.site or _host(page.url),
            }


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


def _store(item: Input, options: Options) -> Iterator[_Found | Reject]:
    for raw in json_rows.read_lines([item], options):
        if isinstance(raw, Reject):
            yield raw
            continue
        where = str(raw["_where"])
        missing = [key for key in STORE_KEYS if not isinstance(raw.get(key), str)]
        if "error" in raw:
            detail = f"the wiki would not render it: {raw['error']}"
            yield Reject(where, Reason.NOT_A_TARGET, detail, str(raw.get("title")))
        elif missing:
            yield Reject(where, Reason.MISSING_FIELD, f"no {', '.join(missing)}", str(dict(raw)))
        else:
            url, revision, timestamp = (
                str(raw.get(key) or "") for key in ("url", "revision", "timestamp")
            )
            split = partial(read_page, raw["html"], title=raw["title"], url=url)
            yield _Found(where, "page store", split, raw["title"], revision, timestamp)


def _saved(item: Input) -> Iterator[_Found | Reject]:
    with open_input(item) as file:
        data = file.read(MAX_HTML_BYTES + 1)
    if len(data) > MAX_HTML_BYTES:
        yield Reject(item.label, Reason.TOO_LARGE, f"over {MAX_HTML_BYTES:,} bytes of HTML")
    elif (html := _decode(data)) is None:
        yield Reject(item.label, Reason.BAD_ENCODING, "neither UTF-8 nor what its charset says")
    else:
        yield _Found(item.label, "saved HTML", partial(read_page, html), html)


def _decode(data: bytes) -> str | None:
    declared = re.search(rb"charset\s*=\s*[\"']?([\w-]{2,20})", data[:4096])
    for name in ("utf-8-sig", declared[1].decode("ascii") if declared else "utf-8"):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return None


def _export(item: Input) -> Iterator[_Found]:
    with open_input(item) as file:
        for page in read_pages(file, item.label):
            yield _Found(
                f"{item.label}#{page.title}",
                "XML export",
                partial(_read_export, page),
                page.title if page.refused else page.text,
                page.revision,
                page.timestamp,
                page.site,
            )


def _read_export(page: ExportedPage) -> Page:
    if page.refused is not None:
        reason, detail = page.refused
        raise NotAnArticleError(detail, reason)
    return read_wikitext(page.text, title=page.title, url=_address(page))


def _address(page: ExportedPage) -> str:
    """The page's address beside the main page that the export names."""
    if not page.base.startswith(("http://", "https://")):
        return ""
    folder = page.base.rpartition("/")[0]
    return f"{folder}/{quote(page.title.replace(' ', '_'), safe=';@$!*(),/~:')}"


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
