"""Mixes, bases and runs for the tests of training: small, real, made on the spot.

torch and transformers are imported here by fixtures alone, so that collecting the tests loads none
of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.corpora import synthetic_rows, write_mix

from training.config import Recipe, load_recipe


@pytest.fixture(autouse=True)
def one_thread(monkeypatch) -> None:
    """Small models are quickest on one thread, and the machine is shared."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def counts(tmp_path_factory) -> Iterator[None]:
    """What plans count is kept in a folder of the tests, not in the home of who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meadow.models.kept.FOLDER", tmp_path_factory.mktemp("plans"))
        yield


@pytest.fixture
def make_mix(tmp_path) -> Callable[..., Path]:
    """Write a mix of synthetic rows: make_mix(rows=96, held_out=12, ...) -> folder."""

    def make(rows: int = 96, held_out: int = 12, name: str = "mix", **options: Any) -> Path:
        held = synthetic_rows(held_out, seed=1)
        return write_mix(tmp_path / name, synthetic_rows(rows), held, **options)

    return make


@pytest.fixture
def mix(make_mix) -> Path:
    """A mix of 96 rows of two sources, and 12 held-out rows."""
    return make_mix()


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """The tiny recipe with overrides: tiny("method=lora", ...)."""
    return lambda *overrides: load_recipe("tiny", overrides)


@pytest.fixture
def train() -> Callable[..., Any]:
    """`training.loop.train`."""
    from training.loop import train

    return train


@pytest.fixture
def stop_after() -> Callable[[int], Any]:
    """Breaks off right after the checkpoint of a step, as a person at the keyboard would."""
    from transformers import TrainerCallback

    class StopAfterSave(TrainerCallback):
        def __init__(self, step: int) -> None:
            self.step = step

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == self.step:
                raise KeyboardInterrupt

    return StopAfterSave


@pytest.fixture
def stories(upstream) -> Path:
    """The real trained LLaMA of 260,032 parameters."""
    folder = upstream / "tiny_llama" / "stories260K-hf"
    if not folder.is_dir():
        pytest.skip("tiny_llama is not among the upstream files")
    return folder
