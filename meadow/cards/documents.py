"""Everything in a corpus folder besides shards, quarantine and manifest: rendered, never edited."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from meadow.atomic import sha256_file, write_bytes
from meadow.cards.card import CARD, license_page, render_card
from meadow.cards.croissant import NAME as CROISSANT
from meadow.cards.croissant import render_croissant
from meadow.cards.header import Locate
from meadow.cards.provenance import NAME as PROVENANCE
from meadow.cards.provenance import render_provenance
from meadow.corpus.manifest import Manifest, NamedFile
from meadow.corpus.shards import check_rows, read_parquet
from meadow.errors import FileError

_COUNTED = ["source", "license", "task", "rephrased_by"]


def render_documents(manifest: Manifest, locate: Locate) -> dict[str, bytes]:
    """Path -> bytes of the card, the licence page, croissant.json and provenance.json.

    Args:
        manifest: What the folder holds, without its documents.
        locate: Where a file of the manifest lies.

    Raises:
        FileError: A shard cannot be read.
        CheckError: Its rows are not those of a corpus.
    """
    import pyarrow as pa

    try:
        for shard in manifest.shards():
            path = locate(shard.path)
            check_rows(read_parquet(path, _COUNTED), path, _COUNTED)
        texts = {
            CARD: render_card(manifest, locate),
            "LICENSES/README.md": license_page(manifest, locate),
            CROISSANT: render_croissant(manifest, locate),
            PROVENANCE: render_provenance(manifest, locate),
        }
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise FileError(
            f"a shard cannot be read: {' '.join(str(error).split())[:300]}",
            where=next((shard.path for shard in manifest.shards()), ""),
            fix="build or pull it again",
        ) from error
    return {name: text.encode("utf-8") for name, text in texts.items()}


def replace_documents(
    folder: Path, manifest: Manifest, documents: Mapping[str, bytes]
) -> list[str]:
    """Bring documents of a finished folder up to date, and its manifest with them.

    The manifest first stops to name those that will change, and names them again when they are all
    on disk: whenever a run ends, what the manifest names is whole, and the rows are there.

    Args:
        folder: The corpus folder; its lock is held.
        manifest: What it holds.
        documents: Path -> bytes.

    Returns:
        The documents that were changed, on disk or in the manifest.
    """
    new = {
        name: NamedFile(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in documents.items()
    }
    changed = changed_documents(folder, manifest, documents)
    if not changed:
        return []
    named = {item.path for item in manifest.files}
    if not named.isdisjoint(changed):
        kept = tuple(item for item in manifest.files if item.path not in changed)
        replace(manifest, files=kept).write(folder)
    for name in changed:
        write_bytes(folder / name, documents[name])
    others = tuple(item for item in manifest.files if item.path not in new)
    replace(manifest, files=(*others, *new.values())).write(folder)
    return changed


def changed_documents(
    folder: Path, manifest: Manifest, documents: Mapping[str, bytes]
) -> list[str]:
    """The documents that are not what they should be, on disk or in the manifest."""
    named = manifest.named()
    changed = []
    for name, data in documents.items():
        wanted = hashlib.sha256(data).hexdigest()
        path = folder / name
        if named.get(name) != (len(data), wanted) or not (
            path.is_file() and sha256_file(path) == wanted
        ):
            changed.append(name)
    return changed
