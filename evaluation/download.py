"""Exam files from the Hub: fetched on request, never shipped; their hashes are kept.

An exam has a place there by its name, also at a revision (`medqa@v2`); any other file has an
address (`hf://datasets/OWNER/NAME@REVISION/PATH`). Commits are pinned by the first download:
`exams.lock.json` beside the files records the commit and every file's SHA-256, and a later download
that differs stops with exit code 5.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from pydantic import BaseModel, ValidationError

from meadow.atomic import sha256_file, write_json
from meadow.config import did_you_mean
from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.exams.items import MMLU_SUBJECTS
from meadow.net.hub import HubClient, parse_file_address, parse_reference

LOCK = "exams.lock.json"


class Lock(BaseModel):
    """What the first download found: the commit, and a SHA-256 by file name."""

    repository: str
    revision: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Remote:
    """Where an exam lies on the Hub."""

    repository: str  # OWNER/NAME of a dataset
    files: tuple[str, ...]  # paths in it
    revision: str | None = None  # a commit, where one is known


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
    "medxpertqa": Remote("TsinghuaC3I/MedXpertQA", ("Text/test.jsonl",)),
    "mmlu_pro_health": Remote("TIGER-Lab/MMLU-Pro", ("data/test-00000-of-00001.parquet",)),
    "medexpqa": Remote("HiTZ/MedExpQA", ("data/en/test.en.casimedicos.rag.jsonl",)),
    "afrimed_qa": Remote("afrimedqa/afrimedqa_v2", ("afri_med_qa_15k_v2.4_phase_2_15275.csv",)),
    "healthbench": Remote("openai/healthbench", ("2025-05-07-06-14-12_oss_eval.jsonl",)),
    "healthbench_hard": Remote("openai/healthbench", ("hard_2025-05-08-21-00-10.jsonl",)),
    "healthbench_consensus": Remote("openai/healthbench", ("consensus_2025-05-09-20-00-46.jsonl",)),
}


def exam_files(exam: str, folder: Path | None = None) -> list[Path]:
    """The files of an exam, downloaded where they are not here yet.

    `exam` is one of `REMOTES`, also as NAME@REVISION.

    Raises:
        UsageError: The exam has no known place on the Hub.
        NetworkError: The Hub could not be reached.
        UpstreamChangedError: A file is not what the lock remembers.
    """
    name, at, revision = exam.partition("@")
    remote = REMOTES.get(name)
    if remote is None:
        raise UsageError(
            f"exam {exam!r} has no download",
            fix=f"{did_you_mean(name, REMOTES)}name its files with --file (downloads: "
            f"{', '.join(REMOTES)})",
        )
    if at:
        parse_reference(f"{remote.repository}@{revision}")  # refuses what is no revision
        remote = replace(remote, revision=unquote(revision))
    return _fetched(remote, folder or _cache() / quote(exam, safe="@"))


def hub_file(address: str) -> Path:
    """A file of an exam by its address on the Hub, downloaded where it is not here yet."""
    found = parse_file_address(address)
    home = _cache() / quote(f"{found.repository}@{found.revision}", safe="@")
    return _fetched(Remote(found.repository, (found.path,), found.revision), home)[0]


def origin(path: Path) -> dict[str, str]:
    """Repository and commit of a downloaded file; nothing of one's own files."""
    for folder in path.parents[:4]:
        lock = _read_lock(folder / LOCK)
        if lock and path.relative_to(folder).as_posix() in lock.files:
            return {"repository": lock.repository, "revision": lock.revision}
    return {}


def _cache() -> Path:
    """MEADOW_EXAMS, else the user's cache."""
    return Path(os.environ.get("MEADOW_EXAMS") or "~/.cache/medical-meadow/exams").expanduser()


def _fetched(remote: Remote, home: Path) -> list[Path]:
    paths = [home / name for name in remote.files]
    lock = _read_lock(home / LOCK)
    if (
        lock is None
        or not all(path.exists() for path in paths)
        or remote.files[0] not in lock.files
    ):
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
    if lock is None:
        # asked of a pinned commit too: the library's download tries ten times where nobody answers
        facts = hub.call(
            where, lambda: hub.api.dataset_info(remote.repository, revision=remote.revision)
        )
    revision = lock.revision if lock else str(facts.sha)
    files = dict(lock.files) if lock else {}
    for name in remote.files:
        fetch = partial(hf_hub_download, remote.repository, name, repo_type="dataset",
                        revision=revision, local_dir=home)  # fmt: skip
        files.setdefault(name, sha256_file(Path(hub.call(f"{where}/{name}", fetch))))
    lock = Lock(repository=remote.repository, revision=revision, files=files)
    write_json(home / LOCK, lock.model_dump())
    return lock
