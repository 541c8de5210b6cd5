"""Expected faults, and the exit code that each of them ends a command with.

An expected fault is a value that a user can act on: it says what is wrong, where, and what to do.
The command line prints it without a traceback; anything else that escapes is a defect of ours.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means."""

    OK = 0
    FAILED = 1
    """Missing or unreadable file, truncated archive, I/O, network, a finding of `check`."""
    USAGE = 2
    """Wrong option or configuration; an output folder of another recipe."""
    MALFORMED = 3
    """Finished, but malformed input passed the threshold."""
    LOCKED = 4
    """Another run holds the folder."""
    UPSTREAM_CHANGED = 5
    """A checksum differs, a needed column is gone, an id has other content, a newer format."""
    REFUSED = 6
    """A licence or another gate said no."""
    INTERRUPTED = 130
    TERMINATED = 143


class MeadowError(Exception):
    """An expected fault: what happened, where, and what to do about it.

    >>> try:
    ...     meadow.open_corpus("nowhere")
    ... except meadow.MeadowError as error:
    ...     print(error.where, error.exit_code.value)
    nowhere... 1

    Args:
        what: One sentence without a final full stop.
        where: A file with line, a record id or a URL without credentials.
        fix: What the user can do.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a worker process, keyword arguments included."""
        return _rebuild, (type(self), self.what, self.where, self.fix)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.fix:
            parts.append(f"  fix:   {self.fix}")
        return "\n".join(parts)


def _rebuild(kind: type[MeadowError], what: str, where: str, fix: str) -> MeadowError:
    return kind(what, where=where, fix=fix)


class FileError(MeadowError):
    """A file is missing, unreadable, truncated or too large."""


class NetworkError(MeadowError):
    """A server could not be reached, or did not answer as it should."""


class CheckError(MeadowError):
    """A verification found something wrong."""


class UsageError(MeadowError):
    """The command or its configuration is wrong."""

    exit_code = ExitCode.USAGE


class LockedError(MeadowError):
    """Another run holds the folder."""

    exit_code = ExitCode.LOCKED


class UpstreamChangedError(MeadowError):
    """Upstream is not what it was: checksum, columns, format or the content behind an id."""

    exit_code = ExitCode.UPSTREAM_CHANGED


class RefusedError(MeadowError):
    """A licence or another gate refuses the operation."""

    exit_code = ExitCode.REFUSED
