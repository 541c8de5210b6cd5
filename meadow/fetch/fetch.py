"""Raw files of a source, from where it names them to `RAW/<source>/`: resumable, capped, checked.

Each file is one of four: at hand already, an http(s) address, a file on the Hub at a pinned
revision, or one that the user has to download by hand. A file has the hash that its source states,
or the one that the lock file recorded at the first fetch; a file that has neither gets recorded.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import locked, sha256_file
from meadow.errors import UpstreamChangedError
from meadow.fetch.lockfile import LockEntry, read_lock, record
from meadow.fetch.members import download_member, is_archive
from meadow.net.download import (
    Commit,
    Expected,
    Fetched,
    Part,
    Progress,
    bring,
    check_room,
    download,
    no_progress,
)
from meadow.net.http import clean_address, make_client
from meadow.net.retry import Retries, RetryPolicy
from meadow.source import File, OriginName, Source

if TYPE_CHECKING:
    import httpx

HUB = "hf://"


class State(StrEnum):
    """What is to be done about a file, or was done."""

    AT_HAND = "at hand"
    """It lies in its place with the known hash, or no hash is known."""
    FETCH = "to fetch"
    FETCHED = "fetched"
    BY_HAND = "by hand"
    """It is not there, and only the user can get it."""
    ONE_OF = "one of these by hand"
    """Nothing of the source is there, any of its files would do, and only the user can get them."""
    ABSENT = "absent"
    """Optional, not there, and not to be had by an address."""


@dataclass(frozen=True, slots=True)
class Item:
    """One raw file of a source and what is known of it.

    Hash and size are stated, recorded or just measured; `key` is its name in the lock file, and
    `revision` the recorded commit of a Hub file.
    """

    source: str
    license: str
    file: File
    target: Path
    key: str
    state: State
    sha256: str | None
    size: int | None
    revision: str = ""

    def to_json(self) -> dict[str, Any]:
        """One row of `meadow fetch --json`."""
        return {
            "source": self.source,
            "file": self.file.name,
            "state": self.state.value,
            "url": clean_address(self.file.url) if self.file.url else None,
            "member": self.file.member,
            "path": str(self.target),
            "bytes": self.size,
            "max_bytes": self.file.max_size,
            "sha256": self.sha256,
            "license": self.license,
            "by_hand": self.file.by_hand,
        }


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Where raw files go, what is known of them (a lock file), how long a transfer may take."""

    raw: Path
    lock: Path
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def plan(self, source: Source, origin: OriginName = OriginName.UPSTREAM) -> list[Item]:
        """What is to be done for each file of a source; nothing is sent, nothing is written."""
        items = list(self._items(source, origin))
        if all(item.state is State.ABSENT for item in items):
            return [replace(item, state=State.ONE_OF) for item in items]
        return items

    def _items(self, source: Source, origin: OriginName) -> Iterator[Item]:
        entries = read_lock(self.lock)
        for file in source.origin(origin).files:
            key = f"{source.name}/{file.name}"
            target = self.raw / source.name / file.name
            entry = entries.get(key)
            if entry is not None and (entry.url, entry.member) != _place(file):
                entry = None
            sha256, size = file.sha256 or (entry.sha256 if entry else None), file.size
            if size is None and entry is not None and sha256 == entry.sha256:
                size = entry.size  # it counts only with the hash that was recorded beside it
            yield Item(
                source=source.name,
                license=source.license,
                file=file,
                target=target,
                key=key,
                state=_state(file, target),
                sha256=sha256,
                size=size,
                revision=entry.revision if entry else "",
            )

    def fetch(
        self, items: Iterable[Item], *, progress: Callable[[Item], Progress] | None = None
    ) -> Iterator[Item]:
        """Bring every file to its place, one after the other.

        Raises:
            NetworkError: A server cannot be reached or does not answer as it should.
            UpstreamChangedError: A file is not what it was.
            FileError: A file is larger than its cap, or the disk is full.
            LockedError: Another run fetches into the same folder.
        """
        with make_client(silence=self.policy.silence) as client:
            for item in items:
                watch = progress(item) if progress is not None else no_progress
                yield self.fetch_one(item, client, watch)

    def fetch_one(self, item: Item, client: httpx.Client, progress: Progress) -> Item:
        """Bring one file to its place."""
        if item.state is State.AT_HAND:
            return verify_at_hand(item)
        if item.state is not State.FETCH:
            return item
        address = item.file.url or ""
        expected = Expected(item.sha256, item.size, item.file.max_size)
        with locked(self.raw / item.source):
            item.target.parent.mkdir(parents=True, exist_ok=True)
            check_room(item.target.parent, item.size or 0)
            retries = Retries(clean_address(address), self.policy)
            commit = self._recorder(item)
            if address.startswith(HUB):
                fetched = self._from_hub(item, expected)
            elif streams_member(item.file):
                member = item.file.member or ""
                fetched = download_member(
                    client, address, member, item.target, expected, retries, progress, commit
                )
            else:
                fetched = download(
                    client, address, item.target, expected, retries, progress, commit
                )
        return replace(item, state=State.FETCHED, sha256=fetched.sha256, size=fetched.size)

    def _recorder(self, item: Item, revision: str = "") -> Commit:
        """Writes the lock entry, before the file gets its name: no file is ever unrecorded."""
        url, member = _place(item.file)

        def write(fetched: Fetched) -> None:
            entry = LockEntry(url, fetched.sha256, fetched.size, member, revision)
            record(self.lock, item.key, entry)

        return write

    def _from_hub(self, item: Item, expected: Expected) -> Fetched:
        from meadow.hub.files import fetch_to, look_up
        from meadow.net.hub import HubClient, parse_file_address

        reference = parse_file_address(item.file.url or "")
        if item.revision and not reference.pinned:
            # The first fetch saw this commit; the branch may have moved since.
            reference = replace(reference, revision=item.revision)
        client = HubClient(self.policy)
        staging = _staging(item.target)
        part = Part(item.target, item.file.url or "")

        def transfer() -> Fetched:
            nonlocal reference
            reference, size = look_up(client, reference)
            cap = expected.size or expected.cap
            fetch_to(client, reference, size, staging, cap=cap).replace(part.path)
            return Fetched(sha256_file(part.path), part.path.stat().st_size)

        def commit(fetched: Fetched) -> None:
            self._recorder(item, reference.revision)(fetched)

        fetched = bring(part, expected, transfer, commit)
        shutil.rmtree(staging, ignore_errors=True)
        return fetched


def _staging(target: Path) -> Path:
    """Where a file from the Hub arrives."""
    return target.parent / f".{target.name}.hub"


def streams_member(file: File) -> bool:
    """Whether only one member of the archive behind the address is kept.

    Where the local file is an archive itself (a zip with several members), its reader opens it.
    """
    address = (file.url or "").partition("?")[0]
    return bool(file.member) and is_archive(address) and not is_archive(file.name)


def verify_at_hand(item: Item) -> Item:
    """Hash a file that is there already; nothing is overwritten.

    Raises:
        UpstreamChangedError: It is not the file that is known.
    """
    if any(character in item.file.name for character in "*?["):
        return item
    found = Fetched(sha256_file(item.target), item.target.stat().st_size)
    if item.sha256 is not None and found.sha256 != item.sha256:
        raise UpstreamChangedError(
            f"the file at hand is not the known one: expected {item.sha256}, got {found.sha256}",
            where=str(item.target),
            fix="move it away and fetch again; or delete its entry in sources.lock.toml",
        )
    with contextlib.suppress(OSError):  # of a run that ended just after the file had got its name
        Part(item.target).discard()
    shutil.rmtree(_staging(item.target), ignore_errors=True)
    return replace(item, sha256=found.sha256, size=found.size)


def by_hand_notices(items: Iterable[Item]) -> list[str]:
    """What the user has to do to get the files that no address gives, one text for each way."""
    places: dict[tuple[str, str, State], list[str]] = {}
    for item in items:
        if item.state in (State.BY_HAND, State.ONE_OF):
            way = item.source, item.file.by_hand or "get this file", item.state
            places.setdefault(way, []).append(str(item.target))
    return [
        f"{source}: {what}\n    put it at "
        + (", or at " if state is State.ONE_OF else " and at ").join(targets)
        for (source, what, state), targets in places.items()
    ]


def _place(file: File) -> tuple[str, str]:
    """Address and member, as the lock file names them."""
    member = (file.member or "") if streams_member(file) else ""
    return clean_address(file.url or ""), member


def _state(file: File, target: Path) -> State:
    if target.is_file() or (target.parent.is_dir() and any(target.parent.glob(target.name))):
        return State.AT_HAND
    if file.url is not None:
        return State.FETCH
    return State.ABSENT if file.optional else State.BY_HAND
