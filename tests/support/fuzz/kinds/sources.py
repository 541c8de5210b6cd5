"""Every source from a mutated raw file, or a file of 2023, to clean records, and whole builds."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

from support.fuzz.engine import Kind
from support.fuzz.kinds.texts import text_of
from support.fuzz.mutate import encodable, mutant, mutate_value
from support.fuzz.rows import TEXT_TOKENS, outcome, write_input

from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import detect_origin, find_inputs
from meadow.corpus.manifest import read_manifest
from meadow.quality.check import check_corpus
from meadow.samples import FOLDER, sampled_sources
from meadow.schema import Style
from meadow.source import Input, Options, OriginName
from meadow.sources import SOURCES


def _samples(name: str) -> tuple[OriginName, tuple[Input, ...]]:
    source = SOURCES[name]
    origin = OriginName.UPSTREAM if source.upstream else OriginName.PUBLISHED
    return origin, find_inputs(source, source.origin(origin), FOLDER)


PLACES = [
    (name, position, item)
    for name in sampled_sources()
    for position, item in enumerate(_samples(name)[1])
]


def make_source(chance: random.Random, index: int) -> bytes:
    """Which file of which source, then its mutated bytes."""
    name, position, item = PLACES[index % len(PLACES)]
    seed = item.path.read_bytes()
    style = chance.choice(("meadow", "2023"))
    head = json.dumps({"source": name, "file": position, "style": style}).encode() + b"\n"
    if chance.random() < 0.5 and item.path.suffix in {".json", ".jsonl"}:
        return head + _with_odd_values(chance, seed)
    return head + mutant(chance, seed, TEXT_TOKENS)


def _with_odd_values(chance: random.Random, seed: bytes) -> bytes:
    """JSON or JSON lines with odd values."""

    def odd(data: bytes) -> bytes:
        value = mutate_value(chance, json.loads(data))
        text = json.dumps(value, ensure_ascii=False)
        return encodable(text).encode() if len(text) % 2 else json.dumps(value).encode()

    try:
        return odd(seed)
    except ValueError:
        lines = seed.splitlines()
        at = chance.randrange(len(lines))
        # a sample holds broken lines on purpose
        with contextlib.suppress(ValueError):
            lines[at] = odd(lines[at])
        return b"\n".join(lines) + b"\n"


def _given(data: bytes, folder: Path) -> tuple[str, OriginName, list[Input], int, Options]:
    """The source, its origin, its files with the mutated one among them, its place; the style."""
    head, _, content = data.partition(b"\n")
    settings = json.loads(head)
    name, position = settings["source"], settings["file"]
    origin, inputs = _samples(name)
    item = inputs[position]
    path = folder / item.path.name
    path.write_bytes(content)
    given = list(inputs)
    given[position] = Input(path, item.label, item.subset, item.role, item.member)
    return name, origin, given, position, Options(style=Style(settings["style"]))


def check_source(data: bytes, folder: Path) -> str:
    """Rows, rejects and expected errors only; every row can stand in a shard."""
    name, origin, given, position, options = _given(data, folder)
    detect_origin([given[position]], SOURCES[name])
    return outcome(SOURCES[name].origin(origin), given, options)


def check_build(data: bytes, folder: Path) -> str:
    """rows_in == rows_out + rejected, the quarantine has each reject, and the folder is sound."""
    name, origin, given, _, options = _given(data, folder)
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
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
    return "rejects" if rejected else "rows"


PUBLISHED = sorted(name for name, source in SOURCES.items() if source.published is not None)
OPTIONS = (
    *("{'A': 'one', 'B': 'two'}", "['one', 'two']", "{[]: 1}", "{'A': 1e999}", "{" * 200),
    *("[" * 5000, "{1: 2}", "{'A': __import__('os')}", "-" * 3000 + "1"),
    *("{'A': 'one', 'A': 'two'}", "{'A': {'B': []}}", "9" * 5000),
)
TEXTS = ("instruction", "input", "output")


def _rows_of_2023(name: str) -> list[dict[str, Any]]:
    path = FOLDER.parents[1] / f"tests/fixtures/{name}/expected.jsonl"
    if not path.is_file():
        return [{"instruction": "Answer.", "input": "What is sepsis?", "output": "A reaction."}]
    lines = path.read_text(encoding="utf-8").splitlines()[:8]
    return [{key: json.loads(line)[key] for key in TEXTS} for line in lines]


def make_published(chance: random.Random, index: int) -> bytes:
    """The source on the first line, then an array of rows of instruction, input and output."""
    name = PUBLISHED[index % len(PUBLISHED)]
    rows = _rows_of_2023(name)
    for row in rows:
        if chance.random() < 0.3:
            row["input"] = f"Q:{text_of(chance)}? \n{chance.choice(OPTIONS)},"
            row["output"] = f"{chance.choice('ABCZ')}: {chance.choice(('one', 'two', ''))}"
        elif chance.random() < 0.3:
            row[chance.choice(TEXTS)] = encodable(text_of(chance))
    head = json.dumps({"source": name, "style": chance.choice(("meadow", "2023"))}).encode() + b"\n"
    if index % 3 == 0:
        return head + mutant(chance, json.dumps(rows).encode(), TEXT_TOKENS)
    return head + json.dumps(mutate_value(chance, rows) if index % 3 == 1 else rows).encode()


def check_published(data: bytes, folder: Path) -> str:
    """As for the raw files."""
    head, _, content = data.partition(b"\n")
    settings = json.loads(head)
    item = write_input(folder, "release.json", content)
    origin = SOURCES[settings["source"]].published
    return outcome(origin, [item], Options(style=Style(settings["style"])))


KINDS = (
    Kind("sources", make_source, check_source, 6_000, "sources"),
    Kind("published", make_published, check_published, 3_000, "sources"),
    Kind("builds", make_source, check_build, 500, "builds"),
)
