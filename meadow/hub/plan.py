"""What a publication would change on the Hub, the one commit that does it, and a look at it.

Until the commit, nothing on the main branch changes; whatever was uploaded before is content that
no tree names. The commit names its parent, so that nobody else's commit is ever covered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.corpus.manifest import NAME
from meadow.errors import CheckError, MeadowError, NetworkError, UsageError
from meadow.hub.files import (
    Commit,
    Kind,
    RemoteFile,
    find_commit,
    named,
    read_commit,
    read_remote_manifest,
)
from meadow.net.hub import HeadMovedError, HubClient

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

DATA = "data/"

Report = Callable[[str], None]


@dataclass(frozen=True)
class LocalFile:
    """A file that is to be part of the commit, as it was when it was hashed.

    Args:
        path: Its path in the repository.
        content: Where it lies, or its bytes.
        size: In bytes.
        sha256: Its hash.
    """

    path: str
    content: Path | bytes
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, data: bytes) -> LocalFile:
        """A file in memory."""
        return cls(path, data, len(data), hashlib.sha256(data).hexdigest())

    @cached_property
    def blob(self) -> str:
        """The name that git gives to the content, which is all that the Hub lists of small files.

        Read at most once, and only where the Hub keeps the file as a regular one.
        """
        from huggingface_hub.utils.sha import git_hash

        data = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        return git_hash(data)

    def is_same(self, remote: RemoteFile | None) -> bool:
        """Whether the Hub has the same bytes."""
        if remote is None or self.size != remote.size:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == self.sha256
        return remote.blob == self.blob


@dataclass(frozen=True, slots=True)
class Plan:
    """What one commit has to do.

    Args:
        repository: `OWNER/NAME`.
        head: The commit that was looked at; None: there is no such repository yet.
        files: Every file of the publication.
        changed: The paths that are new or differ.
        deleted: The paths of the previous publication that are not in this one.
        kind: What sort of repository it is.
    """

    repository: str
    head: str | None
    files: tuple[LocalFile, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...] = ()
    kind: Kind = "dataset"

    @property
    def where(self) -> str:
        """The repository as messages name it."""
        return named(self.repository, self.kind)

    @property
    def is_empty(self) -> bool:
        """Whether the Hub has exactly this already."""
        return not (self.changed or self.deleted)

    @property
    def bytes_to_send(self) -> int:
        """At most; with Xet storage only new chunks travel."""
        changed = set(self.changed)
        return sum(file.size for file in self.files if file.path in changed)

    def to_json(self) -> dict[str, Any]:
        """The document of `--dry-run --json`."""
        sizes = {file.path: file.size for file in self.files}
        return {
            "repository": self.repository,
            "head": self.head,
            "files": len(self.files),
            "changed": [{"path": path, "bytes": sizes[path]} for path in self.changed],
            "deleted": list(self.deleted),
            "bytes_to_send": self.bytes_to_send,
        }


def make_plan(client: HubClient, repository: str, files: tuple[LocalFile, ...]) -> Plan:
    """Compare the files of a corpus with the head of the repository's main branch.

    Raises:
        UsageError: The repository holds something that was not published from here.
    """
    head = find_commit(client, repository)
    if head is None:
        return compare_with(None, repository, files)
    ours = {file.path for file in files}
    foreign = sorted(path for path in head.files if path.startswith(DATA) and path not in ours)
    if foreign and NAME not in head.files:
        raise UsageError(
            f"the repository holds data that was not published from a corpus: {foreign[0]}",
            where=repository,
            fix="publish to a repository of its own",
        )
    previous = set(foreign) | _previously_named(client, head)
    return compare_with(head, repository, files, gone=previous - ours)


def compare_with(
    head: Commit | None,
    repository: str,
    files: tuple[LocalFile, ...],
    *,
    gone: Collection[str] = (),
    kind: Kind = "dataset",
) -> Plan:
    """The plan that brings a head to these files and removes what is `gone`."""
    there = head.files if head is not None else {}
    changed = tuple(file.path for file in files if not file.is_same(there.get(file.path)))
    deleted = tuple(sorted(there.keys() & gone))
    return Plan(repository, head.id if head else None, files, changed, deleted, kind)


def _previously_named(client: HubClient, head: Commit) -> set[str]:
    """What the manifest at the head names; nothing where it is not one of ours."""
    if NAME not in head.files:
        return set()
    try:
        return set(read_remote_manifest(client, head).named())
    except NetworkError:
        raise
    except MeadowError:
        return set()


def send(client: HubClient, plan: Plan, message: str, report: Report) -> str:
    """Make the one commit, if there is anything to do, and compare it with the plan from outside.

    Args:
        client: The Hub.
        plan: What to do; its repository exists.
        message: What the commit is called.
        report: Told when it is made, and when it is compared.

    Returns:
        The commit's id.

    Raises:
        HeadMovedError: Somebody else committed meanwhile; nothing was changed.
        CheckError: A file has changed since the plan was made, or the commit is not what was sent.
        NetworkError: The Hub does not answer as it should.
    """
    commit = plan.head or ""
    if not plan.is_empty:
        commit = _commit(client, plan, message)
        report(f"committed {commit}")
    made = read_commit(client, plan.repository, commit, plan.kind)
    if wrong := differences(plan, made):
        raise CheckError(
            f"{len(wrong)} files are not on the Hub as they are here: {wrong[0]}",
            where=f"{plan.where}@{commit}",
            fix="publish again" + ("; nothing was tagged" if plan.kind == "dataset" else ""),
        )
    report(f"compared {len(plan.files)} files with the Hub's tree")
    return commit


def differences(plan: Plan, commit: Commit) -> list[str]:
    """The paths that a commit does not hold as the plan says."""
    wrong = [file.path for file in plan.files if not file.is_same(commit.files.get(file.path))]
    return wrong + [path for path in plan.deleted if path in commit.files]


def _commit(client: HubClient, plan: Plan, message: str) -> str:
    """Upload what is new, then commit on the head that was looked at; the commit's id."""
    from huggingface_hub import CommitOperationDelete

    additions = _additions(plan)
    client.call(
        plan.where,
        lambda: client.api.preupload_lfs_files(
            plan.repository, additions, repo_type=plan.kind, free_memory=False
        ),
    )

    def commit() -> str:
        made = client.api.create_commit(
            plan.repository,
            [*additions, *map(CommitOperationDelete, plan.deleted)],
            commit_message=message,
            repo_type=plan.kind,
            revision="main",
            parent_commit=plan.head,
        )
        oid: str = made.oid
        return oid

    def settled() -> bool:
        """Whether a try whose answer was lost made the commit after all."""
        now = read_commit(client, plan.repository, kind=plan.kind)
        if now.id == plan.head:
            return False
        if differences(plan, now):
            raise HeadMovedError(
                "somebody else has committed to the repository meanwhile; nothing was changed",
                where=plan.where,
                fix="look at that commit, then publish again",
            )
        return True

    try:
        made = client.call_once(plan.where, commit, settled)
    except HeadMovedError:
        # Also what a second try gets when the first one made the commit a moment too late.
        if not settled():
            raise
        made = None
    return made or read_commit(client, plan.repository, kind=plan.kind).id


def _additions(plan: Plan) -> list[CommitOperationAdd]:
    """The upload operations, each held to the hash that was checked."""
    from huggingface_hub import CommitOperationAdd

    changed = set(plan.changed)
    additions = []
    for file in plan.files:
        if file.path not in changed:
            continue
        addition = CommitOperationAdd(file.path, file.content)
        if addition.upload_info.sha256.hex() != file.sha256:
            raise CheckError(
                "a file has changed since it was checked",
                where=file.path if isinstance(file.content, bytes) else str(file.content),
                fix="let nothing write into the folder, and publish again",
            )
        additions.append(addition)
    return additions
