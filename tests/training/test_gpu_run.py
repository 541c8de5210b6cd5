"""The GPU run goes through on a processor, with tiny shapes: it must work the first time."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def test_every_part_of_the_gpu_run_goes_through(root, tmp_path) -> None:
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        ["bash", str(root / "tests/gpu/run.sh"), "--tiny", "--out", str(out)],
        env=os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "",
                          "WHEELS": str(tmp_path / "none"), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    document = json.loads(out.read_text())
    assert document == json.loads(done.stdout[done.stdout.index("{\n") :])
    parts = document["parts"]
    assert {name for name, part in parts.items() if "left_out" in part} == {"flex-full-1b"}
    for name in ("full-1b", "lora-7b", "qlora-8b"):
        part = parts[name]
        assert part["steps"] == 3
        assert part["packing_check"]["leak"] == 0
        assert part["tokens_per_second"] > 0
        assert part["plan_gb"] == sum(part["plan_parts_gb"].values())
        assert part["mfu"] is part["peak_gb"] is None  # of a card alone
        assert document["compared"][f"{name} / TRL"] > 0
    assert parts["scorer"]["largest_difference"] < 0.5
    assert not list(tmp_path.glob("meadow-gpu-*"))
