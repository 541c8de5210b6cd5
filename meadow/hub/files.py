"""Single files of a data set on the Hub, at a commit, under a cap."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from meadow.corpus import manifest as manifests
from meadow.corpus.manifest import Manifest, read_manifest
from meadow.errors import FileError
from meadow.net.hub import HubClient, Reference

MAX_DOCUMENT = 64 * 1024**2
"""The largest manifest or card that is read."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the Hub describes it.

    Args:
        reference: Repository, commit and path.
        size: In bytes.
    """

    reference: Reference
    size: int


def look_up(client: HubClient, reference: Reference) -> HubFile:
    """The commit behind the revision, and the size of the file."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(
        reference.repository, reference.path, repo_type="dataset", revision=reference.revision
    )
    metadata = client.call(str(reference), lambda: get_hf_file_metadata(url))
    commit = metadata.commit_hash or reference.revision
    return HubFile(Reference(reference.repository, commit, reference.path), metadata.size or 0)


def fetch_to(client: HubClient, file: HubFile, staging: Path, *, cap: int) -> Path:
    """Download into the folder `staging`, continuing what an earlier run left there.

    Returns:
        Where the file lies, below `staging`.

    Raises:
        FileError: It is larger than `cap` or than the room on the disk.
    """
    where = str(file.reference)
    if file.size > cap:
        raise FileError(
            f"the file has {file.size:,} bytes, more than the cap of {cap:,}",
            where=where,
            fix="look at what the address serves; the cap stands in the source's description",
        )
    staging.mkdir(parents=True, exist_ok=True)
    if file.size > shutil.disk_usage(staging).free:
        raise FileError(
            f"{file.size / 1e6:,.1f} MB are needed, more than the disk has left",
            where=str(staging),
            fix="make room, or choose another folder",
        )

    def download() -> str:
        path: str = client.api.hf_hub_download(
            file.reference.repository,
            file.reference.path,
            repo_type="dataset",
            revision=file.reference.revision,
            local_dir=staging,
        )
        return path

    return Path(client.call(where, download))


def read_remote_manifest(client: HubClient, reference: Reference) -> Manifest:
    """The manifest of a published corpus.

    Raises:
        NetworkError: There is none at this revision.
        FileError: It is not a manifest.
    """
    with tempfile.TemporaryDirectory() as folder:
        named = Reference(reference.repository, reference.revision, manifests.NAME)
        fetch_to(client, look_up(client, named), Path(folder), cap=MAX_DOCUMENT)
        return read_manifest(Path(folder))


def read_remote_text(client: HubClient, reference: Reference) -> str:
    """A text file of a published corpus."""
    with tempfile.TemporaryDirectory() as folder:
        path = fetch_to(client, look_up(client, reference), Path(folder), cap=MAX_DOCUMENT)
        return path.read_text(encoding="utf-8")
