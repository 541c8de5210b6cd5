"""Pages of a MediaWiki XML export, one at a time: memory does not grow with the dump."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from meadow.errors import FileError
from meadow.schema import Reason
from meadow.sources.wikidoc.html_pages import holds_articles

if TYPE_CHECKING:
    from lxml.etree import _Element

PROLOG = 1 << 16


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """A page of an export with its latest revision.

    `refused` says why a page is no article: a redirect, a talk page, a deleted text.
    """

    title: str
    revision: str
    timestamp: str
    text: str
    refused: tuple[Reason, str] | None
    site: str
    base: str


# The namespaces that every wiki has; an export names its own at the top.
_NAMESPACES = {
    "media": -2, "special": -1, "talk": 1, "user": 2, "user talk": 3, "project": 4, "project talk":
    5, "wikipedia": 4, "wikipedia talk": 5, "file": 6, "image": 6, "file talk": 7, "image talk": 7,
    "mediawiki": 8, "mediawiki talk": 9, "template": 10, "template talk": 11, "help": 12,
    "help talk": 13, "category": 14, "category talk": 15, "module": 828, "module talk": 829,
}  # fmt: skip
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_REDIRECT = re.compile(
    r"\s*#(?:redirect(?:ion|ecci[oó]n)?|weiterleitung|doorverwijzing|rinvia|redirecionamento"
    r"|omdirigering|patrz|перенаправление|重定向|転送)\s*:?\s*\[\[([^\[\]|]*)",
    re.IGNORECASE,
)


def read_pages(file: IO[bytes], label: str) -> Iterator[ExportedPage]:
    """The pages in file order; of several revisions the last one.

    Args:
        file: Decompressed bytes.
        label: How errors name the file.

    Raises:
        FileError: No export, a DTD, bad XML or bad UTF-8; `where` gives the line.
    """
    from lxml import etree

    source = io.BufferedReader(file, PROLOG)  # type: ignore[type-var]  # it has readinto
    head = source.peek(PROLOG)[:PROLOG]
    start = head.find(b"<mediawiki")
    if start < 0:
        raise FileError(
            "not a MediaWiki export: no <mediawiki> element at its beginning",
            where=label,
            fix="give an XML file of Special:Export or of a database dump",
        )
    if b"<!DOCTYPE" in head[:start] or b"<!ENTITY" in head[:start]:
        raise FileError("the export declares a DTD; exports have none", where=label)
    site, base, namespaces = "", "", dict(_NAMESPACES)
    try:
        # no huge_tree: an attribute or text over 10 MB, or 256 nested elements, is an error
        for _, element in etree.iterparse(
            source, events=("end",), resolve_entities=False, no_network=True, load_dtd=False
        ):
            name = etree.QName(element).localname
            if name == "sitename":
                site = element.text or ""
                if site:
                    namespaces |= {site.lower(): 4, f"{site.lower()} talk": 5}
            elif name == "namespace" and element.text and _NUMBER.fullmatch(element.get("key", "")):
                namespaces[element.text.lower()] = int(element.get("key", ""))
            elif name == "base":
                base = element.text or ""
            elif name == "page":
                yield _page(element, site, base, namespaces)
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise FileError(
            f"the XML breaks: {error.msg}",
            where=f"{label}:{error.lineno}",
            fix="fetch it again; a truncated export cannot be read to its end",
        ) from error


def _page(element: _Element, site: str, base: str, namespaces: Mapping[str, int]) -> ExportedPage:
    def text(path: str, below: _Element | None) -> str:
        return (below.findtext(f"{{*}}{path}") or "") if below is not None else ""

    revisions = element.findall("{*}revision")
    latest = max(revisions, key=lambda revision: text("timestamp", revision), default=None)
    title, namespace = text("title", element), text("ns", element)
    prefix = title.partition(":")[0].replace("_", " ").strip().lower() if ":" in title else ""
    space = int(namespace) if _NUMBER.fullmatch(namespace) else namespaces.get(prefix, 0)
    refused = _refused(element, latest)
    if refused is None and not holds_articles(space):
        refused = Reason.NOT_AN_ARTICLE, f"namespace {space} holds no articles"
    return ExportedPage(
        title=title,
        revision=text("id", latest),
        timestamp=text("timestamp", latest),
        text=text("text", latest),
        refused=refused,
        site=site,
        base=base,
    )


def _refused(page: _Element, latest: _Element | None) -> tuple[Reason, str] | None:
    """Why a page cannot be an article, whatever its namespace."""
    found = {
        name: latest.find(f"{{*}}{name}") if latest is not None else None
        for name in ("text", "model", "format")
    }
    body, model, form = found.values()
    text = (body.text or "") if body is not None else ""
    redirect = page.find("{*}redirect")
    if redirect is not None or (match := _REDIRECT.match(text)):
        target = (redirect.get("title") if redirect is not None else match and match[1]) or text
        return Reason.NOT_A_TARGET, f"a redirect to {target}"
    if body is not None and body.get("deleted") is not None:
        return Reason.DELETED, "the text of its last revision is deleted"
    kind = (model.text if model is not None else "") or "wikitext"
    if kind != "wikitext":
        return Reason.NOT_AN_ARTICLE, f"its content model is {kind}, no wikitext"
    if form is not None and form.text not in {None, "text/x-wiki"}:
        return Reason.NOT_AN_ARTICLE, f"its format is {form.text}, no wikitext"
    return (Reason.EMPTY_OUTPUT, "a page without text") if not text.strip() else None
