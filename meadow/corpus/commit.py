"""How a folder comes to hold something: its manifest is the commit, and is written last.

Whoever writes holds the folder's lock and stages new files in the folder itself, so that moving
them is renaming. Then, in this order: the names of all files that the folder may hold are written
down; the manifest goes, or stops naming what will change; files get their names and are on disk
under them; what no manifest will name is removed; the new manifest is written. A reader sees the
old contents, the new ones or none, and a run that was killed anywhere is simply run again.

Builds, mixes, rewritten and pulled corpora, cards and reports are all written by `commit_folder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from meadow.atomic import (
    LOCK_NAME,
    TEMPORARY,
    fsync_file,
    fsync_folder,
    locked,
    sha256_file,
    write_bytes,
    write_json,
)
from meadow.corpus.manifest import NAME, Manifest, NamedFile, is_safe_path, read_manifest
from meadow.errors import FileError, UsageError

STAGING = ".staging"
_CLAIM = "config.json"
"""In a staging folder: the hash of the settings that are staged."""
_REPLACED = "replaced.json"
"""In a staging folder: every file that the folder may hold, whatever its manifest says by then."""


def claim(folder: Path, stage: str, config_hash: str) -> Manifest | None:
    """What a folder holds, after making sure that a run with these settings may write there.

    Nothing is changed and no lock is needed: another run may be at work.

    Args:
        folder: The output folder; it need not exist.
        stage: "build" or "mix".
        config_hash: The identity of what is to be written.

    Raises:
        UsageError: It holds something else.
        FileError: Its manifest cannot be read.
    """
    what = "mix" if stage == "mix" else "corpus"
    fix = "choose another --out, or remove the folder"
    if not folder.exists():
        return None
    if not (folder / NAME).exists():
        staged = _claimed_by(folder)
        others = {path.name for path in folder.iterdir()} - {LOCK_NAME, STAGING}
        if not (folder / NAME).exists():  # else another run has just finished it
            if others and staged != config_hash:
                said = f"the output folder is not empty and holds no {what} of this recipe"
                raise UsageError(said, where=str(folder), fix=fix)
            return None
    try:
        found = read_manifest(folder)
    except FileError:
        if (folder / NAME).exists():
            raise
        return None  # another run is replacing it: the lock will tell
    if found.stage != stage or found.config_hash != config_hash:
        other = f"a {what} of other options" if found.stage == stage else "something else"
        raise UsageError(f"the output folder holds {other}", where=str(folder), fix=fix)
    return found


def _claimed_by(folder: Path) -> object:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads((folder / STAGING / _CLAIM).read_text(encoding="utf-8"))["config_hash"]
    return None


def open_staging(folder: Path, config_hash: str, *, resume: bool = False) -> Path:
    """The staging folder of a claimed folder, whose lock is held.

    Args:
        folder: The output folder.
        config_hash: The identity of what is to be written.
        resume: Whether what a killed run of the same settings staged is of use.
    """
    staging = folder / STAGING
    if staging.exists() and _claimed_by(folder) != config_hash:
        shutil.rmtree(staging)
    for path in list(staging.glob("**/*" + TEMPORARY if resume else "*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=resume)
        elif path.name not in {_CLAIM, _REPLACED}:
            path.unlink(missing_ok=True)
    if not (staging / _CLAIM).exists():
        write_json(staging / _CLAIM, {"config_hash": config_hash})
    return staging


def clear_staging(folder: Path) -> None:
    """Take away what a run left that was killed between its manifest and its end.

    Raises:
        LockedError: Another run holds the folder.
    """
    if (folder / STAGING).exists():
        with locked(folder):
            shutil.rmtree(folder / STAGING, ignore_errors=True)


def leftover_names(folder: Path) -> set[str]:
    """Files that a folder holds or may hold: what its manifest names, and what a kill left."""
    found: set[str] = set()
    with contextlib.suppress(FileError):
        found |= read_manifest(folder).named().keys()
    with contextlib.suppress(OSError, ValueError, TypeError):
        noted = json.loads((folder / STAGING / _REPLACED).read_text(encoding="utf-8"))
        found |= {name for name in noted if is_safe_path(name)}
    return found


def commit_folder(
    folder: Path,
    manifest: Manifest,
    staged: Mapping[str, Path],
    documents: Mapping[str, bytes],
    *,
    beside: Mapping[str, bytes] | None = None,
    text: bytes | None = None,
) -> Manifest:
    """Make a folder be what a manifest says, under its lock.

    Args:
        folder: The folder.
        manifest: What it will hold; the documents are added to its files.
        staged: Path -> where that file lies now, in the staging folder or already in place.
        documents: Path -> bytes of the files that are rendered from the manifest and the rows.
        beside: Path -> bytes of files that no manifest names, such as the receipt of a pull.
        text: The manifest's own bytes, where it was written elsewhere.

    Returns:
        The manifest as it was written.
    """
    published = None
    with contextlib.suppress(FileError):
        published = read_manifest(folder)
    moves = {name: path for name, path in staged.items() if path != folder / name}
    if moves or (published is not None and published.splits() != manifest.splits()):
        published = None  # its rows go, and with them whatever was said of them
    final = with_documents(manifest, documents, published)
    changed = changed_documents(folder, published, documents)
    text = text or final.text().encode()
    if published is not None and not changed and (folder / NAME).read_bytes() == text:
        _write_all(folder, beside or {})
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        return final
    may_hold = {*leftover_names(folder), *final.named()}
    write_json(folder / STAGING / _REPLACED, sorted(may_hold))
    if published is None:
        (folder / NAME).unlink(missing_ok=True)
        fsync_folder(folder)
    else:
        same = tuple(f for f in published.files if f in final.files and f.path not in changed)
        if same != published.files:
            replace(published, files=same).write(folder)
    _move_all(folder, moves)
    _write_all(folder, {name: documents[name] for name in changed} | dict(beside or {}))
    for name in may_hold - final.named().keys():
        (folder / name).unlink(missing_ok=True)
    write_bytes(folder / NAME, text)
    # committed: what stays of the staging folder, the next run takes away
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    return final


def with_documents(
    manifest: Manifest, documents: Mapping[str, bytes], published: Manifest | None = None
) -> Manifest:
    """The manifest with these documents among its files, and those that are published and stay."""
    files = {item.path: item for item in manifest.files}
    if published is not None and replace(published, files=()) == replace(manifest, files=()):
        # a report of the same rows stays; one of other rows would tell what is no longer so
        files = {item.path: item for item in published.files} | files
    files |= {name: _file_of(name, data) for name, data in documents.items()}
    return replace(manifest, files=tuple(files.values()))


def _file_of(name: str, data: bytes) -> NamedFile:
    return NamedFile(path=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def changed_documents(
    folder: Path, manifest: Manifest | None, documents: Mapping[str, bytes]
) -> list[str]:
    """The documents that are not what they should be, on disk or in the manifest."""
    named = set(manifest.files) if manifest is not None else set()
    return [
        name
        for name, data in documents.items()
        if (file := _file_of(name, data)) not in named or not holds(folder / name, file.sha256)
    ]


def holds(path: Path, sha256: str) -> bool:
    """Whether there is a file of these bytes."""
    try:
        return sha256_file(path) == sha256
    except OSError:
        return False


def _move_all(folder: Path, moves: Mapping[str, Path]) -> None:
    parents = set()
    for name, path in moves.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fsync_file(path)
        path.replace(target)
        parents |= {parent for parent in target.parents if parent.is_relative_to(folder)}
    for parent in sorted(parents, reverse=True):
        fsync_folder(parent)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        write_bytes(folder / name, data)
