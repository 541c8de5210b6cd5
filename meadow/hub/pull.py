"""Pull a published corpus: every file held to the manifest of its commit, the manifest last."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meadow.atomic import locked, naming, sha256_file
from meadow.corpus import manifest as manifests
from meadow.corpus.commit import STAGING, commit_folder, holds
from meadow.corpus.manifest import Manifest, read_manifest
from meadow.errors import CheckError, UsageError
from meadow.hub.files import fetch_document, fetch_to, published_files, read_commit
from meadow.net.hub import HubClient, Reference, parse_reference

RECEIPT = "pull.json"
CACHE = Path("~/.cache/medical-meadow/hub")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was pulled; `fetched` counts the files that had to be downloaded."""

    folder: Path
    commit: str
    manifest: Manifest
    fetched: int
    fetched_bytes: int


def pull(
    reference: Reference,
    folder: Path,
    *,
    client: HubClient | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> Pulled:
    """Download a published corpus into `folder`, or complete or update what is there.

    Raises:
        NetworkError: No such data set or revision, or the Hub does not answer as it should.
        CheckError: A file is not what the manifest says.
        UsageError: `folder` holds something else.
        LockedError: Another run holds the folder.
    """
    client = client or HubClient()
    commit = read_commit(client, reference.repository, reference.revision)
    with locked(folder), naming(folder):
        _check_folder(folder, reference)
        staging = folder / STAGING
        manifest_path = fetch_document(client, commit, manifests.NAME, staging)
        manifest = read_manifest(manifest_path.parent)
        files = published_files(manifest)
        wanted = [name for name, (_, sha256) in files.items() if not holds(folder / name, sha256)]
        fetched: dict[str, Path] = {}
        for name in wanted:
            size, sha256 = files[name]
            file = commit.reference(name)
            if name not in commit.files:
                raise CheckError(
                    "the manifest names a file that is not there",
                    where=str(file),
                    fix="tell whoever published it; verify says more",
                )
            if commit.files[name].size == size:  # another size is not worth the transfer
                fetched[name] = fetch_to(client, file, size, staging, cap=size)
            if name not in fetched or sha256_file(fetched[name]) != sha256:
                (staging / name).unlink(missing_ok=True)
                raise CheckError(
                    "a file is not what the manifest says",
                    where=str(file),
                    fix="pull again; if it stays so, tell whoever published it",
                )
            report(f"{name}: {size:,} bytes")
        receipt = {
            "repository": reference.repository,
            "revision": reference.revision,
            "commit": commit.id,
            "endpoint": client.endpoint,
        }
        beside = {RECEIPT: (json.dumps(receipt, indent=2) + "\n").encode()}
        text = manifest_path.read_bytes()
        commit_folder(folder, manifest, fetched, {}, beside=beside, text=text)
    return Pulled(
        folder, commit.id, manifest, len(fetched), sum(files[name][0] for name in fetched)
    )


def pull_to_cache(location: str, *, client: HubClient | None = None) -> Path:
    """The folder of a published corpus in the user's cache, pulled where it is not there yet."""
    reference = parse_reference(location)
    client = client or HubClient()
    commit = reference.revision
    if not reference.pinned:
        commit = read_commit(client, reference.repository, reference.revision).id
    folder = CACHE.expanduser() / reference.repository.replace("/", "--") / commit
    if not (folder / manifests.NAME).is_file():
        # The manifest is the last file of a pull, so a folder that has one is whole.
        pull(Reference(reference.repository, commit), folder, client=client)
    return folder


def _check_folder(folder: Path, reference: Reference) -> None:
    """Only an earlier pull of the same data set may be in the way."""
    try:
        receipt = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
        ours = receipt["repository"] == reference.repository
    except FileNotFoundError:
        ours = not (folder / manifests.NAME).exists()
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise UsageError(
            "the folder holds another corpus", where=str(folder), fix="choose another folder"
        )
