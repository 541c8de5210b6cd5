"""One file from an http(s) address to the disk: whole under its name, or absent.

What has arrived stays as `NAME.part` with a note of the version it belongs to (`NAME.part.json`),
so that an interrupted run continues. A wrong hash gets one fresh transfer; a second one is kept as
`NAME.bad` for a look, and is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import disk_full, fsync_file, fsync_folder, is_disk_full, naming, write_json
from meadow.errors import FileError, NetworkError, UpstreamChangedError
from meadow.net.http import NEW_VERSION, RemoteFile, clean_address
from meadow.net.retry import Retries

if TYPE_CHECKING:
    import httpx

BLOCK = 1024 * 1024
COMPRESSED = (".gz", ".tgz")
PAGES = (".html", ".htm", ".xhtml")

Progress = Callable[[int, int | None], None]
"""Told of the bytes at hand and the total, where known."""


def no_progress(done: int, total: int | None) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file must be, as far as it is known before it is fetched; never above the cap."""

    sha256: str | None
    size: int | None
    cap: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched."""

    sha256: str
    size: int


Commit = Callable[[Fetched], None]
"""Called with what was fetched, before the file gets its name."""


def download(
    client: httpx.Client,
    url: str,
    target: Path,
    expected: Expected,
    retries: Retries,
    progress: Progress = no_progress,
    commit: Commit = lambda fetched: None,
) -> Fetched:
    """Fetch `url` to `target`, continuing what an earlier run left.

    Raises:
        NetworkError: The tries or the time are used up, or the server refuses for good.
        FileError: More bytes than the cap, or no room on the disk.
        UpstreamChangedError: Twice other bytes than expected.
    """
    part = Part(target, url)

    def transfer() -> Fetched:
        return _transfer(client, url, part, expected, retries, progress)

    return bring(part, expected, transfer, commit)


def bring(
    part: Part,
    expected: Expected,
    transfer: Callable[[], Fetched],
    commit: Commit,
    *,
    continues: bool = True,
) -> Fetched:
    """Fill `part`, check it, commit it, and give it its name; wrong bytes get one more transfer.

    `continues` says whether a later run can continue a part that a network left unfinished.
    """
    part.target.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, True):
        try:
            fetched = transfer()
            check(fetched, expected, part.address)
        except UpstreamChangedError:
            if last:
                part.set_aside()
                raise
            part.discard()
        except BaseException as error:
            if isinstance(error, FileError) or is_disk_full(error) or not continues:
                written = part.discard()
                if is_disk_full(error):
                    raise disk_full(part.target, written) from error
            elif isinstance(error, NetworkError) and part.is_empty:
                part.discard()  # no trace of a transfer that brought nothing
            with naming(part.target):
                raise
        else:
            break
    commit(fetched)
    part.publish()
    return fetched


def check(fetched: Fetched, expected: Expected, address: str) -> None:
    """Raise an `UpstreamChangedError` where the file is not the one that is known."""
    if expected.sha256 is not None and fetched.sha256 != expected.sha256:
        what = f"wrong checksum: expected {expected.sha256}, got {fetched.sha256}"
        raise UpstreamChangedError(
            what, where=address, fix=f"{NEW_VERSION}; what came is kept as .bad"
        )
    if expected.size is not None and fetched.size != expected.size:
        what = f"the file has {fetched.size:,} bytes; {expected.size:,} were expected"
        raise UpstreamChangedError(what, where=address, fix=NEW_VERSION)


def check_room(folder: Path, needed: int) -> None:
    """Raise a `FileError` where the disk has no room for `needed` more bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FileError(
            f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free",
            where=str(folder),
            fix="make room, or choose another folder with --raw",
        )


def _transfer(
    client: httpx.Client,
    url: str,
    part: Part,
    expected: Expected,
    retries: Retries,
    progress: Progress,
) -> Fetched:
    """Bring `part` to its end and hash it."""
    checked = expected.sha256 is not None
    validator, total, at_hand = part.resume(checked=checked)
    digest = hashlib.sha256()
    with part.path.open("r+b" if at_hand else "wb") as file:
        while block := file.read(BLOCK) if at_hand else b"":
            digest.update(block)

        def restart() -> None:
            nonlocal digest
            file.seek(0)
            file.truncate()
            digest = hashlib.sha256()

        remote = RemoteFile(
            client,
            url,
            retries,
            cap=expected.cap,
            html=part.target.name.lower().endswith(PAGES),
            encoded=part.target.name.lower().endswith(COMPRESSED),
            size=expected.size,
            checked=checked,
            offset=at_hand,
            validator=validator,
            total=total,
            on_restart=restart,
        )

        def note_version() -> None:
            part.note(remote)
            if remote.total is not None:
                check_room(part.path.parent, remote.total)

        remote.on_validator = note_version
        if total is None or at_hand < total:
            for block in remote.blocks():
                file.write(block)
                digest.update(block)
                progress(remote.offset, remote.total or expected.size)
        if not checked and expected.size is None and remote.something_beyond():
            raise UpstreamChangedError(
                f"the server stated {remote.offset:,} bytes but has more",
                where=clean_address(url),
                fix="download it in a browser and put it in place by hand",
            )
    return Fetched(digest.hexdigest(), remote.offset)


class Part:
    """The unfinished file beside its target, and the note of which version it is."""

    def __init__(self, target: Path, url: str = "") -> None:
        self.target = target
        self.address = clean_address(url)
        self.path = target.with_name(target.name + ".part")
        self.state = target.with_name(target.name + ".part.json")

    def resume(self, *, checked: bool) -> tuple[str, int | None, int]:
        """Validator, total and bytes at hand; nothing where they cannot be continued safely."""
        try:
            state: dict[str, Any] = json.loads(self.state.read_text(encoding="utf-8"))
            at_hand = self.path.stat().st_size
            validator, total = state["validator"], state["total"]
        except (OSError, ValueError, KeyError, TypeError):
            return "", None, 0
        fits = state.get("url") == self.address and isinstance(validator, str)
        fits = fits and (total is None or (isinstance(total, int) and at_hand <= total))
        usable = fits and at_hand and (validator or checked)
        return (validator, total, at_hand) if usable else ("", None, 0)

    def note(self, remote: RemoteFile) -> None:
        """Write down which version the bytes belong to."""
        value = {"url": self.address, "validator": remote.validator, "total": remote.total}
        write_json(self.state, value)

    def publish(self) -> None:
        """Give the finished file its name; it is on the disk before that, and the name after."""
        fsync_file(self.path)
        self.path.replace(self.target)
        fsync_folder(self.target.parent)
        # the file is there, whatever becomes of the note
        with contextlib.suppress(OSError):
            self.state.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Keep wrong bytes for a look, where no reader finds them."""
        if self.path.exists():
            self.path.replace(self.target.with_name(self.target.name + ".bad"))
        self.state.unlink(missing_ok=True)

    @property
    def is_empty(self) -> bool:
        """Whether there is a file, and nothing in it."""
        return self.path.exists() and not self.path.stat().st_size

    def discard(self) -> int:
        """Remove what has arrived; how many bytes it was."""
        size = self.path.stat().st_size if self.path.exists() else 0
        self.path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        return size
