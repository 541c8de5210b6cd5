"""OpenAssistant: trees in three forms, and of a message the reply that is best."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.converted import one

from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources.openassistant import MAX_DEPTH, SOURCE, read


def message(name: str, role: str = "assistant", *replies: dict, **more: object) -> dict:
    return {
        "message_id": name,
        "parent_id": None,
        "text": name,
        "role": role,
        "lang": "en",
        "rank": None,
        "deleted": False,
        "review_result": True,
        "replies": list(replies),
        **more,
    }


def convert(
    *replies: dict, history: tuple = (), style: Style = Style.MEADOW, **more: object
) -> Any:
    asked = message("question", "prompter", **more)
    told = {"message": asked, "history": history, "replies": list(replies)}
    return one(SOURCE.upstream, style=style, **told)


@pytest.mark.parametrize(
    ("replies", "best"),
    [
        ([message("a", rank=1), message("b", rank=0)], "b"),
        ([message("a", rank=2.0), message("b", rank=1.0)], "b"),
        ([message("a"), message("b", rank=3)], "b"),
        ([message("a", rank=float("nan")), message("b", rank=3)], "b"),
        ([message("a"), message("b")], "a"),
        ([message("a", rank=0, deleted=True), message("b", rank=1)], "b"),
        ([message("a", rank=0, review_result=False), message("b", rank=1)], "b"),
        ([message("x", "prompter", rank=0), message("b", rank=1)], "b"),
    ],
)
def test_the_best_reply_that_stands(replies: list, best: str) -> None:
    record = convert(*replies)
    assert isinstance(record, Record)
    assert record.output == best


@pytest.mark.parametrize(
    ("replies", "more", "reason"),
    [
        ([message("a")], {"lang": "es"}, Reason.LANGUAGE),
        ([message("a", lang="de")], {}, Reason.LANGUAGE),
        ([message("a")], {"lang": ["en"]}, Reason.LANGUAGE),
        ([message("a")], {"deleted": True}, Reason.DELETED),
        ([message("a")], {"review_result": False}, Reason.DELETED),
        ([message("a", deleted=True)], {}, Reason.DELETED),
        ([message("a", "prompter")], {}, Reason.NOT_A_TARGET),
        ([message(" ")], {}, Reason.EMPTY_OUTPUT),
        ([message("a")], {"text": " "}, Reason.EMPTY_INPUT),
    ],
)
def test_the_reasons(replies: list, more: dict, reason: Reason) -> None:
    assert convert(*replies, **more).reason is reason


def test_style_meadow_has_the_conversation_so_far() -> None:
    history = (message("first", "prompter"), message("answer"))
    record = convert(message("a"), history=history)
    assert record.input == "User: first\n\nAssistant: answer"
    assert '"turn":2' in record.meta
    old = convert(message("a"), history=history, style=Style.PUBLISHED_2023)
    assert (old.instruction, old.input) == ("question", "")
    assert old.id == record.id


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


def rows(item: Input) -> list:
    return list(read([item], Options()))


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
        assert shape(rows(item)) == EXPECTED, item.label


def test_a_reply_may_stand_before_its_parent(tmp_path: Path) -> None:
    found = shape(rows(write_lines(tmp_path / "f", flatten(tree())[::-1])))
    assert sorted((name, history) for name, history, _ in found) == [
        (name, history) for name, history, _ in EXPECTED
    ]


def test_a_message_without_its_parent_is_an_orphan(tmp_path: Path) -> None:
    lines = [line for line in flatten(tree()) if line["message_id"] != "a1"]
    found = rows(write_lines(tmp_path / "f", lines))
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
        ({**flatten(tree())[0], "parent_id": ["x"]}, Reason.MISSING_FIELD),
    ],
)
def test_broken_messages_are_rejects(line: dict, reason: Reason, tmp_path: Path) -> None:
    found = rows(write_lines(tmp_path / "f", [line]))
    assert reason in [row.reason for row in found if isinstance(row, Reject)]


def test_the_same_message_twice(tmp_path: Path) -> None:
    found = rows(write_lines(tmp_path / "f", flatten(tree()) * 2))
    duplicates = [row for row in found if isinstance(row, Reject)]
    assert len(duplicates) == len(flatten(tree()))
    assert {row.reason for row in duplicates} == {Reason.DUPLICATE}


def test_a_very_long_conversation_is_cut_and_a_circle_ends(tmp_path: Path) -> None:
    node = message("last", "assistant")
    for number in range(MAX_DEPTH + 5):
        node = message(f"m{number}", "prompter" if number % 2 == 0 else "assistant", node)
    found = rows(write_lines(tmp_path / "f", [{"prompt": node}]))
    assert Reason.TOO_DEEP in [row.reason for row in found if isinstance(row, Reject)]
    circle = [
        {**flatten(message("x", "prompter"))[0], "parent_id": "y"},
        {**flatten(message("y", "assistant"))[0], "parent_id": "x"},
    ]
    assert len(rows(write_lines(tmp_path / "g", circle))) == 1
