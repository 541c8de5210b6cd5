"""The static Space of a published corpus: the browse page, told to read the shards of one tag.

The Space stores the page alone; a reader's browser fetches ranges of the shards from the data set,
without a token. So the data set has to be open to everybody, and the release needs a tag, which
never moves: the page of a Space shows what its address says, also after the next release.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from meadow.errors import UsageError
from meadow.hub.files import find_commit, named
from meadow.hub.plan import LocalFile, Plan, compare_with
from meadow.net.hub import HubClient, parse_reference

SDK = "static"


@dataclass(frozen=True, slots=True)
class Space:
    """A Space, and the release that it shows: a tag of the data set `corpus`."""

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
                fix=f"publish to {corpus}@vX.Y.Z",
            )
        return cls(repository, corpus, tag)

    @property
    def where(self) -> str:
        """The Space as messages name it."""
        return named(self.repository, "space")

    def shard_origin(self, endpoint: str) -> str:
        """The address of the release's folder."""
        return f"{endpoint}/datasets/{self.corpus}/resolve/{quote(self.tag, safe='')}"


def plan_space(client: HubClient, space: Space) -> Plan:
    """Say what pushing the page would change; the same bytes for the same release. Nothing is sent.

    Raises:
        UsageError: The Space shows something else.
        NetworkError: The Hub does not answer as it should.
    """
    files = _page(client, space)
    head = find_commit(client, space.repository, kind="space")
    if head is not None:
        _check_ours(client, space)
    # A file that is not the page's stays: nothing says that it came from here.
    return compare_with(head, space.repository, files, kind="space")


def _page(client: HubClient, space: Space) -> tuple[LocalFile, ...]:
    from meadow.quality.browse import write_space

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_space(
            folder,
            shard_origin=space.shard_origin(client.endpoint),
            title=space.title,
            repository=space.corpus,
        )
        return tuple(
            LocalFile.of(path.relative_to(folder).as_posix(), path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )


def _check_ours(client: HubClient, space: Space) -> None:
    """Refuse to cover what somebody made by hand, or the page of another corpus.

    A Space in which nothing was done since it was created may be used: a run that was cut between
    the creation and the commit leaves one.
    """
    info = client.call(space.where, client.api.space_info, space.repository)
    fix = "name another Space; it is created where there is none"
    if info.sdk not in {None, SDK}:
        raise UsageError(
            f"this is a {info.sdk} Space, not a static one", where=space.where, fix=fix
        )
    shown = (info.card_data.get("datasets") if info.card_data else None) or []
    if shown == [space.corpus]:
        return
    api = client.api
    commits = client.call(space.where, api.list_repo_commits, space.repository, repo_type="space")
    if len(commits) > 1:
        what = f"shows {shown[0]}" if shown else "holds something else"
        raise UsageError(f"the Space {what}, not {space.corpus}", where=space.where, fix=fix)


def check_open(client: HubClient, space: Space) -> None:
    """Raise a `UsageError` where the data set is not open to everybody."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    def is_closed() -> bool:
        try:
            info = client.api.dataset_info(space.corpus)
        except (GatedRepoError, RepositoryNotFoundError):  # a new data set is private
            return True
        return bool(info.private or info.gated)

    if client.call(space.corpus, is_closed):
        raise closed(space)


def closed(space: Space) -> UsageError:
    """The fault of a page that could read nothing."""
    return UsageError(
        "the page of a Space cannot read a private or gated data set",
        where=space.corpus,
        fix="open it with --public, or publish without --space and look with `meadow browse`",
    )
