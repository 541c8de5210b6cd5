"""Whole builds from a mutated raw file: conservation, and no finding of the check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.fuzz.kinds import sources

from meadow.build.build import BuildSettings, build_corpus
from meadow.corpus.manifest import read_manifest
from meadow.quality.check import check_corpus
from meadow.schema import Style
from meadow.source import Input, Options
from meadow.sources import SOURCES


def make(index: int) -> bytes:
    """As for the sources, other ones."""
    return sources.make(1_000_000 + index)


def check(data: bytes, folder: Path) -> str:
    """rows_in == rows_out + rejected, the quarantine has each reject, and the folder is sound."""
    head, _, content = data.partition(b"\n")
    settings = json.loads(head)
    name, position = settings["source"], settings["file"]
    (origin, inputs), *_ = sources._found(name)
    original = inputs[position]
    path = folder / original.path.name
    path.write_bytes(content)
    item = Input(path, original.label, original.subset, original.role, original.member)
    given = [item if at == position else other for at, other in enumerate(inputs)]
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    options = Options(style=Style(settings["style"]))
    build_corpus(BuildSettings((name,), options, origins={name: origin}), {name: given}, out)
    entry = read_manifest(out).sources[name]
    rejected = sum(entry.rejected.values())
    assert entry.rows_in == entry.rows_out + rejected
    quarantine = (out / entry.quarantine.path).read_bytes().split(b"\n")
    assert len(quarantine) - 1 == rejected, "the quarantine has other rejects than the manifest"
    for line in quarantine[:-1]:
        json.loads(line)
    findings = check_corpus(out)
    assert not findings, findings[:3]
    assert SOURCES[name]
    return "rejects" if rejected else "rows"
