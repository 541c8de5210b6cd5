"""The public API."""

from __future__ import annotations

from pathlib import Path

from meadow.corpus.folder import Corpus


def open_corpus(location: str | Path, *, verify: bool = False) -> Corpus:
    """Open a corpus folder, a published one as `hf://OWNER/NAME@REVISION`, or one in a store.

    Args:
        location: A folder with a MANIFEST.json, a Hub address, or an address such as `s3://...`.
        verify: Hold every shard to its hash first.

    Raises:
        FileError: The folder holds no finished corpus.
        CheckError: A shard is not what the manifest says.
    """
    from meadow.net.hub import SCHEME
    from meadow.net.stores import is_remote

    text = str(location)
    if text.startswith(SCHEME):
        from meadow.hub.pull import pull_to_cache

        folder = pull_to_cache(text)
    elif is_remote(text):
        from meadow.corpus.stored import pull_corpus

        folder = pull_corpus(text)
    else:
        folder = Path(location)
    return Corpus.open(folder, verify=verify)
