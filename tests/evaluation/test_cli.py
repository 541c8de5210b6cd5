"""`meadow eval` from the outside: documents and exit codes."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from click.testing import CliRunner

from evaluation.cli import _thinking, compare, evaluate
from evaluation.download import REMOTES
from meadow.cli.app import COMMANDS
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError, RefusedError, UsageError
from meadow.exams.items import ALIASES, EXAMS
from meadow.exams.meaning import ANSWER_IS
from meadow.samples import FOLDER


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_help_is_the_tables_line() -> None:
    assert (evaluate.help or "").splitlines()[0] == COMMANDS["eval"][1]
    assert (compare.help or "").splitlines()[0] == COMMANDS["compare"][1]
    assert {"run", "report", "audit-images", "paper", "rescore"} <= set(evaluate.commands)
    assert all(command.help for command in evaluate.commands.values())


def test_run_report_compare(random_folder, tmp_path) -> None:
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


def test_dry_runs_write_nothing(random_folder, tmp_path) -> None:
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
def test_faults_say_what_to_do(tmp_path, arguments, error, words) -> None:
    result = invoke("run", *arguments, "--out", tmp_path / "x")
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    if words in ("unknown mode", "no download"):
        assert "did you mean '" in str(result.exception.fix)
    assert not (tmp_path / "x").exists()


def test_a_preview_is_what_a_run_sends_and_writes_nothing(random_folder, tmp_path) -> None:
    from transformers import AutoTokenizer

    asked = ("run", "--model", random_folder, "--exam", "sample", "--modes", "letter,cot",
             "--preview", "2")  # fmt: skip
    result = invoke(*asked, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["mode"] for row in rows] == ["letter", "cot"] * 2
    tokenizer = AutoTokenizer.from_pretrained(random_folder)
    for row in rows:
        assert set(row) == {"item_id", "mode", "prompt", "token_ids"}
        assert row["token_ids"] == tokenizer(row["prompt"])["input_ids"]
    assert rows[0]["prompt"] in invoke(*asked).stdout
    out = tmp_path / "run"
    result = invoke(
        "run", "--model", random_folder, "--exam", "sample", "--limit", "1", "--out", out
    )
    (sent,) = read_parquet(out / "predictions.parquet").to_pylist()
    assert sent["prompt"] == rows[0]["prompt"]
    result = invoke("run", "--model", random_folder, "--exam", "sample")
    assert "no folder for the run" in str(result.exception)


def test_the_template_is_the_one_that_was_trained(random_folder, tmp_path) -> None:
    model = tmp_path / "model"
    shutil.copytree(random_folder, model)
    manifest = {"recipe": {"data": {"template": "short"}}}
    (model / "run_manifest.json").write_text(json.dumps(manifest))
    result = invoke("run", "--model", model, "--exam", "sample", "--preview", "1", "--json")
    (row,) = json.loads(result.stdout)
    assert "### " not in row["prompt"]


def test_the_exams_are_listed_with_their_places() -> None:
    listed = {row["exam"]: row for row in json.loads(invoke("exams", "--json").stdout)}
    assert {*listed} == {*EXAMS, *REMOTES}
    assert listed["mmlu_medical"]["alias"] == "mmlu"
    assert listed["medxpertqa"]["download"] == "hf://datasets/TsinghuaC3I/MedXpertQA"
    assert "medbullets" not in REMOTES
    assert "no download" in invoke("exams").output


def test_what_the_answers_of_a_file_are(random_folder, tmp_path) -> None:
    help_text = invoke("run", "--help").output
    assert all(name in help_text for name in (*EXAMS, *ALIASES, *ANSWER_IS))
    path = tmp_path / "own.jsonl"
    options = ["2", "1", "0"]
    path.write_text("".join(
        json.dumps({"question": f"How many are {n}?", "options": options, "answer": n}) + "\n"
        for n in (0, 1, 2)
    ))  # fmt: skip
    asked = ("run", "--model", random_folder, "--exam", "own", "--file", path)
    for reading, gold in (("index0", "ABC"), ("text", "CBA")):
        out = tmp_path / reading
        result = invoke(*asked, "--answer-is", reading, "--out", out)
        assert result.exit_code == 0, (result.output, result.exception)
        rows = read_parquet(out / "predictions.parquet").to_pylist()
        assert "".join(row["gold"] for row in rows) == gold


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("on",), (True, 0)),
        (("off",), (False, 0)),
        ((), (None, 0)),
        (("budget", "300"), (True, 300)),
        (("budget=300",), (True, 300)),
        (("budget",), None),
        (("loud",), None),
        (("on", "3"), None),
    ],
)
def test_thinking(words, found) -> None:
    option, *rest = (*words, None) if words else (None,)
    options = {"thinking": option, "thinking_tokens": [n for n in rest if n], "chat": False}
    if found is None:
        with pytest.raises(UsageError, match="not possible here"):
            _thinking(options)
    else:
        assert _thinking(options) == found


def test_few_shot_examples_from_a_file(random_folder, tmp_path) -> None:
    exam = FOLDER / "exam"
    result = invoke("run", "--model", random_folder, "--exam", "usmle_self_assessment", "--file",
                    exam, "--shots", "1", "--shots-file", exam, "--limit", "3", "--out",
                    tmp_path / "x", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "x" / "run.json").read_text())
    assert len(document["settings"]["framing"]["shots"]) == 1


@pytest.mark.parametrize("dtype", ["int8", "nf4", "bfloat16"])
def test_load_modes(random_folder, tmp_path, dtype) -> None:
    pytest.importorskip("bitsandbytes")
    result = invoke("run", "--model", random_folder, "--dtype", dtype, "--exam", "sample",
                    "--limit", "3", "--out", tmp_path / "x")  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    document = json.loads((tmp_path / "x" / "run.json").read_text())
    assert document["model"]["load"] == dtype


def test_adapters_are_part_of_the_identity(random_folder, tmp_path) -> None:
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
    # its folder alone names the base
    assert load(str(tmp_path / "adapter")).describe() == adapted
    with pytest.raises(FileError, match=r"adapter (cannot be loaded|is not on this machine)"):
        load(str(random_folder), adapter=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("https://192.0.2.1/v1", (), "would leave this machine"),
        ("http://192.0.2.1/v1", ("--allow-remote",), "over https only"),
    ],
)
def test_exam_texts_leave_the_machine_by_the_rule_of_rewriting(url, more, said, tmp_path) -> None:
    out = tmp_path / "out"
    ran = invoke("run", "--model", "m", "--exam", "sample", "--base-url", url, *more, "--out", out)
    assert isinstance(ran.exception, RefusedError)
    assert said in str(ran.exception)
    assert not out.exists()
