"""Log-likelihoods of continuations: over tries, or over rows without branches.

The trie scorer does one forward pass per batch of questions over their tries and sends only scored
positions through the output head. It needs a decoder that takes a 4-D attention mask and position
ids; whether it may be used is checked from the configuration and then proven: the longest question
and one of the middle are scored both ways before the run, and any difference above `TOLERANCE`
means rows without branches, with the reason in `run.json`. Sliding windows are the same as full
attention for what is no longer than they are; longer questions get rows without branches as well.

Such a row is a plain prompt, right-padded, through the whole model. Continuations with the same
input (letters) or with one that goes on (options that begin alike) share it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from evaluation.trie import (
    Batch,
    Group,
    Plan,
    Row,
    Score,
    build_row,
    depth,
    layout,
    make_plan,
    split,
)

TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
"""Largest difference of a log-likelihood between the two scorers, over the square root of its
tokens: a sum of rounding errors grows like that, what a wrong mask does like the tokens. Other
types get `LOOSE`."""
LOOSE = 0.25
BUDGET = {"cpu": 4096, "cuda": 16384}


@dataclass(slots=True)
class Work:
    """What a run computed and what sharing saved, in tokens through the model's body."""

    forwards: int = 0
    tokens: int = 0
    """Nodes and padding that went through the body."""
    plain_tokens: int = 0
    """What one row per continuation would have taken, padding not counted."""
    prefix_tokens: int = 0


@dataclass(slots=True)
class Scorer:
    """Scores groups of sequences with a model."""

    model: Any  # a causal language model (or a PeftModel around one), in eval mode
    budget: int = 0  # tokens per batch; by default 4,096 on a processor, 16,384 on a GPU
    method: str = "trie"  # "trie" or "plain"; `choose` decides
    reason: str = ""  # why it is not the trie
    window: int = 0  # tokens that fit the model's sliding window; 0: it has none
    work: Work = field(default_factory=Work)
    _prefix: tuple[tuple[int, ...], Any] | None = None

    def __post_init__(self) -> None:
        if not self.budget:
            self.budget = BUDGET.get(self.model.device.type, 4096)

    def plan(self, groups: Many[Group]) -> Plan:
        """The batches of a run; depends on the groups and the budget only."""
        return make_plan(groups, self.budget, tree=self.method == "trie", window=self.window)

    def score(self, groups: Many[Group]) -> list[list[Score]]:
        """Score everything at once: one list per group, in order."""
        plan = self.plan(groups)
        results: list[list[Score]] = [[] for _ in groups]
        for batch in plan.batches:
            for index, scores in zip(batch.members, self.run(plan, batch, groups), strict=True):
                results[index] = scores
        return results

    def run(self, plan: Plan, batch: Batch, groups: Many[Group]) -> list[list[Score]]:
        """Score one batch of a plan: one list per member, in the batch's order."""
        chosen = [groups[index] for index in batch.members]
        self.work.plain_tokens += sum(len(s.tokens) - 1 for g in chosen for s in g)
        with torch.inference_mode():
            return self._rows(plan.prefix if batch.prefixed else (), chosen, tree=batch.tree)

    def _rows(
        self, prefix: tuple[int, ...], groups: Many[Group], *, tree: bool
    ) -> list[list[Score]]:
        """Rows longest first, in as many forward passes as the budget asks for."""
        rows: list[tuple[Row, int, tuple[int, ...]]] = []
        for place, group in enumerate(groups):
            for part in split(group, len(prefix), tree=tree):
                row = build_row(tuple(group[i] for i in part), len(prefix))
                rows.append((row, place, part))
        rows.sort(key=lambda entry: -len(entry[0].tokens))
        results: list[dict[int, Score]] = [{} for _ in groups]
        start = 0
        while start < len(rows):
            size = max(1, self.budget // len(rows[start][0].tokens))
            chosen = rows[start : start + size]
            scored = self._forward(prefix, [row for row, _, _ in chosen], tree=tree)
            for (_, place, part), scores in zip(chosen, scored, strict=True):
                results[place].update(zip(part, scores, strict=True))
            start += size
        return [[found[i] for i in range(len(found))] for found in results]

    def _forward(
        self, prefix: tuple[int, ...], rows: Many[Row], *, tree: bool
    ) -> list[list[Score]]:
        """One forward pass over rows."""
        places: dict[tuple[int, int], int] = {}
        wanted: list[tuple[int, int]] = []
        for index, row in enumerate(rows):
            for sequence in row.targets:
                for node, token in sequence:
                    place = places.setdefault((index, node), len(places))
                    wanted.append((place, token))
        where = torch.tensor(list(places), device=self.model.device)
        logits = (
            self._over_tries(prefix, rows, where) if tree else self._whole(rows, where)
        ).float()
        best = logits.argmax(-1).tolist()
        asked = torch.tensor(wanted, device=self.model.device)
        chosen = logits[asked[:, 0], asked[:, 1]] - logits.logsumexp(-1)[asked[:, 0]]
        # in the order in which they were asked for
        answers = iter(zip(wanted, chosen.tolist(), strict=True))
        results = []
        for row in rows:
            scores = []
            for sequence in row.targets:
                own = [next(answers) for _ in sequence]
                greedy = all(best[place] == token for (place, token), _ in own)
                scores.append(Score(math.fsum(v for _, v in own), greedy, len(own)))
            results.append(scores)
        return results

    def _over_tries(
        self, prefix: tuple[int, ...], rows: Many[Row], where: torch.Tensor
    ) -> torch.Tensor:
        """The logits at (row, node) places, from the decoder and its head."""
        width = max(len(row.tokens) for row in rows)
        device = self.model.device
        body, head = decoder(self.model)
        ids = _padded([row.tokens for row in rows])
        arguments: dict[str, Any] = {}
        if prefix or not all(row.is_chain for row in rows):
            layouts = [layout(row, width) for row in rows]
            mask = torch.stack([torch.from_numpy(m) for m, _ in layouts])
            places = torch.stack([torch.from_numpy(d) for _, d in layouts])
            if prefix:
                ones = torch.ones(len(rows), width, len(prefix), dtype=torch.bool)
                mask = torch.cat([ones, mask], dim=-1)
                arguments["past_key_values"] = self._expanded(prefix, len(rows))
            arguments["attention_mask"] = self._mask(mask[:, None].to(device))
            arguments["position_ids"] = (places + len(prefix)).to(device)
        # without branches right padding is harmless: causal attention never looks at it
        hidden = body(
            input_ids=ids.to(device), use_cache=bool(prefix), **arguments
        ).last_hidden_state
        self.work.forwards += 1
        self.work.tokens += ids.numel()
        # only the positions that are asked for go through the head: it is most of a small model
        logits: torch.Tensor = head(hidden[where[:, 0], where[:, 1]])
        return logits

    def _whole(self, rows: Many[Row], where: torch.Tensor) -> torch.Tensor:
        """The same from the whole model: rows without branches as plain prompts."""
        device = self.model.device
        ids = _padded([row.tokens for row in rows])
        mask = _padded([[1] * len(row.tokens) for row in rows])
        kept, place = torch.unique(where[:, 1], return_inverse=True)
        arguments: dict[str, Any] = {"logits_to_keep": kept}
        if "logits_to_keep" not in inspect.signature(_inner(self.model).forward).parameters:
            arguments, place = {}, where[:, 1]
        logits: torch.Tensor = self.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, **arguments
        ).logits
        self.work.forwards += 1
        self.work.tokens += ids.numel()
        return logits[where[:, 0], place]

    def _mask(self, mask: torch.Tensor) -> torch.Tensor:
        """True where a node may look; eager attention adds its mask, so it gets numbers."""
        if text_config(self.model)._attn_implementation != "eager":
            return mask
        kind = next(self.model.parameters()).dtype
        kind = kind if kind.is_floating_point else torch.float32
        return torch.zeros(mask.shape, dtype=kind, device=mask.device).masked_fill_(
            ~mask, torch.finfo(kind).min
        )

    def _expanded(self, prefix: tuple[int, ...], rows: int) -> Any:
        """A fresh cache that holds the prefix for every row; the prefix is computed once."""
        from transformers import DynamicCache

        if self._prefix is None or self._prefix[0] != prefix:
            body, _ = decoder(self.model)
            ids = torch.tensor([prefix], device=self.model.device)
            output = body(input_ids=ids, use_cache=True)
            self._prefix = (prefix, output.past_key_values)
            self.work.forwards += 1
            self.work.tokens += len(prefix)
            self.work.prefix_tokens = len(prefix)
        cache = DynamicCache()
        for index, layer in enumerate(self._prefix[1].layers):
            cache.update(
                layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), index
            )
        return cache


def _padded(rows: Many[Many[int]]) -> torch.Tensor:
    """Rows of numbers as a matrix, zeros at the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _inner(model: Any) -> Any:
    """The model inside an adapter's; one that transformers loaded with its adapter is that."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_config(model: Any) -> Any:
    """The configuration of the language model, of one that also sees as well."""
    return _inner(model).config.get_text_config()


def decoder(model: Any) -> tuple[Any, Any]:
    """(body, head) of a causal language model; adapters sit inside the layers and stay active."""
    body = _inner(model).get_decoder()
    return getattr(body, "language_model", body), _inner(model).get_output_embeddings()


def obstacle(model: Any) -> str:
    """Why the trie cannot be tried on this model; "" where it can."""
    inner, config = _inner(model), text_config(model)
    attention = getattr(config, "_attn_implementation", None)
    if attention not in {"sdpa", "eager"}:
        return f"attention {attention!r} takes no mask of ours"
    if getattr(inner, "_is_stateful", False):
        return f"{config.model_type} keeps a running state instead of attention"
    kinds = set(getattr(config, "layer_types", None) or ())
    if other := kinds - {"full_attention", "sliding_attention"}:
        return f"layers of kinds {', '.join(sorted(other))}"
    try:
        body, head = decoder(model)
    except (AttributeError, NotImplementedError):
        return "no separate decoder"
    if body is None or head is None:
        return "no separate decoder and head"
    if "position_ids" not in inspect.signature(body.forward).parameters:
        return "the decoder takes no position ids"
    return ""


def window_of(model: Any) -> int:
    """How many tokens the model's sliding layers see; 0 where all layers see everything."""
    config = text_config(model)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    slides = "sliding_attention" in kinds and getattr(config, "use_sliding_window", True)
    return int(getattr(config, "sliding_window", None) or 0) if slides else 0


def choose(model: Any, groups: Many[Group], *, budget: int = 0) -> Scorer:
    """The trie scorer where it is proven on two questions of this run, else the plain one.

    Of the groups that fit the window, the longest and the one in the middle are tried.
    """
    reason, window = obstacle(model), window_of(model)
    fitting = sorted((g for g in groups if not window or depth(g) <= window), key=depth)
    if not reason and fitting:
        sample = [fitting[-1], fitting[len(fitting) // 2]]
        reason = self_check(model, sample if len(fitting) > 1 else sample[:1])
    elif not reason and groups:
        reason = f"every question is longer than the sliding window of {window} tokens"
    return Scorer(model, budget, "plain" if reason else "trie", reason, window)


def self_check(model: Any, groups: Many[Group]) -> str:
    """Score groups both ways; "" where they agree, else what differs."""
    try:
        quick = Scorer(model, method="trie").score(groups)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"the trie failed: {type(error).__name__} {str(error)[:200]}"
    plain = Scorer(model, method="plain").score(groups)
    kind = str(next(model.parameters()).dtype).removeprefix("torch.")
    limit = TOLERANCE.get(kind, LOOSE)
    pairs = [(a, b) for x, y in zip(quick, plain, strict=True) for a, b in zip(x, y, strict=True)]
    worst = max(abs(a.loglik - b.loglik) / math.sqrt(a.tokens) for a, b in pairs)
    if not math.isfinite(worst) or worst > limit:
        return (
            f"self-check: log-likelihoods differ by {worst:.3g} a root token, more than {limit:g}"
        )
    return ""
