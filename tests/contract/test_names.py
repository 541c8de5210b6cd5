"""A source owns what is true of it: no module outside sources/ and samples/ decides by its name.

What is refused is a string that *is* a source's name (or that name before a colon, as in a file
argument), and an import of one source's module. A name inside a sentence stays: examples of a
command line and messages are prose, nothing branches on them. Some words are names of other things
as well, and stand where those are defined: exam formats and a prompt template. The demonstration
rewrites the samples of two sources, which it has to say.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from meadow.exams.items import EXAMS
from meadow.source import Source
from meadow.sources import SOURCES

OTHER_THINGS = {
    # the formats of exams, of whose data sets the training splits are sources
    *(("meadow/exams/items.py", name) for name in EXAMS if name in SOURCES),
    ("meadow/prompt.py", "alpaca"),  # the prompt template of that model
    ("meadow/cli/demo.py", "anki"),  # whose sample the demonstration rewrites
    ("meadow/cli/demo.py", "medmcqa"),  # whose sample it reasons about
}
OWN = "meadow.sources.own"
OPEN = {"meadow.sources", "meadow.sources.release_2023"}
"""What another room may import: the register, and the comparison over all of it; and `OWN`, which
reads TOML files and names no source."""


def names_in(path: Path) -> Iterator[str]:
    """The strings of a module that are a source's name, and the modules of sources it imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if (name := node.value.rstrip(":")) in SOURCES:
                yield name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("meadow.sources"):
            if node.module not in OPEN and not str(node.module).startswith(OWN):
                yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("meadow.sources."))


def test_no_module_outside_the_sources_names_one(root: Path) -> None:
    found = {
        (place, name)
        for path in sorted((root / "meadow").rglob("*.py"))
        if not (place := path.relative_to(root).as_posix()).startswith(
            ("meadow/sources/", "meadow/samples/")
        )
        for name in names_in(path)
    }
    assert found == OTHER_THINGS


def test_a_name_is_seen_wherever_it_hides(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'from meadow.sources.anki.source import NAME\nif x == "medqa" or f"cord19:{y}": ...\n'
        'FREE = {"alpaca"}\nhelp("such as --file medqa=train.jsonl")\n'
    )
    assert sorted(names_in(module)) == ["alpaca", "cord19", "meadow.sources.anki.source", "medqa"]


def test_whoever_adds_a_source_says_whether_people_wrote_it() -> None:
    with pytest.raises(TypeError, match="free_text"):
        Source(name="x", title="X", homepage="https://x", citation="X", license="mit")  # type: ignore[call-arg]
