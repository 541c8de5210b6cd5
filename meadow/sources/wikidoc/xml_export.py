"""Pages of a MediaWiki XML export, one at a time: memory does not grow with the dump."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from meadow.errors import FileError

if TYPE_CHECKING:
    from lxml.etree import _Element

PROLOG = 1 << 16


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """A page of an export with its latest revision."""

    title: str
    namespace: int
    page_id: str
    revision: str
    timestamp: str
    text: str
    redirect: str
    site: str
    base: str


def read_pages(file: IO[bytes], label: str) -> Iterator[ExportedPage]:
    """The pages in file order; of several revisions the last one.

    Args:
        file: Decompressed bytes.
        label: How errors name the file.

    Raises:
        FileError: No export, a DTD, bad XML or bad UTF-8; `where` gives the line.
    """
    from lxml import etree

    head = file.read(PROLOG)
    start = head.find(b"<mediawiki")
    if start < 0:
        raise FileError(
            "not a MediaWiki export: no <mediawiki> element at its beginning",
            where=label,
            fix="give an XML file of Special:Export or of a database dump",
        )
    if b"<!DOCTYPE" in head[:start] or b"<!ENTITY" in head[:start]:
        raise FileError("the export declares a DTD; exports have none", where=label)
    source = io.BufferedReader(_Joined(head, file), PROLOG)
    site, base = "", ""
    try:
        # no huge_tree: an attribute or text over 10 MB, or 256 nested elements, is an error
        for _, element in etree.iterparse(
            source, events=("end",), resolve_entities=False, no_network=True, load_dtd=False
        ):
            name = etree.QName(element).localname
            if name == "sitename":
                site = element.text or ""
            elif name == "base":
                base = element.text or ""
            elif name == "page":
                yield _page(element, site, base)
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise FileError(
            f"the XML breaks: {error.msg}",
            where=f"{label}:{error.lineno}",
            fix="fetch it again; a truncated export cannot be read to its end",
        ) from error


def _page(element: _Element, site: str, base: str) -> ExportedPage:
    def text(path: str, below: _Element | None = None) -> str:
        found = (below if below is not None else element).find(f"{{*}}{path}")
        return (found.text or "") if found is not None else ""

    revisions = element.findall("{*}revision")
    latest = max(revisions, key=lambda revision: text("timestamp", revision), default=None)
    redirect = element.find("{*}redirect")
    namespace = text("ns")
    return ExportedPage(
        title=text("title"),
        namespace=int(namespace) if re.fullmatch(r"-?[0-9]{1,9}", namespace) else 0,
        page_id=text("id"),
        revision=text("id", latest) if latest is not None else "",
        timestamp=text("timestamp", latest) if latest is not None else "",
        text=text("text", latest) if latest is not None else "",
        redirect=str(redirect.get("title") or "") if redirect is not None else "",
        site=site,
        base=base,
    )


class _Joined(io.RawIOBase):
    """What was read already, then the rest of the file."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def readinto(self, buffer: object) -> int:
        """The head first."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._head[: len(view)] if self._head else self._rest.read(len(view))
        self._head = self._head[len(view) :]
        view[: len(data)] = data
        return len(data)
