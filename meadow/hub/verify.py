"""Verify a published corpus from outside: manifest, hashes, counts and card of one commit."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meadow.atomic import sha256_file
from meadow.corpus.manifest import Manifest, Shard
from meadow.errors import MeadowError
from meadow.hub.files import HubFile, fetch_to, read_remote_manifest, read_remote_text
from meadow.hub.plan import DATA, QUARANTINE, RemoteFile, head_of, read_tree
from meadow.hub.publish import CARD, card_findings
from meadow.licenses import LICENSES
from meadow.net.hub import HubClient, Reference
from meadow.quality.check import Finding


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what is wrong.

    Args:
        commit: The commit that was looked at.
        files: Files whose hash was compared.
        rows: Rows of all shards, from the manifest.
        findings: What is wrong; empty where the corpus can be trusted.
    """

    commit: str
    files: int
    rows: int
    findings: tuple[Finding, ...]


def verify(
    reference: Reference, *, client: HubClient | None = None, content: bool = False
) -> Verification:
    """Compare a published corpus with its own manifest.

    Args:
        reference: The data set and the revision.
        client: The Hub.
        content: Download every shard and hash it, instead of trusting the Hub's stated hashes.

    Raises:
        NetworkError: No such data set or revision, or the Hub does not answer as it should.
        FileError: There is no readable manifest.
    """
    client = client or HubClient()
    commit = head_of(client, reference.repository, reference.revision)
    pinned = Reference(reference.repository, commit)
    manifest = read_remote_manifest(client, pinned)
    tree = read_tree(client, pinned.repository, commit)
    files = {n: f for n, f in manifest.named().items() if not n.startswith(QUARANTINE)}
    findings = list(_hashes(client, pinned, files, tree, content=content))
    for name in sorted(tree):
        if name.startswith((DATA, QUARANTINE)) and name not in files:
            findings.append(Finding("unnamed_file", name, "the manifest does not name it"))
    findings += _card(client, pinned, manifest, tree)
    for shard in manifest.shards():
        if shard.path in tree:
            findings += _shard(client, pinned, shard)
    rows = sum(shard.rows for shard in manifest.shards())
    return Verification(commit, len(files), rows, tuple(findings))


def _hashes(
    client: HubClient,
    pinned: Reference,
    files: dict[str, tuple[int, str]],
    tree: dict[str, RemoteFile],
    *,
    content: bool,
) -> Iterator[Finding]:
    for name, (size, sha256) in files.items():
        remote = tree.get(name)
        if remote is None:
            yield Finding("missing_file", name, "the manifest names it, and it is not there")
        elif remote.size != size:
            yield Finding("changed_file", name, f"{remote.size:,} bytes, not {size:,}")
        else:
            found = remote.sha256
            if content or found is None:
                # The Hub states the SHA-256 of large files only.
                named = Reference(pinned.repository, pinned.revision, name)
                found = _download_hash(client, named, size)
            if found != sha256:
                yield Finding("changed_file", name, "its bytes are not what the manifest says")


def _download_hash(client: HubClient, reference: Reference, size: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return sha256_file(fetch_to(client, HubFile(reference, size), Path(folder), cap=size))


def _card(
    client: HubClient, pinned: Reference, manifest: Manifest, tree: dict[str, RemoteFile]
) -> Iterator[Finding]:
    if CARD not in tree:
        yield Finding("no_card", CARD, "there is none")
        return
    card = read_remote_text(client, Reference(pinned.repository, pinned.revision, CARD))
    for finding in card_findings(card, manifest):
        yield Finding("card", CARD, finding)


def _shard(client: HubClient, pinned: Reference, shard: Shard) -> Iterator[Finding]:
    """Rows and licences of a shard, read by ranges: its footer and one column."""
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    path = f"datasets/{pinned.repository}@{pinned.revision}/{shard.path}"

    def read() -> tuple[int, Counter[str]]:
        with HfFileSystem().open(path, "rb") as file, pq.ParquetFile(file) as parquet:
            column = parquet.read(columns=["license"]).column("license")
            return parquet.metadata.num_rows, Counter(map(str, column.to_pylist()))

    try:
        rows, licenses = client.call(str(pinned), read)
    except MeadowError:
        raise
    except (OSError, ValueError, KeyError) as error:
        yield Finding("unreadable_shard", shard.path, " ".join(str(error).split())[:200])
        return
    if rows != shard.rows:
        yield Finding("wrong_count", shard.path, f"{rows:,} rows, not {shard.rows:,}")
    for name, count in licenses.items():
        known = LICENSES.get(name)
        if known is None or known.redistribute != "yes":
            yield Finding("license", shard.path, f"{count:,} rows under {name}")
