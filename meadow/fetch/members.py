"""One member of a remote tar archive to the disk; the transfer ends once the member is through.

A cut is taken up again while the command runs. Another run starts from the archive's beginning,
since what lies before the member is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from meadow.atomic import naming
from meadow.errors import UpstreamChangedError
from meadow.fetch.tar_stream import member_blocks
from meadow.net.download import Commit, Expected, Fetched, Progress, check, no_progress, publish
from meadow.net.http import RemoteFile
from meadow.net.retry import Attempts

if TYPE_CHECKING:
    import httpx

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
    attempts: Attempts,
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
            fetched = _stream(client, url, member, part, expected, attempts, progress)
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
    attempts: Attempts,
    progress: Progress,
) -> Fetched:
    def restart() -> None:
        raise _StartedOver

    while True:
        remote = RemoteFile(
            client, url, attempts, cap=MAX_ARCHIVE, encoded=True, on_restart=restart
        )
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
            attempts.failed("the server does not continue the archive where it was cut")
            continue
        finally:
            # Ends the transfer: whatever follows the member is not wanted.
            blocks.close()
        return Fetched(digest.hexdigest(), size)
