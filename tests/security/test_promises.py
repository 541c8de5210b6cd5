"""SECURITY.md promises nothing without a test: each row of its tables names some that exist."""

import re
import tomllib
from pathlib import Path

import pytest

REFERENCE = re.compile(r"`(test_\w+)`")


def rows(root: Path) -> list[list[str]]:
    """The rows of every table of promises."""
    found = []
    for line in (root / "SECURITY.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| Promise ")):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def test_every_promise_names_a_test_that_exists(root: Path) -> None:
    promises = rows(root)
    assert len(promises) >= 25
    text = (root / "SECURITY.md").read_text(encoding="utf-8")
    assert text.count("\n| Promise | How | Held by |\n") == 5
    for promise in promises:
        assert len(promise) == 3, promise
        assert REFERENCE.search(promise[2]), f"no test holds: {promise[0]}"
        assert not REFERENCE.sub("", promise[2]).strip(" ,"), promise[2]
    defined = {
        name
        for path in (root / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.M)
    }
    assert set(REFERENCE.findall(text)) <= defined


@pytest.mark.parametrize("part", ["upstream file", "text", "server", "corpus on the Hub", "model"])
def test_every_enemy_has_a_part_with_what_is_not_promised(root: Path, part: str) -> None:
    text = (root / "SECURITY.md").read_text(encoding="utf-8")
    body = re.search(rf"^## A hostile {part}\n(.*?)(?=^## )", text, re.M | re.S)
    assert body
    assert "Not promised" in body[1]


def test_the_linter_refuses_what_runs_code(root: Path) -> None:
    """`make check` runs it on the four packages."""
    lint = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    banned = set(lint["lint"]["flake8-tidy-imports"]["banned-api"])
    assert {"pickle", "dill", "joblib", "marshal", "shelve", "torch.load"} <= banned
    assert {"S", "TID"} <= set(lint["lint"]["select"])
    ignored = lint["lint"]["ignore"]
    assert not {"S", "S102", "S301", "S307", "TID", "TID251"} & set(ignored)
    assert set(lint["lint"]["per-file-ignores"]) == {"tests/**"}
