"""The Python lines of the README and the guide are typed as a careful user would have them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

MYPY = (sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--implicit-reexport")
"""Strict, but for names that a library of others exports lazily."""


ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {
    page.relative_to(ROOT).as_posix(): found
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if (found := BLOCK.findall(page.read_text(encoding="utf-8")))
}


def test_the_readme_and_the_guide_have_python_lines() -> None:
    assert {"README.md", "docs/inspect.md"} <= BLOCKS.keys()


@pytest.mark.parametrize("name", BLOCKS)
def test_the_python_lines_of_a_page_are_typed(name: str, tmp_path: Path) -> None:
    for number, block in enumerate(BLOCKS[name]):
        (tmp_path / f"lines_{number}.py").write_text(block, encoding="utf-8")
    ran = subprocess.run([*MYPY, tmp_path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
