"""What a publication would change on the Hub, the one commit that does it, and a look at it.

Until the commit, nothing on the main branch changes; whatever was uploaded before is content that
no tree names. The commit names its parent, so that nobody else's commit is ever covered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.cards.card import CARD
from meadow.corpus.manifest import NAME, Manifest
from meadow.errors import CheckError, MeadowError, NetworkError, UsageError
from meadow.hub.files import (
    Commit,
    Kind,
    RemoteFile,
    find_commit,
    named,
    read_commit,
    read_remote_manifest,
    read_remote_text,
)
from meadow.net.hub import HEAD_MOVED, HeadMovedError, HubClient

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

DATA = "data/"
GROUP_BYTES = 64 * 1024**2
"""What is uploaded between two lines of progress."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class LocalFile:
    """A file that is to be part of the commit, as it was when it was hashed.

    Its content is where it lies, or its bytes; its path is the repository's.
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
        # of small files, which git keeps itself, the Hub states no SHA-256
        return self.blob == remote.blob if remote.sha256 is None else self.sha256 == remote.sha256


@dataclass(frozen=True, slots=True)
class Plan:
    """What one commit has to do: the paths that change or go, of all files of the publication.

    `head` is the commit that was looked at; None: there is no such repository yet.
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


@dataclass(frozen=True, slots=True)
class Head:
    """What a publication finds on the Hub.

    Args:
        commit: The commit that it builds on: the branch's, or main's where the branch is new.
        manifest: What was published there; None where nothing was.
        card: The card as it stands there; None where there is none.
        branch_is_new: Whether the branch has to be made.
    """

    commit: Commit
    manifest: Manifest | None
    card: str | None
    branch_is_new: bool = False

    @property
    def card_is_edited(self) -> bool:
        """Whether somebody wrote on the card since it was published."""
        if self.card is None or self.manifest is None:
            return self.card is not None
        told = self.manifest.published
        _, sha256 = self.manifest.named().get(CARD, (0, ""))
        written = hashlib.sha256(self.card.encode("utf-8")).hexdigest() != sha256
        return written or (told is not None and told.kept_card)


def find_head(client: HubClient, repository: str, branch: str) -> Head | None:
    """What stands on a branch; None where there is no such repository."""
    commit = find_commit(client, repository, branch)
    is_new = commit is None and branch != "main"
    if is_new:
        commit = find_commit(client, repository)
    if commit is None:
        return None
    manifest = None
    if NAME in commit.files:
        try:
            manifest = read_remote_manifest(client, commit)
        except NetworkError:
            raise
        except MeadowError:
            pass  # somebody else's file of that name
    card = read_remote_text(client, commit, CARD) if CARD in commit.files else None
    return Head(commit, manifest, card, is_new)


def make_plan(head: Head | None, repository: str, files: tuple[LocalFile, ...]) -> Plan:
    """Compare the files of a corpus with what is on the Hub.

    Raises:
        UsageError: The repository holds something that was not published from here.
    """
    if head is None:
        return compare_with(None, repository, files)
    ours, there = {file.path for file in files}, head.commit.files
    foreign = sorted(path for path in there if path.startswith(DATA) and path not in ours)
    if foreign and NAME not in there:
        raise UsageError(
            f"the repository holds data that was not published from a corpus: {foreign[0]}",
            where=repository,
            fix="publish to a repository of its own",
        )
    named = set(head.manifest.named()) if head.manifest is not None else set()
    return compare_with(head.commit, repository, files, gone=(set(foreign) | named) - ours)


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


@dataclass(frozen=True, slots=True)
class Made:
    """A commit that was made, or was there.

    It is read at its id, or at the reference of a pull request, whose page is `pull_request`.
    """

    commit: str
    revision: str
    pull_request: str | None = None


def send(
    client: HubClient,
    plan: Plan,
    message: str,
    report: Report,
    branch: str = "main",
    *,
    pull_request: bool = False,
) -> Made:
    """Make the one commit, if there is anything to do, and compare it with the plan from outside.

    Args:
        client: The Hub.
        plan: What to do; its repository exists.
        message: What the commit is called.
        report: Told what is sent, when the commit is made, and when it is compared.
        branch: Where it goes.
        pull_request: Open a pull request on it instead of writing to it.

    Raises:
        HeadMovedError: Somebody else committed meanwhile; nothing was changed.
        CheckError: A file has changed since the plan was made, or the commit is not what was sent.
        NetworkError: The Hub does not answer as it should.
    """
    made = Made(plan.head or "", plan.head or "")
    if not plan.is_empty:
        made = _commit(client, plan, message, report, branch, pull_request)
        report(f"committed {made.commit}")
    there = read_commit(client, plan.repository, made.revision, plan.kind)
    if wrong := differences(plan, there):
        raise CheckError(
            f"{len(wrong)} files are not on the Hub as they are here: {wrong[0]}",
            where=f"{plan.where}@{made.revision}",
            fix="publish again" + ("; nothing was tagged" if plan.kind == "dataset" else ""),
        )
    report(f"compared {len(plan.files)} files with the Hub's tree")
    return made


def differences(plan: Plan, commit: Commit) -> list[str]:
    """The paths that a commit does not hold as the plan says."""
    wrong = [file.path for file in plan.files if not file.is_same(commit.files.get(file.path))]
    return wrong + [path for path in plan.deleted if path in commit.files]


def _commit(
    client: HubClient, plan: Plan, message: str, report: Report, branch: str, pull_request: bool
) -> Made:
    """Upload what is new, then commit on the head that was looked at."""
    from huggingface_hub import CommitOperationDelete

    additions = _additions(plan)
    sent = 0
    for group in _groups(additions):
        with client.bars():
            client.call(
                plan.where,
                client.api.preupload_lfs_files,
                plan.repository,
                group,
                repo_type=plan.kind,
                revision=branch,
                create_pr=pull_request,
                free_memory=False,
            )
        sent += sum(addition.upload_info.size for addition in group)
        report(f"sent {sent:,} of {plan.bytes_to_send:,} bytes")

    def commit() -> Made:
        made = client.api.create_commit(
            plan.repository,
            [*additions, *map(CommitOperationDelete, plan.deleted)],
            commit_message=message,
            repo_type=plan.kind,
            revision=branch,
            parent_commit=plan.head,
            create_pr=pull_request,
        )
        return Made(made.oid, made.pr_revision or made.oid, made.pr_url)

    def settled() -> bool:
        """Whether a try whose answer was lost made the commit after all."""
        if pull_request:
            raise NetworkError(
                "the answer was lost: whether there is a pull request is not known",
                where=plan.where,
                fix="look at the data set's pull requests before publishing again",
            )
        now = read_commit(client, plan.repository, branch, plan.kind)
        if now.id == plan.head:
            return False
        if differences(plan, now):
            raise HeadMovedError(
                HEAD_MOVED,
                where=plan.where,
                fix="look at that commit, then publish again",
            )
        return True

    try:
        made = client.call_once(plan.where, commit, settled)
    except HeadMovedError:
        # Also what a second try gets when the first one made the commit a moment too late.
        if pull_request or not settled():
            raise
        made = None
    if made is not None:
        return made
    oid = read_commit(client, plan.repository, branch, plan.kind).id
    return Made(oid, oid)


def _groups(additions: list[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    """The uploads in groups of `GROUP_BYTES`, so that progress can be told between them."""
    group: list[CommitOperationAdd] = []
    for addition in additions:
        group.append(addition)
        if sum(each.upload_info.size for each in group) >= GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


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
