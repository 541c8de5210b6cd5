"""Exam files from the Hub: fetched on request, never shipped; their hashes are kept.

Revisions are pinned by the first download: `exams.lock.json` beside the files records the commit
and every file's SHA-256, and a later download that differs stops with exit code 5.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ValidationError

from meadow.atomic import sha256_file, write_json
from meadow.config import did_you_mean
from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.exams.items import MMLU_SUBJECTS
from meadow.net.hub import HubClient

LOCK = "exams.lock.json"


class Lock(BaseModel):
    """What the first download found: the commit, and a SHA-256 by file name."""

    repository: str
    revision: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Remote:
    """Where an exam lies on the Hub.

    Args:
        repository: OWNER/NAME of a dataset.
        files: Paths in it.
        revision: A commit, where one is known.
    """

    repository: str
    files: tuple[str, ...]
    revision: str | None = None


REMOTES: dict[str, Remote] = {
    "usmle_self_assessment": Remote(
        "medalpaca/medical_meadow_usmle_self_assessment",
        (
            *(f"step{n}{part}.json" for part in ("", "_solutions") for n in (1, 2, 3)),
            "question_with_images.json",
        ),
    ),
    "medqa": Remote(
        "bigbio/med_qa",
        ("med_qa_en_source/test/0000.parquet",),
        "e04abdc0672c54547fa1dbe36cfefc000e4f2657",
    ),
    "mmlu_medical": Remote(
        "cais/mmlu",
        tuple(f"{subject}/test-00000-of-00001.parquet" for subject in sorted(MMLU_SUBJECTS)),
    ),
    "medmcqa": Remote("openlifescienceai/medmcqa", ("data/validation-00000-of-00001.parquet",)),
    "pubmedqa": Remote("qiaojin/PubMedQA", ("pqa_labeled/train-00000-of-00001.parquet",)),
}


def exam_files(exam: str, folder: Path | None = None) -> list[Path]:
    """The files of an exam, downloaded where they are not here yet.

    Args:
        exam: One of `REMOTES`.
        folder: By default MEADOW_EXAMS, else the user's cache, with a folder per exam.

    Raises:
        UsageError: The exam has no known place on the Hub.
        NetworkError: The Hub could not be reached.
        UpstreamChangedError: A file is not what the lock remembers.
    """
    remote = REMOTES.get(exam)
    if remote is None:
        raise UsageError(
            f"exam {exam!r} has no download",
            fix=f"{did_you_mean(exam, REMOTES)}name its files with --file (downloads: "
            f"{', '.join(REMOTES)})",
        )
    cache = os.environ.get("MEADOW_EXAMS") or "~/.cache/medical-meadow/exams"
    home = folder or Path(cache).expanduser() / exam
    paths = [home / name for name in remote.files]
    lock = _read_lock(home / LOCK)
    if lock is None or not all(path.exists() for path in paths):
        lock = _download(remote, home, lock)
    for name, path in zip(remote.files, paths, strict=True):
        if sha256_file(path) != lock.files.get(name):
            raise UpstreamChangedError(
                f"{name} is not the file that was downloaded first",
                where=str(path),
                fix=f"delete {home} to take the new file, and expect other numbers",
            )
    return paths


def _read_lock(path: Path) -> Lock | None:
    if not path.exists():
        return None
    try:
        return Lock.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise FileError(
            "the lock cannot be read", where=str(path), fix="delete it and its folder"
        ) from error


def _download(remote: Remote, home: Path, lock: Lock | None) -> Lock:
    from huggingface_hub import hf_hub_download

    hub, where = HubClient(), f"datasets/{remote.repository}"
    revision = lock.revision if lock else remote.revision
    if revision is None:
        facts = hub.call(where, lambda: hub.api.dataset_info(remote.repository))
        revision = str(facts.sha)
    files = dict(lock.files) if lock else {}
    for name in remote.files:
        fetch = partial(hf_hub_download, remote.repository, name, repo_type="dataset",
                        revision=revision, local_dir=home)  # fmt: skip
        files.setdefault(name, sha256_file(Path(hub.call(f"{where}/{name}", fetch))))
    lock = Lock(repository=remote.repository, revision=revision, files=files)
    write_json(home / LOCK, lock.model_dump())
    return lock
