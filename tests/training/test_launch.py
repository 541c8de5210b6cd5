"""Launch files: they parse, and each starts this package with the arguments it knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.config import load_recipe

HERE = "training/launch"


@pytest.fixture
def folder(root) -> Path:
    return root / HERE


def test_the_slurm_script_is_bash_and_says_its_usage(folder) -> None:
    script = folder / "train.slurm"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    bare = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert bare.returncode == 2
    assert "usage: sbatch" in bare.stderr


def test_accelerate_reads_its_configuration(folder) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config: Any = load_config_from_file(str(folder / "accelerate.yaml"))
    assert config.num_processes == 8
    assert config.distributed_type == "MULTI_GPU"


def test_the_cloud_file_names_a_recipe_and_runs_bash(folder) -> None:
    document = yaml.safe_load((folder / "skypilot.yaml").read_text())
    assert load_recipe(document["envs"]["RECIPE"]).run.fsdp
    for part in ("setup", "run"):
        done = subprocess.run(["bash", "-n"], input=document[part], text=True, check=False)
        assert done.returncode == 0
    assert "-m training" in document["run"]


def test_every_recipe_that_the_page_names_is_there(folder) -> None:
    text = (folder / "README.md").read_text()
    for name in set(re.findall(r"\b(?:med)?alpaca-\d+b[\w-]*", text)):
        assert load_recipe(name).method == "full"
