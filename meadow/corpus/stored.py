"""A corpus at an address of a store: copied there, and copied from there.

A corpus is built in the cache and then copied, every file read back and held to its hash,
MANIFEST.json last: a reader of the store sees the old corpus, the new one or none, as on a disk. An
interrupted copy continues with the files whose hashes are not there yet. No store of this kind has
locks: two machines must not copy to one address at the same time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from meadow.atomic import locked, write_bytes
from meadow.corpus.commit import holds
from meadow.corpus.manifest import NAME, Manifest, is_safe_path, parse_manifest, read_manifest
from meadow.errors import CheckError, FileError, UsageError
from meadow.net.download import check_room
from meadow.net.stores import CACHE, Store, copy_here, open_store

JOURNAL = ".copying.json"


def working_folder(address: str) -> Path:
    """Where a corpus is built that is to be copied to `address` afterwards."""
    store = open_store(address)
    key = hashlib.sha256(store.address.encode()).hexdigest()[:16]
    return CACHE.expanduser() / "corpora" / f"{Path(store.path).name}-{key}"


def check_target(address: str, config_hash: str, sources: Iterable[str]) -> None:
    """Hold a place to the rule of output folders, before the work is done.

    Raises:
        UsageError: A corpus of other options, or something else, lies there, or one with sources
            that neither are built now nor lie here.
    """
    store = open_store(address)
    manifest = _manifest_at(store)
    what, fix = "", "choose another --out, or remove what is there"
    if manifest is None:
        with store.faults():
            there = store.describe(store.path) is not None and bool(store.system.find(store.path))
        if there and _journal(store) is None:
            what = "the address is not empty and holds no corpus"
    elif manifest.config_hash != config_hash:
        what = "the address holds a corpus of other options"
    else:
        here = working_folder(address)
        held = read_manifest(here).sources if (here / NAME).is_file() else {}
        there_only = manifest.sources.keys() - set(sources)
        if lost := sorted(n for n in there_only if held.get(n) != manifest.sources[n]):
            what = f"the address has sources that this machine has not: {', '.join(lost)}"
            fix = "build them too, or build into a folder of this machine"
    if what:
        raise UsageError(what, where=store.where(), fix=fix)


def copy_corpus(
    folder: Path, address: str, *, report: Callable[[str], None] = lambda line: None
) -> tuple[int, int]:
    """Copy a finished corpus to an address: files that differ, read back and held to their hashes.

    Returns:
        How many files were copied, and their bytes.

    Raises:
        CheckError: A file reads back as other bytes than were sent.
        NetworkError: The store does not do as it should.
    """
    store = open_store(address)
    manifest = read_manifest(folder)
    named = manifest.named()
    text = (folder / NAME).read_bytes()
    if store.read(NAME) == text and all(
        _has(store, name, size) for name, (size, _) in named.items()
    ):
        return 0, 0
    old = _manifest_at(store)
    there = dict(_journal(store) or {})
    if old is not None:
        there |= {name: sha256 for name, (_, sha256) in old.named().items()}
    # what stood there may be named by nothing from here on: so it is written down first
    _note(store, there)
    store.remove(NAME)
    copied = size_copied = 0
    for name, (size, sha256) in named.items():
        if there.get(name) == sha256 and _has(store, name, size):
            continue
        with store.faults(name):
            store.system.makedirs(store.join(name).rpartition("/")[0], exist_ok=True)
            store.system.put_file(str(folder / name), store.join(name))
        _read_back(store, name, sha256)
        there[name] = sha256
        _note(store, there)
        copied += 1
        size_copied += size
        report(f"copied {store.where(name)} ({size:,} bytes)")
    for name in there.keys() - named.keys():
        store.remove(name)
    store.write(NAME, text)
    if store.read(NAME) != text:
        raise CheckError("the manifest reads back as other bytes", where=store.where(NAME))
    store.remove(JOURNAL)
    return copied, size_copied


def _note(store: Store, files: dict[str, str]) -> None:
    store.write(JOURNAL, json.dumps(files, sort_keys=True).encode())


def _journal(store: Store) -> dict[str, str] | None:
    """The files that an interrupted copy had finished: name -> SHA-256."""
    data = store.read(JOURNAL)
    if data is None:
        return None
    try:
        found = json.loads(data)
        return {str(name): str(found[name]) for name in found if is_safe_path(name)}
    except (ValueError, TypeError):
        return {}


def _has(store: Store, name: str, size: int) -> bool:
    about = store.describe(store.join(name))
    return about is not None and about.get("size") == size


def _read_back(store: Store, name: str, sha256: str) -> None:
    digest = hashlib.sha256()
    for block in store.blocks(store.join(name)):
        digest.update(block)
    if digest.hexdigest() != sha256:
        store.remove(name)
        raise CheckError(
            "a file reads back as other bytes than were sent",
            where=store.where(name),
            fix="run the same command again; if it stays so, the store is damaged",
        )


def _manifest_at(store: Store) -> Manifest | None:
    """The manifest of a finished corpus at an address."""
    data = store.read(NAME)
    return None if data is None else parse_manifest(data, store.where(NAME))


def pull_corpus(address: str) -> Path:
    """Copy a corpus from an address into the cache, every file held to the manifest.

    Raises:
        FileError: There is no finished corpus.
        CheckError: A file is not what the manifest says.
    """
    store = open_store(address)
    data = store.read(NAME)
    if data is None:
        raise FileError(
            "no MANIFEST.json: not a finished corpus",
            where=store.where(),
            fix="check the address, or build it again",
        )
    manifest = parse_manifest(data, store.where(NAME))
    folder = CACHE.expanduser() / "pulled" / hashlib.sha256(data).hexdigest()[:32]
    with locked(folder):
        if (folder / NAME).is_file():
            return folder
        for name, (size, sha256) in manifest.named().items():
            target = folder / name
            if holds(target, sha256):
                continue
            check_room(folder, size)
            found, _ = copy_here(store, store.join(name), size, target)
            if found != sha256:
                target.unlink()
                raise CheckError(
                    "a file is not what the manifest says",
                    where=store.where(name),
                    fix="build or copy it again",
                )
        write_bytes(folder / NAME, data)
    return folder
