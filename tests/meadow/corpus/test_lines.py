"""`meadow convert` as a user runs it: what a line holds, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import run_meadow

import meadow

TURNS = [
    ("prompter", "I sleep badly since I was at anna.bell@example.org. What helps?"),
    ("assistant", "Go to bed late.\n\nUser: is what a form would say here."),
    ("prompter", "And if I wake at four?"),
    ("assistant", "Get up and read."),
]


def tree(turns: list[tuple[str, str]], number: int = 0) -> dict[str, Any]:
    """A conversation as upstream nests it; beside each answer one that ranked lower."""
    (role, text), *rest = turns
    node = {"message_id": f"m{number}", "role": role, "text": text, "lang": "en", "replies": []}
    if rest:
        node["replies"] = [tree(rest, number + 1) | {"rank": 0}]
        if role == "prompter":
            worse = tree([("assistant", "A worse answer.")], number + 100)
            node["replies"].append(worse | {"rank": 1})
    return node


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("talk.trees.jsonl").write_text(json.dumps({"prompt": tree(TURNS)}) + "\n")
    for words in (
        ("build", "--file", "openassistant=talk.trees.jsonl", "--out", "corpus"),
        ("mix", "clean", "--corpus", "corpus", "--validation", "0", "--out", "mix"),
    ):
        assert (ran := run_meadow(*words)).code == 0, ran.err
    return tmp_path


def test_a_conversation_comes_with_its_turns_scrubbed_and_whole(mixed: Path) -> None:
    ran = run_meadow("convert", "mix", "--to", "openai", "--out", "chat.jsonl", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    lines = [json.loads(line) for line in Path("chat.jsonl").read_text().splitlines()]
    assert told["rows"] == len(lines) == 2
    (whole,) = (line["messages"] for line in lines if len(line["messages"]) == 4)
    assert [turn["role"] for turn in whole] == ["user", "assistant"] * 2
    said = [turn["content"] for turn in whole]
    assert said[0] == TURNS[0][1].replace("anna.bell@example.org", "[EMAIL]")
    assert said[1:] == [text for _, text in TURNS[1:]]
    rows = meadow.open_corpus("corpus").to_polars()
    flat = rows.filter(rows["instruction"] == said[2])["input"].item()
    assert flat == f"User: {said[0]}\n\nAssistant: {said[1]}", "the flattened form says the same"


def test_a_file_of_other_lines_stays_and_a_dry_run_writes_nothing(mixed: Path) -> None:
    words = ("convert", "mix", "--to", "sharegpt", "--out", "chat.jsonl")
    ran = run_meadow(*words, "--dry-run", "--json")
    assert (ran.code, Path("chat.jsonl").exists()) == (0, False)
    assert json.loads(ran.out)["would_write"]["conversations"][-1]["from"] == "gpt"
    assert run_meadow(*words).code == 0
    held = Path("chat.jsonl").read_bytes()
    assert run_meadow(*words).code == 0, "the same lines again"
    ran = run_meadow("convert", "mix", "--to", "jsonl", "--out", "chat.jsonl")
    assert (ran.code, Path("chat.jsonl").read_bytes()) == (2, held)
    assert "remove the file" in ran.err
    for more, said in (
        (("--out", "chat.json"), "chat.jsonl"),
        (("--out", "x.jsonl", "--split", "test"), "one of train"),
    ):
        ran = run_meadow("convert", "mix", "--to", "jsonl", *more)
        assert ran.code == 2
        assert said in ran.err
    assert run_meadow("convert", "nowhere", "--to", "jsonl", "--out", "x.jsonl").code == 1
    assert sorted(path.name for path in mixed.glob("*.part")) == []
