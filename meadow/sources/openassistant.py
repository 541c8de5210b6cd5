"""OpenAssistant conversations (Koepf et al. 2023): a message and the reply that people ranked best.

Style `meadow` puts the conversation so far into the input, since many messages mean nothing
without it; style `2023` has the message alone. Replies that were deleted or failed review do not
count, and of the others the best ranked is taken (an unranked one only where none is ranked).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meadow.schema import Author, Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import File, Input, Options, Origin, Source
from meadow.sources.message_trees import ASSISTANT, PROMPTER, read_messages

NAME = "openassistant"
HOMEPAGE = "https://huggingface.co/datasets/OpenAssistant/oasst1"
LANGUAGES = frozenset({"en"})
_SPEAKERS = {PROMPTER: "User", ASSISTANT: "Assistant"}
_UNRANKED = 1_000_000


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """Every prompter message with a reply, from trees, flat lines or Parquet."""
    for item in inputs:
        yield from read_messages(item)


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """One prompter message -> one record with its best reply."""
    where, message = str(raw["_where"]), raw["message"]
    text = message["text"]
    if message.get("lang") not in LANGUAGES:
        yield Reject(where, Reason.LANGUAGE, f"language {message.get('lang')}", text)
        return
    if _is_withdrawn(message):
        yield Reject(where, Reason.DELETED, "the message was deleted or failed review", text)
        return
    if not text.strip():
        yield Reject(where, Reason.EMPTY_INPUT, "an empty message")
        return
    replies = [reply for reply in raw["replies"] if reply.get("role") == ASSISTANT]
    if not replies:
        yield Reject(where, Reason.NOT_A_TARGET, "no reply of an assistant", text)
        return
    standing = [reply for reply in replies if not _is_withdrawn(reply)]
    if not standing:
        yield Reject(where, Reason.DELETED, "every reply was deleted or failed review", text)
        return
    reply = min(standing, key=_rank)
    if not isinstance(reply.get("text"), str) or not reply["text"].strip():
        yield Reject(where, Reason.EMPTY_OUTPUT, "the best reply is empty", text)
        return
    if reply.get("lang") not in LANGUAGES:
        yield Reject(where, Reason.LANGUAGE, f"the reply's language {reply.get('lang')}", text)
        return
    old = options.style is Style.PUBLISHED_2023
    turns = [f"{_SPEAKERS.get(turn['role'], 'User')}: {turn['text']}" for turn in raw["history"]]
    yield make_record(
        source=NAME,
        source_id=message["message_id"],
        instruction=text if old else text.strip(),
        input="" if old else "\n\n".join(turns),
        output=reply["text"] if old else reply["text"].strip(),
        task=Task.DIALOGUE,
        license="apache-2.0",
        url=HOMEPAGE,
        authors=(Author("OpenAssistant contributors", HOMEPAGE),),
        meta={
            "reply_id": reply.get("message_id"),
            "rank": _rank(reply) if _rank(reply) < _UNRANKED else None,
            "turn": len(raw["history"]) // 2 + 1,
            "tree": message.get("message_tree_id"),
        },
    )


def _is_withdrawn(message: Mapping[str, Any]) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _rank(message: Mapping[str, Any]) -> float:
    rank = message.get("rank")
    return rank if isinstance(rank, (int, float)) and rank == rank else _UNRANKED


SOURCE = Source(
    name=NAME,
    title="OpenAssistant conversations",
    homepage=HOMEPAGE,
    citation="Koepf et al., OpenAssistant Conversations, NeurIPS Datasets and Benchmarks 2023",
    license="apache-2.0",
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
    ),
    notes=(
        "Not medical; English only.",
        "A candidate is a prompter message with at least one reply.",
    ),
)
