"""OpenAssistant conversations (Koepf et al. 2023): a message and the reply that people ranked best.

Style `meadow` puts the conversation so far into the input, since many messages mean nothing
without it; style `2023` has the message alone. Replies that were deleted or failed review do not
count, and of the others the best ranked is taken (an unranked one only where none is ranked).

The conversations are published as nested JSON lines (one tree a line), flat JSON lines and Parquet.
A flat file is held in memory (the columns that are needed: some hundred megabytes for the largest
release), since nothing promises that a parent stands before its replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meadow.readers import json_rows
from meadow.readers.parquet import is_parquet, read_rows
from meadow.schema import (
    SPEAKERS,
    Author,
    Raw,
    Reason,
    Record,
    Refused,
    Reject,
    Style,
    Task,
    join_turns,
    make_record,
    one_record,
)
from meadow.source import Count2023, File, Input, Options, Origin, Provenance, RawTexts, Source

REQUIRED = ("message_id", "parent_id", "text", "role")
OPTIONAL = ("lang", "rank", "deleted", "review_result", "message_tree_id", "synthetic")
PROMPTER, ASSISTANT = "prompter", "assistant"
MAX_DEPTH = 200


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """Every prompter message with a reply: `message`, `history` and `replies`.

    `history` is the messages from the root on, without the message; each message is a mapping of
    the documented columns. A line that is malformed is a reject, and so is a message whose parent
    is not in its file.

    Raises:
        FileError: A file is damaged.
        UpstreamChangedError: A needed column is missing.
    """
    for item in inputs:
        if is_parquet(item.path):
            yield from _from_flat(read_rows(item, REQUIRED, OPTIONAL))
            continue
        flat: list[Raw] = []
        for raw in json_rows.read_lines([item], options):
            if isinstance(raw, Reject):
                yield raw
            elif "prompt" in raw:
                yield from _from_flat(_flattened(raw))
            elif "message_id" in raw:
                flat.append({name: raw.get(name) for name in (*REQUIRED, *OPTIONAL, "_where")})
            else:
                detail = "neither a tree nor a message"
                yield Reject(str(raw["_where"]), Reason.MISSING_FIELD, detail, str(raw))
        yield from _from_flat(iter(flat))


def _flattened(raw: Raw) -> Iterator[Raw | Reject]:
    """The messages of one nested tree, depth first and without recursion."""
    where = str(raw["_where"])
    waiting: list[tuple[Any, str | None, int]] = [(raw["prompt"], None, 0)]
    while waiting:
        node, parent, depth = waiting.pop()
        if not isinstance(node, Mapping) or not isinstance(node.get("replies", []), list):
            yield Reject(where, Reason.BAD_VALUE, "a message is no object", str(node))
        elif depth > MAX_DEPTH:
            yield Reject(where, Reason.TOO_DEEP, f"more than {MAX_DEPTH} turns")
        else:
            message = {name: node.get(name) for name in (*REQUIRED, *OPTIONAL)}
            message["parent_id"], number = parent, message["message_id"]
            yield {**message, "_where": f"{where}#{number}"}
            if not _fault(message):
                waiting.extend(
                    (each, number, depth + 1) for each in reversed(node.get("replies", []))
                )


def _from_flat(rows: Iterator[Raw | Reject]) -> Iterator[Raw | Reject]:
    """The rows of flat messages, in the order of the file."""
    messages: dict[str, Raw] = {}
    replies: dict[str, list[Raw]] = {}
    for row in rows:
        if isinstance(row, Reject):
            yield row
        elif fault := _fault(row):
            yield Reject(str(row["_where"]), Reason.MISSING_FIELD, fault, str(row))
        elif row["message_id"] in messages:
            detail = "a message of that id stands above"
            yield Reject(str(row["_where"]), Reason.DUPLICATE, detail, str(row["text"]))
        else:
            messages[row["message_id"]] = row
            if row["parent_id"]:
                replies.setdefault(row["parent_id"], []).append(row)
    for message in messages.values():
        where = str(message["_where"])
        history = _history(message, messages)
        if history is None:
            detail = f"its parent {message['parent_id']} is not in the file"
            yield Reject(where, Reason.ORPHAN, detail, str(message["text"]))
        elif message["role"] == PROMPTER and message["message_id"] in replies:
            found = replies[message["message_id"]]
            yield {"_where": where, "message": message, "history": history, "replies": found}


def _history(message: Raw, messages: Mapping[str, Raw]) -> tuple[Raw, ...] | None:
    """The messages before one, from the root on; None where its parent is missing.

    Only the direct parent counts as missing: what is above it is that message's own fault.
    """
    history: list[Raw] = []
    parent_id = message["parent_id"]
    while parent_id and len(history) <= MAX_DEPTH:
        parent = messages.get(parent_id)
        if parent is None:
            return None if not history else tuple(reversed(history))
        history.append(parent)
        parent_id = parent["parent_id"]
    return tuple(reversed(history))


def _fault(message: Mapping[str, Any]) -> str:
    wrong = (n for n in ("message_id", "text", "role") if not isinstance(message.get(n), str))
    fault = next((f"{name} is no text" for name in wrong), "")
    return fault or ("" if isinstance(message["parent_id"], str | None) else "parent_id is no text")


NAME = "openassistant"
HOMEPAGE = "https://huggingface.co/datasets/OpenAssistant/oasst1"
LANGUAGE = "en"
_UNRANKED = 1_000_000


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """One prompter message -> one record with its best reply."""
    message = raw["message"]
    text = message["text"]
    if message.get("lang") != LANGUAGE:
        raise Refused(Reason.LANGUAGE, f"language {message.get('lang')}", text)
    if _is_withdrawn(message):
        raise Refused(Reason.DELETED, "the message was deleted or failed review", text)
    if not text.strip():
        raise Refused(Reason.EMPTY_INPUT, "an empty message")
    replies = [reply for reply in raw["replies"] if reply.get("role") == ASSISTANT]
    if not replies:
        raise Refused(Reason.NOT_A_TARGET, "no reply of an assistant", text)
    standing = [reply for reply in replies if not _is_withdrawn(reply)]
    if not standing:
        raise Refused(Reason.DELETED, "every reply was deleted or failed review", text)
    reply = min(standing, key=_rank)
    if not isinstance(reply.get("text"), str) or not reply["text"].strip():
        raise Refused(Reason.EMPTY_OUTPUT, "the best reply is empty", text)
    if reply.get("lang") != LANGUAGE:
        raise Refused(Reason.LANGUAGE, f"the reply's language {reply.get('lang')}", text)
    old = options.style is Style.PUBLISHED_2023
    turns = [turn["text"].strip() for turn in raw["history"]]
    roles = [turn["role"] for turn in raw["history"]]
    if alternate := roles == [PROMPTER, ASSISTANT] * (len(turns) // 2):
        earlier = join_turns(turns)
    else:  # a thread whose upper part is not in the file: no turns that a chat could have
        named = zip(roles, turns, strict=True)
        earlier = "\n\n".join(f"{SPEAKERS[role == ASSISTANT]}: {turn}" for role, turn in named)
    return make_record(
        source=NAME,
        source_id=message["message_id"],
        instruction=text if old else text.strip(),
        input="" if old else earlier,
        output=reply["text"] if old else reply["text"].strip(),
        task=Task.DIALOGUE,
        license="apache-2.0",
        url=HOMEPAGE,
        authors=(Author("OpenAssistant contributors", HOMEPAGE),),
        meta={
            "reply_id": reply.get("message_id"),
            "rank": _rank(reply) if _rank(reply) < _UNRANKED else None,
            "turn": len(raw["history"]) // 2 + 1,
            **({"turns": [len(turn) for turn in turns]} if turns and alternate and not old else {}),
            "tree": message.get("message_tree_id"),
            **(
                {}
                if old or not turns
                else {"message_ids": [t["message_id"] for t in raw["history"]]}
            ),
        },
    )


def _is_withdrawn(message: Mapping[str, Any]) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _rank(message: Mapping[str, Any]) -> float:
    rank = message.get("rank")
    return rank if isinstance(rank, (int, float)) and rank == rank else _UNRANKED


def raw_texts(item: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of a message, its history and each reply, for `check --against-raw`.

    Of a flat file only the message itself is compared.
    """
    if "prompt" not in item:
        yield item["message_id"], {"instruction": item["text"]}
        return
    waiting = [(item["prompt"], "")]
    while waiting:
        node, history = waiting.pop()
        speaker = "User" if node["role"] == PROMPTER else "Assistant"
        longer = f"{history}{speaker}: {node['text']}\n\n"
        for reply in node.get("replies", ()):
            yield (
                node["message_id"],
                {"instruction": node["text"], "input": history, "output": reply["text"]},
            )
            waiting.append((reply, longer))


SOURCE = Source(
    name=NAME,
    title="OpenAssistant conversations",
    homepage=HOMEPAGE,
    citation="Koepf et al., OpenAssistant Conversations, NeurIPS Datasets and Benchmarks 2023",
    license="apache-2.0",
    free_text=True,
    upstream=Origin(
        files=(
            File(
                "2023-04-12_oasst_ready.trees.jsonl.gz",
                url=(
                    "hf://datasets/OpenAssistant/oasst1@fdf72ae0827c1cda404aff25b6603abec9e3399b/"
                    "2023-04-12_oasst_ready.trees.jsonl.gz"
                ),
                also=("*.trees.jsonl*", "*.messages.jsonl*", "*.parquet", "*.jsonl*"),
            ),
        ),
        read=read,
        convert=convert,
        raw_texts=RawTexts(raw_texts),
    ),
    mixed_languages=True,
    refuse=frozenset({Reason.TOO_SHORT}),
    provenance=Provenance(
        text_sources=("conversations written by volunteers",),
        arxiv="https://arxiv.org/abs/2304.07327",
        github="https://github.com/LAION-AI/Open-Assistant",
        creators=("LAION",),
    ),
    counts_2023=(
        Count2023(
            "English prompts with their best ranked reply; depends on the snapshot.", mix=9_209
        ),
    ),
    notes=(
        "Not medical; English only.",
        "A candidate is a prompter message with at least one reply.",
    ),
    version=3,
)
