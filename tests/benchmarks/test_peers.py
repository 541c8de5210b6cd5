"""Peers with an environment of their own, and what the demo installs."""

from __future__ import annotations

import sys

import pytest
from benchmarks.bench_setup import closure, size
from benchmarks.peers import NotToBeHad, interpreter


@pytest.mark.parametrize("python", ["/nowhere/python", sys.executable])
def test_an_environment_without_the_peers_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setenv("MEADOW_PEERS_PYTHON", python)
    with pytest.raises(NotToBeHad, match=r"^no environment of peers: .*(datatrove|No such file)"):
        interpreter()


def test_requirements_are_followed_with_their_extras() -> None:
    plain, demo = (closure("medical-meadow", extras) for extras in ((), ("train", "eval")))
    assert {"medical-meadow", "pyarrow", "polars"} <= set(plain) < set(demo)
    assert "torch" in demo
    assert "torch" not in plain
    assert "ruff" not in demo
    assert size("polars") > 10_000
