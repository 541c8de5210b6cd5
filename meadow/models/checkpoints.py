"""Checkpoints that are whole or absent.

Trainer writes into the folder that it will later resume from, so that a kill leaves a torn one.
Here a checkpoint is written under another name, put on disk, given a completion mark that lists
every file with its size, and renamed. Resuming takes the newest whole one, and evaluation scores
none that is torn.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from meadow.atomic import fsync_file, fsync_folder, naming, write_json
from meadow.errors import FileError, UsageError

MARK = "COMPLETE.json"
STAGING = ".saving"
UNUSED = ("training_args.bin",)
_TORCH = ("inline_container", "iostream error", "PytorchStreamWriter")
"""What torch says where a file could not be written; the system's reason is lost."""
_NAME = re.compile(r"checkpoint-(\d+)")


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """Let a file that the libraries cannot write be an expected fault, below `path`.

    Raises:
        FileError: It was that.
    """
    with naming(path):
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if "Reader" in text or not any(mark in text for mark in _TORCH):
                raise
            raise FileError(
                "a checkpoint could not be written: the disk is full, or out of order",
                where=str(path),
                fix="make room and run the same command again: it goes on where it was",
            ) from error


def publish(staged: Path, final: Path, step: int) -> None:
    """Make a finished folder be the checkpoint `final`."""
    for name in UNUSED:
        (staged / name).unlink(missing_ok=True)
    files = {}
    for path in walk(staged):
        fsync_file(path)
        files[path.relative_to(staged).as_posix()] = path.stat().st_size
    for folder in {path.parent for path in walk(staged)}:
        fsync_folder(folder)
    write_json(staged / MARK, {"step": step, "files": files})
    if final.exists():
        shutil.rmtree(final)
    staged.replace(final)
    fsync_folder(final.parent)


def walk(folder: Path) -> list[Path]:
    """Every file below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def is_complete(checkpoint: Path) -> bool:
    """Whether every file that the completion mark lists is there in its size."""
    try:
        mark = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        return all(
            (checkpoint / name).stat().st_size == size for name, size in mark["files"].items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def refuse_torn(folder: Path, *, marked: bool = False) -> None:
    """Refuse a checkpoint whose files are missing or cut.

    `marked`: it has to have a completion mark, as every one of a run folder has.

    Raises:
        FileError: It is torn.
    """
    if (marked or (folder / MARK).is_file()) and not is_complete(folder):
        raise FileError(
            "the checkpoint is torn: files are missing or cut",
            where=str(folder),
            fix="name another checkpoint, or run `meadow train` again to continue",
        )


def refuse_taken(out: Path) -> None:
    """A model is exported to a folder that is new or empty.

    Raises:
        UsageError: It is neither.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError("the output folder is not empty", where=str(out), fix="choose another")


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, checkpoint) of every checkpoint, whole or not, oldest first."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*"))
    return sorted((int(name[1]), path) for name, path in found if name and path.is_dir())


def last_complete(folder: Path) -> tuple[int, Path] | None:
    """The newest whole checkpoint, or None."""
    return next((one for one in reversed(checkpoints(folder)) if is_complete(one[1])), None)


def rotate(folder: Path, keep: int, best: int | None = None) -> None:
    """Keep the newest `keep` whole checkpoints and the best step's; torn and older ones go."""
    whole = [path for _, path in checkpoints(folder) if is_complete(path)]
    kept = {*whole[-keep:], folder / f"checkpoint-{best}"}
    for _, path in checkpoints(folder):
        if path not in kept:
            # what stays of it is torn, and goes with the next rotation
            shutil.rmtree(path, ignore_errors=True)
