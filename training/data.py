"""A mix as token rows: the one place of training that knows how rows lie on disk.

The mix is opened behind its gate (no exam item may be in it unless told), its rows become tokens
with the position where their loss begins, and those positions are all that the plan and the loss
know of a template. Rows that are cut, and rows that are left without a token to learn, are counted
by reason: a loss over no token is not a number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meadow.api import open_corpus
from meadow.atomic import sha256_file
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import NAME
from meadow.errors import RefusedError, UsageError
from meadow.exams.contamination import FILE_NAME, remaining
from meadow.exams.overlap import FOUND
from meadow.net.hub import SCHEME
from meadow.prompt import complete, render
from training.config import Data, Recipe

COLUMNS = ("id", "instruction", "input", "output", "source")
NO_TARGET = "no_target_tokens"
TOO_LONG = "too_long"
IGNORED = -100
"""The label of a position that is not learned."""
PROMPT_TAIL = 32
"""Tokens at a prompt's end that a cut leaves, so that the answer cue stays."""
CHARACTERS_PER_TOKEN = 3.6
"""For estimates without a tokenizer: medical English under a vocabulary of 32,000."""

Ints = npt.NDArray[np.int32]


def open_mix(location: str | Path) -> Corpus:
    """Open a corpus or mix: a folder, or a published one as `OWNER/NAME@REVISION`.

    Raises:
        UsageError: There is no such folder.
        FileError: There is no finished corpus in it.
    """
    text = str(location)
    if Path(text).exists() or "://" in text:
        return open_corpus(text)
    if "@" in text and text.partition("@")[0].count("/") == 1 and not text.startswith((".", "/")):
        return open_corpus(SCHEME + text)
    raise UsageError(
        "no such mix",
        where=text,
        fix="name a folder that `meadow mix` or `meadow build` wrote, or OWNER/NAME@REVISION",
    )


def read_rows(
    corpus: Corpus, split: str, repeat: Mapping[str, int] | None = None
) -> Iterator[dict[str, str]]:
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


def has_split(corpus: Corpus, split: str) -> bool:
    """Whether the mix has rows in that split."""
    splits = corpus.manifest.splits().values()
    return any(shard.rows for item in splits for shard in item.get(split, ()))


def texts_of(rows: Iterable[Mapping[str, str]]) -> Iterable[str]:
    """What a tokenizer learns from: every text of a row."""
    for row in rows:
        yield row["instruction"]
        yield row["input"] or ""
        yield row["output"]


def check_contamination(corpus: Corpus, *, allow: bool) -> dict[str, Any]:
    """Refuse a mix that holds exam items.

    Returns:
        What the run manifest says: whether there is a record, the rows by exam and level, whether
        the refusal was overridden, and a warning.

    Raises:
        RefusedError: Rows match an exam's stem, and `allow` is not set.
    """
    record = corpus.manifest.details.get("contamination")
    if not isinstance(record, dict) or not record:
        return {
            "checked": False,
            "rows": {},
            "allowed": allow,
            "warning": "the mix has no contamination record: its exam scores prove little",
        }
    rows = _contaminated_rows(corpus, record)
    found = {"checked": True, "exams": sorted(record), "rows": rows, "allowed": allow}
    if rows:
        listed = "; ".join(
            f"{exam}: " + ", ".join(f"{n} rows ({level})" for level, n in levels.items())
            for exam, levels in rows.items()
        )
        if not allow:
            raise RefusedError(
                f"exam items are in the mix: {listed}",
                where=str(corpus.folder / FILE_NAME),
                fix="mix again with the decontamination step, or pass --allow-contaminated "
                "(the run manifest will say so)",
            )
        found["warning"] = f"trained on exam items: {listed}"
    return found


def _contaminated_rows(corpus: Corpus, record: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Exam -> level -> rows of the mix that match one of the exam's items.

    The table of matches says which rows; those that the mix left out do not count. Without the
    table, the record's own counts stand.
    """
    found: dict[str, Counter[str]] = {exam: Counter() for exam in record}
    if (corpus.folder / FILE_NAME).is_file():
        matches = remaining(corpus.folder).select("exam", "row_id", "level").unique()
        for exam, _, level in matches.iter_rows():
            found.setdefault(exam, Counter())[level] += 1
    else:
        for exam, facts in record.items():
            found[exam].update({level: int(n) for level, n in facts.get("rows", {}).items()})
    refused = {
        exam: {level: n for level, n in sorted(levels.items()) if level in FOUND and n}
        for exam, levels in sorted(found.items())
    }
    return {exam: levels for exam, levels in refused.items() if levels}


def mix_facts(corpus: Corpus) -> dict[str, Any]:
    """Which rows exactly: the manifest's hash and every shard's."""
    return {
        "folder": str(corpus.folder),
        "stage": corpus.manifest.stage,
        "config_hash": corpus.manifest.config_hash,
        "manifest_sha256": sha256_file(corpus.folder / NAME),
        "shards": [
            {"path": shard.path, "rows": shard.rows, "sha256": shard.sha256}
            for shard in corpus.manifest.shards()
        ],
    }


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One example: its tokens, and the first position whose token is learned."""

    tokens: list[int]
    target_from: int
    cut: bool = False


@dataclass(slots=True)
class TokenRows:
    """All examples of a split, flat.

    Args:
        tokens: All tokens, example after example, int32.
        starts: Where each example begins, with one closing entry; shape (rows + 1).
        target_from: First learned position of each example, at least 1: the first token has no
            prediction.
        source: Index into `sources` for each example.
        ids: Record ids.
        copies: 0, 1, ... for each appearance of the same record id.
        sources: Source names.
        rejected: (record id, reason) of rows that are not trained on.
        cut: How many examples were cut to the length.
    """

    tokens: Ints
    starts: npt.NDArray[np.int64]
    target_from: Ints
    source: Ints
    ids: list[str]
    copies: list[int]
    sources: list[str]
    rejected: list[tuple[str, str]] = field(default_factory=list)
    cut: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each example."""
        return np.diff(self.starts)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Learned tokens of each example."""
        return self.lengths - self.target_from

    def row(self, index: int) -> Ints:
        """The tokens of one example."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    def labels(self, index: int) -> Ints:
        """The labels of one example: its tokens, with the positions that are not learned ignored.

        The first label is always ignored, so that nothing predicts across a packed border.
        """
        labels = self.row(index).copy()
        labels[: self.target_from[index]] = IGNORED
        return labels

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


def check_tokenizer(tokenizer: Any, recipe: Recipe) -> None:
    """Hold a tokenizer to what the recipe needs of it.

    Raises:
        UsageError: No EOS token, no BOS token where the recipe wants one, no chat template for
            `chat`, no pad token for a padded layout, or a template without a needed field.
    """
    where = str(getattr(tokenizer, "name_or_path", "") or recipe.base.repository)
    if tokenizer.eos_token_id is None:
        raise UsageError(
            "the tokenizer has no EOS token: the model would never learn to stop",
            where=where,
            fix="set eos_token in its tokenizer_config.json",
        )
    if recipe.data.bos and tokenizer.bos_token_id is None and recipe.data.template != "chat":
        raise UsageError(
            "the tokenizer has no BOS token", where=where, fix="set data.bos = false in the recipe"
        )
    render(recipe.data.template, "instruction", "input", tokenizer=tokenizer)
    if recipe.batch.layout != "packed":
        pad_token(tokenizer, recipe.data)


def pad_token(tokenizer: Any, data: Data) -> int:
    """The id that fills padded rows.

    Raises:
        UsageError: Neither the recipe nor the tokenizer names one.
    """
    for found in (data.pad_token_id, tokenizer.pad_token_id):
        if found is not None:
            return int(found)
    raise UsageError(
        "a padded layout needs a pad token, and the tokenizer has none",
        where=str(getattr(tokenizer, "name_or_path", "")),
        fix='name one: data.pad_token_id = 0, or use batch.layout = "packed"',
    )


def tokenize(
    rows: Iterable[Mapping[str, str]], tokenizer: Any, data: Data, *, batch: int = 512
) -> TokenRows:
    """Turn rows into tokens with their loss masks.

    Args:
        rows: With the columns id, instruction, input, output, source.
        tokenizer: Of the base model.
        data: The recipe's `[data]`.
        batch: Rows per call of the tokenizer; no result depends on it.
    """
    tokens: list[Ints] = []
    kept: list[tuple[str, str, int]] = []
    rejected: list[tuple[str, str]] = []
    cut = 0
    iterator = iter(rows)
    while group := list(islice(iterator, batch)):
        for row, made in zip(group, _token_rows(group, tokenizer, data), strict=True):
            if isinstance(made, str):
                rejected.append((row["id"], made))
                continue
            tokens.append(np.asarray(made.tokens, dtype=np.int32))
            kept.append((row["id"], row["source"], max(1, made.target_from)))
            cut += made.cut
    sources = list(dict.fromkeys(source for _, source, _ in kept))
    place = {source: index for index, source in enumerate(sources)}
    appearances: defaultdict[str, Iterator[int]] = defaultdict(count)
    lengths = [len(piece) for piece in tokens]
    return TokenRows(
        tokens=np.concatenate([np.zeros(0, dtype=np.int32), *tokens]),
        starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        target_from=np.array([first for _, _, first in kept], dtype=np.int32),
        source=np.array([place[source] for _, source, _ in kept], dtype=np.int32),
        ids=[name for name, _, _ in kept],
        copies=[next(appearances[name]) for name, _, _ in kept],
        sources=sources,
        rejected=rejected,
        cut=cut,
    )


def _token_rows(
    rows: Sequence[Mapping[str, str]], tokenizer: Any, data: Data
) -> Iterator[TokenRow | str]:
    prompts = [
        render(data.template, row["instruction"], row["input"] or "", tokenizer=tokenizer)
        for row in rows
    ]
    texts = [complete(p, row["output"]) for p, row in zip(prompts, rows, strict=True)]
    full = tokenizer(texts, add_special_tokens=False)["input_ids"]
    alone = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    first = tokenizer.bos_token_id if data.bos else None
    for tokens, prompt in zip(full, alone, strict=True):
        border = common_prefix(tokens, prompt)
        head = [first] if first is not None and tokens[:1] != [first] else []
        yield fit_row(
            [*head, *tokens[:border]], list(tokens[border:]), tokenizer.eos_token_id, data
        )


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts share at their beginning.

    The prompt is tokenised alone and together with its response; a token that spans the border
    belongs to the response.
    """
    shorter = min(len(left), len(right))
    return next((index for index in range(shorter) if left[index] != right[index]), shorter)


def fit_row(prompt: list[int], response: list[int], eos: int, data: Data) -> TokenRow | str:
    """Fit one example into the length by the recipe's rule.

    Args:
        prompt: Its tokens, with BOS where the recipe wants it.
        response: Its tokens, without EOS.
        eos: The end token.
        data: The recipe's `[data]`.

    Returns:
        The row, or the reason why there is none.
    """
    length = data.length
    if data.eos == "always":
        ending = [eos]
    else:
        ending = [eos] if len(prompt) + len(response) < length else []
    size = len(prompt) + len(response) + len(ending)
    cut = size > length
    if cut and data.truncation == "reject":
        return TOO_LONG
    if cut and data.truncation == "cut_prompt":
        keep = max(length - len(response) - len(ending), min(len(prompt), length // 4))
        if keep < len(prompt):
            tail = min(PROMPT_TAIL, keep // 2)
            prompt = prompt[: keep - tail] + prompt[len(prompt) - tail :]
    border = min(len(prompt), length)
    tokens = prompt + response + ending
    if len(tokens) > length:
        tokens = (
            tokens[: length - len(ending)] + ending if data.eos == "always" else tokens[:length]
        )
    target_from = border if data.loss_on == "completion" else 0
    # An EOS alone, after a prompt that fills the length, would teach to answer nothing.
    learned = len(tokens) - max(1, target_from)
    if learned <= 0 or (data.loss_on == "completion" and len(prompt) + len(ending) >= length):
        return NO_TARGET
    return TokenRow(tokens, target_from, cut)
