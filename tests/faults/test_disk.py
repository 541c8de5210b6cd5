"""Disks that have no room, a limit on the size of files, folders that nobody may write to."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.budget import note
from support.corpora import invented_questions, write_medqa
from support.fault_shim import snapshot
from support.fault_stages import Stage

SMALL = 2048
"""The limit of a file in bytes: below a shard of the samples."""


def helps(text: str, folder: Path) -> None:
    """A message that says what, where and what to do."""
    assert "Traceback" not in text
    assert "error: " in text
    assert f"where: {folder.resolve()}" in text
    assert "fix: " in text


@pytest.mark.parametrize("name", ["build", "rebuild", "mix", "remix"])
def test_a_limit_on_the_size_of_files(stage: Stage) -> None:
    stage.reset()
    ended = stage.run(limits={"RLIMIT_FSIZE": SMALL})
    assert ended.code == 1, ended.text
    helps(ended.text, stage.out)
    assert "the disk is full" in ended.text
    assert stage.torn() == []
    assert not [path for path in stage.out.rglob("*.part") if path.is_file()]
    assert stage.run().code == 0
    assert stage.read(stage.out) == stage.after
    note("fault_points")


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk in memory of that size; the test skips where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "meadow-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def meadow(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meadow", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_a_disk_of_two_megabytes(tmp_path: Path) -> None:
    """Full at first; the same command goes on when there is room, to the same bytes."""
    raw = tmp_path / "raw"
    write_medqa(raw, invented_questions(6000, seed=1))
    build = ("build", "--file", f"medqa={raw / 'medqa' / 'train.jsonl'}", "--out")
    with small_disk(tmp_path / "disk", "2m") as disk:
        ended = meadow(*build, disk / "out")
        assert ended.returncode == 1, ended.stderr
        helps(ended.stderr, disk)
        needed = re.search(r"the disk is full: the file needs more than (.*) MB", ended.stderr)
        assert needed, ended.stderr
        assert 0.1 <= float(needed[1]) <= 2.1
        assert not (disk / "out" / "MANIFEST.json").exists()
        assert shutil.disk_usage(disk).free > 0.9 * 2 * 2**20, "what was written is still there"
        remount(disk, "size=64m")
        ended = meadow(*build, disk / "out")
        assert ended.returncode == 0, ended.stderr
        roomy = meadow(*build, tmp_path / "roomy")
        assert roomy.returncode == 0, roomy.stderr
        assert snapshot(disk / "out") == snapshot(tmp_path / "roomy")
    note("fault_points")


@pytest.mark.parametrize("name", ["build"])
def test_a_folder_that_nobody_may_write_to(tmp_path: Path, stage: Stage) -> None:
    """Root may write anywhere but to a disk that is mounted so; others are held by the mode."""
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:
            folder = stack.enter_context(small_disk(tmp_path / "disk", "2m"))
            remount(folder, "ro")
        else:
            folder = tmp_path / "disk"
            folder.mkdir(mode=0o555)
        argv = (*stage.argv[:-1], folder / "out")
        ended = stage.warm.run(*argv)
        assert ended.code == 1, ended.text
        helps(ended.text, folder)
        assert list(folder.iterdir()) == []
    note("fault_points")
