"""A process of its own: one checkpoint in PyTorch's format in, safetensors out, tensors alone.

Started by `meadow.models.convert` as a script that imports nothing of this project, without the
user's environment. The file is read with `weights_only=True`, which builds tensors and refuses
whatever else a pickle can ask for; from then on this process starts no program and opens no
connection, even if that guard should have a hole. What is no strided tensor under a name is
refused.

    python -I tensors_only.py SOURCE.bin TARGET.safetensors
"""

from __future__ import annotations

import sys
import zipfile
from typing import Any

import torch
from safetensors.torch import save_file

FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.")


def refuse(event: str, arguments: Any) -> None:
    """Python's audit hook."""
    if event.startswith(FORBIDDEN):
        raise PermissionError(f"{event} while weights are read")


def main(source: str, target: str) -> None:
    """Convert one file.

    Raises:
        SystemExit: It holds anything but tensors; the message says what.
    """
    sys.addaudithook(refuse)
    try:
        held = torch.load(  # noqa: TID251 - the one place, and in a process of its own
            source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source)
        )
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        sys.exit(f"not read as tensors: {reason[0][:200]}")
    if not isinstance(held, dict):
        sys.exit(f"not a table of tensors, but {type(held).__name__}")
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in held.items():
        plain = type(value) in (torch.Tensor, torch.nn.Parameter)
        if not isinstance(name, str) or not plain or value.layout is not torch.strided:
            sys.exit(f"{str(name)[:100]!r} is no tensor, but {type(value).__name__}")
        tensor = value.detach().contiguous()
        # tensors that share their numbers, or are a part of others, are written each for itself
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes
        seen.add(storage.data_ptr())
        found[name] = tensor.clone() if shared else tensor
    save_file(found, target, metadata={"format": "pt"})


if __name__ == "__main__":
    main(*sys.argv[1:])
