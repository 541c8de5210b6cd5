"""Weights in PyTorch's own format, turned into safetensors once, where somebody says so.

Most checkpoints of 2023 exist in no other form. Their format is Python's serialisation, so they are
read in a process of its own that takes tensors and nothing else (`meadow.models.tensors_only`), and
what comes out is what everything else here loads. It stands in the user's cache, in a folder named
by the hash of what went in, with that hash and those of the results beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from meadow.atomic import fsync_file, fsync_folder, sha256_file, write_json
from meadow.errors import FileError, RefusedError
from meadow.models import tensors_only
from meadow.models.weights import adapter_folder, check_model

CACHE = Path("~/.cache/medical-meadow/converted")
NOTE = "CONVERTED.json"
"""In the folder of the result: where it comes from, and the hashes of both sides."""
_WEIGHTS = re.compile(r"(pytorch_model(?:-\d{5}-of-\d{5})?|adapter_model)\.bin")
_DOCUMENTS = ("*.json", "*.model", "*.txt", "*.jinja")


def needs_conversion(model: str, revision: str | None = None, *, adapter: bool = False) -> bool:
    """Whether a model's or an adapter's weights exist, and in no safe format.

    Whatever else may be wrong with it is said by whoever loads it.
    """
    try:
        adapter_folder(model) if adapter else check_model(model, revision)
    except RefusedError:
        return True
    except (OSError, ValueError, FileError):
        return False
    return False


def convert(model: str, revision: str | None = None) -> Path:
    """The folder of the same model or adapter in safetensors, made now or earlier.

    Raises:
        RefusedError: There is anything but tensors in the weights.
        FileError: There are no weights under the names that PyTorch's format has, or they cannot be
            fetched.
    """
    source = _fetched(model, revision)
    names = sorted(path.name for path in source.iterdir() if _WEIGHTS.fullmatch(path.name))
    if not names:
        raise FileError(
            "no pytorch_model.bin or adapter_model.bin there",
            where=model,
            fix="name a checkpoint as transformers or peft wrote it",
        )
    hashes = {name: sha256_file(source / name) for name in names}
    # what stands beside the weights is copied: another configuration is another model
    beside = {path.name: sha256_file(path) for path in _documents(source)}
    identity = hashlib.sha256(json.dumps([hashes, beside], sort_keys=True).encode()).hexdigest()
    target = CACHE.expanduser() / f"{Path(model).name}-{identity[:16]}"
    if (target / NOTE).is_file():
        return target
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    staging.mkdir(parents=True, exist_ok=True)
    try:
        written = {name: _tensors(source / name, staging / _safe(name)) for name in names}
        _copy_documents(source, staging, written)
        note = {
            "source": model,
            "revision": revision,
            "sha256": hashes,
            "converted": {_safe(name): sha256_file(staging / _safe(name)) for name in names},
        }
        # last: its existence says that the folder is whole
        for path in staging.iterdir():
            fsync_file(path)
        write_json(staging / NOTE, note)
        if not target.exists():
            staging.replace(target)
            fsync_folder(target.parent)
    except OSError as error:
        raise FileError(
            f"the converted weights cannot be written: {error.strerror}", where=str(target)
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _fetched(model: str, revision: str | None) -> Path:
    """The folder of a model, fetched where it is on the Hub: weights and small documents alone."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    wanted = [*_DOCUMENTS, "pytorch_model*.bin", "adapter_model.bin"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise FileError(
            f"the weights cannot be fetched: {str(error).strip().splitlines()[0][:200]}",
            where=model,
            fix="check the name and the network",
        ) from error


def _tensors(source: Path, target: Path) -> list[str]:
    """Convert one file in a process of its own; returns the tensors' names."""
    program = str(Path(str(tensors_only.__file__)))
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", program, str(source), str(target)],
        env=kept | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise RefusedError(
            f"the weights are not converted: {last[:300]}",
            where=str(source),
            fix="name another copy of the model; weights are tensors and nothing else",
        )
    with target.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return [name for name in header if name != "__metadata__"]


def _documents(source: Path) -> list[Path]:
    """Configuration and tokenizer; an index of the shards is written anew."""
    found = {path for pattern in _DOCUMENTS for path in source.glob(pattern)}
    return sorted(path for path in found if not path.name.endswith(".index.json"))


def _copy_documents(source: Path, target: Path, written: dict[str, list[str]]) -> None:
    """Configuration and tokenizer as they are, and an index of the shards."""
    for path in _documents(source):
        shutil.copyfile(path, target / path.name)
    if len(written) > 1:
        shards = {tensor: _safe(name) for name, tensors in written.items() for tensor in tensors}
        index = {"metadata": {}, "weight_map": shards}
        path = target / "model.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _safe(name: str) -> str:
    """pytorch_model-00001-of-00002.bin -> model-00001-of-00002.safetensors."""
    return name.removeprefix("pytorch_").removesuffix(".bin") + ".safetensors"
