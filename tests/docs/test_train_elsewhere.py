"""docs/train-elsewhere.md: its commands run, its Python trains, its settings fit the mix."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.bases import make_base
from support.command import run_meadow

import meadow
from meadow.samples import FOLDER

AXOLOTL = {"path", "ds_type", "type", "split", "field_messages", "roles_to_train", "train_on_eos"}
"""Keys of `datasets` that axolotl 0.19 knows, of those that the page has."""
LOADING = {"source", "data_files", "split"}
TORCHTUNE = {
    "torchtune.datasets.alpaca_dataset": LOADING | {"train_on_input"},
    "torchtune.datasets.chat_dataset": LOADING | {"conversation_column", "conversation_style"},
}
"""Arguments of torchtune 0.6, of those that the page has."""
ALPACA = {"instruction": "string", "input": "string", "output": "string"}
MESSAGES = {"messages": "list<element: struct<role: string, content: string>>"}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "train-elsewhere.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of the page has run."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sources = ["medqa", "medquad", "openassistant", "pubmed_causal", "stack_exchange"]
        meadow.build(sources, raw=FOLDER, out="corpus")
        for line in "".join(blocks(page, "bash")).splitlines():
            words = shlex.split(line)
            more = ["--validation", "0.3"] if words[1] == "mix" else []
            ran = run_meadow(*words[1:], *more)
            assert ran.code == 0, ran.err
    return folder


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found
    return found


def columns(pattern: str) -> dict[str, str]:
    import pyarrow.parquet as pq

    (path,) = Path().glob(pattern)
    assert pq.read_metadata(path).num_rows
    return {field.name: str(field.type) for field in pq.read_schema(path)}


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert found
    return found


def test_the_settings_of_axolotl_and_torchtune_fit_the_mix(
    page: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    axolotl, *torchtune = map(yaml.safe_load, blocks(page, "yaml"))
    for entry in [*axolotl["datasets"], *axolotl["test_datasets"]]:
        assert entry.keys() <= AXOLOTL
        wanted = ALPACA if entry["type"] == "alpaca" else MESSAGES
        assert wanted.items() <= columns(entry["path"]).items()
    assert [item["dataset"]["_component_"] for item in torchtune] == list(TORCHTUNE)
    for item in torchtune:
        entry = item["dataset"]
        assert entry.keys() - {"_component_"} <= TORCHTUNE[entry["_component_"]]
        wanted = MESSAGES if "conversation_column" in entry else ALPACA
        assert wanted.items() <= columns(entry["data_files"]).items()


def test_the_files_of_the_others_hold_the_rows_of_the_mix_in_their_order(
    page: str, made: Path
) -> None:
    mix = meadow.open_corpus(made / "mix")
    train, validation = (mix.to_arrow(split=s).to_pylist() for s in ("train", "validation"))
    (info,) = map(json.loads, blocks(page, "json"))
    for entry in info.values():
        found = lines(made / "data" / entry["file_name"])
        assert [line["id"] for line in found] == [row["id"] for row in train]
        for line, row in zip(found, train, strict=True):
            assert (line["license"], line["source"]) == (row["license"], row["source"])
            assert all(a["name"] in line["authors"] for a in row["authors"])
            if entry.get("formatting") == "sharegpt":
                turns = [(t["from"], t["value"]) for t in line["conversations"]]
                names = {"user": "human", "assistant": "gpt"}
                assert turns == [(names[m["role"]], m["content"]) for m in row["messages"]]
            else:
                assert all(line[name] == row[name] for name in ALPACA)
    for folder, name, rows in (
        ("litgpt", "train", train),
        ("litgpt", "val", validation),
        ("mlx", "train", train),
        ("mlx", "valid", validation),
    ):
        found = lines(made / folder / f"{name}.jsonl")
        if folder == "mlx":
            assert found == [{"messages": row["messages"]} for row in rows]
        else:
            assert [line["output"] for line in found] == [row["output"] for row in rows]
    assert f"--data.json_path {'litgpt'} " in page
    assert " --data mlx " in page


def test_trl_trains_on_the_page_as_it_stands(
    page: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="trl is not installed")
    monkeypatch.chdir(made)
    model = make_base("llama3", made / "model")
    (code,) = blocks(page, "python")
    code = code.replace('"MODEL"', repr(str(model)))
    code = code.replace("max_steps=1000", "max_steps=2, report_to='none', use_cpu=True, bf16=False")
    scope: dict[str, Any] = {}
    exec(compile(code, "train-elsewhere.md", "exec"), scope)
    assert scope["trainer"].state.global_step == 2
    assert any("eval_loss" in entry for entry in scope["trainer"].state.log_history)
    row = scope["trainer"].train_dataset[0]
    learned = [token for token in row["labels"] if token != -100]
    answer = scope["trainer"].processing_class.decode(learned)
    assert answer.startswith(lines(made / "litgpt/train.jsonl")[0]["output"][:20])
