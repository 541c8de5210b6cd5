"""XML under caps: hostile documents are refused soon, in little memory, and without a network."""

import io
import resource
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.errors import FileError
from meadow.readers import xml_documents
from meadow.readers.xml_documents import XmlError, documents, elements, rows_of_document, text_of
from meadow.schema import Reason, Reject
from meadow.source import Input

PROLOG = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def texts(data: bytes, tag: str = "row") -> list[str]:
    return ["".join(element.itertext()) for element in elements(io.BytesIO(data), tag)]


def fault(data: bytes) -> XmlError:
    with pytest.raises(XmlError) as caught:
        texts(data)
    return caught.value


def bomb(prolog: bytes = PROLOG) -> bytes:
    lines = [b'<!ENTITY e0 "aaaaaaaaaa">']
    lines += [b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 10)]
    return prolog + b"<!DOCTYPE a [" + b"".join(lines) + b"]><a x='&e9;'><row>&e9;</row></a>"


def test_elements_come_with_their_ancestors() -> None:
    data = PROLOG + b'<a id="7"><f>focus</f><row>1</row><g><row>2 <b>bold</b></row></g></a>'
    found = []
    for element in elements(io.BytesIO(data), "row"):
        root = element.getroottree().getroot()
        found.append((root.get("id"), text_of(root, "f"), text_of(element, "."), element.tag))
    assert found == [("7", "focus", "1", "row"), ("7", "focus", "2 bold", "row")]


def test_predefined_entities_and_character_references_are_text() -> None:
    assert texts(b"<a><row>p &lt; 0.05 &amp; &apos;q&apos; &#233;</row></a>") == [
        "p < 0.05 & 'q' é"
    ]


HOSTILE = {
    "truncated": (PROLOG + b"<a><row>1</row><row", Reason.BAD_XML),
    "entity bomb": (bomb(), Reason.BAD_XML),
    "bomb behind a comment": (bomb(PROLOG + b"<!--" + b"x" * 2_000_000 + b"-->"), Reason.BAD_XML),
    "entity bomb in UTF-16": (bomb(b"").decode().encode("utf-16"), Reason.BAD_XML),
    "external entity": (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><row>&x;</row></a>',
        Reason.BAD_XML,
    ),
    "bare document type": (b"<!DOCTYPE a><a/>", Reason.BAD_XML),
    "control character": (b"<a><row>\x01</row></a>", Reason.BAD_XML),
    "reference to NUL": (b"<a><row>&#0;</row></a>", Reason.BAD_XML),
    "bad UTF-8": (b"<a><row>\xff\xfe</row></a>", Reason.BAD_XML),
    "attribute of 30 MB": (b'<a><row x="' + b"y" * 30_000_000 + b'"/></a>', Reason.TOO_LARGE),
    "text of 30 MB": (b"<a><row>" + b"y" * 30_000_000 + b"</row></a>", Reason.BAD_XML),
    "200,000 deep": (b"<a>" * 200_000 + b"</a>" * 200_000, Reason.TOO_DEEP),
    "3,000,000 elements": (b"<a>" + b"<b/>" * 3_000_000 + b"</a>", Reason.TOO_LARGE),
    "undefined entity": (b"<a><row>&nbsp;</row></a>", Reason.BAD_XML),
    "two roots": (b"<a/><a/>", Reason.BAD_XML),
    "no XML": (b"hello", Reason.BAD_XML),
    "empty": (b"", Reason.BAD_XML),
    "many comments": (b"<!-- -->" * 100_000 + b"<a>", Reason.BAD_XML),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_end_soon(name: str) -> None:
    data, reason = HOSTILE[name]
    watch = Stopwatch()
    assert fault(data).reason is reason
    assert watch.within(2)


_CHILD = """
import io, resource, sys
from meadow.readers.xml_documents import XmlError, elements
data = sys.stdin.buffer.read()
list(elements(io.BytesIO(b"<a><row>warm up</row></a>"), "row"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(elements(io.BytesIO(data), "row"))
except XmlError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("name", ["attribute of 30 MB", "200,000 deep", "3,000,000 elements"])
def test_hostile_documents_take_little_memory(name: str, root: Path) -> None:
    data = HOSTILE[name][0]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=data, capture_output=True, cwd=root, check=True
    )
    assert int(done.stdout) < 64 * 1024 + len(data) // 1024


def test_no_document_reaches_the_network() -> None:
    touched: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)

        def listen() -> None:
            try:
                touched.append(server.accept())
            except TimeoutError:
                return

        listener = threading.Thread(target=listen)
        listener.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x".encode()
        for data in (
            b'<!DOCTYPE a SYSTEM "' + address + b'"><a/>',
            b'<!DOCTYPE a [<!ENTITY % p SYSTEM "' + address + b'"> %p;]><a/>',
            b"<!--" + b"x" * 400_000 + b'--><!DOCTYPE a SYSTEM "' + address + b'"><a/>',
            b'<a xmlns:x="http://www.w3.org/2001/XInclude"><x:include href="'
            + address
            + b'"/></a>',
        ):
            with pytest.raises(XmlError):
                list(elements(io.BytesIO(data + b"<"), "row"))
        listener.join()
    assert not touched


def test_rows_before_the_break_are_kept() -> None:
    rows = elements(io.BytesIO(b"<a><row>1</row><row>2</row><row>\x01"), "row")
    assert [next(rows).text, next(rows).text] == ["1", "2"]
    with pytest.raises(XmlError):
        next(rows)


def test_a_long_document_stays_small(tmp_path: Path) -> None:
    """What was given out is gone: 100,000 rows pass in a few megabytes."""
    data = b"<a>" + b"<row><b>text of a row</b></row>" * 100_000 + b"</a>"
    next(elements(io.BytesIO(b"<a><row/></a>"), "row"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in elements(io.BytesIO(data), "row")) == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024


def test_a_document_over_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_documents, "MAX_DOCUMENT", 1000)
    monkeypatch.setattr(xml_documents, "BLOCK", 100)
    assert fault(b"<a>" + b"<row>text</row>" * 1000).reason is Reason.TOO_LARGE


def test_documents_of_an_archive_have_the_keys_of_plain_files(tmp_path: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("Set-main/1_Part/001.xml", "<a/>")
        target.writestr("Set-main/readme.txt", "no")
        target.writestr("../../evil/002.xml", "<a/>")
    found = [(where, key) for where, key, _ in documents(Input(archive, "set.zip"))]
    assert found == [
        ("set.zip!Set-main/1_Part/001.xml", "1_Part/001.xml"),
        ("set.zip!../../evil/002.xml", "evil/002.xml"),
    ]
    folder = tmp_path / "1_Part"
    folder.mkdir()
    (folder / "001.xml").write_text("<a/>")
    plain = Input(folder / "001.xml", "1_Part/001.xml")
    assert [key for _, key, _ in documents(plain)] == ["1_Part/001.xml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1_Part", "set.zip"]


def test_a_fault_is_a_reject_among_many_and_an_error_alone() -> None:
    def rows():
        yield {"_where": "x"}
        raise XmlError(Reason.BAD_XML, "line 3")

    found = list(rows_of_document(rows(), "set.zip!1.xml", alone=False))
    assert found[0] == {"_where": "x"}
    assert found[1] == Reject("set.zip!1.xml", Reason.BAD_XML, "line 3")
    with pytest.raises(FileError, match="line 3"):
        list(rows_of_document(rows(), "1.xml", alone=True))


def outcome(data: bytes) -> list[str] | XmlError:
    try:
        return texts(data)
    except XmlError as error:
        return error


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 200), st.integers(0, 8))
def test_mutants_end_in_elements_or_a_fault(noise: bytes, place: int, cut: int) -> None:
    good = PROLOG + b'<a id="1"><row x="2">text &amp; <b>more</b></row><row/><!-- c --></a>'
    mutant = good[: place % len(good)] + noise + good[place % len(good) + cut :]
    found = outcome(mutant)
    assert isinstance(found, XmlError) or len(found) <= 2 + noise.count(b"<")


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 8))
def test_many_mutants_end_in_elements_or_a_fault(noise: bytes, place: int, cut: int) -> None:
    good = PROLOG + b'<a id="1"><row x="2">text &amp; <b>more</b></row><row/><!-- c --></a>'
    mutant = good[: place % len(good)] + noise + good[place % len(good) + cut :]
    assert outcome(mutant) is not None
