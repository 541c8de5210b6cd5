"""XML documents: wanted elements one by one, streamed, under caps, without document types.

Nothing here leaves the file: no entity is defined or resolved, nothing is fetched, nothing is
recovered. A document that breaks gives the elements before the break and then a `XmlError`, which
the caller turns into a reject (one document of many) or an error (the document is the file).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Protocol

from meadow.errors import FileError
from meadow.readers.archives import is_archive, members, open_input
from meadow.schema import Raw, Reason, Reject
from meadow.source import Input

MAX_DOCUMENT = 256 * 1024**2
MAX_ATTRIBUTE = 1024**2
MAX_DEPTH = 64
MAX_LIVE_ELEMENTS = 100_000
"""Elements that may be in memory at once: what was given out already is not."""
BLOCK = 256 * 1024
_DOCTYPE = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:\s|(?><\?.*?\?>)|(?><!--.*?-->))*+<!DOCTYPE", re.DOTALL
)


class Readable(Protocol):
    """What is read: a file or a member of an archive."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes; none at the end."""


class XmlError(Exception):
    """What is wrong with a document.

    Args:
        reason: For a reject.
        detail: What, and in which line.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a worker process."""
        return XmlError, (self.reason, self.detail)


def elements(stream: Readable, tag: str) -> Iterator[Any]:
    """Yield every complete element of that name, in document order, as an lxml element.

    Its ancestors and their attributes, and what stood before it outside other wanted elements, can
    be reached from it; it is emptied when the next one is asked for.

    Args:
        stream: The document.
        tag: The element's name.

    Raises:
        XmlError: Not well-formed, a document type, or over a cap.
    """
    from lxml import etree

    parser = etree.XMLPullParser(
        events=("start", "end"),
        no_network=True,
        resolve_entities=False,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    depth = live = read = inside = 0
    first = True
    while True:
        block = stream.read(BLOCK) or b""
        read += len(block)
        if read > MAX_DOCUMENT:
            raise XmlError(Reason.TOO_LARGE, f"more than {MAX_DOCUMENT:,} bytes")
        # before the parser sees it: entities are expanded while it reads
        if first and _DOCTYPE.match(block[:65536]):
            raise XmlError(Reason.BAD_XML, "a document type is refused: it can define entities")
        try:
            fault = None
            if block:
                parser.feed(block)
            else:
                parser.close()
        except etree.XMLSyntaxError as error:
            fault = error
        # what stands before a break comes out first
        for event, element in parser.read_events():
            if event == "start":
                depth += 1
                live += 1
                if first and element.getroottree().docinfo.doctype:
                    raise XmlError(Reason.BAD_XML, "a document type is refused")
                first = False
                _check(element, depth, live)
                inside += element.tag == tag
                continue
            depth -= 1
            if element.tag != tag:
                continue
            inside -= 1
            if inside == 0:
                yield element
                # the cap is on what is held at once, not on what has passed
                live -= sum(1 for _ in element.iter())
                element.clear()
                # an empty shell stays in its parent; a million of them would not be small
                parent = element.getparent()
                if parent is not None:
                    parent.remove(element)
        if fault is not None:
            raise XmlError(Reason.BAD_XML, " ".join(str(fault).split())[:300]) from fault
        if not block:
            return


def _check(element: Any, depth: int, live: int) -> None:
    if depth > MAX_DEPTH:
        raise XmlError(Reason.TOO_DEEP, f"more than {MAX_DEPTH} nested elements")
    if live > MAX_LIVE_ELEMENTS:
        raise XmlError(Reason.TOO_LARGE, f"more than {MAX_LIVE_ELEMENTS:,} elements in one part")
    if any(len(value) > MAX_ATTRIBUTE for value in element.attrib.values()):
        raise XmlError(Reason.TOO_LARGE, f"an attribute of more than {MAX_ATTRIBUTE:,} characters")


def documents(item: Input) -> Iterator[tuple[str, str, Readable]]:
    """The XML documents of an input: itself, or the `.xml` members of an archive.

    Returns:
        For each: how rejects name it; its last folder and name, the same for a file, a member and
        a member of an archive with another prefix; its bytes.
    """
    if is_archive(item.path):
        for name, stream in members(item.path, suffix=".xml", max_bytes=MAX_DOCUMENT):
            yield f"{item.label}!{name}", _last_two(name), stream
        return
    with open_input(item, MAX_DOCUMENT) as file:
        yield item.label, _last_two(item.path.absolute().as_posix()), file


def _last_two(name: str) -> str:
    return "/".join(PurePosixPath(name).parts[-2:])


def rows_of_document(rows: Iterator[Raw], where: str, *, alone: bool) -> Iterator[Raw | Reject]:
    """The rows of one document, a fault at its end as a reject, or as an error where it is alone.

    Args:
        rows: What a source reads out of `elements`.
        where: How the document is named.
        alone: Whether the document is the whole input.

    Raises:
        FileError: The document breaks and is alone.
    """
    try:
        yield from rows
    except XmlError as fault:
        if alone:
            raise FileError(
                f"the XML cannot be read: {fault.detail}",
                where=where,
                fix="fetch the file again and compare its checksum",
            ) from fault
        yield Reject(where, fault.reason, fault.detail)


def text_of(element: Any, path: str) -> str:
    """The text below the first element of that path, with what its children hold; "" for none."""
    found = element.find(path)
    return "" if found is None else "".join(found.itertext())
