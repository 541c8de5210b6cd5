"""From texts to token tries: all continuations of a question as one row, and the plan of batches.

A context and its continuations are tokenised together and split where the context alone would end,
as lm-evaluation-harness does, so that scores can be compared: spaces at the end of the context
belong to the continuation, and special tokens are those that the tokenizer adds by itself, once, in
front.

Sequences that share a beginning share its nodes, so a question's stem is computed once however many
options it has; a prefix that (nearly) all questions share is computed once per run. A node sees its
ancestors and itself, and its position is its depth: every node's hidden state is what a plain
forward pass over its path would give.

The plan depends on the whole exam only: not on what is already in a journal, nor on the number of
processes. Batches keep their shapes, and with them the last bits of every log-likelihood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meadow.models.frames import tokenize


@dataclass(frozen=True, slots=True)
class Sequence:
    """Tokens of which the last `scored` are the continuation."""

    tokens: tuple[int, ...]  # context and continuation
    scored: int  # how many tokens at the end are scored; at least 1


Group = tuple[Sequence, ...]
"""Sequences that belong to one question and share most of their context."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a model says of a continuation."""

    loglik: float  # sum of the natural-log probabilities of the continuation's tokens
    greedy: bool  # whether every token was the most probable one
    tokens: int  # tokens of the continuation


def encode(tokenizer: Any, contexts: Many[str], continuations: Many[Many[str]]) -> list[Group]:
    """One group per context: the context with each of its continuations."""
    stems, wholes = [], []
    for context, texts in zip(contexts, continuations, strict=True):
        stripped = context.rstrip()
        stems.append(stripped)
        wholes += [context + text for text in texts]
    stem_ids = tokenize(tokenizer, stems)
    whole_ids = iter(tokenize(tokenizer, wholes))
    groups = []
    for ids, texts in zip(stem_ids, continuations, strict=True):
        group = []
        for _ in texts:
            whole = next(whole_ids)
            tail = whole[len(ids) :] or whole[-1:]  # a merge across the border leaves one token
            head = ids if len(whole) > len(ids) else whole[:-1]
            group.append(Sequence((*head, *tail), len(tail)))
        groups.append(tuple(group))
    return groups


def cut_left(group: Group, limit: int) -> Group:
    """The group in lm-evaluation-harness's manner: each sequence loses tokens from its left.

    `limit` is the longest input of the model; the last token is never an input.
    """
    return tuple(Sequence(s.tokens[-(limit + 1) :], min(s.scored, limit)) for s in group)


MIN_PREFIX = 16
"""A shared prefix shorter than this is not worth a cache."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question's trie, flattened: parents stand before children."""

    tokens: tuple[int, ...]  # one per node
    parents: tuple[int, ...]  # index of the parent; -1 for the first nodes
    # per sequence, (node, next token) for each scored token
    targets: tuple[tuple[tuple[int, int], ...], ...]
    trunk: int  # how many nodes at the beginning form a chain

    @property
    def is_chain(self) -> bool:
        """Whether the trie has no branch."""
        return self.trunk == len(self.tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions that go through the model together."""

    members: tuple[int, ...]  # indices into the groups that were planned
    prefixed: bool  # whether the rows continue the plan's prefix
    tree: bool = True  # whether a row may branch


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed: once the prefix, then the batches, longest first."""

    prefix: tuple[int, ...]
    batches: tuple[Batch, ...]


def build_row(group: Group, skip: int = 0) -> Row:
    """The trie of a group, without its first `skip` tokens (which the prefix holds)."""
    tokens: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}
    targets = []
    for sequence in group:
        node = -1
        path = []
        for token in sequence.tokens[skip:-1]:
            child = children.get((node, token))
            if child is None:
                child = len(tokens)
                children[node, token] = child
                tokens.append(token)
                parents.append(node)
            node = child
            path.append(node)
        first = len(sequence.tokens) - sequence.scored
        targets.append(
            tuple(
                (path[index - 1 - skip], sequence.tokens[index])
                for index in range(first, len(sequence.tokens))
            )
        )
    trunk = 0
    while trunk < len(tokens) and parents[trunk] == trunk - 1:
        trunk += 1
    return Row(tuple(tokens), tuple(parents), tuple(targets), trunk)


def split(group: Group, skip: int = 0, *, tree: bool = True) -> list[tuple[int, ...]]:
    """The sequences of a group, gathered into rows that are worth sharing.

    Attention grows with the square of a row, so a sequence joins a row only where it shares at
    least half of its tokens with a neighbour: sequences that were cut from the left at different
    places share nothing, and a prompt without its stem shares little. Without branches a sequence
    joins where its input continues its neighbour's: letters, whose input is the same, do.

    Returns:
        Indices into the group, each once.
    """
    order = sorted(range(len(group)), key=lambda i: (group[i].tokens[:-1], i))
    parts: list[list[int]] = []
    for place, index in enumerate(order):
        own = group[index].tokens
        if place:
            before = group[order[place - 1]].tokens
            end = min(len(own), len(before)) - 1
            shared = next((i for i in range(skip, end) if own[i] != before[i]), end) - skip
            if 2 * shared >= len(own) - 1 - skip if tree else shared == len(before) - 1 - skip:
                parts[-1].append(index)
                continue
        parts.append([index])
    return [tuple(sorted(part)) for part in parts]


def layout(row: Row, width: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """(mask, depth) of a row padded to `width`: what each node sees, and how deep it stands.

    Padding nodes see themselves only, so that no softmax is over nothing.

    Returns:
        Arrays of shapes (width, width) and (width,).
    """
    mask = np.zeros((width, width), dtype=np.bool_)
    depth = np.zeros(width, dtype=np.int64)
    trunk = row.trunk
    mask[:trunk, :trunk] = np.tri(trunk, dtype=np.bool_)
    depth[:trunk] = np.arange(trunk)
    for node in range(trunk, len(row.tokens)):
        parent = row.parents[node]
        if parent >= 0:
            mask[node] = mask[parent]
            depth[node] = depth[parent] + 1
        mask[node, node] = True
    for node in range(len(row.tokens), width):
        mask[node, node] = True
    return mask, depth


def make_plan(groups: Many[Group], budget: int, *, tree: bool = True, window: int = 0) -> Plan:
    """Cut the work into batches of at most `budget` tokens (one row at least).

    A question that is longer than the `window` of sliding attention gets rows that do not branch.
    """
    branch = [tree and (not window or depth(group) <= window) for group in groups]
    prefix = shared_prefix([g for g, fits in zip(groups, branch, strict=True) if fits])
    sizes = []
    for index, group in enumerate(groups):
        prefixed = branch[index] and bool(prefix) and _fits(group, prefix)
        skip = len(prefix) if prefixed else 0
        parts = split(group, skip, tree=branch[index])
        rows = [build_row(tuple(group[i] for i in part), skip) for part in parts]
        kind = (not branch[index], not prefixed)
        sizes.append((kind, -sum(len(row.tokens) for row in rows), index))
    batches: list[Batch] = []
    members: list[int] = []
    width, last = 0, (False, False)
    for kind, negative, index in [*sorted(sizes), ((True, True), 0, -1)]:
        if members and (index < 0 or kind != last or (len(members) + 1) * width > budget):
            batches.append(Batch(tuple(members), not last[1], not last[0]))
            members = []
        if not members:
            width, last = -negative, kind
        members.append(index)
    return Plan(prefix, tuple(batches))


def depth(group: Group) -> int:
    """Tokens that the longest sequence of a group feeds to the model."""
    return max(len(sequence.tokens) for sequence in group) - 1


def shared_prefix(groups: Many[Group]) -> tuple[int, ...]:
    """The prefix whose cache saves the most: its length times the questions that have it.

    Questions that lost their instruction to the context limit have another beginning; they must not
    take the prefix from all others.
    """
    if len(groups) < 2:
        return ()
    heads = Counter(group[0].tokens[:MIN_PREFIX] for group in groups)
    head = heads.most_common(1)[0][0]
    reference = next(g[0].tokens for g in groups if g[0].tokens[:MIN_PREFIX] == head)
    lengths = sorted((_common(group, reference) for group in groups), reverse=True)
    best = max(range(len(lengths)), key=lambda i: lengths[i] * i)
    length = lengths[best]
    return reference[:length] if length >= MIN_PREFIX and best else ()


def _fits(group: Group, prefix: tuple[int, ...]) -> bool:
    return all(
        s.tokens[: len(prefix)] == prefix and len(s.tokens) - s.scored > len(prefix) for s in group
    )


def _common(group: Group, reference: tuple[int, ...]) -> int:
    """Tokens that every sequence of the group shares with `reference`, before what is scored.

    One own token must remain: the first scored token is predicted from it.
    """
    shortest = len(reference)
    for sequence in group:
        end = min(shortest, len(sequence.tokens) - sequence.scored - 1)
        if sequence.tokens[:end] != reference[:end]:
            end = next(i for i in range(end) if sequence.tokens[i] != reference[i])
        shortest = max(end, 0)
    return shortest
