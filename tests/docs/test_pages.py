"""What the pages of the guide show was printed by the commands that they show.

With MEADOW_UPDATE_FIXTURES=1 the output is written into the pages anew, for review.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub.server import running
from support.hub.session import Session

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [path.name for path in sorted(DOCS.glob("*.md")) if BLOCK.search(path.read_text("utf-8"))]


def same_anywhere(text: str, hub: str) -> str:
    """The output without what differs from run to run: seconds, sizes, commits, addresses."""
    text = text.replace(hub, "https://huggingface.co")
    text = re.sub(r"time \d+\.\d s", "time 1.0 s", text)
    text = re.sub(r"\b[0-9a-f]{40}\b", "…", text)
    return re.sub(r"[\d,]+( of [\d,]+)? bytes", "… bytes", text)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_its_commands_print(name: str, tmp_path: Path) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    with running(tmp_path / "hub") as hub:
        settings = Session(hub, tmp_path / "home").environment
        settings["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        (tmp_path / "home").mkdir()

        def printed(block: re.Match[str]) -> str:
            lines = []
            for command in re.findall(r"^\$ (.*)$", block[1], re.MULTILINE):
                ran = subprocess.run(
                    ["bash", "-c", f"exec 2>&1; {command}"], cwd=tmp_path / "home", env=settings,
                    capture_output=True, text=True, check=False, timeout=240,
                )  # fmt: skip
                assert "Traceback" not in ran.stdout, ran.stdout
                lines += [f"$ {command}", same_anywhere(ran.stdout, hub.base).strip("\n")]
            return "```console\n" + "\n".join(filter(None, lines)) + "\n```"

        shown = BLOCK.sub(printed, page)
    if os.environ.get("MEADOW_UPDATE_FIXTURES") == "1":
        (DOCS / name).write_text(shown, encoding="utf-8")
    assert shown == page
