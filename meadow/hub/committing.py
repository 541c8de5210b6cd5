"""One commit with everything that a plan says, on the head that was looked at.

Until the commit, nothing on the main branch changes; whatever was uploaded before is content that
no tree names. The commit names its parent, so that nobody else's commit is ever covered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from meadow.errors import CheckError
from meadow.hub.plan import Plan, head_of, read_tree
from meadow.net.hub import HeadMovedError, HubClient

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

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
        made = client.call(plan.where, commit, settled=settled)
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
