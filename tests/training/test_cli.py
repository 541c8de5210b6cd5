"""The commands end to end, in their own processes: exit codes, documents, no traceback."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from click.testing import CliRunner, Result
from support.bases import FORMATS, make_base, make_tokenizer
from support.command import run_meadow

from meadow.api import open_corpus
from meadow.errors import MeadowError
from training import cli
from training.data import read_rows

TINY = ("--set", "schedule.epochs=1")


def call(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(getattr(cli, command), list(arguments))


def test_train_then_export_from_the_command_line(mix, tmp_path) -> None:
    out = tmp_path / "run"
    done = run_meadow("train", "tiny", "--mix", str(mix), "--out", str(out), "--json", *TINY)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["last_loss"] < document["first_loss"] - 0.5
    assert done.err.strip().splitlines()[-1].startswith("in 96 · out 96 · rejected 0 · time")
    told = [line for line in done.err.splitlines() if line.startswith("step ")]
    assert [line.split(" loss ")[0] for line in told] == [f"step {n}/6" for n in range(1, 7)]
    assert len((out / "metrics.jsonl").read_text().splitlines()) == document["steps"] == 6
    exported = call("export", str(out), "--out", str(tmp_path / "model"), "--json")
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_plan_document(mix) -> None:
    done = call("plan", "tiny", "--mix", str(mix), "--gpus", "1", "--gpu-gb", "1", "--json")
    document = json.loads(done.stdout)
    wanted = {"parameters", "trainable_parameters", "memory_gb", "steps", "tokens",
              "tokens_estimated", "fits"}  # fmt: skip
    assert wanted <= set(document)
    assert document["fits"] is True
    assert document["steps"] == 18
    text = call("plan", "medalpaca-7b-lora-8bit").stdout
    assert "measured in 2023  8.9 GB" in text
    assert "6,738,415,616" in text


def test_dry_run_writes_nothing(mix, tmp_path) -> None:
    done = call("train", "tiny", "--mix", str(mix), "--out", str(tmp_path / "out"), "--dry-run",
                "--json")  # fmt: skip
    assert json.loads(done.stdout)["steps"] == 18
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--set", "optimizer.learning_rat=1"), 2, "did you mean 'learning_rate'"),
        (("--set", "batch.layout=padded", "--set", "batch.micro_batch=3"), 2, "no multiple"),
        (("--set", "data.template=chat"), 2, "chat template"),
        (("--set", "data.template={input}"), 2, "lacks {instruction}"),
        (("--set", "method=none"), 2, "evaluation only"),
    ],
)
def test_faults_say_what_to_do(mix, tmp_path, arguments, code, message) -> None:
    done = call("train", "tiny", "--mix", str(mix), "--out", str(tmp_path / "out"), *arguments)
    assert isinstance(done.exception, MeadowError), done.output
    assert done.exception.exit_code == code
    assert message in str(done.exception)
    assert done.exception.fix


RECORD = {"contamination": {"medqa": {"items": 5, "rows": {"stem": 2, "stem+answer": 1}}}}


def test_a_contaminated_mix_is_refused_unless_told(make_mix, tmp_path) -> None:
    arguments = ("tiny", "--mix", str(make_mix(details=RECORD)), "--out", str(tmp_path / "out"))
    refused = call("train", *arguments)
    assert isinstance(refused.exception, MeadowError)
    assert refused.exception.exit_code == 6
    assert "--allow-contaminated" in refused.exception.fix
    allowed = call("train", *arguments, "--allow-contaminated", "--set", "schedule.max_steps=2")
    assert allowed.exit_code == 0, allowed.output
    manifest = json.loads((tmp_path / "out" / "run_manifest.json").read_text())
    assert manifest["contamination"]["allowed"] is True
    assert manifest["contamination"]["rows"] == {"medqa": {"stem": 2, "stem+answer": 1}}
    assert "yes, by override" in (tmp_path / "out" / "model" / "README.md").read_text()


@pytest.mark.parametrize("family", [name for name, how in FORMATS.items() if how.template])
def test_a_preview_shows_what_apply_chat_template_says(family, mix, tmp_path) -> None:
    tokenizer = make_tokenizer(family)
    tokenizer.save_pretrained(tmp_path / "base")
    chat = ("--set", "data.template=chat", "--mix", str(mix), "--base", str(tmp_path / "base"))
    done = call("train", "tiny", *chat, "--preview", "4", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    rows = list(islice(read_rows(open_corpus(mix), "train"), 4))
    assert [example["id"] for example in shown] == [row["id"] for row in rows]
    for example, row in zip(shown, rows, strict=True):
        asked = [{"role": "user", "content": f"{row['instruction']}\n\n{row['input']}"}]
        said = [*asked, {"role": "assistant", "content": row["output"]}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(said, return_dict=False)
        assert example["token_ids"] == whole
        assert example["tokens"] == tokenizer.convert_ids_to_tokens(whole)
        learned = [i for i, kept in zip(whole, example["learned"], strict=True) if kept]
        assert learned == whole[len(prompt) :]
        assert whole.count(tokenizer.bos_token_id) <= 1 or tokenizer.bos_token_id is None
    text = call("train", "tiny", *chat, "--preview", "1").stdout
    assert "\u27e6" in text
    assert not (tmp_path / "base" / "config.json").exists()


def test_a_run_without_a_folder_and_a_preview_of_a_wrong_template_are_usage(mix, tmp_path) -> None:
    make_tokenizer("gpt2").save_pretrained(tmp_path)
    base = ("--mix", str(mix), "--base", str(tmp_path))
    for options in ((), ("--set", "data.template=chat", "--preview", "1")):
        done = call("train", "tiny", *base, *options)
        assert isinstance(done.exception, MeadowError)
        assert done.exception.exit_code == 2
        assert done.exception.fix


def test_an_adapter_is_scored_exported_and_generates_in_its_own_frame(mix, tmp_path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    base = make_base("gemma", tmp_path / "base")
    out, exported = tmp_path / "run", tmp_path / "model"
    exam = tmp_path / "exam.jsonl"
    items = [
        {"question": f"Which word is number {n}?", "answer_idx": "AB"[n % 2],
         "options": {"A": "sleep", "B": "diet"}}
        for n in range(6)
    ]  # fmt: skip
    exam.write_text("".join(json.dumps(item) + "\n" for item in items))
    chat = ("--set", "data.template=chat", "--set", "data.length=256", "--set", "method=lora",
            "--set", "schedule.max_steps=2", "--set", "run.exam_steps=1",
            "--set", "lora.use_dora=true", "--set", "lora.use_rslora=true",
            "--set", "lora.modules_to_save=['embed_tokens']", "--set", "base.dtype=bfloat16",
            "--base", str(base), "--exam", f"own={exam}")  # fmt: skip
    done = run_meadow("train", "tiny", "--mix", str(mix), "--out", str(out), *chat)
    assert done.code == 0, done.err
    assert "own: " in done.err
    lines = [json.loads(line) for line in (out / "exams.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {line["n"] for line in lines} == {6}
    done = run_meadow("export", str(out), "--out", str(exported), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["dtype"] == "bfloat16"
    for folder in (out / "model", exported):
        scores = tmp_path / f"scores-{folder.name}-{folder.parent.name}"
        done = run_meadow("eval", "run", "--model", str(folder), "--exam", "own", "--file",
                   str(exam), "--modes", "letter,option,text", "--out", str(scores))  # fmt: skip
        assert done.code == 0, done.err
        assert "template 'chat'" in done.err
        settings = json.loads((scores / "run.json").read_text())["settings"]
        assert settings["framing"]["template"] == "chat"
        saved = AutoTokenizer.from_pretrained(folder)
        assert saved.chat_template == make_tokenizer("gemma").chat_template
    ends = GenerationConfig.from_pretrained(exported).eos_token_id
    assert saved.convert_tokens_to_ids("<end_of_turn>") in ends
    assert 'PARAMETER stop "<end_of_turn>"' in (exported / "Modelfile").read_text()
