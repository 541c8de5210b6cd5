"""Generated texts, tables, lines and cards under hypothesis, which makes a failing input small.

The laws are those of `support/fuzz/kinds/`; what hypothesis adds is inputs nobody thought of.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import note, sample
from support.fuzz.kinds import cards, delimited, html_mutants, json_lines, texts, wikitext
from support.fuzz.patterns import all_patterns

from meadow.errors import MeadowError

NIGHT = 3_000
DEFAULT = 30
# hypothesis has no halves of surrogate pairs to match with
PATTERNS = [pattern for _, pattern in all_patterns() if "\ud800" not in pattern.pattern]

anything = st.text(max_size=40)
pieces = st.one_of(
    st.text(max_size=6),
    st.sampled_from([token.decode("utf-8", "replace") for token in html_mutants.TOKENS[:60]]),
)
marks = st.sampled_from([token.decode("utf-8", "replace") for token in wikitext.TOKENS])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def matches(draw: st.DrawFn) -> bytes:
    """Texts that our own patterns match, side by side."""
    found = draw(st.lists(st.sampled_from(range(len(PATTERNS))), min_size=1, max_size=3))
    parts = [draw(st.from_regex(PATTERNS[index])) for index in found]
    return draw(st.sampled_from(["", " ", "\n"])).join(parts).encode("utf-8", "surrogatepass")


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A table as a strict writer writes it, and a few bytes of it changed."""
    width = draw(st.integers(1, 4))
    cell = st.text(st.characters(codec="utf-8"), max_size=8)
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=6))
    written = io.StringIO()
    csv.writer(written, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))).writerows(rows)
    data = written.getvalue().encode()
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Lines of JSON of any shape, of bytes, or both."""
    one = st.one_of(values, st.dictionaries(anything, values, max_size=4)).map(
        lambda value: json.dumps(value).encode()
    )
    found = draw(st.lists(st.one_of(one, st.binary(max_size=12), one), max_size=8))
    return b"\n".join(line.replace(b"\n", b" ") for line in found)


@st.composite
def card_texts(draw: st.DrawFn) -> bytes:
    """A text for each place that a card takes one from."""
    text = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(cards.ATTACKS)
    found = {name: draw(text) for name in cards.FIELDS}
    return json.dumps(found | {"stage": draw(st.sampled_from(["build", "mix"]))}).encode()


def joined(parts: list[str]) -> bytes:
    """The parts as UTF-8."""
    return "".join(parts).encode("utf-8", "replace")


KINDS = {
    "delimited": (delimited, tables()),
    "json_lines": (json_lines, lines()),
    "html": (html_mutants, st.lists(pieces, max_size=15).map(joined)),
    "wikitext": (wikitext, st.lists(marks | pieces, max_size=15).map(joined)),
    "texts": (texts, matches()),
    "cards": (cards, card_texts()),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one."""
    scratch = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        yield Path(name)


def hold(module: ModuleType, strategy: st.SearchStrategy[bytes], count: int, folder: Path) -> int:
    """Check `count` inputs; how many were tried."""
    tried = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def law(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            module.check(data, folder)
        except MeadowError:
            return  # an expected fault

    law()
    return tried


@pytest.mark.parametrize("kind", KINDS)
def test_some(kind: str, folder: Path) -> None:
    module, strategy = KINDS[kind]
    assert hold(module, strategy, DEFAULT, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_many(kind: str, folder: Path) -> None:
    module, strategy = KINDS[kind]
    count = NIGHT // (10 if kind == "cards" else 1) // sample()
    try:
        note("fuzz_inputs.hypothesis", hold(module, strategy, max(1, count), folder))
    except BaseException:
        note("uncaught")
        raise
