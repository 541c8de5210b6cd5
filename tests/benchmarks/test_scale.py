"""Memory as the input grows: only the keys of rows stay in it."""

import tempfile
from pathlib import Path

import pytest
from benchmarks.bench_scale import build
from support.budget import sample

MOST_MB = 700
KEY_BYTES = 400
"""What the keys of a row may take while they are sorted."""


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("kind", "size_mb"), [("posts", 4_000), ("metadata", 8_000)])
def test_memory_stays_flat(kind: str, size_mb: int) -> None:
    """4 GB of posts and 5 M rows of metadata, against a quarter; less under MEADOW_SAMPLE."""
    size = max(200, size_mb // sample())
    # on the disk, where the nightly's own folder may be in memory
    with tempfile.TemporaryDirectory(prefix="meadow-scale-") as name:
        little, much = (build(kind, each, Path(name), 1) for each in (size / 4, size))
    assert much["rows"] > 3.8 * little["rows"]
    print(kind, little["peak_mb"], much["peak_mb"])
    if kind == "posts":
        assert much["peak_mb"] < MOST_MB
    grown = (much["peak_mb"] - little["peak_mb"]) * 1e6
    assert grown < 100e6 + KEY_BYTES * (much["rows"] - little["rows"])
