"""`meadow eval` from the outside: documents and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evaluation.cli import compare, evaluate
from meadow.cli.app import COMMANDS
from meadow.errors import FileError, UsageError
from meadow.samples import FOLDER


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_help_is_the_tables_line() -> None:
    assert (evaluate.help or "").splitlines()[0] == COMMANDS["eval"][1]
    assert (compare.help or "").splitlines()[0] == COMMANDS["compare"][1]
    assert {"run", "report", "audit-images", "paper", "rescore"} <= set(evaluate.commands)
    assert all(command.help for command in evaluate.commands.values())


def test_run_report_compare(random_folder: Path, tmp_path: Path) -> None:
    one = ("run", "--model", random_folder, "--exam", "sample", "--limit", "6", "--json")
    for name, modes in (("a", "letter"), ("b", "letter,text")):
        result = invoke(*one, "--modes", modes, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        assert summary["n"] == 6
        assert summary == json.loads((tmp_path / name / "summary.json").read_text())
    result = invoke("report", tmp_path / "a", tmp_path / "b", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text()
    assert "Image audit" in page
    assert "12 questions on which the readings differ" in page
    result = CliRunner().invoke(compare, [str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    document = json.loads(result.stdout)
    assert document["modes"]["letter"]["difference"] == 0.0
    assert document["modes"]["letter"]["p"] == 1.0


def test_dry_runs_write_nothing(random_folder: Path, tmp_path: Path) -> None:
    result = invoke("run", "--model", random_folder, "--exam", "sample", "--dry-run", "--json",
                    "--out", tmp_path / "x")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scored"] == 54
    result = invoke("paper", "--run", "all", "--dry-run", "--out", tmp_path / "x")
    assert result.exit_code == 0, result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--exam", "sample"), UsageError, "no model"),
        (("--exam", "sample", "--model", "x", "--modes", "lettr"), UsageError, "unknown mode"),
        (("--exam", "medqua", "--model", "x"), UsageError, "no download"),
        (("--exam", "sample", "--model", "/not/there"), FileError, "no such checkpoint"),
        (("--exam", "sample", "--model", "x", "--shots", "2"), UsageError, "needs examples"),
        (("--exam", "medqa", "--model", "x", "--file", "/none"), FileError, "not found"),
    ],
)
def test_faults_say_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], error: type[Exception], words: str
) -> None:
    result = invoke("run", *arguments, "--out", tmp_path / "x")
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    if words in ("unknown mode", "no download"):
        assert "did you mean '" in str(result.exception.fix)
    assert not (tmp_path / "x").exists()


def test_few_shot_examples_from_a_file(random_folder: Path, tmp_path: Path) -> None:
    exam = FOLDER / "exam"
    result = invoke("run", "--model", random_folder, "--exam", "usmle_self_assessment", "--file",
                    exam, "--shots", "1", "--shots-file", exam, "--limit", "3", "--out",
                    tmp_path / "x", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "x" / "run.json").read_text())
    assert len(document["settings"]["framing"]["shots"]) == 1


@pytest.mark.parametrize("dtype", ["int8", "nf4", "bfloat16"])
def test_load_modes(random_folder: Path, tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("bitsandbytes")
    result = invoke("run", "--model", random_folder, "--dtype", dtype, "--exam", "sample",
                    "--limit", "3", "--out", tmp_path / "x")  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    document = json.loads((tmp_path / "x" / "run.json").read_text())
    assert document["model"]["load"] == dtype


def test_adapters_are_part_of_the_identity(random_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from evaluation.local import load

    base = AutoModelForCausalLM.from_pretrained(random_folder)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    plain = load(str(random_folder)).describe()
    adapted = load(str(random_folder), adapter=str(tmp_path / "adapter")).describe()
    assert adapted["adapter_weights"]
    assert adapted["weights"] == plain["weights"]
    with pytest.raises(FileError, match="adapter cannot be loaded"):
        load(str(random_folder), adapter=str(tmp_path / "none"))
