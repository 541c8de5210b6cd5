"""One member out of an arriving archive."""

import gzip
import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meadow.errors import FileError
from meadow.fetch.members import is_archive, member_blocks

LONG = "folder/" + "x" * 150 + "/metadata.csv"


def archive(members: dict[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def read(data: bytes, member: str, *, size: int = 1000, cap: int = 10**6) -> bytes:
    return b"".join(member_blocks(cut(data, size), member, cap=cap, where="a.tar"))


@given(
    bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=5),
    wanted=st.integers(0, 4),
    size=st.integers(1, 2000),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
    packed=st.booleans(),
)
def test_what_the_standard_library_writes_is_read_back(
    bodies: list[bytes], wanted: int, size: int, form: int, packed: bool
) -> None:
    members = {f"f/{i}.csv": body for i, body in enumerate(bodies)}
    data = archive(members, form=form)
    name = f"f/{min(wanted, len(bodies) - 1)}.csv"
    assert read(gzip.compress(data) if packed else data, name, size=size) == members[name]


def test_nothing_is_read_beyond_the_member() -> None:
    data = archive({"a.csv": b"x" * 2000, "b": random.Random(1).randbytes(10**6)})
    asked = 0

    def blocks() -> Iterator[bytes]:
        nonlocal asked
        for block in cut(data, 512):
            asked += 1
            yield block

    assert b"".join(member_blocks(blocks(), "a.csv", cap=10**6, where="")) == b"x" * 2000
    assert asked <= 2 * 128, "a buffer beyond it at most"


def test_folders_and_links_before_the_member_have_no_data() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo("./2022-06-02")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("./2022-06-02/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        info = tarfile.TarInfo("./2022-06-02/metadata.csv")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    data = buffer.getvalue()
    assert read(data, "2022-06-02/metadata.csv") == b"abc"
    with pytest.raises(FileError, match="not a plain file"):
        read(data, "2022-06-02/link")


WHOLE = archive({"a": random.Random(2).randbytes(5000)})
NO_ARCHIVE = [b"", b"hello", b"\x1f\x8bnot gzip at all", b"x" * 2000]


@pytest.mark.parametrize(
    "data",
    [
        *NO_ARCHIVE,
        *(each[:end] for each in (WHOLE, gzip.compress(WHOLE)) for end in (100, 600, 3000)),
    ],
    ids=repeat("data"),  # gzip writes the time, and every process of a run has to name them alike
)
def test_what_is_no_whole_archive_is_an_error(data: bytes) -> None:
    with pytest.raises(FileError):
        read(data, "a")


@contextmanager
def memory(most: int) -> Iterator[None]:
    """Hold what is done in it to so many bytes at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_before_the_member_takes_no_memory() -> None:
    data = gzip.compress(archive({"zeros": bytes(200 * 2**20), "a": b"wanted"}), 6)
    assert len(data) < 10**6
    with memory(16 * 2**20):
        assert read(data, "a", size=64 * 1024) == b"wanted"


def header(kind: bytes, data: bytes = b"", *, size: int | None = None) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


GLOBAL = header(tarfile.XGLTYPE, record(b"comment", b"x" * 2**19))
SPARSE = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
HOSTILE = {
    "any length": header(tarfile.XHDTYPE, size=10**10),
    "any length of a name": header(tarfile.GNUTYPE_LONGNAME, size=10**10),
    "headers without end": header(tarfile.XHDTYPE, record(b"path", b"y")) * 5000,
    "global headers without end": GLOBAL * 50,
    "a negative length": header(tarfile.REGTYPE, size=-512),
    "a sparse file": header(tarfile.GNUTYPE_SPARSE),
    "a map without end": header(tarfile.XHDTYPE, SPARSE)
    + header(tarfile.REGTYPE, b"99999999\n" + b"1\n" * 2**21),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_headers_that_would_fill_the_memory_are_refused(data: bytes) -> None:
    data += archive({"a": b"x"})
    with memory(6 * 2**20), pytest.raises(FileError, match="cannot be read"):
        read(data, "a", size=64 * 1024)


def test_global_headers_between_members_are_not_kept() -> None:
    between = [
        header(tarfile.XGLTYPE, record(b"key%d" % n, b"x" * 2**19)) + header(tarfile.REGTYPE, b"1")
        for n in range(40)
    ]
    data = b"".join(between) + archive({"a": b"wanted"})
    with memory(6 * 2**20):
        assert read(data, "a", size=64 * 1024) == b"wanted"


@given(flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), max_size=4))
def test_damage_is_an_error_or_changes_nothing_but_bytes(flips: list[tuple[int, int]]) -> None:
    data = bytearray(archive({"b": b"1" * 700, LONG: b"wanted" * 50}))
    for place, value in flips:
        data[place % len(data)] ^= value
    try:
        read(bytes(data), LONG)
    except FileError:
        return


def test_which_names_are_archives() -> None:
    assert is_archive("https://x/cord-19_2022.tar.gz")
    assert is_archive("data.TAR")
    assert not is_archive("data_clean.zip")
