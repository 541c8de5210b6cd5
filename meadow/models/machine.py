"""What a number can depend on beside its inputs: libraries, hardware, and the process group.

A run manifest, run.json and MANIFEST.json say it in the same words, so that two runs that differ
can be compared. No torch at import.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Python's version, and that of each library that is installed."""
    found = {"python": platform.python_version()}
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def hardware() -> dict[str, Any]:
    """What the last bits of a number can depend on: processor, threads and GPUs."""
    import torch

    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpu_capability": str(capability()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def device_gb(local_processes: int = 1) -> tuple[float, str]:
    """GB (1e9 bytes) of the device that this process would compute on, and what it is."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return properties.total_memory / 1e9, properties.name
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return pages / 1e9 / local_processes, "the processor's memory"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among all of a run, as torchrun and accelerate launch say it."""

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """From RANK and WORLD_SIZE."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def owns(self, index: int) -> bool:
        """Whether a batch is this process's: whole batches go round, so shapes stay the same."""
        return index % self.size == self.rank

    def wait(self) -> None:
        """Until every process is here."""
        if self.size == 1:
            return
        from torch import distributed

        if not distributed.is_initialized():
            # the slowest process decides; the default of half an hour would end a long run
            distributed.init_process_group("gloo", timeout=timedelta(days=30))
        distributed.barrier()

    def leave(self) -> None:
        """End the group that `wait` began."""
        if self.size == 1:
            return
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()
