"""Which files of a model are loaded as weights: safetensors, and nothing that can run code.

PyTorch's own format is Python's serialisation. A library may fall back to it where a folder holds
no safetensors, or be led to it by a name in an index or a configuration; so both are looked at
before anything is loaded. No torch here: only names are compared.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from meadow.errors import FileError, RefusedError

INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
SERIALISED = re.compile(
    r".*\.(?:bin|pt|pth|pkl|pickle|ckpt|joblib|msgpack|h5)|.*\.bin\.index\.json", re.I
)
"""Names of weights in other formats, most of which run code when they are loaded."""
_SHARD = re.compile(r"[\w.-]+\.safetensors")
_SMALL = 64 * 1024**2
FIX = (
    "--convert-weights converts them once, reading tensors and nothing else (docs/train.md, "
    "'Weights in another format')"
)


def check_model(model: str, revision: str | None = None) -> str | None:
    """Refuse a model whose weights are not safetensors, before any of them is loaded.

    Returns:
        For a repository, the commit that was looked at and has to be loaded; None for a folder.

    Raises:
        RefusedError: There are weights, and they are in another format.
        OSError: As huggingface_hub raises for a repository that cannot be read.
        ValueError: The name is neither a folder nor a repository.
    """
    # transformers would ask a service on the Hub to convert such weights, and load its answer
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    folder = Path(model)
    if folder.is_dir():
        _check_names(model, [path.name for path in folder.iterdir()])
        _check_documents(model, folder / INDEX, folder / "config.json")
        return None
    config, index = (_fetch(model, name, revision) for name in ("config.json", INDEX))
    commit = config.parent.name if config is not None else revision
    if config is not None and index is None:
        _check_names(model, _listing(model, commit))
    _check_documents(model, index, config)
    return commit


@cache
def is_out_of_reach() -> bool:
    """Whether the Hub's host has no address here: then the client's cache is asked alone.

    The library tries a name that cannot be resolved six times and more, for every file.
    """
    from huggingface_hub import constants

    if getproxies():
        return False  # the proxy resolves names
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except (OSError, ValueError):  # no address, or none that can be one
        return True
    return False


def check_at_hand(model: str, revision: str | None = None, *, adapter: bool = False) -> None:
    """Refuse a folder that is not there and a repository that nobody can fetch, without torch.

    Raises:
        FileError: It is no folder, or is not in the client's cache while the Hub's host has no
            address here.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(model).is_dir():
        return
    if model.startswith(("/", ".", "~")):
        raise FileError("no such checkpoint folder", where=model, fix="check the path")
    if not is_out_of_reach():
        return
    name = "adapter_config.json" if adapter else "config.json"
    try:
        held = isinstance(try_to_load_from_cache(model, name, revision=revision), str)
    except HFValidationError:
        held = False
    if not held:
        raise out_of_reach("adapter" if adapter else "model", model)


def out_of_reach(what: str, where: str) -> FileError:
    """The error for what is neither here nor to be fetched."""
    return FileError(
        f"the {what} is not on this machine, and the Hub's host cannot be resolved",
        where=where,
        fix="look at the network, or name a folder with config.json, weights and tokenizer",
    )


def adapter_folder(adapter: str) -> Path:
    """The folder of a PEFT adapter in safetensors, fetched where it is on the Hub.

    Raises:
        RefusedError: Its weights are in another format.
        FileError: There is no adapter.
        OSError: As huggingface_hub raises for a repository that cannot be read.
        ValueError: The name is neither a folder nor a repository.
    """
    folder = Path(adapter)
    if not folder.is_dir():
        config = _fetch(adapter, "adapter_config.json", None)
        if config is None:
            raise FileError(
                "no adapter there", where=adapter, fix="name a folder or a Hub repository"
            )
        commit = config.parent.name
        if _fetch(adapter, ADAPTER, commit) is None:
            _check_names(adapter, _listing(adapter, commit))
        folder = config.parent
    if not (folder / ADAPTER).is_file():
        if folder == Path(adapter):
            _check_names(adapter, [path.name for path in folder.iterdir()])
        raise FileError(f"no {ADAPTER} there", where=adapter, fix="name a folder that has one")
    return folder


def _check_names(where: str, names: Iterable[str]) -> None:
    """Weights in another format, and none in safetensors."""
    names = sorted(names)
    serialised = [name for name in names if SERIALISED.fullmatch(name)]
    if serialised and not any(name.endswith(".safetensors") for name in names):
        raise _refused(where, serialised[0])


def _check_documents(where: str, index: Path | None, config: Path | None) -> None:
    """Files that an index or a configuration names as weights, by names of their choosing."""
    named: list[Any] = []
    shards = _read(index).get("weight_map")
    named += shards.values() if isinstance(shards, dict) else []
    chosen = _read(config).get("transformers_weights")
    named += [] if chosen in (None, INDEX) else [chosen]
    for name in named:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise _refused(where, str(name)[:100])


def _refused(where: str, name: str) -> RefusedError:
    return RefusedError(
        f"weights are loaded from safetensors only, and {name!r} is in a format that can run code",
        where=where,
        fix=FIX,
    )


def _read(path: Path | None) -> dict[str, Any]:
    """A JSON object; {} where there is none: the library that loads it will say so."""
    try:
        if path is None or path.stat().st_size > _SMALL:
            return {}
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _fetch(repository: str, name: str, revision: str | None) -> Path | None:
    """A small file of a model repository, in the client's cache; None where there is none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        local = is_out_of_reach()
        return Path(hf_hub_download(repository, name, revision=revision, local_files_only=local))
    except EntryNotFoundError:
        return None


def _listing(repository: str, revision: str | None) -> list[str]:
    """The names in a repository; [] where the Hub cannot be asked and only the cache speaks."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    if is_out_of_reach():
        return []
    try:
        return HfApi().list_repo_files(repository, revision=revision)
    except OfflineModeIsEnabled:
        return []
