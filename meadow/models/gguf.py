"""GGUF for llama.cpp and Ollama, by llama.cpp's own converter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from meadow.errors import MeadowError

CONVERTER = "convert_hf_to_gguf.py"
GGUF = "model.gguf"


def find_converter(named: Path | None) -> Path:
    """llama.cpp's converter: as named, in the folder LLAMA_CPP, or on the PATH.

    Raises:
        MeadowError: It is nowhere.
    """
    home = os.environ.get("LLAMA_CPP")
    places = [named, Path(home) / CONVERTER if home else None, shutil.which(CONVERTER)]
    for place in places:
        if place is not None and Path(place).is_file():
            return Path(place)
    raise MeadowError(
        f"llama.cpp's {CONVERTER} is not here",
        where=str(named or home or "PATH"),
        fix="clone llama.cpp and set LLAMA_CPP to its folder, or leave out --gguf",
    )


def convert(program: Path, folder: Path, dtype: str) -> None:
    """Run the converter.

    Raises:
        MeadowError: It failed; its last line is the message.
    """
    kinds = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    done = subprocess.run(
        [sys.executable, str(program), str(folder), "--outfile", str(folder / GGUF),
         "--outtype", kinds[dtype]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not (folder / GGUF).is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MeadowError(f"the converter failed: {last[:300]}", where=str(program))
