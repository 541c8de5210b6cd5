"""Every source from a mutated file of its sample to clean records, as a build takes it."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

from support.fuzz.mutate import encodable, mutant, mutate_value
from support.fuzz.rows import drain

from meadow.build.plan import detect_origin, find_inputs
from meadow.samples import FOLDER, sampled_sources
from meadow.schema import Style
from meadow.source import Input, Options, OriginName
from meadow.sources import SOURCES

TEXT_TOKENS = (
    *(b'"', b"'", b",", b"\n", b"\r", b"\r\n", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf", b"{"),
    *(b"}", b"[", b"]", b":", b"null", b"NaN", b"-1", b"1e999", b"\\ud800", b"\\u0000", b'""'),
    *(b"{}", b"[]", b"<script>", b"<img src=x>", b"&lt;", b"{{c1::", b"::hint}}", b"}}"),
    *(b"[sound:a.mp3]", b"#", b"#separator:tab\n", b"#html:true\n", b"#columns:a\n"),
    *(b"#guid column:9\n", b"NA", b"\xe2\x80\xa8"),
)


def _found(name: str) -> list[tuple[OriginName, tuple[Input, ...]]]:
    source = SOURCES[name]
    origin = OriginName.UPSTREAM if source.upstream else OriginName.PUBLISHED
    return [(origin, find_inputs(source, source.origin(origin), FOLDER))]


PLACES = [
    (name, origin, position, inputs)
    for name in sampled_sources()
    for origin, inputs in _found(name)
    for position in range(len(inputs))
]


def make(index: int) -> bytes:
    """Which file of which source, then its mutated bytes."""
    chance = random.Random(f"sources {index}")
    place = index % len(PLACES)
    name, _, position, inputs = PLACES[place]
    seed = inputs[position].path.read_bytes()
    style = chance.choice(("meadow", "2023"))
    head = json.dumps({"source": name, "file": position, "style": style}).encode() + b"\n"
    if chance.random() < 0.5 and inputs[position].path.suffix in {".json", ".jsonl"}:
        return head + _structured(chance, seed)
    return head + mutant(chance, seed, TEXT_TOKENS)


def _structured(chance: random.Random, seed: bytes) -> bytes:
    """JSON or JSON lines with odd values."""
    try:
        return _dump(mutate_value(chance, json.loads(seed)))
    except ValueError:
        lines = seed.splitlines()
        at = chance.randrange(len(lines))
        # a sample holds broken lines on purpose
        with contextlib.suppress(ValueError):
            lines[at] = _dump(mutate_value(chance, json.loads(lines[at])))
        return b"\n".join(lines) + b"\n"


def _dump(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    return encodable(text).encode() if len(text) % 2 else json.dumps(value).encode()


def check(data: bytes, folder: Path) -> str:
    """Rows, rejects and expected errors only; every row can stand in a shard."""
    head, _, content = data.partition(b"\n")
    settings = json.loads(head)
    name, position = settings["source"], settings["file"]
    (origin, inputs), *_ = _found(name)
    original = inputs[position]
    path = folder / original.path.name
    path.write_bytes(content)
    item = Input(path, original.label, original.subset, original.role, original.member)
    given = [item if at == position else other for at, other in enumerate(inputs)]
    detect_origin([item], SOURCES[name])
    found = drain(SOURCES[name].origin(origin), given, Options(style=Style(settings["style"])))
    return "rejects" if found["reject"] else "rows"
