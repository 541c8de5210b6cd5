"""Exam files from the Hub: fetched on request, never shipped; their hashes are kept.

Revisions are pinned by the first download: `exams.lock.json` beside the files records the commit
and every file's SHA-256, and a later download that differs stops with exit code 5.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file, write_json
from meadow.errors import FileError, NetworkError, UpstreamChangedError, UsageError
from meadow.net.redaction import redact

LOCK = "exams.lock.json"


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


SUBJECTS = ("anatomy", "clinical_knowledge", "college_biology", "college_medicine",
            "medical_genetics", "professional_medicine")  # fmt: skip
REMOTES: dict[str, Remote] = {
    "usmle_self_assessment": Remote(
        "medalpaca/medical_meadow_usmle_self_assessment",
        (
            *(f"step{n}.json" for n in (1, 2, 3)),
            *(f"step{n}_solutions.json" for n in (1, 2, 3)),
            "question_with_images.json",
        ),
    ),
    "medqa": Remote(
        "bigbio/med_qa",
        ("med_qa_en_source/test/0000.parquet",),
        "e04abdc0672c54547fa1dbe36cfefc000e4f2657",
    ),
    "mmlu_medical": Remote(
        "cais/mmlu", tuple(f"{subject}/test-00000-of-00001.parquet" for subject in SUBJECTS)
    ),
    "medmcqa": Remote("openlifescienceai/medmcqa", ("data/validation-00000-of-00001.parquet",)),
    "pubmedqa": Remote("qiaojin/PubMedQA", ("pqa_labeled/train-00000-of-00001.parquet",)),
}


def exam_files(exam: str, folder: Path | None = None) -> list[Path]:
    """The files of an exam, downloaded where they are not here yet.

    Raises:
        UsageError: The exam has no known place on the Hub.
        NetworkError: The Hub could not be reached.
        UpstreamChangedError: A file is not what the lock remembers.
    """
    remote = REMOTES.get(exam)
    if remote is None:
        known = ", ".join(REMOTES)
        raise UsageError(
            f"exam {exam!r} has no download", fix=f"name its files with --file (downloads: {known})"
        )
    home = folder or _folder() / exam
    lock_path = home / LOCK
    lock = _read_lock(lock_path)
    paths = [home / name for name in remote.files]
    if not all(path.exists() for path in paths) or not lock:
        lock = _download(remote, home, lock)
    for name, path in zip(remote.files, paths, strict=True):
        if sha256_file(path) != lock["files"][name]:
            raise UpstreamChangedError(
                f"{name} is not the file that was downloaded first",
                where=str(path),
                fix=f"delete {home} to take the new file, and expect other numbers",
            )
    return paths


def _folder() -> Path:
    cache = os.environ.get("MEADOW_EXAMS")
    return Path(cache) if cache else Path.home() / ".cache" / "medical-meadow" / "exams"


def _read_lock(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(lock["files"], dict):
            raise TypeError("files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            "the lock cannot be read", where=str(path), fix="delete it and its folder"
        ) from error
    return lock


def _download(remote: Remote, home: Path, lock: dict[str, Any]) -> dict[str, Any]:
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    revision = lock.get("revision") or remote.revision
    found: dict[str, str] = dict(lock.get("files", {}))
    commit = revision
    try:
        if commit is None:
            from huggingface_hub import HfApi

            commit = HfApi().dataset_info(remote.repository).sha
        for name in remote.files:
            path = Path(
                hf_hub_download(
                    remote.repository,
                    name,
                    repo_type="dataset",
                    revision=commit,
                    local_dir=home,
                )
            )
            found.setdefault(name, sha256_file(path))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        raise NetworkError(
            f"the exam could not be downloaded: {redact(str(error).strip().partition(chr(10))[0])}",
            where=remote.repository,
            fix="download the files by hand and name them with --file",
        ) from error
    lock = {"repository": remote.repository, "revision": commit, "files": found}
    write_json(home / LOCK, lock)
    return lock
