"""Files that are whole or absent: temporary name, fsync, rename, fsync of the folder; and locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meadow.errors import FileError, LockedError, MeadowError

TEMPORARY = ".part"
LOCK_NAME = ".meadow.lock"
_RUST = re.compile(r"\(os error (\d+)\)")
"""How Rust's standard library ends the message of a fault of the system."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; publish it under `path` when the block succeeds.

    The file is on disk before the rename, and the rename before the return. On any error the
    temporary file is removed and `path` is what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        fsync_file(temporary)
        temporary.replace(path)
        fsync_folder(path.parent)
    except BaseException as error:
        written = _size(temporary)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full(path, written) from error
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise disk_fault(error, path) from error
        raise


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let a fault of the disk in the block say that it was below `path`, where it says nothing.

    Libraries write with descriptors, Python's own tree functions with names relative to one, and
    libraries in Rust raise errors of their own kinds.
    """
    try:
        yield
    except (ConnectionError, TimeoutError, MeadowError):
        raise
    except Exception as error:
        if is_disk_full(error):
            raise disk_full(path, _size(path) if path.is_file() else 0) from error
        if isinstance(error, OSError):
            if error.errno and not Path(error.filename or "").is_absolute():
                raise disk_fault(error, path) from error
        elif found := _RUST.search(str(error)):
            number = int(found[1])
            raise disk_fault(OSError(number, os.strerror(number)), path) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def fsync_file(path: Path) -> None:
    """Put a file's bytes on disk."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Put a folder's entries on disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)  # the system knows the number of the descriptor only
        raise
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Whether a library's error means that there is no room left (polars gives no errno)."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return True
    return "No space left on device" in str(error)


def disk_full(path: Path, written: int = 0) -> FileError:
    """The one error for every way in which a disk can be full.

    Args:
        path: The file that was to be written.
        written: The bytes of it that had been written, which is the least that it needs.
    """
    needed = f": the file needs more than {written / 1e6:,.1f} MB" if written >= 1e5 else ""
    return FileError(
        f"the disk is full{needed}",
        where=str(path),
        fix="make room and run the same command again",
    )


def disk_fault(error: OSError, path: Path) -> FileError:
    """The error for a fault of the disk whose own message does not say which file it was."""
    return FileError(
        f"writing failed: {error.strerror or error}",
        where=str(path),
        fix="look at the disk, then run the same command again",
    )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for one run; a second run gets a `LockedError` that names the first.

    The lock is the kernel's (flock), so that it ends with its holder, however that ends. A run that
    fails takes away the folders that it made and put no file into.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK_NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = " ".join(file.read(200).decode(errors="replace").split())
                raise LockedError(
                    f"another run holds this folder: {holder or 'an unknown run'}",
                    where=str(folder),
                    fix="wait for it to end, or choose another folder",
                ) from error
            if not os.fstat(file.fileno()).st_nlink:
                continue  # the run that held it has just failed and taken the folder away
            started = datetime.now(UTC).isoformat(timespec="seconds")
            holder = f"pid {os.getpid()} on {socket.gethostname()} since {started}\n"
            try:
                file.truncate(0)
                file.write(holder.encode())
            except OSError as error:
                fault = disk_full(path) if is_disk_full(error) else disk_fault(error, path)
                raise fault from error
            try:
                yield
            except BaseException:
                _unmake(made)  # while it is held: nobody else writes here
                raise
            finally:
                # the text is a courtesy to the next run: the lock itself ends with the descriptor
                with contextlib.suppress(OSError):
                    file.truncate(0)
            return


def _unmake(made: list[Path]) -> None:
    """Take away folders that were made for a run which left no file, the innermost first."""
    if made and not any(p.name != LOCK_NAME and not p.is_dir() for p in made[0].rglob("*")):
        shutil.rmtree(made[0], ignore_errors=True)
        with contextlib.suppress(OSError):
            for folder in made[1:]:
                folder.rmdir()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """The SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
