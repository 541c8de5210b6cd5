"""What a commit on the Hub holds, and single files of it under a cap."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meadow.corpus.manifest import NAME, Manifest, read_manifest
from meadow.errors import FileError, NetworkError
from meadow.net.download import check_room
from meadow.net.hub import HubClient, Reference

BAR_BYTES = 4 * 1024**2
"""What is downloaded without a bar: it is there before one could be read."""
MAX_DOCUMENT = 64 * 1024**2
"""The largest manifest or card that is read."""
QUARANTINE = "quarantine/"
"""Rejected rows, as they came: neither scrubbed nor under a licence that was looked at. They stay
with whoever built the corpus; the counts of the manifest are what is published of them."""

Kind = Literal["dataset", "space"]
"""What sort of repository."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a commit: of a regular one the Hub tells the git id, of a large one the SHA-256."""

    size: int
    blob: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a repository: its id, and path -> file."""

    repository: str
    id: str
    files: dict[str, RemoteFile]

    def reference(self, path: str = "") -> Reference:
        """The commit, or one file of it, as a pinned address."""
        return Reference(self.repository, self.id, path)


def named(repository: str, kind: Kind) -> str:
    """A repository as messages name it: a Space as the Hub's addresses do."""
    return repository if kind == "dataset" else f"{kind}s/{repository}"


def read_commit(
    client: HubClient, repository: str, revision: str = "main", kind: Kind = "dataset"
) -> Commit:
    """The commit behind a branch, a tag or a commit's own id, in one request.

    Raises:
        NetworkError: There is no such repository or revision, or no right to see it.
    """
    where = f"{named(repository, kind)}@{revision}"
    return client.call(where, _look, client, repository, revision, kind)


def find_commit(
    client: HubClient, repository: str, revision: str = "main", kind: Kind = "dataset"
) -> Commit | None:
    """`read_commit`, or None where repository or revision do not exist."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def look() -> Commit | None:
        try:
            return _look(client, repository, revision, kind)
        except GatedRepoError:  # a RepositoryNotFoundError, although it is there
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None

    return client.call(f"{named(repository, kind)}@{revision}", look)


def _look(client: HubClient, repository: str, revision: str, kind: Kind) -> Commit:
    info = client.api.repo_info(repository, revision=revision, repo_type=kind, files_metadata=True)
    if info.sha is None:
        raise NetworkError(
            "the Hub names no commit for this revision", where=named(repository, kind)
        )
    files = {
        file.rfilename: RemoteFile(file.lfs.size, file.blob_id, file.lfs.sha256)
        if file.lfs
        else RemoteFile(file.size or 0, file.blob_id, None)
        for file in getattr(info, "siblings", None) or ()
    }
    return Commit(repository, info.sha, files)


def published_files(manifest: Manifest) -> dict[str, tuple[int, str]]:
    """What is published of all that a manifest names: path -> (bytes, sha256)."""
    return {
        name: facts for name, facts in manifest.named().items() if not name.startswith(QUARANTINE)
    }


def look_up(client: HubClient, reference: Reference) -> tuple[Reference, int]:
    """The file at the commit behind its revision, and its size: of any repository, however large.

    Raises:
        NetworkError: There is no such file, revision or repository.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(
        reference.repository, reference.path, repo_type="dataset", revision=reference.revision
    )
    metadata = client.call(str(reference), get_hf_file_metadata, url)
    commit = metadata.commit_hash or reference.revision
    return Reference(reference.repository, commit, reference.path), metadata.size or 0


def fetch_to(client: HubClient, file: Reference, size: int, staging: Path, *, cap: int) -> Path:
    """Download into the folder `staging`, continuing what an earlier run left there.

    Returns:
        Where the file lies, below `staging`.

    Raises:
        FileError: It is larger than `cap` or than the room on the disk.
    """
    if size > cap:
        raise FileError(
            f"the file has {size:,} bytes, more than the cap of {cap:,}",
            where=str(file),
            fix="look at what the address serves; the cap stands in the source's description",
        )
    staging.mkdir(parents=True, exist_ok=True)
    check_room(staging, size)

    with client.bars() if size > BAR_BYTES else nullcontext():
        path: str = client.call(
            str(file),
            client.api.hf_hub_download,
            file.repository,
            file.path,
            repo_type="dataset",
            revision=file.revision,
            local_dir=staging,
        )
    return Path(path)


def fetch_document(client: HubClient, commit: Commit, path: str, staging: Path) -> Path:
    """Download a manifest or a card into the folder `staging`.

    Raises:
        NetworkError: The commit has none.
    """
    if path not in commit.files:
        raise NetworkError(
            "the data set has no such file at this revision",
            where=str(commit.reference(path)),
            fix="look at the files on the data set's page",
        )
    size = commit.files[path].size
    return fetch_to(client, commit.reference(path), size, staging, cap=MAX_DOCUMENT)


def read_remote_manifest(client: HubClient, commit: Commit) -> Manifest:
    """The manifest of a published corpus.

    Raises:
        NetworkError: There is none at this revision.
        FileError: It is not a manifest.
    """
    with tempfile.TemporaryDirectory() as folder:
        return read_manifest(fetch_document(client, commit, NAME, Path(folder)).parent)


def read_remote_text(client: HubClient, commit: Commit, path: str) -> str:
    """A text file of a published corpus."""
    with tempfile.TemporaryDirectory() as folder:
        return fetch_document(client, commit, path, Path(folder)).read_text(encoding="utf-8")
