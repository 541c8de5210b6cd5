"""How a data set on the Hub is named: `OWNER/NAME@REVISION`, and a path for one file of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from meadow.errors import UsageError

SCHEME = "hf://"
_PREFIX = "hf://datasets/"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A data set repository at a revision.

    Args:
        repository: `OWNER/NAME`.
        revision: A commit, a tag or a branch.
        path: One file of it; "" for the whole.
    """

    repository: str
    revision: str = "main"
    path: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" + (f"/{self.path}" if self.path else "")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return _COMMIT.fullmatch(self.revision) is not None


def parse_reference(text: str) -> Reference:
    """`OWNER/NAME[@REVISION]`, also with `hf://` or `hf://datasets/` before it."""
    name = text.removeprefix(_PREFIX).removeprefix(SCHEME)
    repository, at, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not _revision(revision)):
        raise UsageError(f"{text!r} is not a data set on the Hub", fix="write it as OWNER/NAME@TAG")
    return Reference(repository, unquote(revision) if at else "main")


def parse_file_address(address: str) -> Reference:
    """`hf://datasets/OWNER/NAME@REVISION/PATH`: one file at a stated revision."""
    match = re.fullmatch(
        r"hf://datasets/(?P<repository>[^/@]+/[^/@]+)@(?P<revision>[^/]+)/(?P<path>.+)", address
    )
    if (
        match is None
        or not _REPOSITORY.fullmatch(match["repository"])
        or not _revision(match["revision"])
        or ".." in match["path"].split("/")
    ):
        raise UsageError(
            f"{address!r} does not name a file of a data set on the Hub",
            fix="write it as hf://datasets/OWNER/NAME@REVISION/PATH",
        )
    return Reference(match["repository"], unquote(match["revision"]), match["path"])


def _revision(text: str) -> bool:
    """Whether git could have a reference of this name (its main rules)."""
    name = unquote(text)
    return bool(name) and re.search(r"[\s\x00-\x1f~^:?*\[\\]|\.\.|^[-/]|/$", name) is None
