"""Templates of Markdown whose engine takes away the line end behind a block tag."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIMMED = ("meadow/cards/templates", "evaluation/templates")


@pytest.mark.parametrize(
    "path", [p for name in TRIMMED for p in sorted((ROOT / name).glob("*.md.j2"))], ids=str
)
def test_a_line_of_text_keeps_its_end(path: Path) -> None:
    """One that ends in a tag is glued to the next: a list becomes a line."""
    lines = [*path.read_text(encoding="utf-8").splitlines(), ""]
    glued = [
        f"{number}: {line}"
        for number, (line, following) in enumerate(pairwise(lines), 1)
        if line.endswith("%}")
        and re.sub(r"\{%.*?%\}", "", line).strip()
        # a tag that takes blank space before it says that this is meant
        and not following.lstrip().startswith("{%-")
    ]
    assert not glued
