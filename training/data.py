"""A mix as token rows: the one place of training that knows how rows lie on disk.

The mix is opened behind its gate (no exam item may be in it unless told), and its rows become
tokens in the frame that the tokenizer carries, with a mark on those that are learned: that is all
that the plan and the loss know of a template. Rows that are cut, and rows that are left without a
token to learn, are counted by reason: a loss over no token is not a number.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from meadow.corpus.folder import Corpus
from meadow.errors import UsageError
from meadow.models.frames import (
    Learned,
    bind,
    common_prefix,
    control_tokens,
    learned_turns,
    pad_token,
)
from meadow.models.frames import tokenize as text_tokens
from meadow.prompt import complete, render
from meadow.schema import messages_of
from training.config import Data, Recipe

COLUMNS = ("id", "instruction", "input", "output", "source", "meta", "messages")
"""The last one where a mix has it: a row's turns; `meta` tells them where it has not."""
NO_TARGET = "no_target_tokens"
TOO_LONG = "too_long"
CONTROL_TOKEN = "control_token_in_text"  # noqa: S105 - a reason, no secret
IGNORED = -100
"""The label of a position that is not learned."""
PROMPT_TAIL = 32
"""Tokens at a prompt's end that a cut leaves, so that the answer cue stays."""
CHARACTERS_PER_TOKEN = 3.6
"""For estimates without a tokenizer: medical English under a vocabulary of 32,000."""

Ints = npt.NDArray[np.int32]


def read_rows(
    corpus: Corpus, split: str, repeat: Mapping[str, int] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a split, each source as often as `repeat` says.

    Raises:
        UsageError: There is no such split, or `repeat` names a source that has no row.
        FileError: A shard cannot be read.
        CheckError: Its rows are not those of a corpus.
    """
    repeat = dict(repeat or {})
    seen: set[str] = set()
    for table in corpus.iter_tables(split=split, columns=list(COLUMNS)):
        for batch in table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                seen.add(row["source"])
                yield from [row] * repeat.get(row["source"], 1)
    if split == "train" and (unknown := sorted(set(repeat) - seen)):
        raise UsageError(
            f"mix.repeat names sources without a row: {', '.join(unknown)}",
            where=str(corpus.folder),
            fix=f"sources of the mix: {', '.join(sorted(seen))}",
        )


def split_rows(corpus: Corpus, recipe: Recipe) -> tuple[Iterable[Any], Iterable[Any] | None]:
    """The rows to train on and the ones that are held out: by the mix, or by the recipe's share."""
    rows, share = read_rows(corpus, "train", recipe.mix.repeat), recipe.mix.validation
    if not share:
        some = any("validation" in splits for splits in corpus.manifest.splits().values())
        return rows, read_rows(corpus, "validation") if some else None

    def held(row: Mapping[str, Any]) -> bool:
        digest = hashlib.sha256(f"{recipe.run.seed}/{row['id']}".encode()).digest()
        return int.from_bytes(digest[:6], "big") < share * 2**48

    once = (row for row in read_rows(corpus, "train") if held(row))
    return (row for row in rows if not held(row)), once


def texts_of(rows: Iterable[Mapping[str, str]]) -> Iterable[str]:
    """What a tokenizer learns from: every text of a row."""
    for row in rows:
        yield row["instruction"]
        yield row["input"] or ""
        yield row["output"]


@dataclass
class TokenRows:
    """All examples of a split, flat. Not changed once made: what is derived is kept."""

    tokens: Ints  # all tokens, example after example, int32
    # where each example begins, with one closing entry; shape (rows + 1)
    starts: npt.NDArray[np.int64]
    # whether a token is learned, bool, as long as `tokens`; never an example's first: nothing
    # predicts it
    learned: npt.NDArray[np.bool_]
    source: Ints  # index into `sources` for each example
    ids: list[str]  # record ids
    copies: list[int]  # 0, 1, ... for each appearance of the same record id
    sources: list[str]  # source names
    # (record id, reason) of rows that are not trained on
    rejected: list[tuple[str, str]] = field(default_factory=list)
    cut: int = 0  # how many examples were cut to the length

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each example."""
        return np.diff(self.starts)

    @cached_property
    def targets(self) -> npt.NDArray[np.int64]:
        """Learned tokens of each example."""
        until = np.concatenate([[0], np.cumsum(self.learned, dtype=np.int64)])
        return np.diff(until[self.starts])

    def row(self, index: int) -> Ints:
        """The tokens of one example."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    def labels(self, index: int) -> Ints:
        """The labels of one example: its tokens, with the positions that are not learned ignored.

        The first label is always ignored, so that nothing predicts across a packed border.
        """
        where = self.learned[self.starts[index] : self.starts[index + 1]]
        return np.where(where, self.row(index), IGNORED).astype(np.int32)

    def digest(self) -> str:
        """Identifies every token, and whether it is learned."""
        return hashlib.sha256(self.tokens.tobytes() + self.learned.tobytes()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """Counts for the run manifest. Conservation: rows_in == rows_out + sum of rejected."""
        reasons = Counter(reason for _, reason in self.rejected)
        sources = Counter(self.sources[index] for index in self.source.tolist())
        return {
            "rows_in": len(self) + len(self.rejected),
            "rows_out": len(self),
            "rejected": dict(sorted(reasons.items())),
            "cut": self.cut,
            "tokens": int(self.starts[-1]),
            "target_tokens": int(self.targets.sum()),
            "rows_per_source": dict(sorted(sources.items())),
        }


def frame_tokenizer(tokenizer: Any, recipe: Recipe) -> None:
    """Let a tokenizer carry the recipe's frame, and hold it to what the recipe needs of it.

    Raises:
        UsageError: No EOS token, no chat template for `chat` or one that contradicts itself, no pad
            token for a padded layout, or a template without a needed field.
    """
    if tokenizer.eos_token_id is None:
        raise UsageError(
            "the tokenizer has no EOS token: the model would never learn to stop",
            where=str(getattr(tokenizer, "name_or_path", "") or recipe.base.repository),
            fix="set eos_token in its tokenizer_config.json",
        )
    data = recipe.data
    bind(tokenizer, data.template, bos=data.bos, system=data.system, today=data.date)
    if recipe.batch.layout != "packed":
        pad_token(tokenizer, data.pad_token_id)


def tokenize(
    rows: Iterable[Mapping[str, Any]], tokenizer: Any, data: Data, *, batch: int = 512
) -> TokenRows:
    """Turn rows into tokens, and say which are learned.

    A row has id, instruction, input, output, source; and messages, or meta, where it is a
    conversation. No result depends on `batch`, the rows per call of the tokenizer.
    """
    tokens, learned = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.bool_)]
    kept: list[tuple[str, str]] = []
    rejected: list[tuple[str, str]] = []
    cut = 0
    iterator = iter(rows)
    encode = _conversations if data.template == "chat" else _framed
    while group := list(islice(iterator, batch)):
        for row, made in zip(group, encode(group, tokenizer, data), strict=True):
            fitted = fit_row(made, data) if isinstance(made, Learned) else made
            if isinstance(fitted, str):
                rejected.append((row["id"], fitted))
                continue
            tokens.append(fitted[0])
            learned.append(fitted[1])
            kept.append((row["id"], row["source"]))
            cut += isinstance(made, Learned) and len(made.tokens) > data.length
    sources = list(dict.fromkeys(source for _, source in kept))
    place = {source: index for index, source in enumerate(sources)}
    appearances: defaultdict[str, Iterator[int]] = defaultdict(count)
    return TokenRows(
        tokens=np.concatenate(tokens),
        starts=np.cumsum([len(piece) for piece in tokens], dtype=np.int64),
        learned=np.concatenate(learned),
        source=np.array([place[source] for _, source in kept], dtype=np.int32),
        ids=[name for name, _ in kept],
        copies=[next(appearances[name]) for name, _ in kept],
        sources=sources,
        rejected=rejected,
        cut=cut,
    )


def _framed(
    rows: Sequence[Mapping[str, Any]], tokenizer: Any, data: Data
) -> Iterator[Learned | str]:
    """Rows in a plain frame. A control token in a row's text stays text."""
    prompts = [render(data.template, row["instruction"], row["input"] or "") for row in rows]
    texts = [complete(p, row["output"]) for p, row in zip(prompts, rows, strict=True)]
    full, alone = text_tokens(tokenizer, texts), text_tokens(tokenizer, prompts)
    control, eos = control_tokens(tokenizer), tokenizer.eos_token_id
    for text, prompt, tokens, head in zip(texts, prompts, full, alone, strict=True):
        if control.search(text):
            both = tokenizer([text, prompt], split_special_tokens=True)
            tokens, head = both["input_ids"]
        tokens = [*tokens, eos] if tokens[-1:] != [eos] else tokens
        yield Learned(tokens, [(common_prefix(tokens, head), len(tokens))])


def _conversations(
    rows: Sequence[Mapping[str, Any]], tokenizer: Any, data: Data
) -> Iterator[Learned | str]:
    """Rows in the tokenizer's own chat template, through their last answer."""
    turns: list[list[Mapping[str, str]]] = []
    for row in rows:
        texts = (row["instruction"], row["input"] or "", row["output"], row.get("meta") or "")
        made: list[Mapping[str, str]] = row.get("messages") or [*messages_of(*texts)]
        answers = [i for i, turn in enumerate(made) if turn["role"] == "assistant"]
        last = max(answers) if all(turn["content"] for turn in made) and answers else -1
        turns.append(made[: last + 1])
    found = iter(
        learned_turns(tokenizer, list(filter(None, turns)), last_only=data.turns == "last")
    )
    for conversation in turns:
        yield (next(found) or CONTROL_TOKEN) if conversation else NO_TARGET


def fit_row(made: Learned, data: Data) -> tuple[Ints, npt.NDArray[np.bool_]] | str:
    """Fit one example into the length by the recipe's rule.

    Returns:
        Its tokens and which are learned, or the reason why there is none.
    """
    length, tokens = data.length, np.asarray(made.tokens, dtype=np.int32)
    learned = np.full(len(tokens), data.loss_on == "all")
    for first, end in made.spans:
        learned[first:end] = True
    if len(tokens) > length and data.truncation == "reject":
        return TOO_LONG
    if len(tokens) > length and data.truncation == "cut_prompt":
        prompt = made.spans[0][0]
        keep = max(length - (len(tokens) - prompt), min(prompt, length // 4))
        if keep < prompt:
            tail = min(PROMPT_TAIL, keep // 2)
            chosen = np.r_[: keep - tail, prompt - tail : len(tokens)]
            tokens, learned = tokens[chosen], learned[chosen]
    tokens, learned = tokens[:length], learned[:length]
    learned[:1] = False
    return (tokens, learned) if learned.any() else NO_TARGET


def preview(
    rows: Iterable[Mapping[str, Any]], tokenizer: Any, data: Data, number: int
) -> list[dict[str, Any]]:
    """The first examples as tokens: {"id", "tokens", "token_ids", "learned"} each."""
    made = tokenize(islice(rows, number), tokenizer, data)
    return [
        {
            "id": name,
            "tokens": tokenizer.convert_ids_to_tokens(made.row(index).tolist()),
            "token_ids": made.row(index).tolist(),
            "learned": (made.labels(index) != IGNORED).tolist(),
        }
        for index, name in enumerate(made.ids)
    ]
