"""An exported model goes to the Hub, without what runs code on loading."""

from __future__ import annotations

import re
from pathlib import Path

from meadow.errors import RefusedError
from meadow.net.hub import HubClient

NEVER_SHARED = re.compile(
    r"optimizer\.pt|scheduler\.pt|scaler\.pt|rng_state.*\.pth|.*\.bin|.*\.pkl"
)
"""Files in Python's serialisation: resume state, which stays local."""


def push_model(folder: Path, repository: str, *, private: bool = True) -> dict[str, str]:
    """Upload a folder that `meadow export` wrote to the Hub, in one commit.

    Returns:
        {"repository", "commit", "url"}.

    Raises:
        RefusedError: The folder holds files in Python's serialisation.
        NetworkError: The Hub could not be reached, or refused.
    """
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    unsafe = sorted(filter(NEVER_SHARED.fullmatch, names))
    if unsafe:
        raise RefusedError(
            f"files that run code on loading are not published: {', '.join(unsafe)}",
            where=str(folder),
            fix="push a folder that `meadow export` wrote",
        )
    client = HubClient()
    api = client.api
    client.call(repository, api.create_repo, repository, private=private, exist_ok=True)
    commit = client.call(
        repository,
        api.upload_folder,
        repo_id=repository,
        folder_path=str(folder),
        commit_message="Upload a model trained with Medical Meadow",
    )
    return {"repository": repository, "commit": str(commit.oid), "url": str(commit.commit_url)}
