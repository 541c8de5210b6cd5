"""Files that lie elsewhere: s3://, gs://, az://, hf://, https:// and what else fsspec serves.

Work is done on local files only: what is read is first copied into the user's cache, whole or not
at all, and not again while the store says that it is the same. Credentials come from the
environment, as the library of each store documents it, never from an address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from meadow.atomic import locked, replacing, sha256_file, write_json
from meadow.errors import FileError, MeadowError, NetworkError, UpstreamChangedError, UsageError
from meadow.net.download import check_room
from meadow.net.http import check_address, clean_address
from meadow.net.redaction import redact
from meadow.net.retry import is_unresolved

CACHE = Path("~/.cache/medical-meadow/remote")
RECEIPT = ".fetched.json"
BLOCK = 4 * 1024**2
LIBRARIES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "file": "fsspec",
    "memory": "fsspec",
}
"""Scheme -> the library that serves it. fsspec knows more; these keep what is relied on here: what
was written is there for the next reader at once."""
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.I)
_VERSION_KEYS = (
    "ETag",
    "etag",
    "md5Hash",
    "blob_id",
    "mtime",
    "LastModified",
    "updated",
    "created",
)


def is_remote(text: str) -> bool:
    """Whether a text is an address and not a path.

    >>> is_remote("s3://bucket/raw"), is_remote("raw/medqa")
    (True, False)
    """
    return _SCHEME.match(text) is not None


@dataclass(frozen=True, slots=True)
class Store:
    """A file system behind an address.

    Args:
        address: As given, without a final slash.
        system: fsspec's file system.
        path: The address as the file system writes it.
    """

    address: str
    system: Any
    path: str

    def join(self, name: str) -> str:
        """The file system's path of a file below the address."""
        return f"{self.path}/{name}"

    def where(self, name: str = "") -> str:
        """The address of a file below, for messages."""
        return clean_address(self.address) + (f"/{name}" if name else "")

    def describe(self, path: str) -> dict[str, Any] | None:
        """What the store knows of a path now; None where there is nothing."""
        found: dict[str, Any] | None = None
        with self.faults():
            self.system.invalidate_cache()
            try:
                found = self.system.info(path)
            except FileNotFoundError as error:
                if is_unresolved(error):  # fsspec takes a host without an address for no file
                    raise
        return found

    def read(self, name: str) -> bytes | None:
        """A small file, or None where there is none."""
        data: bytes | None = None
        with self.faults(name), contextlib.suppress(FileNotFoundError):
            data = self.system.cat_file(self.join(name))
        return data

    def write(self, name: str, data: bytes) -> None:
        """A small file."""
        with self.faults(name):
            self.system.makedirs(self.join(name).rpartition("/")[0], exist_ok=True)
            self.system.pipe_file(self.join(name), data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self.faults(name), contextlib.suppress(FileNotFoundError):
            self.system.rm_file(self.join(name))

    def blocks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, in order."""
        with self.faults(), self.system.open(path, "rb", block_size=BLOCK) as file:
            yield from iter(partial(file.read, BLOCK), b"")

    def nothing(self, name: str = "") -> FileError:
        """The fault of an address behind which nothing is."""
        return FileError(
            "there is nothing at this address",
            where=self.where(name),
            fix="check the address and what is stored there",
        )

    @contextlib.contextmanager
    def faults(self, name: str = "") -> Iterator[None]:
        """Whatever a store's library raises, as an expected fault without secrets."""
        try:
            yield
        except MeadowError:
            raise
        except Exception as error:
            if is_unresolved(error):
                raise NetworkError(
                    "the host's name cannot be resolved",
                    where=self.where(name),
                    fix="look at the network and at the address, then run the same command again",
                ) from error
            if isinstance(error, FileNotFoundError):
                raise self.nothing(name) from error
            # every store's library has exceptions of its own
            text = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
            raise NetworkError(
                f"the store does not do as it should: {text}",
                where=self.where(name),
                fix="check the address, the credentials in the environment and the network, "
                "then run the same command again: it continues",
            ) from error


def open_store(address: str) -> Store:
    """The file system behind an address.

    Raises:
        UsageError: The address is not of a known kind, or holds credentials.
        MeadowError: The library of its scheme is not installed.
    """
    match = _SCHEME.match(address)
    scheme = match.group(1).lower() if match else ""
    rest = address[match.end() :] if match else ""
    if scheme not in LIBRARIES or not rest.strip("/") or "::" in rest:
        raise UsageError(
            f"{clean_address(address)!r} is not an address that can be read or written",
            fix=f"one of {', '.join(f'{name}://' for name in LIBRARIES)}",
        )
    if scheme in ("http", "https"):
        check_address(address, before=None)
    elif "@" in rest.partition("/")[0]:
        raise UsageError(
            "an address must not hold credentials",
            where=clean_address(address),
            fix="put them into the environment, as the library of the store documents it",
        )
    if ".." in rest.split("/"):
        raise UsageError("an address must not hold ..", where=clean_address(address))
    import fsspec

    library = LIBRARIES[scheme]
    try:
        system = fsspec.filesystem(scheme)
    except ImportError as error:
        raise MeadowError(
            f"{scheme}:// needs {library}, which is not installed",
            where=clean_address(address),
            fix=f"pip install {library}",
        ) from error
    stripped: str = system._strip_protocol(address)
    return Store(address.rstrip("/"), system, stripped.rstrip("/"))


def list_files(address: str) -> dict[str, int | None]:
    """Name below the address ("" for the address itself, where it is a file) -> bytes.

    Raises:
        FileError: There is nothing.
    """
    store = open_store(address)
    return {name: size for name, (_, size, _) in _listing(store).items()}


def _listing(store: Store) -> dict[str, tuple[str, int | None, str]]:
    """Name -> (the file system's path, bytes, what the store calls this version of it)."""
    about = store.describe(store.path)
    with store.faults():
        if about is not None and about["type"] == "file":
            return {"": (store.path, about.get("size"), _version(about))}
        found = store.system.find(store.path, detail=True)
    if not found:
        raise store.nothing()
    listing = {}
    for path, facts in sorted(found.items()):
        name = path.removeprefix(store.path).strip("/")
        if ".." in name.split("/") or not name:
            raise FileError(
                "a stored file has an impossible name", where=f"{store.where()}: {path}"
            )
        listing[name] = (path, facts.get("size"), _version(facts))
    return listing


def _version(facts: dict[str, Any]) -> str:
    """What distinguishes this content from a later one under the same name; "" where nothing."""
    for key in _VERSION_KEYS:
        if value := facts.get(key):
            # the same store gives a time as a number in a list and as an object for one file
            return f"{key}={value.timestamp() if isinstance(value, datetime) else value}"
    return ""


def fetch(
    address: str,
    *,
    parts: Iterable[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Copy a file, or the files below an address, into the cache and return their local path.

    Args:
        address: A file or a folder.
        parts: Only these folders directly below; one that is not there is left to who needs it.
        report: Told one line per file that is copied.

    Raises:
        FileError: There is nothing, or no room.
        NetworkError: The store does not answer as it should, or a file was cut off.
    """
    store = open_store(address)
    key = hashlib.sha256(store.address.encode()).hexdigest()[:16]
    folder = CACHE.expanduser() / f"{Path(store.path).name}-{key}"
    with locked(folder):
        listing = _listing(store) if parts is None else _listing_of(store, parts)
        receipt = folder / RECEIPT
        known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(receipt.read_text(encoding="utf-8"))
        for name, (path, size, version) in listing.items():
            target = folder / "files" / (name or Path(store.path).name)
            entry = known.get(name, {})
            same = version and (entry.get("version"), entry.get("bytes")) == (version, size)
            if same and target.is_file() and sha256_file(target) == entry["sha256"]:
                continue
            check_room(folder, size or 0)
            sha256, copied = copy_here(store, path, size, target)
            about = store.describe(path)
            if about is None or _version(about) != version:
                target.unlink()  # it could be half of one version and half of another
                raise UpstreamChangedError(
                    "the file changed while it was copied",
                    where=store.where(name),
                    fix="run the same command again when nobody writes there",
                )
            known[name] = {"version": version, "bytes": copied, "sha256": sha256}
            write_json(receipt, known)
            report(f"fetched {store.where(name)} ({copied:,} bytes, sha256 {sha256})")
        for stale in (known.keys() - listing.keys()) if parts is None else ():
            # a folder stands for the files in it: one that is gone upstream must not be built from
            (folder / "files" / stale).unlink(missing_ok=True)
    return folder / "files" / Path(store.path).name if "" in listing else folder / "files"


def _listing_of(store: Store, parts: Iterable[str]) -> dict[str, tuple[str, int | None, str]]:
    found: dict[str, tuple[str, int | None, str]] = {}
    for part in parts:
        below = Store(f"{store.address}/{part}", store.system, store.join(part))
        with contextlib.suppress(FileError):
            found |= {f"{part}/{name}": facts for name, facts in _listing(below).items() if name}
    return found


def copy_here(store: Store, path: str, size: int | None, target: Path) -> tuple[str, int]:
    """One file to its place, atomically: its SHA-256 and its bytes."""
    digest = hashlib.sha256()
    copied = 0
    with replacing(target) as temporary, temporary.open("wb") as file:
        for block in store.blocks(path):
            digest.update(block)
            copied += file.write(block)
    if size is not None and copied != size:
        target.unlink()
        raise NetworkError(
            f"the store sent {copied:,} of {size:,} bytes",
            where=store.where(),
            fix="run the same command again: it continues",
        )
    return digest.hexdigest(), copied
