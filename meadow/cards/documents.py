"""Everything in a corpus folder besides shards, quarantine and manifest: rendered, never edited."""

from __future__ import annotations

from meadow.cards.card import CARD, license_page, render_card
from meadow.cards.croissant import NAME as CROISSANT
from meadow.cards.croissant import render_croissant
from meadow.cards.rows import Locate, rows_by_source
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import many_rows
from meadow.errors import FileError
from meadow.source import Apply, apply_here


@many_rows()
def render_documents(
    manifest: Manifest, locate: Locate, apply: Apply = apply_here
) -> dict[str, bytes]:
    """Path -> bytes of the card, the licence page and croissant.json.

    Raises:
        FileError: A shard cannot be read.
        CheckError: Its rows are not those of a corpus.
    """
    import pyarrow as pa

    try:
        sources = rows_by_source(manifest, locate, apply)
        texts = {
            CARD: render_card(manifest, locate, sources),
            "LICENSES/README.md": license_page(sources),
            CROISSANT: render_croissant(manifest, locate, sources),
        }
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise FileError(
            f"a shard cannot be read: {' '.join(str(error).split())[:300]}",
            where=next((shard.path for shard in manifest.shards()), ""),
            fix="build or pull it again",
        ) from error
    return {name: text.encode("utf-8") for name, text in texts.items()}
