"""A build of one source from one file, for benchmarks."""

from __future__ import annotations

from pathlib import Path

from support.sampled import sampled

from meadow.build.build import BuildSettings, build_corpus
from meadow.source import Input


def sampled_build(source: str, item: Input, out: Path) -> dict[str, float]:
    """CPU seconds by module of a build in this process."""
    settings = BuildSettings(sources=(source,))
    _, where = sampled(lambda: build_corpus(settings, {source: [item]}, out))
    return where
