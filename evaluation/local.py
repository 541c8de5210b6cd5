"""A Hugging Face model on this machine as a backend."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from evaluation.backend import Batches, Response, Sampling
from evaluation.questions import Unit
from evaluation.scorer import Scorer, choose, window_of
from evaluation.trie import Group, Score, cut_left, encode
from meadow.atomic import hash_json
from meadow.errors import FileError
from meadow.exams.answers import THOUGHT_TOKENS
from meadow.models.architecture import check_tokens, longest_input
from meadow.models.checkpoints import refuse_torn
from meadow.models.frames import tokenize
from meadow.models.loading import (
    Checkpoint,
    choose_precision,
    default_device,
    hashed_weights,
    load_adapter,
    load_config,
    load_model,
    load_tokenizer,
    quiet,
    trained_as,
)
from meadow.models.weights import check_at_hand

DEFAULT_CONTEXT = 2048
UNLIMITED = 10**9
"""Tokenizers without a limit name one above this."""


GENERATED_TOGETHER = {"cpu": 8, "cuda": 32}


class Prompter:
    """What prompts are made with: a tokenizer and the length of a context."""

    chat = False

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit: int | None = limit
        # questions that are too long are cut here; the tokenizer need not warn of each first one
        warned = getattr(tokenizer, "deprecation_warnings", None)
        if isinstance(warned, dict):
            warned["sequence-length-is-longer-than-the-specified-maximum"] = True

    def count(self, text: str) -> int:
        """Tokens, special ones included."""
        return len(tokenize(self.tokenizer, [text])[0])


class LocalBackend(Prompter):
    """A causal language model with its tokenizer."""

    def __init__(
        self,
        model: Any,  # in memory; switched to eval mode while it works, and back
        tokenizer: Any,
        *,
        identity: dict[str, Any] | None = None,  # what names the model and its weights
        budget: int = 0,
        max_length: int | None = None,  # context to use; by default the model's
        method: str = "auto",  # "auto" proves the trie scorer first; "trie" and "plain" choose
    ) -> None:
        super().__init__(tokenizer, max_length or context_length(model.config, tokenizer))
        self.model = model
        self.budget = budget
        self.method = method
        self.together = GENERATED_TOGETHER.get(model.device.type, 8)
        self.identity = identity or {"name": "in memory"}
        self._scorers: list[Scorer] = []
        self._drawn = {"prompt_tokens": 0, "new_tokens": 0}

    def describe(self) -> dict[str, Any]:
        """The model's names and hashes, number type and context."""
        parameter = next(self.model.parameters())
        return {
            **self.identity,
            "backend": "transformers",
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": parameter.device.type,
            "context": self.limit,
            "tokenizer": tokenizer_hash(self.tokenizer),
        }

    def work(self) -> dict[str, Any]:
        """Scorer used, forwards and tokens, what sharing saved, and what generating took."""
        total = {
            name: sum(getattr(s.work, name) for s in self._scorers)
            for name in ("forwards", "tokens", "plain_tokens", "prefix_tokens")
        }
        return {
            **total,
            **self._drawn,
            "tokens_saved": max(0, total["plain_tokens"] - total["tokens"]),
            "scorer": sorted({s.method for s in self._scorers}),
            "fallback": sorted({s.reason for s in self._scorers if s.reason}),
        }

    def plan(self, units: Sequence[Unit], *, cut_left: bool) -> Batches:
        """Tokenise everything, choose the scorer, cut batches."""
        groups = _groups(self.tokenizer, units, self.limit if cut_left else None)
        check_tokens(self.tokenizer, self.model, (t for g in groups for s in g for t in s.tokens))
        with _evaluating(self.model):
            if self.method == "auto":
                scorer = choose(self.model, groups, budget=self.budget)
            else:
                window = window_of(self.model)
                scorer = Scorer(self.model, self.budget, self.method, window=window)
        self._scorers.append(scorer)
        plan = scorer.plan(groups)
        members = [batch.members for batch in plan.batches]
        return Batches(units, members, (scorer, plan, groups))

    def score(self, batches: Batches, index: int) -> list[list[list[Score]]]:
        """Score one batch."""
        scorer, plan, groups = batches.state
        batch = plan.batches[index]
        with _evaluating(self.model):
            flat = scorer.run(plan, batch, groups)
        results = []
        for member, scores in zip(batch.members, flat, strict=True):
            left = iter(scores)
            parts = batches.units[member].parts
            results.append([[next(left) for _ in part.texts] for part in parts])
        return results

    def generate(self, prompts: Sequence[str], samplings: Sequence[Sampling]) -> list[Response]:
        """Prompts go together, left-padded, under the first one's sampling and seed."""
        if not prompts:
            return []
        sampling = samplings[0]
        device = next(self.model.parameters()).device
        ids = tokenize(self.tokenizer, prompts)
        if self.limit:
            ids = [row[-max(1, self.limit - 1) :] for row in ids]
        width = max(map(len, ids))
        self._drawn["prompt_tokens"] += sum(map(len, ids))
        ends = self._ends(sampling.stop)
        pad = self.tokenizer.pad_token_id
        pad = int(next(iter(ends), 0) if pad is None else pad)
        check_tokens(self.tokenizer, self.model, (pad, *(token for row in ids for token in row)))
        rows = [torch.tensor(row) for row in ids]
        batch = pad_sequence(rows, True, pad, padding_side="left")
        mask = pad_sequence([torch.ones_like(row) for row in rows], True, padding_side="left")
        room = sampling.max_new_tokens
        if self.limit:
            room = max(1, min(room, self.limit - width))
        arguments: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            torch.manual_seed(sampling.seed)
            names = ("temperature", "top_k", "top_p")
            arguments |= {name: getattr(sampling, name) for name in names}
        if sampling.stop:
            tail = max(map(len, sampling.stop)) + 4

            def stopped(found: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
                ended = self.tokenizer.batch_decode(found[:, max(width, found.shape[1] - tail) :])
                hits = [any(stop in text for stop in sampling.stop) for text in ended]
                return torch.tensor(hits, device=found.device)

            arguments["stopping_criteria"] = [stopped]
        with _evaluating(self.model), torch.inference_mode():
            output = self.model.generate(
                input_ids=batch.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=room,
                pad_token_id=pad,
                eos_token_id=sorted(ends) or None,
                **arguments,
            )[:, width:]
        special = {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        responses = []
        for row in output.tolist():
            end = next((i for i, token in enumerate(row) if token in ends), None)
            self._drawn["new_tokens"] += len(row) if end is None else end + 1
            text = self.tokenizer.decode(
                row[:end], skip_special_tokens=not special & THOUGHT_TOKENS
            )
            cut = min((text.find(s) for s in sampling.stop if s in text), default=None)
            responses.append(Response(text[:cut], end is None and cut is None))
        return responses

    def _ends(self, stop: Sequence[str]) -> set[int]:
        """Tokens that end a response: the model's, the tokenizer's, and a turn's end."""
        known = self.tokenizer.get_added_vocab()
        ends = {known[text] for text in stop if text in known}
        for value in (self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id):
            ends |= set(value if isinstance(value, list) else [] if value is None else [value])
        return ends


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Eval mode for a while: a training callback gets its model back as it was."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def _groups(tokenizer: Any, units: Sequence[Unit], limit: int | None) -> list[Group]:
    parts = [part for unit in units for part in unit.parts]
    encoded = iter(
        encode(tokenizer, [part.context for part in parts], [part.texts for part in parts])
    )
    groups = [tuple(s for _ in unit.parts for s in next(encoded)) for unit in units]
    return [cut_left(group, limit) for group in groups] if limit else groups


def context_length(config: Any, tokenizer: Any) -> int:
    """The longest input: from the configuration, else the tokenizer, else 2,048."""
    if found := longest_input(config):
        return found
    value = getattr(tokenizer, "model_max_length", None)
    return value if isinstance(value, int) and value < UNLIMITED else DEFAULT_CONTEXT


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of the vocabulary, the special tokens and the template."""
    special = getattr(tokenizer, "special_tokens_map", {})
    return hash_json(
        {
            "vocabulary": tokenizer.get_vocab(),
            "special": {str(name): str(token) for name, token in special.items()},
            "template": str(getattr(tokenizer, "chat_template", None)),
            "probe": tokenizer("A: an example, with 12 mg/dL.")["input_ids"],
        }
    )


def weights_hash(folder: Path) -> str:
    """A hash of a checkpoint's weight files, names and contents."""
    files = hashed_weights(folder)
    if not files:
        raise FileError("no weights in the folder", where=str(folder), fix="check --model")
    return hash_json(files)


def prompter(model: str, *, revision: str | None = None, max_length: int | None = None) -> Prompter:
    """What a checkpoint's prompts are made with; its weights are not read."""
    quiet()
    base, _ = _adapted(model, None)
    checkpoint = Checkpoint(base, revision)
    tokenizer = _tokenizer(model, checkpoint)
    return Prompter(tokenizer, max_length or context_length(load_config(checkpoint), tokenizer))


def _adapted(model: str, adapter: str | None) -> tuple[str, str | None]:
    """(base, adapter): a folder with an adapter alone names the base that it learned on."""
    path = Path(model) / "adapter_config.json"
    if adapter or not path.is_file() or (Path(model) / "config.json").is_file():
        return model, adapter
    base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise FileError(
            "the adapter names no base", where=str(path), fix="--model BASE --adapter DIR"
        )
    return str(base), model


def _tokenizer(model: str, checkpoint: Checkpoint) -> Any:
    """An adapter's own tokenizer, which may know another template, else the base's."""
    own = (Path(model) / "tokenizer_config.json").is_file()
    return load_tokenizer(Checkpoint(model) if own else checkpoint)


def load(
    model: str,  # a folder, or OWNER/NAME on the Hub
    *,
    adapter: str | None = None,  # a PEFT adapter, folder or repository
    dtype: str = "auto",  # as `choose_precision` takes it
    revision: str | None = None,  # of the Hub repository
    **more: Any,  # as for `LocalBackend`
) -> LocalBackend:
    """Load a checkpoint folder or a Hub repository, with an adapter where one is named.

    By `meadow.models.loading`, as training loads: an adapter of this project finds the base that
    it learned on, bit for bit.
    """
    quiet()
    check_at_hand(model, revision)
    for folder in filter(None, (model, adapter)):
        refuse_torn(Path(folder))
    given, (model, adapter) = model, _adapted(model, adapter)
    device = default_device()
    precision = choose_precision(dtype, device=device, adapter=adapter)
    # one commit for weights and tokenizer, also while somebody pushes to the branch
    checkpoint = Checkpoint(model, revision).pinned()
    tokenizer = _tokenizer(adapter or given, checkpoint)
    loaded = load_model(checkpoint, precision, device=device)
    identity = {"name": model, "load": precision.kind, **_origin(checkpoint)}
    if precision.quantisation:
        identity["precision"] = precision.to_json()
    if adapter:
        loaded = load_adapter(loaded, adapter)
        identity["adapter"] = adapter
        if Path(adapter).is_dir():
            identity["adapter_weights"] = weights_hash(Path(adapter))
    if trained := trained_as(adapter or model):
        identity["trained"] = trained
    return LocalBackend(loaded.eval(), tokenizer, identity=identity, **more)


def _origin(checkpoint: Checkpoint) -> dict[str, Any]:
    folder = Path(checkpoint.name)
    if folder.is_dir():
        return {"name": folder.name, "weights": weights_hash(folder)}
    return {"revision": checkpoint.revision}
