"""Log-likelihoods of continuations: the trie scorer, the plain scorer, and the choice between them.

The trie scorer does one forward pass per batch of questions over their tries and sends only scored
positions through the output head. It needs a decoder that takes a 4-D attention mask and position
ids; whether it may be used is checked from the configuration and then proven: two questions are
scored both ways before the run, and any difference above `TOLERANCE` means the plain scorer, with
the reason in `run.json`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from evaluation.trie import Batch, Group, Plan, Row, Score, build_row, layout, make_plan, split

TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
"""Largest difference of a log-likelihood between the two scorers; other types get `LOOSE`."""
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
    """Scores groups of sequences with a model.

    Args:
        model: A causal language model (or a PeftModel around one), in eval mode.
        budget: Tokens per batch; by default 4,096 on a processor, 16,384 on a GPU.
        method: "trie" or "plain"; `choose` decides.
        reason: Why it is not the trie.
    """

    model: Any
    budget: int = 0
    method: str = "trie"
    reason: str = ""
    work: Work = field(default_factory=Work)
    _prefix: tuple[tuple[int, ...], Any] | None = None

    def __post_init__(self) -> None:
        if not self.budget:
            self.budget = BUDGET.get(self.model.device.type, 4096)

    def plan(self, groups: Many[Group]) -> Plan:
        """The batches of a run; depends on the groups and the budget only."""
        if self.method == "trie":
            return make_plan(groups, self.budget)
        return _plain_plan(groups, self.budget)

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
            if self.method == "trie":
                return self._trie(plan.prefix if batch.prefixed else (), chosen)
            return self._plain(chosen)

    def _trie(self, prefix: tuple[int, ...], groups: Many[Group]) -> list[list[Score]]:
        """Rows longest first, in as many forward passes as the budget asks for."""
        rows: list[tuple[Row, int, tuple[int, ...]]] = []
        for place, group in enumerate(groups):
            for part in split(group, len(prefix)):
                row = build_row(tuple(group[i] for i in part), len(prefix))
                rows.append((row, place, part))
        rows.sort(key=lambda entry: -len(entry[0].tokens))
        results: list[dict[int, Score]] = [{} for _ in groups]
        start = 0
        while start < len(rows):
            size = max(1, self.budget // len(rows[start][0].tokens))
            chosen = rows[start : start + size]
            scored = self._forward(prefix, [row for row, _, _ in chosen])
            for (_, place, part), scores in zip(chosen, scored, strict=True):
                results[place].update(zip(part, scores, strict=True))
            start += size
        return [[found[i] for i in range(len(found))] for found in results]

    def _forward(self, prefix: tuple[int, ...], rows: Many[Row]) -> list[list[Score]]:
        """One forward pass over rows."""
        width = max(len(row.tokens) for row in rows)
        device = self.model.device
        body, head = decoder(self.model)
        ids = _padded([row.tokens for row in rows])
        arguments: dict[str, Any] = {}
        if prefix or not all(row.is_chain for row in rows):
            layouts = [layout(row, width) for row in rows]
            mask = torch.stack([torch.from_numpy(m) for m, _ in layouts])
            depth = torch.stack([torch.from_numpy(d) for _, d in layouts])
            if prefix:
                ones = torch.ones(len(rows), width, len(prefix), dtype=torch.bool)
                mask = torch.cat([ones, mask], dim=-1)
                arguments["past_key_values"] = self._expanded(prefix, len(rows))
            arguments["attention_mask"] = self._mask(mask[:, None].to(device))
            arguments["position_ids"] = (depth + len(prefix)).to(device)
        # without branches right padding is harmless: causal attention never looks at it
        hidden = body(
            input_ids=ids.to(device), use_cache=bool(prefix), **arguments
        ).last_hidden_state
        self.work.forwards += 1
        self.work.tokens += ids.numel()

        places: dict[tuple[int, int], int] = {}
        wanted: list[tuple[int, int]] = []
        for index, row in enumerate(rows):
            for sequence in row.targets:
                for node, token in sequence:
                    place = places.setdefault((index, node), len(places))
                    wanted.append((place, token))
        where = torch.tensor(list(places), device=device)
        # only the positions that are asked for go through the head: it is most of a small model
        logits = head(hidden[where[:, 0], where[:, 1]]).float()
        best = logits.argmax(-1).tolist()
        asked = torch.tensor(wanted, device=device)
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

    def _mask(self, mask: torch.Tensor) -> torch.Tensor:
        """True where a node may look; eager attention adds its mask, so it gets numbers."""
        if self.model.config._attn_implementation != "eager":
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

    def _plain(self, groups: Many[Group]) -> list[list[Score]]:
        """One row per continuation through the whole model, right-padded."""
        results = []
        device = self.model.device
        for group in groups:
            scores: list[Score] = []
            size = max(1, self.budget // (max(len(s.tokens) for s in group) - 1))
            for start in range(0, len(group), size):
                part = group[start : start + size]
                ids = _padded([s.tokens[:-1] for s in part])
                mask = _padded([(1,) * (len(s.tokens) - 1) for s in part])
                output = self.model(
                    input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
                )
                self.work.forwards += 1
                self.work.tokens += ids.numel()
                for sequence, row in zip(part, output.logits, strict=True):
                    first = len(sequence.tokens) - sequence.scored
                    logits = row[first - 1 : len(sequence.tokens) - 1].float()
                    target = torch.tensor(sequence.tokens[first:], device=device)
                    chosen = logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(-1)
                    greedy = bool((logits.argmax(-1) == target).all())
                    scores.append(Score(float(chosen.sum()), greedy, sequence.scored))
            results.append(scores)
        return results


def _padded(rows: Many[Many[int]]) -> torch.Tensor:
    """Rows of numbers as a matrix, zeros at the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def decoder(model: Any) -> tuple[Any, Any]:
    """(body, head) of a causal language model; adapters sit inside the layers and stay active."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return inner.get_decoder(), inner.get_output_embeddings()


def obstacle(model: Any) -> str:
    """Why the trie cannot be tried on this model; "" where it can."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    config = inner.config
    attention = getattr(config, "_attn_implementation", None)
    if attention not in {"sdpa", "eager"}:
        return f"attention {attention!r} takes no mask of ours"
    if getattr(inner, "_is_stateful", False):
        return f"{config.model_type} keeps a running state instead of attention"
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"}:
        return f"layers of kinds {', '.join(sorted(kinds))}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "sliding-window attention"
    try:
        body, head = decoder(model)
    except (AttributeError, NotImplementedError):
        return "no separate decoder"
    if body is None or head is None:
        return "no separate decoder and head"
    if "position_ids" not in inspect.signature(body.forward).parameters:
        return "the decoder takes no position ids"
    return ""


def choose(model: Any, groups: Many[Group], *, budget: int = 0) -> Scorer:
    """The trie scorer where it is proven on two questions of this run, else the plain one.

    Args:
        model: A causal language model.
        groups: The questions; the shortest and the one in the middle are tried.
        budget: Tokens per batch.
    """
    reason = obstacle(model)
    if not reason and groups:
        order = sorted(range(len(groups)), key=lambda i: max(len(s.tokens) for s in groups[i]))
        sample = [groups[i] for i in dict.fromkeys((order[0], order[len(order) // 2]))]
        reason = self_check(model, sample)
    return Scorer(model, budget, "plain" if reason else "trie", reason)


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
    worst = max(abs(a.loglik - b.loglik) for a, b in pairs)
    if not math.isfinite(worst) or worst > limit:
        return f"self-check: log-likelihoods differ by {worst:.3g}, more than {limit:g}"
    return ""


def _plain_plan(groups: Many[Group], budget: int) -> Plan:
    order = sorted(range(len(groups)), key=lambda i: (-max(len(s.tokens) for s in groups[i]), i))
    return Plan((), tuple(Batch((index,), False) for index in order))
