"""A checkpoint is whole or absent, for whoever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from meadow.errors import FileError
from meadow.models.checkpoints import is_complete, publish, refuse_torn, rotate


def published(folder: Path, step: int) -> Path:
    staged = folder / ".saving"
    staged.mkdir(parents=True)
    (staged / "model.safetensors").write_bytes(b"weights")
    publish(staged, folder / f"checkpoint-{step}", step)
    return folder / f"checkpoint-{step}"


def test_a_cut_file_is_a_torn_checkpoint_for_evaluation_too(tmp_path) -> None:
    from evaluation.local import load

    whole = published(tmp_path, 1)
    assert is_complete(whole)
    refuse_torn(whole, marked=True)
    refuse_torn(tmp_path)  # somebody else's folder has no mark
    with pytest.raises(FileError, match="torn"):
        refuse_torn(tmp_path, marked=True)
    (whole / "model.safetensors").write_bytes(b"weig")
    with pytest.raises(FileError, match="torn"):
        load(str(whole))


def test_the_best_step_is_not_rotated_away(tmp_path) -> None:
    for step in (1, 2, 3, 4):
        published(tmp_path, step)
    rotate(tmp_path, 1, best=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4"]
