"""`meadow doctor`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from meadow import __version__
from meadow.cli.app import PATH, Finish, json_option

EXTRAS = {
    "train": ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "sentencepiece"),
    "eval": ("torch", "transformers", "sentencepiece"),
    "ray": ("ray",),
    "s3": ("s3fs",),
    "semantic": ("sentence_transformers",),
    "notebook": ("altair", "great_tables", "itables"),
}


@click.command()
@click.option("--raw", type=PATH, help="The folder of raw files.")
@json_option
def doctor(raw: Path | None, as_json: bool) -> None:
    """Say what this machine has and what is missing.

    Tokens are looked for and never printed.
    """
    from meadow.config import read_config

    finish = Finish(as_json=as_json)
    config = read_config()
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "medical-meadow": __version__,
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "raw": str(config.raw_folder(raw)),
        "raw_free_gb": _free_gb(config.raw_folder(raw)),
        "libraries": {
            name: metadata.version(name)
            for name in ("pyarrow", "polars", "pandas", "datasets", "huggingface_hub")
        },
        "extras": {
            extra: [name for name in names if importlib.util.find_spec(name) is None]
            for extra, names in EXTRAS.items()
        },
        "checkout": importlib.util.find_spec("pipelines") is not None,
        "gpu": _gpu(),
        "hub": _hub(),
        "contact": bool(config.contact),
    }
    advice = _advice(found)
    finish({**found, "advice": advice}, page=_page(found, advice))


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError):
        return None


def _free_gb(path: Path) -> float:
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    return round(shutil.disk_usage(existing).free / 1e9, 1)


def _gpu() -> dict[str, Any]:
    """The installed torch and the driver's devices; torch itself takes seconds to import."""
    installed = importlib.util.find_spec("torch") is not None
    devices: list[str] = []
    if program := shutil.which("nvidia-smi"):
        words = [program, "--query-gpu=name", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
            devices = [line.strip() for line in told.stdout.splitlines() if line.strip()]
    return {"torch": metadata.version("torch") if installed else None, "devices": devices}


def _hub() -> dict[str, Any]:
    from huggingface_hub import constants, get_token

    return {
        "endpoint": constants.ENDPOINT,
        "token": "set" if get_token() else "not set",
        "offline": bool(constants.HF_HUB_OFFLINE),
    }


def _advice(found: dict[str, Any]) -> list[str]:
    advice = []
    for extra, missing in found["extras"].items():
        if missing and (found["checkout"] or extra not in {"train", "eval"}):
            names = ", ".join(missing)
            advice.append(f"{extra}: {names} missing: pip install 'medical-meadow[{extra}]'")
    if not found["checkout"]:
        advice.append(
            "train, eval and study need a checkout of the repository: clone it, and there "
            "pip install -e '.[train,eval]'"
        )
    if found["hub"]["token"] == "not set":  # noqa: S105 - a state, not a token
        advice.append("publishing needs a token: hf auth login, or HF_TOKEN")
    if not found["contact"]:
        advice.append("crawling and takedown need `contact` in meadow.toml")
    if found["raw_free_gb"] < 25:
        advice.append("the full raw corpus needs about 25 GB free")
    return advice


def _page(found: dict[str, Any], advice: list[str]) -> str:
    gpu = found["gpu"]
    devices = ", ".join(gpu["devices"]) or "no GPU"
    lines = [
        f"medical-meadow {found['medical-meadow']}, Python {found['python']}, {found['platform']}",
        f"cores {found['cores']}, memory {found['memory_gb']} GB",
        f"raw folder {found['raw']}: {found['raw_free_gb']} GB free",
        f"torch {gpu['torch'] or 'not installed'}, {devices}",
        f"Hub {found['hub']['endpoint']}, token {found['hub']['token']}",
        "libraries " + ", ".join(f"{name} {v}" for name, v in found["libraries"].items()),
    ]
    lines += [f"- {line}" for line in advice] or ["nothing is missing"]
    return "\n".join(lines)
