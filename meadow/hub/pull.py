"""Pull a published corpus: every file held to the manifest of its commit, the manifest last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meadow.atomic import locked, naming, sha256_file, write_json
from meadow.corpus import manifest as manifests
from meadow.corpus.manifest import Manifest, read_manifest
from meadow.errors import CheckError, FileError, UsageError
from meadow.hub.files import fetch_document, fetch_to, published_files, read_commit
from meadow.net.download import publish as publish_file
from meadow.net.hub import HubClient, Reference, parse_reference

RECEIPT = "pull.json"
STAGING = ".pull"
REPLACED = "replaced.json"
"""In the staging folder: every file that an unfinished pull may have left or has to remove."""
CACHE = Path("~/.cache/medical-meadow/hub")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was pulled.

    Args:
        folder: Where it lies.
        commit: The commit that it is.
        manifest: What it holds.
        fetched: Files that had to be downloaded.
        fetched_bytes: Their bytes.
    """

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
        stale = _previous_files(folder, reference)
        staging = folder / STAGING
        manifest_path = fetch_document(client, commit, manifests.NAME, staging)
        manifest = read_manifest(manifest_path.parent)
        files = published_files(manifest)
        here = folder / manifests.NAME
        write_json(staging / REPLACED, sorted(stale | files.keys()))
        if here.is_file() and here.read_bytes() != manifest_path.read_bytes():
            # From here on the folder holds no finished corpus, until the new one is whole.
            here.unlink()
        fetched = [name for name, (_, sha256) in files.items() if not _has(folder / name, sha256)]
        for name in fetched:
            size, sha256 = files[name]
            where = str(commit.reference(name))
            if name not in commit.files:
                raise CheckError(
                    "the manifest names a file that is not there",
                    where=where,
                    fix="tell whoever published it; verify says more",
                )
            path = None
            if commit.files[name].size == size:
                path = fetch_to(client, commit.reference(name), size, staging, cap=size)
            if path is None or sha256_file(path) != sha256:
                if path is not None:
                    path.unlink()
                raise CheckError(
                    "a file is not what the manifest says",
                    where=where,
                    fix="pull again; if it stays so, tell whoever published it",
                )
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            publish_file(path, target)
            report(f"{name}: {size:,} bytes")
        for name in stale - files.keys():
            (folder / name).unlink(missing_ok=True)
        write_json(
            folder / RECEIPT,
            {
                "repository": reference.repository,
                "revision": reference.revision,
                "commit": commit.id,
                "endpoint": client.endpoint,
            },
        )
        publish_file(manifest_path, here)
        # the corpus is whole now, whatever becomes of the staging folder
        shutil.rmtree(staging, ignore_errors=True)
    return Pulled(
        folder, commit.id, manifest, len(fetched), sum(files[name][0] for name in fetched)
    )


def pull_to_cache(location: str, *, client: HubClient | None = None) -> Path:
    """The folder of a published corpus in the user's cache, pulled where it is not there yet.

    Args:
        location: `OWNER/NAME@REVISION`, also with `hf://` before it.
        client: The Hub.
    """
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


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _previous_files(folder: Path, reference: Reference) -> set[str]:
    """What an earlier pull of the same data set left; nothing else may be in the way."""
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
    try:
        named = set(read_manifest(folder).named())
    except FileError:
        named = set()
    return named | _replaced(folder / STAGING / REPLACED)


def _replaced(path: Path) -> set[str]:
    """The files of a pull that did not come to its end."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    safe = (Path(name) for name in names if isinstance(name, str))
    return {name.as_posix() for name in safe if not name.is_absolute() and ".." not in name.parts}
