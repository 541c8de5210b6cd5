"""sources.lock.toml: what each raw file was when it was first fetched, and has to stay.

A file whose hash the source states is held to that; any other is recorded here at the first fetch,
and later fetches, on this machine or another, are held to the record. An entry counts for the
address that it was fetched from: a new release behind a new address is a new file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from meadow.atomic import write_text
from meadow.errors import UsageError

NAME = "sources.lock.toml"
VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = """\
# What each raw file was when it was first fetched. Written by `meadow fetch`; keep it under
# version control. To accept a changed upstream file, delete its entry and fetch again.
"""


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One raw file as it was fetched.

    Args:
        url: Where from, without credentials.
        sha256: Of the file, or of the member that was streamed out of it.
        size: In bytes.
        member: The member of the archive behind `url`; "" for the whole file.
        revision: The commit of a Hub file; "" elsewhere.
    """

    url: str
    sha256: str
    size: int
    member: str = ""
    revision: str = ""


def read_lock(path: Path) -> dict[str, LockEntry]:
    """Every entry by `source/name`; empty where there is no lock file yet.

    Raises:
        UsageError: The file is not a lock file of this version.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    if document.get("version") != VERSION:
        raise _unreadable(path, f"version {document.get('version')!r} is not {VERSION}")
    entries: dict[str, LockEntry] = {}
    for key, value in document.get("files", {}).items():
        try:
            entry = LockEntry(**value)
        except TypeError as error:
            raise _unreadable(path, f"{key}: {error}") from error
        if not (isinstance(entry.sha256, str) and _SHA256.fullmatch(entry.sha256)):
            raise _unreadable(path, f"{key}: sha256 is not 64 hexadecimal digits")
        if type(entry.size) is not int or entry.size < 0:
            raise _unreadable(path, f"{key}: size is not a number of bytes")
        entries[key] = entry
    return entries


def record(path: Path, key: str, entry: LockEntry) -> None:
    """Add or replace one entry; other runs may do the same at the same time."""
    with _exclusive(path.parent):
        entries = read_lock(path)
        if entries.get(key) != entry:
            entries[key] = entry
            write_text(path, render(entries))


def render(entries: Mapping[str, LockEntry]) -> str:
    """The lock file's text: sorted, one table a file."""
    parts = [_HEADER, f"version = {VERSION}\n"]
    for key in sorted(entries):
        entry = entries[key]
        lines = [f"[files.{_quote(key)}]", f"url = {_quote(entry.url)}"]
        if entry.member:
            lines.append(f"member = {_quote(entry.member)}")
        if entry.revision:
            lines.append(f"revision = {_quote(entry.revision)}")
        lines += [f"sha256 = {_quote(entry.sha256)}", f"size = {entry.size}"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quote(text: str) -> str:
    """A TOML basic string: quotes, backslashes and control characters escaped."""
    return '"' + re.sub(r'["\\\x00-\x1f\x7f]', lambda match: _escape(match[0]), text) + '"'


def _escape(character: str) -> str:
    return _ESCAPED.get(character) or f"\\u{ord(character):04X}"


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the lock file cannot be read: {why}",
        where=str(path),
        fix="restore it from version control, or delete it and fetch again",
    )


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder itself (flock), since the lock file is replaced by every write."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
