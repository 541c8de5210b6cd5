"""Notes of an Anki deck: `.apkg`, `.colpkg`, and bare collections of schema 11 to 18.

A package is a ZIP archive around one SQLite database. Three members can hold it, and a modern
package holds two: the collection itself (`collection.anki21b`, compressed with zstd, or
`collection.anki21`) and a `collection.anki2` whose only note tells old programs to upgrade. That
note is never data. Media are never read.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from meadow.atomic import disk_full, is_disk_full
from meadow.errors import FileError, UpstreamChangedError
from meadow.readers.archives import CappedStream, damage_is_an_error, open_binary
from meadow.schema import Raw, Reject
from meadow.source import Input
from meadow.sources.anki.collection import TIME_LIMIT, read_database

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

MEMBERS = ("collection.anki21b", "collection.anki21", "collection.anki2")
"""Where a package keeps its collection, best first."""
NEWEST_PACKAGE = 3
"""The version in a package's `meta`: 1 anki2, 2 anki21, 3 anki21b."""

MAX_MEMBERS = 200_000
MAX_COLLECTION = 2 * 1024**3
_SQLITE_MAGIC = b"SQLite format 3\x00"
_ZIP_MAGIC = b"PK"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def read_collection(item: Input, *, time_limit: float = TIME_LIMIT) -> Iterator[Raw | Reject]:
    """Yield every note of a deck in the order in which the notes were made.

    A raw row holds `guid`, `note_type`, `cloze` (what the note type says), `deck`, `tags`,
    `field_names` and `fields` (HTML).

    Args:
        item: A package or a bare collection; the content says which.
        time_limit: Seconds that the database may take for one answer.

    Raises:
        FileError: The file is damaged, encrypted, larger than the caps, or too slow.
        UpstreamChangedError: The format is older or newer than the supported ones.
    """
    with _database(item) as path:
        yield from read_database(path, item.label, time_limit)


def is_package_or_collection(path: Path) -> bool:
    """Whether the file is a ZIP archive or a SQLite database, whatever its name."""
    with path.open("rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
    return start == _SQLITE_MAGIC or start.startswith((_ZIP_MAGIC, _ZSTD_MAGIC))


@contextlib.contextmanager
def _database(item: Input) -> Iterator[Path]:
    """The SQLite file: the input itself, or a temporary copy of what is packed in it."""
    with damage_is_an_error(item.path):
        with item.path.open("rb") as file:
            start = file.read(len(_SQLITE_MAGIC))
        log = item.path.with_name(item.path.name + "-wal")
        unsaved = log.is_file() and log.stat().st_size > 0
    if start == _SQLITE_MAGIC:
        if unsaved:
            raise FileError(
                "the collection has unsaved changes: Anki has it open",
                where=item.label,
                fix="close Anki, or export the deck as an .apkg",
            )
        yield item.path
        return
    with tempfile.TemporaryDirectory(prefix="meadow-anki-") as folder:
        target = Path(folder) / "collection.sqlite"
        if start.startswith(_ZIP_MAGIC):
            _unpack(item, target)
        elif start.startswith(_ZSTD_MAGIC):
            with open_binary(item.path, MAX_COLLECTION) as stream:
                _copy(stream, target)
        else:
            raise FileError(
                "neither an Anki package nor an Anki collection",
                where=item.label,
                fix="in Anki: File > Export as .apkg, or as notes in plain text (.txt)",
            )
        yield target


def _unpack(item: Input, target: Path) -> None:
    """Copy the collection out of a package; nothing else is read and no name becomes a path."""
    with damage_is_an_error(item.path, "the package"):
        try:
            with zipfile.ZipFile(item.path) as package:
                info = _collection_member(package, item.label)
                with package.open(info) as packed:
                    _copy(_capped(packed, item.path, info), target)
        except (ValueError, OverflowError, struct.error) as error:
            # what zipfile raises for lying headers, besides BadZipFile
            raise zipfile.BadZipFile(str(error)) from error


def _collection_member(package: zipfile.ZipFile, label: str) -> zipfile.ZipInfo:
    """The member that holds the notes, after the checks that need no byte of it."""
    fix = "export the deck from Anki again"
    found = package.infolist()
    if len(found) > MAX_MEMBERS:
        raise FileError(f"the package has more than {MAX_MEMBERS:,} members", where=label)
    names = [member.filename for member in found]
    version = _package_version(package, names)
    if version > NEWEST_PACKAGE:
        raise UpstreamChangedError(
            f"package version {version} is newer than the supported {NEWEST_PACKAGE}",
            where=label,
            fix="export with 'support older Anki versions', or upgrade medical-meadow",
        )
    member = next((name for name in MEMBERS if name in names), None)
    if member is None:
        raise FileError("the archive holds no Anki collection", where=label, fix=fix)
    if version > 1 and member == MEMBERS[-1]:
        raise FileError(
            "the package holds only the notice for old Anki versions", where=label, fix=fix
        )
    if names.count(member) > 1:
        raise FileError(f"the package holds {member} twice", where=label, fix=fix)
    info = package.getinfo(member)
    if info.flag_bits & 1:
        raise FileError(f"member {member} is encrypted", where=label, fix=fix)
    return info


def _package_version(package: zipfile.ZipFile, names: list[str]) -> int:
    """The version that `meta` states: a protobuf message whose field 1 it is; 1 without a meta."""
    if "meta" not in names:
        return 1
    info = package.getinfo("meta")
    if info.file_size > 1024 or info.flag_bits & 1:
        return 1
    with package.open(info) as file:
        content = file.read(1025)
    return content[1] if len(content) >= 2 and content[0] == 0x08 else 1


def _capped(packed: IO[bytes], path: Path, info: zipfile.ZipInfo) -> CappedStream:
    plain = CappedStream(packed, path, MAX_COLLECTION, info.compress_size)
    if not info.filename.endswith("b"):
        return plain
    expanded = cast(IO[bytes], zstd.open(io.BufferedReader(plain), "rb"))
    return CappedStream(expanded, path, MAX_COLLECTION, info.compress_size)


def _copy(stream: io.RawIOBase | io.BufferedReader, target: Path) -> None:
    try:
        with target.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(target) from error
        raise
