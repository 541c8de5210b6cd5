"""Open a raw file as bytes: plain, .gz, .bz2 or .zst by its first bytes, or a member of an archive.

Everything is read under caps on size and ratio; a truncated or damaged file is one clear error,
whichever library notices it. Only a member of a 7z archive is unpacked to disk, to a temporary file
that has no name any more when it is read: random access costs no memory, nothing of the archive's
own paths touches the file system, and nothing is left behind. py7zr checks its CRC while it writes.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, cast

from meadow.errors import FileError
from meadow.source import Input

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

MAX_BYTES = 64 * 1024**3
MAX_MEMBER_BYTES = 8 * 1024**3
MAX_MEMBERS = 200_000
MAX_7Z_BYTES = 200 * 1024**3
MAX_7Z_MEMBERS = 1000
MAX_RATIO = 200
MAX_HEADER = 1024 * 1024
"""The longest run of extended tar headers that is read; real ones have a few hundred bytes."""
RATIO_FREE_BYTES = 16 * 1024**2
"""Below this size a high ratio is no danger: short repetitive files compress well."""

DAMAGE = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zstd.ZstdError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


@contextlib.contextmanager
def damage_is_an_error(path: Path, what: str = "the file") -> Iterator[None]:
    """Turn what the decompressors raise into one `FileError` that names the file."""
    try:
        yield
    except DAMAGE as error:
        raise FileError(
            f"{what} is truncated or damaged: {error or type(error).__name__}",
            where=str(path),
            fix="fetch it again and compare its checksum",
        ) from error
    except FileNotFoundError as error:
        raise FileError(
            f"{what} is missing",
            where=str(path),
            fix="check the path; `meadow sources NAME` lists the expected files",
        ) from error
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise FileError(f"{what} cannot be read: {error}", where=str(path)) from error


class CappedStream(io.RawIOBase):
    """A byte stream that stops with an error beyond a size or a compression ratio.

    Args:
        stream: What is read.
        path: For the message.
        max_bytes: The most bytes that may come out.
        packed: Compressed size where a ratio applies, else None.
    """

    def __init__(
        self, stream: IO[bytes], path: Path, max_bytes: int, packed: int | None = None
    ) -> None:
        self._stream = stream
        self._path = path
        self._max_bytes = max_bytes
        if packed is not None:
            self._max_bytes = min(max_bytes, max(RATIO_FREE_BYTES, packed * MAX_RATIO))
        self._read = 0

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read through the cap, with damage as a `FileError`."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        with damage_is_an_error(self._path):
            data = self._stream.read(len(view))
        self._read += len(data)
        if self._read > self._max_bytes:
            raise FileError(
                f"the file unpacks to more than {self._max_bytes:,} bytes",
                where=str(self._path),
                fix="it looks like a decompression bomb; check where it came from",
            )
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close what is below."""
        self._stream.close()
        super().close()


_PACKED = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, bzip2 and Zstandard."""


def is_packed(item: Input) -> bool:
    """Whether an input has to be unpacked to be read: compressed, or a member of an archive."""
    with damage_is_an_error(item.path), item.path.open("rb") as probe:
        return probe.read(4).startswith(_PACKED) or (
            item.member is not None and is_archive(item.path)
        )


def open_binary(path: Path, max_bytes: int = MAX_BYTES) -> io.BufferedReader:
    """Open a file, decompressing by its first bytes.

    Raises:
        FileError: It is missing, a folder, or (while reading) damaged or over a cap.
    """
    with damage_is_an_error(path):
        with path.open("rb") as probe:
            magic = probe.read(4)
        size = path.stat().st_size
        stream: IO[bytes]
        if magic[:2] == b"\x1f\x8b":
            stream = cast(IO[bytes], gzip.open(path, "rb"))  # noqa: SIM115 - closed by its reader
        elif magic[:3] == b"BZh":
            stream = bz2.open(path, "rb")  # noqa: SIM115 - closed by its reader
        elif magic == b"\x28\xb5\x2f\xfd":
            stream = cast(IO[bytes], zstd.open(path, "rb"))
        else:
            return cast(
                io.BufferedReader,
                io.BufferedReader(CappedStream(path.open("rb"), path, max_bytes), 1 << 20),
            )
    return io.BufferedReader(CappedStream(stream, path, max_bytes, size), 1 << 20)


@contextlib.contextmanager
def open_input(item: Input, max_bytes: int = MAX_BYTES) -> Iterator[io.BufferedReader]:
    """Open an input: the file itself, or its named member where it is an archive."""
    if item.member is None or not is_archive(item.path):
        with open_binary(item.path, max_bytes) as file:
            yield file
        return
    found = members(item.path, only=item.member, max_bytes=max_bytes)
    with contextlib.closing(found):
        for _, stream in found:
            yield io.BufferedReader(stream, 1 << 20)
            return
    raise FileError(
        f"the archive has no member {item.member}",
        where=str(item.path),
        fix="check that it is the release that `meadow sources` names",
    )


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or a (compressed) tar, by its content and name."""
    with damage_is_an_error(path):
        if zipfile.is_zipfile(path):
            return True
        names = {".tar", ".tgz"} & set(path.suffixes) or ".tar." in path.name
        return bool(names) and tarfile.is_tarfile(path)


def members(
    path: Path,
    *,
    only: str | None = None,
    suffix: str = "",
    max_bytes: int = MAX_MEMBER_BYTES,
    max_members: int = MAX_MEMBERS,
) -> Generator[tuple[str, CappedStream], None, None]:
    """The regular files of a zip or tar in archive order, each as a capped stream.

    A stream is valid until the next one is asked for. Names are only labels: nothing is extracted,
    so that a name cannot lead anywhere. Links and devices are passed over.

    Args:
        path: A zip, tar, tar.gz, tar.bz2 or tar.xz.
        only: The one member that is wanted: its name, or the end of it after a "/".
        suffix: Only names that end so.
        max_bytes: Cap for one member.
        max_members: Cap for their number.

    Raises:
        FileError: The archive is damaged, encrypted, or over a cap.
    """
    with damage_is_an_error(path, "the archive"):
        if zipfile.is_zipfile(path):
            try:
                yield from _zip_members(path, only, suffix, max_bytes, max_members)
            except (ValueError, OverflowError, struct.error) as error:
                # what zipfile raises for lying headers, besides BadZipFile
                raise zipfile.BadZipFile(str(error)) from error
        else:
            yield from _tar_members(path, only, suffix, max_bytes, max_members)


def _wanted(name: str, only: str | None, suffix: str) -> bool:
    if only is not None and name != only and not name.endswith("/" + only):
        return False
    return name.endswith(suffix)


def _too_many(path: Path, max_members: int) -> FileError:
    return FileError(f"the archive has more than {max_members:,} members", where=str(path))


def _zip_members(
    path: Path, only: str | None, suffix: str, max_bytes: int, max_members: int
) -> Generator[tuple[str, CappedStream], None, None]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > max_members:
            raise _too_many(path, max_members)
        for entry in entries:
            if entry.is_dir() or not _wanted(entry.filename, only, suffix):
                continue
            if entry.flag_bits & 1:
                raise FileError(
                    f"member {entry.filename} is encrypted",
                    where=str(path),
                    fix="supply the archive without a password",
                )
            with archive.open(entry) as stream:
                yield entry.filename, CappedStream(stream, path, max_bytes, entry.compress_size)


def tar_stream(file: IO[bytes]) -> tarfile.TarFile:
    """A tar archive read in order, once, whose headers take no more memory than they may.

    A header can claim any length, any number of headers can stand before one member, and a sparse
    file's map can be endless: tarfile reads all of it into memory. Here each is a `TarError`, as is
    a damaged header, which tarfile takes for the end of the archive.
    """
    return tarfile.open(
        fileobj=file,
        mode="r|",
        bufsize=128 * tarfile.BLOCKSIZE,
        encoding="utf-8",
        tarinfo=_capped_headers(),
    )


def _capped_headers() -> type[tarfile.TarInfo]:
    """The headers of one archive."""
    run = 0

    class Header(tarfile.TarInfo):
        """A header, looked at before anything that it announces is read."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal run
            try:
                info = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if bytes(buf).strip(b"\0"):
                    raise tarfile.ReadError(str(error)) from error
                raise  # the end of the archive
            if info.size < 0:
                raise tarfile.ReadError("a header with a negative size")
            if info.type == tarfile.GNUTYPE_SPARSE:
                raise tarfile.ReadError("a sparse file")
            # Each counts for at least 64 KiB, since tarfile follows a run of them by recursion.
            run = run + max(info.size, MAX_HEADER // 16) if info.type in _EXTENDED else 0
            if run > MAX_HEADER:
                raise tarfile.ReadError(f"a header of {run:,} bytes")
            return info

        def _proc_gnusparse_10(self, *_: object) -> None:
            """The third way to write a sparse file; its map has no stated length."""
            raise tarfile.ReadError("a sparse file")

    return Header


_EXTENDED = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)


def _tar_members(
    path: Path, only: str | None, suffix: str, max_bytes: int, max_members: int
) -> Generator[tuple[str, CappedStream], None, None]:
    with open_binary(path) as packed, tar_stream(packed) as archive:
        for count, entry in enumerate(archive, start=1):
            if count > max_members:
                raise _too_many(path, max_members)
            if not entry.isreg() or not _wanted(entry.name, only, suffix):
                continue
            stream = archive.extractfile(entry)
            if stream is not None:
                yield entry.name, CappedStream(stream, path, max_bytes)
            if only is not None:
                return


@contextlib.contextmanager
def open_7z_member(
    path: Path, wanted: Callable[[str], bool], *, max_size: int = MAX_7Z_BYTES
) -> Iterator[BinaryIO | None]:
    """The first member whose name is wanted, as a readable and seekable file; None: there is none.

    Args:
        path: The archive.
        wanted: Decides on a member's name as the archive spells it.
        max_size: Bytes that the member may have.

    Raises:
        FileError: Not a 7z archive, truncated, wrong CRC, encrypted, over a cap, or disk full.
    """
    with tempfile.TemporaryFile(prefix="meadow-") as target:
        if _extract_7z(path, wanted, target, max_size):
            target.seek(0)
            yield target
        else:
            yield None


def _extract_7z(
    path: Path, wanted: Callable[[str], bool], target: IO[bytes], max_size: int
) -> bool:
    import py7zr

    with _faults_of_7z(path), py7zr.SevenZipFile(path) as archive:
        if archive.needs_password():
            raise FileError("the archive is encrypted", where=str(path), fix="decrypt it first")
        members = archive.list()
        if len(members) > MAX_7Z_MEMBERS:
            raise FileError(
                f"the archive has {len(members):,} members; at most {MAX_7Z_MEMBERS:,} are read",
                where=str(path),
                fix="give the plain XML file instead",
            )
        found = next((m for m in members if wanted(m.filename) and not m.is_directory), None)
        if found is None:
            return False
        limit = min(max_size, max(RATIO_FREE_BYTES, path.stat().st_size * MAX_RATIO))
        # of a solid archive, all that stands before the member has to be unpacked
        before = sum(m.uncompressed for m in takewhile(lambda m: m is not found, members))
        if max(found.uncompressed, before) > limit:
            raise FileError(
                f"{found.filename} claims {found.uncompressed:,} bytes from an archive of "
                f"{path.stat().st_size:,}: refused as a decompression bomb",
                where=str(path),
                fix="unpack it by hand and give the plain file, if it is what you expect",
            )
        archive.max_extract_size = 2 * limit
        archive.extract(targets=[found.filename], factory=_factory(target, limit, path))
        target.flush()
    return True


def _factory(target: IO[bytes], limit: int, path: Path) -> Any:
    """A py7zr writer factory that sends the one wanted member to `target`."""
    from py7zr.io import Py7zIO, WriterFactory

    class Sink(Py7zIO):
        def write(self, data: bytes | bytearray) -> int:
            if target.tell() + len(data) > limit:
                raise FileError(f"the member is larger than {limit:,} bytes", where=str(path))
            return target.write(data)

        def read(self, size: int | None = None) -> bytes:
            return target.read(-1 if size is None else size)

        def seek(self, offset: int, whence: int = 0) -> int:
            return target.seek(offset, whence)

        def flush(self) -> None:
            target.flush()

        def size(self) -> int:
            position = target.tell()
            end = target.seek(0, 2)
            target.seek(position)
            return end

    class Factory(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            return Sink()

    return Factory()


@contextlib.contextmanager
def _faults_of_7z(path: Path) -> Iterator[None]:
    """Whatever py7zr raises on a broken archive, as one expected fault."""
    from py7zr import exceptions

    try:
        yield
    except FileError:
        raise
    except exceptions.PasswordRequired as fault:
        raise FileError(
            "the archive is encrypted", where=str(path), fix="decrypt it first"
        ) from fault
    except exceptions.UnsupportedCompressionMethodError as fault:
        raise FileError(
            f"the archive uses a compression that is not supported: {fault}",
            where=str(path),
            fix="repack it with LZMA2",
        ) from fault
    except OSError as fault:
        full = fault.errno == errno.ENOSPC
        raise FileError(
            "disk full while unpacking into the temporary folder"
            if full
            else f"the archive cannot be read: {fault}",
            where=str(path),
            fix="free space, or set TMPDIR to a larger disk" if full else "check path and rights",
        ) from fault
    except Exception as fault:
        # besides its own errors, its parser fails with whatever a wrong number leads to
        raise FileError(
            f"the 7z archive cannot be read: {type(fault).__name__}: {fault}",
            where=str(path),
            fix="download it again; it may be truncated",
        ) from fault
