"""The trie scorer against the plain one and against lm-evaluation-harness."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.questions import KINDS, continuations
from evaluation.trie import (
    Group,
    Sequence,
    build_row,
    cut_left,
    depth,
    encode,
    layout,
    make_plan,
    shared_prefix,
    split,
)
from meadow.exams.items import ExamItem
from meadow.prompt import exam_prompt

PARITY = 1e-4


@pytest.fixture(scope="session")
def scoring() -> Any:
    """The module, whose torch is loaded for those who need it."""
    from evaluation import scorer

    return scorer


def texts(items: list[ExamItem], repeat: int = 1) -> tuple[list[str], list[list[str]]]:
    contexts = [
        exam_prompt("medalpaca", " ".join([item.question] * repeat), list(item.options))
        for item in items
    ]
    tails = [
        [text for kind in KINDS for text in continuations(list(item.options), kind)]
        for item in items
    ]
    return contexts, tails


def longest(groups: list[Group]) -> list[int]:
    """Tokens that the longest sequence of each group feeds to the model."""
    return [max(len(s.tokens) for s in group) - 1 for group in groups]


def harness(model: Any, tokenizer: Any, contexts: list[str], tails: list[list[str]]) -> Any:
    """lm-evaluation-harness's log-likelihoods of the same pairs."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, backend="causal")
    requests = [
        Instance("loglikelihood", {}, (context, tail), index)
        for index, (context, own) in enumerate(zip(contexts, tails, strict=True))
        for tail in own
    ]
    answers = iter(peer.loglikelihood(requests, disable_tqdm=True))
    return [[next(answers) for _ in own] for own in tails]


def assert_parity(ours: Any, theirs: Any, items: list[ExamItem]) -> None:
    worst = 0.0
    for own, other, item in zip(ours, theirs, items, strict=True):
        worst = max(worst, *(abs(a.loglik - b[0]) for a, b in zip(own, other, strict=True)))
        assert [a.greedy for a in own] == [b[1] for b in other]
        count = len(item.options)
        for start in range(0, len(own), count):  # one mode after the other
            mine = [a.loglik for a in own[start : start + count]]
            peer = [b[0] for b in other[start : start + count]]
            assert mine.index(max(mine)) == peer.index(max(peer))
    print(f"{len(items)} questions, 3 modes, largest difference {worst:.2e}")
    assert worst <= PARITY


@pytest.mark.parametrize("which", ["random_model", "stories"])
def test_parity_with_lm_eval(which, request, sample_items, scoring) -> None:
    model, tokenizer = request.getfixturevalue(which)
    items = sample_items[:40]
    contexts, tails = texts(items)
    groups = encode(tokenizer, contexts, tails)
    assert max(longest(groups)) <= model.config.max_position_embeddings
    scorer = scoring.choose(model, groups)
    assert (scorer.method, scorer.reason) == ("trie", "")
    assert_parity(scorer.score(groups), harness(model, tokenizer, contexts, tails), items)


@pytest.mark.parametrize("count", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_left_cut_parity_with_lm_eval(stories, sample_items, scoring, count) -> None:
    model, tokenizer = stories
    contexts, tails = texts(sample_items[:count], repeat=5)
    limit = model.config.max_position_embeddings
    groups = encode(tokenizer, contexts, tails)
    assert min(longest(groups)) > limit
    groups = [cut_left(group, limit) for group in groups]
    ours = scoring.choose(model, groups).score(groups)
    assert_parity(ours, harness(model, tokenizer, contexts, tails), sample_items[:count])


def random_groups(seed: int, vocabulary: int = 40) -> list[Group]:
    draw = random.Random(seed)
    prefix = [draw.randrange(vocabulary) for _ in range(draw.choice([0, 4, 25]))]
    groups = []
    for _ in range(draw.randrange(1, 6)):
        stem = prefix + [draw.randrange(vocabulary) for _ in range(draw.randrange(1, 30))]
        group = []
        for _ in range(draw.randrange(1, 6)):
            tail = [draw.randrange(3) for _ in range(draw.randrange(1, 8))]
            group.append(Sequence((*stem, *tail), draw.randrange(1, len(tail) + 1)))
        groups.append(tuple(group))
    return groups


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("budget", [1, 64, 4096])
def test_trie_is_plain_on_random_groups(random_model, scoring, attention, budget) -> None:
    model, _ = random_model
    before = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        for seed in range(15):
            groups = random_groups(seed)
            quick = scoring.Scorer(model, budget, "trie").score(groups)
            plain = scoring.Scorer(model, method="plain").score(groups)
            for a, b in zip(chain(*quick), chain(*plain), strict=True):
                assert a.loglik == pytest.approx(b.loglik, abs=PARITY)
                assert (a.greedy, a.tokens) == (b.greedy, b.tokens)
    finally:
        model.set_attn_implementation(before)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_trie_holds_every_path(seed) -> None:
    groups = random_groups(seed)
    plan = make_plan(groups, 128)
    assert sorted(i for batch in plan.batches for i in batch.members) == list(range(len(groups)))
    assert plan == make_plan(groups, 128)
    for batch in plan.batches:
        skip = len(plan.prefix) if batch.prefixed else 0
        for index in batch.members:
            group = groups[index]
            parts = split(group, skip)
            assert sorted(i for part in parts for i in part) == list(range(len(group)))
            row = build_row(group, skip)
            mask, depth = layout(row, len(row.tokens) + 3)
            for sequence, targets in zip(group, row.targets, strict=True):
                scored = sequence.tokens[len(sequence.tokens) - sequence.scored :]
                assert tuple(token for _, token in targets) == scored
                last = targets[-1][0]
                seen = [row.tokens[node] for node in mask[last].nonzero()[0]]
                assert seen == list(sequence.tokens[skip:-1])
                assert depth[last] == len(seen) - 1
            assert mask.diagonal().all()


def test_one_odd_question_does_not_take_the_prefix_from_the_others() -> None:
    shared = tuple(range(30))
    groups = [(Sequence((*shared, 50 + n, 60), 1),) for n in range(5)]
    odd = (Sequence((99, 98, 97), 1),)
    assert shared_prefix([*groups, odd]) == shared
    plan = make_plan([odd, *groups], 4096)
    assert plan.prefix == shared
    assert [batch.prefixed for batch in plan.batches if 0 in batch.members] == [False]


def test_the_shared_stem_is_computed_once(random_model, sample_items, scoring) -> None:
    model, tokenizer = random_model
    scorer = scoring.Scorer(model)
    scorer.score(encode(tokenizer, *texts(sample_items[:8])))
    assert scorer.work.prefix_tokens >= 16
    assert scorer.work.tokens * 4 < scorer.work.plain_tokens


def test_adapters_stay_active(random_folder, random_model, sample_items, scoring) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    groups = encode(random_model[1], *texts(sample_items[:3]))
    base = AutoModelForCausalLM.from_pretrained(random_folder, dtype=torch.float32)
    without = scoring.Scorer(base.eval()).score(groups)
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"])).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    scorer = scoring.choose(model, groups)
    assert scorer.method == "trie"
    adapted = scorer.score(groups)[0][0].loglik
    plain = scoring.Scorer(model, method="plain").score(groups)
    assert adapted == pytest.approx(plain[0][0].loglik, abs=PARITY)
    assert abs(adapted - without[0][0].loglik) > 1e-2


SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}  # fmt: skip


def random_of(kind: str, **sizes: Any) -> Any:
    """A random model of a type whose weights are wide enough for attention to matter."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4 if weight.dim() > 1 else 1)
    return model


def of_window(window: int) -> Any:
    """A multimodal configuration whose language model, in text_config, has a sliding layer."""
    kinds = ["sliding_attention", "full_attention"]
    text = {**SIZES, "sliding_window": window, "layer_types": kinds}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 1, "image_size": 28, "patch_size": 14}  # fmt: skip
    return random_of("gemma3", text_config=text, vision_config=vision)


@pytest.mark.parametrize(
    ("window", "method", "word"),
    [(64, "trie", ""), (40, "trie", ""), (1, "plain", "longer than the sliding window of 1")],
)
def test_a_window_is_looked_for_in_the_language_models_configuration(
    scoring, window, method, word
) -> None:
    model = of_window(window)
    groups = [group for seed in range(8) for group in random_groups(seed)]
    long = [depth(group) > window for group in groups]
    assert any(long) == (window < 64)
    scorer = scoring.choose(model, groups)
    assert scoring.obstacle(model) == ""
    assert (scorer.method, scorer.window) == (method, window)
    assert word in scorer.reason
    assert {g for b in scorer.plan(groups).batches if b.tree for g in b.members} == (
        {index for index, beyond in enumerate(long) if not beyond} if method == "trie" else set()
    )
    assert_defined(scorer, model, groups)
    scorer = scoring.Scorer(model)  # without the window, what is longer than it is wrong
    found, due = list(chain(*scorer.score(groups))), [plain_score(model, s) for s in chain(*groups)]
    wrong = max(abs(a.loglik - b) for a, b in zip(found, due, strict=True))
    assert (wrong > 0.01) == (window < 64)


def assert_defined(scorer: Any, model: Any, groups: list[Group]) -> None:
    """Scores are those of one unpadded row each."""
    for own, group in zip(scorer.score(groups), groups, strict=True):
        due = [plain_score(model, sequence) for sequence in group]
        assert [s.loglik for s in own] == pytest.approx(due, abs=PARITY)


def test_a_running_state_and_other_windows(scoring) -> None:
    sliding = random_of("mistral", **SIZES, sliding_window=22)
    state = random_of("mamba", vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4)
    for model, method in ((sliding, "trie"), (state, "plain")):
        groups = random_groups(3)
        scorer = scoring.choose(model, groups)
        assert (scorer.method, bool(scorer.reason)) == (method, method == "plain")
        assert_defined(scorer, model, groups)


def test_the_longest_question_is_what_the_trie_is_proven_on(
    random_model, scoring, monkeypatch
) -> None:
    groups = [group for seed in range(8) for group in random_groups(seed)]
    proven: list[Any] = []
    monkeypatch.setattr(scoring, "self_check", lambda _, sample: proven.extend(sample) or "")
    scoring.choose(random_model[0], groups)
    assert depth(proven[0]) == max(map(depth, groups))


def test_without_branches_equal_inputs_are_one_row_and_rows_go_together(
    random_model, sample_items, scoring
) -> None:
    model, tokenizer = random_model
    items = sample_items[:6]
    contexts, _ = texts(items)
    letters = [continuations(list(item.options), "letter") for item in items]
    groups = encode(tokenizer, contexts, letters)
    scorer = scoring.Scorer(model, 2 * max(longest(groups)), "plain")
    found = scorer.score(groups)
    assert scorer.work.forwards == 3  # two questions in each, whatever their letters
    assert scorer.work.tokens < scorer.work.plain_tokens / 3
    for own, other in zip(found, scoring.Scorer(model).score(groups), strict=True):
        assert [s.loglik for s in own] == pytest.approx([s.loglik for s in other], abs=PARITY)


def test_parity_with_lm_eval_beyond_a_sliding_window(random_model, sample_items, scoring) -> None:
    tokenizer = random_model[1]
    sizes = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 1024}
    model = random_of("mistral", **sizes, sliding_window=300, initializer_range=0.05)
    items = sample_items[:6]
    contexts, tails = texts(items)
    groups = encode(tokenizer, contexts, tails)
    scorer = scoring.choose(model, groups)
    assert max(longest(groups)) > 300
    assert_parity(scorer.score(groups), harness(model, tokenizer, contexts, tails), items)


def plain_score(model: Any, sequence: Sequence) -> float:
    """The definition: one unpadded row through the whole model."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([sequence.tokens[:-1]]), use_cache=False).logits[0].float()
    logprobs = logits.log_softmax(-1)
    first = len(sequence.tokens) - sequence.scored
    return sum(
        float(logprobs[i - 1, sequence.tokens[i]]) for i in range(first, len(sequence.tokens))
    )


def test_a_model_that_ignores_the_mask_is_caught(random_model, scoring, monkeypatch) -> None:
    model, _ = random_model
    groups = [g for seed in range(4) for g in random_groups(seed) if len(g) > 2][:2]
    assert scoring.self_check(model, groups) == ""
    body = type(model.get_decoder())
    forward = body.forward

    def deaf(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return forward(self, *args, attention_mask=None, **kwargs)

    monkeypatch.setattr(body, "forward", deaf)
    assert "self-check" in scoring.self_check(model, groups)
    assert scoring.choose(model, groups).method == "plain"


def test_obstacles_are_named(random_model, scoring, monkeypatch) -> None:
    model, _ = random_model
    assert scoring.obstacle(model) == ""
    monkeypatch.setattr(model.config, "_attn_implementation", "flash_attention_2")
    assert "flash_attention_2" in scoring.obstacle(model)


def test_rounding_of_long_options_is_no_fault_and_a_wrong_mask_is(scoring, monkeypatch) -> None:
    import torch

    sizes = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 256,
             "num_hidden_layers": 12, "num_attention_heads": 4}  # fmt: skip
    model = random_of("llama", **sizes)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2 if weight.dim() > 1 else 1)
    model = model.to(torch.bfloat16)
    draw = random.Random(1)
    stem = tuple(draw.randrange(64) for _ in range(200))
    tails = [tuple(draw.randrange(64) for _ in range(24)) for _ in range(3)]
    groups = [tuple(Sequence((*stem, *tail), len(tail)) for tail in tails)]
    over, plain = (scoring.Scorer(model, method=m).score(groups)[0] for m in ("trie", "plain"))
    worst = max(abs(a.loglik - b.loglik) for a, b in zip(over, plain, strict=True))
    print(f"rounding alone: {worst:.2f} over 24 tokens")
    assert worst > scoring.LOOSE  # of a sum; a share of it is of each token
    assert scoring.self_check(model, groups) == ""
    layout = scoring.layout

    def without_branches(row: Any, width: int) -> Any:
        seen, depths = layout(row, width)
        return np.tril(np.ones_like(seen)), depths

    monkeypatch.setattr(scoring, "layout", without_branches)
    assert "self-check" in scoring.self_check(model, groups)
