"""One member of a remote tar archive to the disk; the transfer ends once the member is through.

A cut is taken up again while the command runs. Another run starts from the archive's beginning,
since what lies before the member is not kept.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from meadow.errors import FileError
from meadow.net.download import Commit, Expected, Fetched, Part, Progress, bring, no_progress
from meadow.net.http import RemoteFile
from meadow.net.retry import Retries, TryAgain
from meadow.readers.archives import tar_stream

if TYPE_CHECKING:
    import httpx

ARCHIVES = (".tar", ".tar.gz", ".tgz")
MAX_ARCHIVE = 256 * 1024**3
"""The most that is read before the member is found: far above any archive that is known."""
BLOCK = 1024 * 1024


def is_archive(name: str) -> bool:
    """Whether the name is that of an archive that can be streamed."""
    return name.lower().endswith(ARCHIVES)


def member_blocks(blocks: Iterable[bytes], member: str, *, cap: int, where: str) -> Iterator[bytes]:
    """The bytes of `member` in a tar archive, plain or gzip, that arrives as `blocks`.

    Args:
        blocks: The archive; read hardly further than the member's end.
        member: The path inside the archive.
        cap: The largest member that is accepted, in bytes.
        where: The archive's name, for messages.

    Raises:
        FileError: No such member, not a plain file, larger than `cap`, or not a whole archive.
    """
    try:
        with tar_stream(_inflated(iter(blocks))) as archive:
            while (entry := archive.next()) is not None:
                # tarfile keeps every header and what stands in the global ones
                archive.members = []  # type: ignore[attr-defined]
                archive.pax_headers = {}
                if _plain(entry.name) != _plain(member):
                    continue
                plain = entry.isreg() and not entry.issparse() and entry.size >= 0
                stream = archive.extractfile(entry) if plain else None
                if stream is None:
                    raise tarfile.ReadError(f"{member} is not a plain file")
                if entry.size > cap:
                    raise FileError(
                        f"{member} has {entry.size:,} bytes, more than the cap of {cap:,}",
                        where=where,
                    )
                while block := stream.read(BLOCK):
                    yield block
                return
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise FileError(
            f"the archive cannot be read: {error}",
            where=where,
            fix="fetch it again; if it fails again, put the member in place by hand",
        ) from error
    raise FileError(
        f"the archive has no member {member}",
        where=where,
        fix="see whether upstream has released a new version",
    )


def _plain(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _inflated(blocks: Iterator[bytes]) -> IO[bytes]:
    """The archive's bytes, inflated where it is gzip."""
    head = b""
    while len(head) < 2 and (block := next(blocks, b"")):
        head += block
    packed = io.BufferedReader(_Blocks(chain([head], blocks)))
    return cast(IO[bytes], gzip.GzipFile(fileobj=packed) if head[:2] == b"\x1f\x8b" else packed)


class _Blocks(io.RawIOBase):
    """Blocks as a file to read from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._left:
            if (block := next(self._blocks, None)) is None:
                return 0
            self._left = memoryview(block)
        size = min(len(view), len(self._left))
        view[:size], self._left = self._left[:size], self._left[size:]
        return size


class _StartedOver(Exception):
    """The archive changed under way: what was read of it is void."""


def download_member(
    client: httpx.Client,
    url: str,
    member: str,
    target: Path,
    expected: Expected,
    retries: Retries,
    progress: Progress = no_progress,
    commit: Commit = lambda fetched: None,
) -> Fetched:
    """Stream `member` out of the tar archive at `url` to `target`.

    Raises:
        NetworkError: The tries or the time are used up, or the server refuses for good.
        FileError: No such member, larger than the cap, or a damaged archive.
        UpstreamChangedError: Twice other bytes than expected.
    """
    part = Part(target, url)

    def restart() -> None:
        raise _StartedOver

    def once() -> Fetched:
        remote = RemoteFile(client, url, retries, cap=MAX_ARCHIVE, encoded=True, on_restart=restart)
        digest, size = hashlib.sha256(), 0
        blocks = remote.blocks()
        try:
            with part.path.open("wb") as file:
                for block in member_blocks(blocks, member, cap=expected.cap, where=remote.address):
                    file.write(block)
                    digest.update(block)
                    size += len(block)
                    progress(remote.offset, remote.total)
        finally:
            # Ends the transfer: whatever follows the member is not wanted.
            blocks.close()
        return Fetched(digest.hexdigest(), size)

    def transfer() -> Fetched:
        while True:
            try:
                return once()
            except _StartedOver:
                again = TryAgain("the server does not continue the archive where it was cut")
                retries.failed(again)

    return bring(part, expected, transfer, commit, continues=False)
