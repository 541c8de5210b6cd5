"""The static Space of a published corpus: the browse page, told to read the shards of one tag.

The Space stores the page alone; a reader's browser fetches ranges of the shards from the data set,
without a token. So the data set has to be open to everybody, and the release needs a tag, which
never moves: the page of a Space shows what its address says, also after the next release.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from meadow.atomic import sha256_file
from meadow.errors import UsageError
from meadow.hub.plan import Plan, PlannedFile, commit_plan, compare, named, read_tree
from meadow.net.hub import HubClient, parse_reference

if TYPE_CHECKING:
    from huggingface_hub import SpaceInfo

SDK = "static"


@dataclass(frozen=True, slots=True)
class Space:
    """A Space, and the release that it shows.

    Args:
        repository: The Space, `OWNER/SPACE`.
        corpus: The data set, `OWNER/NAME`.
        tag: The release.
        title: What stands at the top of the page.
    """

    repository: str
    corpus: str
    tag: str
    title: str = "Medical Meadow"

    @classmethod
    def of(cls, repository: str, corpus: str, tag: str | None) -> Space:
        """A Space as the user names it.

        Raises:
            UsageError: The name is none, or there is no tag to show.
        """
        try:
            plain = str(parse_reference(repository)) == f"{repository}@main"
        except UsageError:
            plain = False
        if not plain:
            raise UsageError(f"{repository!r} is not a Space", fix="write OWNER/SPACE")
        if tag is None:
            raise UsageError(
                "the Space's page reads a tagged release, and there is no tag",
                where=named(repository, "space"),
                fix="add --tag vX.Y.Z",
            )
        return cls(repository, corpus, tag)

    @property
    def where(self) -> str:
        """The Space as messages name it."""
        return named(self.repository, "space")

    def shard_origin(self, endpoint: str) -> str:
        """The address of the release's folder."""
        return f"{endpoint}/datasets/{self.corpus}/resolve/{quote(self.tag, safe='')}"


@dataclass(frozen=True, slots=True)
class SpacePublication:
    """The page as it was pushed.

    Args:
        plan: What there was to do.
        commit: The Space's commit that has the page.
        made_commit: Whether a commit was needed.
    """

    plan: Plan
    commit: str
    made_commit: bool


def plan_space(client: HubClient, space: Space) -> Plan:
    """Say what pushing the page would change. Nothing is sent.

    Raises:
        UsageError: The Space shows something else, or the data set is not open to everybody.
        NetworkError: The Hub does not answer as it should.
    """
    _check_open(client, space)
    with _page(client, space) as folder:
        return _plan(client, space, folder, created=False)


def publish_space(
    client: HubClient, space: Space, report: Callable[[str], None]
) -> SpacePublication:
    """Push the page in one commit; none where the Space has it already.

    Raises:
        UsageError: The Space shows something else.
        HeadMovedError: Somebody else committed to the Space meanwhile; nothing was changed.
        CheckError: The Space does not hold what was sent.
        NetworkError: The Hub does not answer as it should.
    """
    with _page(client, space) as folder:
        plan = _plan(client, space, folder, created=False)
        if plan.head is None:
            client.call(
                space.where,
                lambda: client.api.create_repo(
                    space.repository,
                    repo_type="space",
                    space_sdk=SDK,
                    private=False,
                    exist_ok=True,
                ),
            )
            report(f"created {space.where}")
            plan = _plan(client, space, folder, created=True)
        head = plan.head or ""
        commit = head
        if not plan.is_empty:
            message = f"Show {space.corpus} at {space.tag}"
            commit = commit_plan(client, folder, plan, message, report)
        compare(client, folder, plan, commit, report)
        return SpacePublication(plan, commit, commit != head)


@contextmanager
def _page(client: HubClient, space: Space) -> Iterator[Path]:
    """The page's files in a temporary folder; the same bytes for the same release."""
    from meadow.quality.browse import write_space

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_space(
            folder,
            shard_origin=space.shard_origin(client.endpoint),
            title=space.title,
            repository=space.corpus,
        )
        yield folder


def _plan(client: HubClient, space: Space, folder: Path, *, created: bool) -> Plan:
    files = tuple(
        PlannedFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    info = _look_up(client, space)
    if info is None or info.sha is None:
        everything = tuple(file.path for file in files)
        return Plan(space.repository, None, None, files, everything, (), "space")
    if not created:
        _check_ours(client, space, info)
    remote = read_tree(client, space.repository, info.sha, "space")
    changed = [
        file.path
        for file in files
        if file.path not in remote or not remote[file.path].is_same(folder / file.path, file.sha256)
    ]
    # A file that is not the page's stays: nothing says that it came from here.
    return Plan(space.repository, info.sha, None, files, tuple(changed), (), "space")


def _look_up(client: HubClient, space: Space) -> SpaceInfo | None:
    from huggingface_hub.errors import RepositoryNotFoundError

    def look() -> SpaceInfo | None:
        try:
            return client.api.space_info(space.repository)
        except RepositoryNotFoundError:
            return None

    return client.call(space.where, look)


def _check_ours(client: HubClient, space: Space, info: SpaceInfo) -> None:
    """Refuse to cover what somebody made by hand, or the page of another corpus.

    A Space in which nothing was done since it was created may be used: a run that was cut between
    the creation and the commit leaves one.
    """
    fix = "name another Space; it is created where there is none"
    if info.sdk not in {None, SDK}:
        raise UsageError(
            f"this is a {info.sdk} Space, not a static one", where=space.where, fix=fix
        )
    shown = (info.card_data.get("datasets") if info.card_data else None) or []
    if shown == [space.corpus]:
        return
    commits = client.call(
        space.where,
        lambda: client.api.list_repo_commits(space.repository, repo_type="space"),
    )
    if len(commits) > 1:
        what = f"shows {shown[0]}" if shown else "holds something else"
        raise UsageError(f"the Space {what}, not {space.corpus}", where=space.where, fix=fix)


def _check_open(client: HubClient, space: Space) -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    def is_closed() -> bool:
        try:
            info = client.api.dataset_info(space.corpus)
        except GatedRepoError:
            return True
        except RepositoryNotFoundError:
            return False
        return bool(info.private or info.gated)

    if client.call(space.corpus, is_closed):
        raise closed(space)


def closed(space: Space) -> UsageError:
    """The fault of a page that could read nothing."""
    return UsageError(
        "the page of a Space cannot read a private or gated data set",
        where=space.corpus,
        fix="publish without --space, and look at it with `meadow browse`",
    )
