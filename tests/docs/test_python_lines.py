"""The Python lines of the README and the guide are typed as a careful user would have them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

MYPY = (sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--implicit-reexport")
"""Strict, but for names that a library of others exports lazily."""


@pytest.mark.parametrize("name", ["README.md", *sorted(
    path.relative_to(Path(__file__).parents[2]).as_posix()
    for path in (Path(__file__).parents[2] / "docs").glob("*.md")
)])  # fmt: skip
def test_the_python_lines_of_a_page_are_typed(name: str, root: Path, tmp_path: Path) -> None:
    text = (root / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    if not blocks:
        pytest.skip("no Python on this page")
    for number, block in enumerate(blocks):
        (tmp_path / f"lines_{number}.py").write_text(block, encoding="utf-8")
    ran = subprocess.run(
        [*MYPY, tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
