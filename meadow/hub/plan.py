"""What a publication would change on the Hub: the local manifest against the remote tree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meadow.atomic import sha256_file
from meadow.corpus import manifest as manifests
from meadow.corpus.manifest import Manifest
from meadow.errors import CheckError, NetworkError, UsageError
from meadow.net.hub import HeadMovedError, HubClient

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.hf_api import RepoFile

QUARANTINE = "quarantine/"
"""Rejected rows, as they came: neither scrubbed nor under a licence that was looked at. They stay
with whoever built the corpus; the counts of the manifest are what is published of them."""
DATA = "data/"

Kind = Literal["dataset", "space"]
"""What sort of repository."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a commit on the Hub.

    Args:
        path: Its path.
        size: In bytes.
        blob: The git id of a regular file.
        sha256: The hash of a large file; None for a regular one.
    """

    path: str
    size: int
    blob: str
    sha256: str | None

    @classmethod
    def of(cls, file: RepoFile) -> RemoteFile:
        """As the client describes it."""
        return cls(file.path, file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)

    def is_same(self, path: Path, sha256: str) -> bool:
        """Whether a local file of that hash has the same bytes."""
        if self.sha256 is not None:
            return self.sha256 == sha256
        return self.size == path.stat().st_size and self.blob == git_blob_id(path)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A local file that is to be part of the commit."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one commit has to do.

    Args:
        repository: `OWNER/NAME`.
        head: The commit that was looked at; None: there is no such repository yet.
        tagged: The commit of the wanted tag; None: there is no such tag yet.
        files: Every file of the corpus.
        changed: The paths that are new or differ.
        deleted: The paths of the previous publication that are not in this one.
        kind: What sort of repository it is.
    """

    repository: str
    head: str | None
    tagged: str | None
    files: tuple[PlannedFile, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
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


def publishable_files(folder: Path, manifest: Manifest) -> tuple[PlannedFile, ...]:
    """What is published of a folder: all that the manifest names, and the manifest."""
    files = [
        PlannedFile(name, size, sha256)
        for name, (size, sha256) in manifest.named().items()
        if not name.startswith(QUARANTINE)
    ]
    path = folder / manifests.NAME
    files.append(PlannedFile(manifests.NAME, path.stat().st_size, sha256_file(path)))
    return tuple(sorted(files, key=lambda file: file.path))


def make_plan(
    client: HubClient, folder: Path, manifest: Manifest, repository: str, tag: str | None
) -> Plan:
    """Compare a folder with the head of the repository's main branch.

    Raises:
        UsageError: The repository holds something that was not published from here.
    """
    files = publishable_files(folder, manifest)
    head = commit_of(client, repository, "main")
    if head is None:
        return Plan(repository, None, None, files, tuple(file.path for file in files), ())
    remote = read_tree(client, repository, head)
    ours = {file.path for file in files}
    foreign = sorted(path for path in remote if path.startswith(DATA) and path not in ours)
    if foreign and manifests.NAME not in remote:
        raise UsageError(
            f"the repository holds data that was not published from a corpus: {foreign[0]}",
            where=repository,
            fix="publish to a repository of its own",
        )
    changed = [
        file.path
        for file in files
        if file.path not in remote or not remote[file.path].is_same(folder / file.path, file.sha256)
    ]
    previous = _previously_named(client, repository, head) if manifests.NAME in remote else set()
    deleted = sorted(
        path for path in remote if path not in ours and (path.startswith(DATA) or path in previous)
    )
    tagged = commit_of(client, repository, tag) if tag else None
    return Plan(repository, head, tagged, files, tuple(changed), tuple(deleted))


def named(repository: str, kind: Kind) -> str:
    """A repository as messages name it: a Space as the Hub's addresses do."""
    return repository if kind == "dataset" else f"{kind}s/{repository}"


def commit_of(
    client: HubClient, repository: str, revision: str, kind: Kind = "dataset"
) -> str | None:
    """The commit behind a branch or tag; None where repository or revision do not exist."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def look() -> str | None:
        try:
            info = client.api.repo_info(repository, revision=revision, repo_type=kind)
        except GatedRepoError:
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        return info.sha

    return client.call(f"{named(repository, kind)}@{revision}", look)


def head_of(client: HubClient, repository: str, revision: str, kind: Kind = "dataset") -> str:
    """The commit behind a revision that has to exist.

    Raises:
        NetworkError: There is no such repository or revision, or no right to see it.
    """
    where = named(repository, kind)
    found: str | None = client.call(
        f"{where}@{revision}",
        lambda: client.api.repo_info(repository, revision=revision, repo_type=kind).sha,
    )
    if found is None:
        raise NetworkError("the Hub names no commit for this revision", where=where)
    return found


def read_tree(
    client: HubClient, repository: str, commit: str, kind: Kind = "dataset"
) -> dict[str, RemoteFile]:
    """Every file of a commit."""
    from huggingface_hub.hf_api import RepoFile

    def look() -> dict[str, RemoteFile]:
        entries: Iterable[object] = client.api.list_repo_tree(
            repository, recursive=True, revision=commit, repo_type=kind
        )
        return {e.path: RemoteFile.of(e) for e in entries if isinstance(e, RepoFile)}

    return client.call(f"{named(repository, kind)}@{commit}", look)


def git_blob_id(path: Path) -> str:
    """The name that git gives to a file's content: SHA-1, since that is what the Hub lists."""
    data = path.read_bytes()
    digest = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def _previously_named(client: HubClient, repository: str, head: str) -> set[str]:
    """What the manifest at the head names; nothing where it is not one of ours."""
    from meadow.errors import MeadowError
    from meadow.hub.files import read_remote_manifest
    from meadow.net.hub import Reference

    try:
        return set(read_remote_manifest(client, Reference(repository, head)).named())
    except NetworkError:
        raise
    except MeadowError:
        return set()


# One commit with everything that a plan says, on the head that was looked at.
#
# Until the commit, nothing on the main branch changes; whatever was uploaded before is content that
# no tree names. The commit names its parent, so that nobody else's commit is ever covered.


Report = Callable[[str], None]


def commit_plan(client: HubClient, folder: Path, plan: Plan, message: str, report: Report) -> str:
    """Upload what is new, then make the one commit.

    Args:
        client: The Hub.
        folder: Where the plan's files lie.
        plan: What to do; its repository exists.
        message: What the commit is called.
        report: Told when it is made.

    Returns:
        The commit's id.

    Raises:
        HeadMovedError: Somebody else committed meanwhile; nothing was changed.
        CheckError: A file has changed since the plan was made.
        NetworkError: The Hub does not answer as it should.
    """
    from huggingface_hub import CommitOperationDelete

    additions = _additions(folder, plan)
    repository, head = plan.repository, plan.head or ""
    client.call(
        plan.where,
        lambda: client.api.preupload_lfs_files(
            repository, additions, repo_type=plan.kind, free_memory=False
        ),
    )
    deletions = [CommitOperationDelete(path) for path in plan.deleted]

    def commit() -> str:
        made = client.api.create_commit(
            repository,
            [*additions, *deletions],
            commit_message=message,
            repo_type=plan.kind,
            revision="main",
            parent_commit=head,
        )
        oid: str = made.oid
        return oid

    def settled() -> bool:
        """Whether a try whose answer was lost made the commit after all."""
        now = head_of(client, repository, "main", plan.kind)
        if now == head:
            return False
        if differences(client, folder, plan, now):
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
    commit_id = made or head_of(client, repository, "main", plan.kind)
    report(f"committed {commit_id}")
    return commit_id


def differences(client: HubClient, folder: Path, plan: Plan, commit: str) -> list[str]:
    """The paths that a commit does not hold as the plan says."""
    tree = read_tree(client, plan.repository, commit, plan.kind)
    wrong = [
        file.path
        for file in plan.files
        if file.path not in tree or not tree[file.path].is_same(folder / file.path, file.sha256)
    ]
    return wrong + [path for path in plan.deleted if path in tree]


def compare(client: HubClient, folder: Path, plan: Plan, commit: str, report: Report) -> None:
    """Look at a commit from outside.

    Raises:
        CheckError: It does not hold what the plan says.
    """
    if wrong := differences(client, folder, plan, commit):
        raise CheckError(
            f"{len(wrong)} files are not on the Hub as they are here: {wrong[0]}",
            where=f"{plan.where}@{commit}",
            fix="publish again" + ("; nothing was tagged" if plan.kind == "dataset" else ""),
        )
    report(f"compared {len(plan.files)} files with the Hub's tree")


def _additions(folder: Path, plan: Plan) -> list[CommitOperationAdd]:
    """The upload operations, each held to the hash that was checked."""
    from huggingface_hub import CommitOperationAdd

    changed = set(plan.changed)
    additions = []
    for file in plan.files:
        if file.path not in changed:
            continue
        addition = CommitOperationAdd(file.path, str(folder / file.path))
        if addition.upload_info.sha256.hex() != file.sha256:
            raise CheckError(
                "a file has changed since it was checked",
                where=str(folder / file.path),
                fix="let nothing write into the folder, and publish again",
            )
        additions.append(addition)
    return additions
