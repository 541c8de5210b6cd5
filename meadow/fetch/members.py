"""One member of a remote tar archive to the disk; the transfer ends once the member is through.

A cut is taken up again while the command runs. Another run starts from the archive's beginning,
since what lies before the member is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from meadow.atomic import naming
from meadow.errors import FileError, UpstreamChangedError
from meadow.net.download import Commit, Expected, Fetched, Progress, check, no_progress, publish
from meadow.net.http import RemoteFile
from meadow.net.retry import Retries, TryAgain

if TYPE_CHECKING:
    import httpx

# One member out of a tar archive that is still arriving, without unpacking anything.
#
# The archive is read as a stream of blocks: members before the wanted one are passed over, and the
# caller may end the transfer as soon as the member is through. Header rules: POSIX pax (types x and
# g) and GNU long names (type L), each under a cap, since a header can claim any length.


BLOCK = 512
MAX_HEADER = 1024 * 1024
"""The largest extended header that is read; real ones have a few hundred bytes."""
_INFLATE = 1024 * 1024
_SIZE = re.compile(r"[0-9]{1,18}")
_LONG_NAME = b"L"
_PAX = b"x"
_PASSED_OVER = (b"g", b"K")

ARCHIVES = (".tar", ".tar.gz", ".tgz")


def is_archive(name: str) -> bool:
    """Whether the name is that of an archive that can be streamed."""
    return name.lower().endswith(ARCHIVES)


def member_blocks(blocks: Iterable[bytes], member: str, *, cap: int, where: str) -> Iterator[bytes]:
    """The bytes of `member` in a tar archive, plain or gzip, that arrives as `blocks`.

    Args:
        blocks: The archive; read no further than the member's end.
        member: The path inside the archive.
        cap: The largest member that is accepted, in bytes.
        where: The archive's name, for messages.

    Raises:
        FileError: No such member, not a plain file, larger than `cap`, or not a whole archive.
    """
    stream = _Stream(_inflated(iter(blocks), where), where)
    long_name = ""
    pax: dict[str, str] = {}
    while (header := stream.header()) is not None:
        kind, size = header.type, header.size
        if kind in (_LONG_NAME, _PAX):
            if size > MAX_HEADER:
                raise _broken(where, f"a header of {size:,} bytes")
            data = b"".join(stream.take(size))
            if kind == _LONG_NAME:
                long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            else:
                pax = _pax_records(data, where)
            continue
        if kind in _PASSED_OVER:
            stream.skip(size)
            continue
        name = pax.get("path") or long_name or header.name
        size = int(pax["size"]) if _SIZE.fullmatch(pax.get("size", "")) else size
        long_name, pax = "", {}
        if _plain(name) != _plain(member):
            # Links and folders have no data, whatever the header says of their size.
            stream.skip(size if header.isreg() else 0)
            continue
        if not header.isreg():
            raise _broken(where, f"{member} is not a plain file")
        if size > cap:
            raise FileError(
                f"{member} has {size:,} bytes, more than the cap of {cap:,}", where=where
            )
        yield from stream.take(size)
        return
    raise FileError(
        f"the archive has no member {member}",
        where=where,
        fix="see whether upstream has released a new version",
    )


def _plain(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _broken(where: str, why: str) -> FileError:
    return FileError(
        f"the archive cannot be read: {why}",
        where=where,
        fix="fetch it again; if it fails again, put the member in place by hand",
    )


def _pax_records(data: bytes, where: str) -> dict[str, str]:
    """The records of a pax header: length, blank, key=value, line feed."""
    records: dict[str, str] = {}
    while data.rstrip(b"\0"):
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or len(length) > 9 or not 0 < int(length) <= len(data):
            raise _broken(where, "a damaged extended header")
        entry = data[len(length) + 1 : int(length) - 1]
        key, _, value = entry.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return records


def _inflated(blocks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The archive's bytes, inflated where it is gzip, never more than `_INFLATE` at a time."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= 2:
            break
    if not head.startswith(b"\x1f\x8b"):
        yield head
        yield from blocks
        return
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        for block in _with(head, blocks):
            data, more = block, True
            while data or more:
                if inflater.eof:
                    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                output = inflater.decompress(data, _INFLATE)
                yield output
                data = inflater.unconsumed_tail or inflater.unused_data
                # All input can be taken while output still waits inside.
                more = len(output) == _INFLATE
    except zlib.error as error:
        raise _broken(where, str(error)) from error


def _with(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from blocks


class _Stream:
    """Headers and data of a tar archive, in order."""

    def __init__(self, blocks: Iterator[bytes], where: str) -> None:
        self.blocks = blocks
        self.where = where
        self.buffer = b""
        self.padding = 0

    def header(self) -> tarfile.TarInfo | None:
        """The next header; None at the end of the archive."""
        self.skip(self.padding, padded=False)
        self.padding = 0
        block = b"".join(self._read(BLOCK, may_end=True))
        if not block.strip(b"\0"):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _broken(self.where, str(error)) from error

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes of data."""
        self.padding = -size % BLOCK
        yield from self._read(size)

    def skip(self, size: int, *, padded: bool = True) -> None:
        """Pass over data."""
        if padded:
            self.padding = -size % BLOCK
        for _ in self._read(size):
            pass

    def _read(self, size: int, *, may_end: bool = False) -> Iterator[bytes]:
        missing = size
        while missing:
            if not self.buffer:
                block = next(self.blocks, None)
                if block is None:
                    if may_end and missing == size:
                        return
                    raise _broken(self.where, "it ends in the middle of a member")
                self.buffer = block
                continue
            piece, self.buffer = self.buffer[:missing], self.buffer[missing:]
            missing -= len(piece)
            yield piece


MAX_ARCHIVE = 256 * 1024**3
"""The most that is read before the member is found: far above any archive that is known."""


class _StartedOver(Exception):
    """The archive changed under way: what was read of it is void."""


def download_member(
    client: httpx.Client,
    url: str,
    member: str,
    target: Path,
    expected: Expected,
    retries: Retries,
    *,
    progress: Progress = no_progress,
    commit: Commit = lambda fetched: None,
) -> Fetched:
    """Stream `member` out of the tar archive at `url` to `target`.

    Raises:
        NetworkError: The tries or the time are used up, or the server refuses for good.
        FileError: No such member, larger than the cap, or a damaged archive.
        UpstreamChangedError: Twice other bytes than expected.
    """
    part = target.with_name(target.name + ".part")
    for last in (False, True):
        try:
            fetched = _stream(client, url, member, part, expected, retries, progress)
            check(fetched, expected, url)
        except UpstreamChangedError:
            if last:
                part.replace(target.with_name(target.name + ".bad"))
                raise
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            with naming(target):
                raise
        else:
            break
    commit(fetched)
    publish(part, target)
    return fetched


def _stream(
    client: httpx.Client,
    url: str,
    member: str,
    part: Path,
    expected: Expected,
    retries: Retries,
    progress: Progress,
) -> Fetched:
    def restart() -> None:
        raise _StartedOver

    while True:
        remote = RemoteFile(client, url, retries, cap=MAX_ARCHIVE, encoded=True, on_restart=restart)
        digest, size = hashlib.sha256(), 0
        blocks = remote.blocks()
        try:
            with part.open("wb") as file:
                for block in member_blocks(blocks, member, cap=expected.cap, where=remote.address):
                    file.write(block)
                    digest.update(block)
                    size += len(block)
                    progress(remote.offset, remote.total)
        except _StartedOver:
            retries.failed(TryAgain("the server does not continue the archive where it was cut"))
            continue
        finally:
            # Ends the transfer: whatever follows the member is not wanted.
            blocks.close()
        return Fetched(digest.hexdigest(), size)
