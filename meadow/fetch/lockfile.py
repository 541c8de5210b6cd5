"""sources.lock.toml: what each raw file was when it was first fetched, and has to stay.

A file whose hash the source states is held to that; any other is recorded here at the first fetch,
and later fetches, on this machine or another, are held to the record. An entry counts for the
address that it was fetched from: a new release behind a new address is a new file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from meadow.atomic import write_text
from meadow.config import Settings, read_settings, toml_value
from meadow.errors import UsageError

NAME = "sources.lock.toml"
_HEADER = """\
# What each raw file was when it was first fetched. Written by `meadow fetch`; keep it under
# version control. To accept a changed upstream file, delete its entry and fetch again.
"""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
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
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, strict=True)]
    member: str = ""
    revision: str = ""


class _Lock(Settings):
    version: Literal[1]
    files: dict[str, LockEntry] = Field(default_factory=dict)


def read_lock(path: Path) -> dict[str, LockEntry]:
    """Every entry by `source/name`; empty where there is no lock file yet.

    Raises:
        UsageError: The file is not a lock file of this version.
    """
    if not path.exists():
        return {}
    try:
        return read_settings(path, _Lock).files
    except UsageError as error:
        raise UsageError(
            f"the lock file cannot be read: {error.what}",
            where=str(path),
            fix="restore it from version control, or delete it and fetch again",
        ) from error


def record(path: Path, key: str, entry: LockEntry) -> None:
    """Add or replace one entry; other runs may do the same at the same time."""
    with _exclusive(path.parent):
        entries = read_lock(path)
        if entries.get(key) != entry:
            entries[key] = entry
            write_text(path, render(entries))


def render(entries: Mapping[str, LockEntry]) -> str:
    """The lock file's text: sorted, one table a file."""
    parts = [_HEADER, "version = 1\n"]
    for key, entry in sorted(entries.items()):
        lines = [
            f"{name} = {toml_value(value)}"
            for name in ("url", "member", "revision", "sha256", "size")
            if (value := getattr(entry, name)) != "" or name == "url"
        ]
        parts.append("\n".join([f"[files.{toml_value(key)}]", *lines, ""]))
    return "\n".join(parts)


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
