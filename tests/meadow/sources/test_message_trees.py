"""Conversation trees: three forms, one result; what is broken in them."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meadow.schema import Reason, Reject
from meadow.source import Input
from meadow.sources.openassistant import MAX_DEPTH, read_messages


def message(name: str, role: str, *replies: dict, **more: object) -> dict:
    return {
        "message_id": name,
        "parent_id": None,
        "text": f"text of {name}",
        "role": role,
        "lang": "en",
        "rank": None,
        "deleted": False,
        "review_result": True,
        "replies": list(replies),
        **more,
    }


def tree() -> dict:
    last = message("p3", "prompter", message("a4", "assistant"))
    return message(
        "p1",
        "prompter",
        message("a1", "assistant", message("p2", "prompter", message("a3", "assistant")), last),
        message("a2", "assistant"),
        message("p4", "prompter"),
    )


def flatten(node: dict, parent: str | None = None) -> list[dict]:
    flat = {key: value for key, value in node.items() if key != "replies"} | {"parent_id": parent}
    return [
        flat,
        *(item for reply in node["replies"] for item in flatten(reply, flat["message_id"])),
    ]


def write_lines(path: Path, lines: list[dict]) -> Input:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return Input(path, path.name)


def shape(found: list) -> list:
    return [
        (
            row["message"]["message_id"],
            [turn["message_id"] for turn in row["history"]],
            [reply["message_id"] for reply in row["replies"]],
        )
        for row in found
    ]


EXPECTED = [
    ("p1", [], ["a1", "a2", "p4"]),
    ("p2", ["p1", "a1"], ["a3"]),
    ("p3", ["p1", "a1"], ["a4"]),
]


def test_three_forms_give_the_same_rows(tmp_path: Path) -> None:
    nested = write_lines(
        tmp_path / "t.trees.jsonl.gz", [{"message_tree_id": "p1", "prompt": tree()}]
    )
    flat = write_lines(tmp_path / "t.messages.jsonl", flatten(tree()))
    table = pa.Table.from_pylist(flatten(tree()))
    pq.write_table(table, tmp_path / "t.parquet")
    for item in (nested, flat, Input(tmp_path / "t.parquet", "t.parquet")):
        assert shape(list(read_messages(item))) == EXPECTED, item.label


def test_a_reply_may_stand_before_its_parent(tmp_path: Path) -> None:
    found = shape(list(read_messages(write_lines(tmp_path / "f", flatten(tree())[::-1]))))
    assert sorted((name, history) for name, history, _ in found) == [
        (name, history) for name, history, _ in EXPECTED
    ]


def test_a_message_without_its_parent_is_an_orphan(tmp_path: Path) -> None:
    lines = [line for line in flatten(tree()) if line["message_id"] != "a1"]
    found = list(read_messages(write_lines(tmp_path / "f", lines)))
    rejects = [row for row in found if isinstance(row, Reject)]
    assert [reject.reason for reject in rejects] == [Reason.ORPHAN, Reason.ORPHAN]
    assert shape([row for row in found if not isinstance(row, Reject)])[0][0] == "p1"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"prompt": "text"}, Reason.BAD_VALUE),
        ({"prompt": {"message_id": "x", "role": "prompter"}}, Reason.MISSING_FIELD),
        ({"prompt": {**tree(), "replies": "none"}}, Reason.BAD_VALUE),
        ({"prompt": {**message("p", "prompter"), "replies": [7]}}, Reason.BAD_VALUE),
        ({"message_id": "x", "text": None, "role": "prompter"}, Reason.MISSING_FIELD),
        ({"something": "else"}, Reason.MISSING_FIELD),
    ],
)
def test_broken_messages_are_rejects(line: dict, reason: Reason, tmp_path: Path) -> None:
    found = list(read_messages(write_lines(tmp_path / "f", [line])))
    assert reason in [row.reason for row in found if isinstance(row, Reject)]


def test_the_same_message_twice(tmp_path: Path) -> None:
    found = list(read_messages(write_lines(tmp_path / "f", flatten(tree()) * 2)))
    duplicates = [row for row in found if isinstance(row, Reject)]
    assert len(duplicates) == len(flatten(tree()))
    assert {row.reason for row in duplicates} == {Reason.DUPLICATE}


def test_a_very_long_conversation_is_cut_and_a_circle_ends(tmp_path: Path) -> None:
    node = message("last", "assistant")
    for number in range(MAX_DEPTH + 5):
        node = message(f"m{number}", "prompter" if number % 2 == 0 else "assistant", node)
    found = list(read_messages(write_lines(tmp_path / "f", [{"prompt": node}])))
    assert Reason.TOO_DEEP in [row.reason for row in found if isinstance(row, Reject)]
    circle = [
        {**flatten(message("x", "prompter"))[0], "parent_id": "y"},
        {**flatten(message("y", "assistant"))[0], "parent_id": "x"},
    ]
    assert len(list(read_messages(write_lines(tmp_path / "g", circle)))) == 1
