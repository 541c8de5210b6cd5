"""The trie scorer against the plain one and against lm-evaluation-harness."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from evaluation.questions import KINDS, continuations
from evaluation.scorer import Scorer, choose, obstacle, self_check
from evaluation.trie import (
    Sequence,
    build_row,
    cut_left,
    encode,
    layout,
    longest_input,
    make_plan,
    shared_prefix,
    split,
)
from meadow.exams.items import ExamItem
from meadow.prompt import exam_prompt

PARITY = 1e-4
QUESTIONS = 40


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


def assert_parity(ours: Any, theirs: Any, options: list[int]) -> float:
    worst = 0.0
    for own, other, count in zip(ours, theirs, options, strict=True):
        worst = max(worst, *(abs(a.loglik - b[0]) for a, b in zip(own, other, strict=True)))
        assert [a.greedy for a in own] == [b[1] for b in other]
        for start in range(0, len(own), count):  # one mode after the other
            mine = [a.loglik for a in own[start : start + count]]
            peer = [b[0] for b in other[start : start + count]]
            assert mine.index(max(mine)) == peer.index(max(peer))
    assert worst <= PARITY
    return worst


@pytest.mark.parametrize("which", ["random_model", "stories"])
def test_parity_with_lm_eval(
    which: str, request: pytest.FixtureRequest, sample_items: list[ExamItem]
) -> None:
    model, tokenizer = request.getfixturevalue(which)
    items = sample_items[:QUESTIONS]
    contexts, tails = texts(items)
    groups = encode(tokenizer, contexts, tails)
    limit = model.config.max_position_embeddings
    assert all(longest_input(group) <= limit for group in groups)
    scorer = choose(model, groups)
    assert (scorer.method, scorer.reason) == ("trie", "")
    options = [len(item.options) for item in items]
    worst = assert_parity(scorer.score(groups), harness(model, tokenizer, contexts, tails), options)
    print(f"{which}: {len(items)} questions, 3 modes, largest difference {worst:.2e}")


@pytest.mark.parametrize("count", [8, pytest.param(QUESTIONS, marks=pytest.mark.slow)])
def test_left_cut_parity_with_lm_eval(
    stories: tuple[Any, Any], sample_items: list[ExamItem], count: int
) -> None:
    model, tokenizer = stories
    items = sample_items[:count]
    contexts, tails = texts(items, repeat=5)
    limit = model.config.max_position_embeddings
    groups = encode(tokenizer, contexts, tails)
    assert all(longest_input(group) > limit for group in groups)
    groups = [cut_left(group, limit) for group in groups]
    options = [len(item.options) for item in items]
    ours = choose(model, groups).score(groups)
    worst = assert_parity(ours, harness(model, tokenizer, contexts, tails), options)
    print(f"left-cut: largest difference {worst:.2e}")


def random_groups(seed: int, vocabulary: int = 40) -> list[tuple[Sequence, ...]]:
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
def test_trie_is_plain_on_random_groups(
    random_model: tuple[Any, Any], attention: str, budget: int
) -> None:
    model, _ = random_model
    before = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        for seed in range(15):
            groups = random_groups(seed)
            quick = Scorer(model, budget, "trie").score(groups)
            plain = Scorer(model, method="plain").score(groups)
            for own, other in zip(quick, plain, strict=True):
                for a, b in zip(own, other, strict=True):
                    assert a.loglik == pytest.approx(b.loglik, abs=PARITY)
                    assert (a.greedy, a.tokens) == (b.greedy, b.tokens)
    finally:
        model.set_attn_implementation(before)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_trie_holds_every_path(seed: int) -> None:
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
                assert [token for _, token in targets] == list(
                    sequence.tokens[len(sequence.tokens) - sequence.scored :]
                )
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
    assert shared_prefix([odd, *groups]) == shared
    plan = make_plan([odd, *groups], 4096)
    assert [batch.prefixed for batch in plan.batches if 0 in batch.members] == [False]


def test_the_shared_stem_is_computed_once(
    random_model: tuple[Any, Any], sample_items: list[ExamItem]
) -> None:
    model, tokenizer = random_model
    groups = encode(tokenizer, *texts(sample_items[:8]))
    scorer = Scorer(model)
    scorer.score(groups)
    assert scorer.work.prefix_tokens >= 16
    assert scorer.work.tokens * 4 < scorer.work.plain_tokens


def test_adapters_stay_active(random_folder: Any, sample_items: list[ExamItem]) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_folder)
    groups = encode(tokenizer, *texts(sample_items[:3]))
    base = AutoModelForCausalLM.from_pretrained(random_folder, dtype=torch.float32)
    without = Scorer(base.eval()).score(groups)
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    scorer = choose(model.eval(), groups)
    assert scorer.method == "trie"
    with_adapter = scorer.score(groups)
    plain = Scorer(model, method="plain").score(groups)
    assert with_adapter[0][0].loglik == pytest.approx(plain[0][0].loglik, abs=PARITY)
    assert abs(with_adapter[0][0].loglik - without[0][0].loglik) > 1e-2


def test_models_without_full_attention_fall_back() -> None:
    torch.manual_seed(0)
    sliding = MistralForCausalLM(
        MistralConfig(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                      num_attention_heads=2, num_key_value_heads=1, sliding_window=8)
    ).eval()  # fmt: skip
    state = MambaForCausalLM(
        MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4)
    ).eval()
    for model, word in ((sliding, "sliding"), (state, "")):
        groups = random_groups(3)
        scorer = choose(model, groups)
        assert scorer.method == "plain"
        assert word in scorer.reason
        assert scorer.reason
        one_by_one = [[plain_score(model, s) for s in group] for group in groups]
        for own, expected in zip(scorer.score(groups), one_by_one, strict=True):
            assert [s.loglik for s in own] == pytest.approx(expected, abs=PARITY)


def plain_score(model: Any, sequence: Sequence) -> float:
    """The definition: one unpadded row through the whole model."""
    with torch.inference_mode():
        logits = model(torch.tensor([sequence.tokens[:-1]]), use_cache=False).logits[0].float()
    logprobs = logits.log_softmax(-1)
    first = len(sequence.tokens) - sequence.scored
    return sum(
        float(logprobs[i - 1, sequence.tokens[i]]) for i in range(first, len(sequence.tokens))
    )


def test_a_model_that_ignores_the_mask_is_caught(
    random_model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = random_model
    groups = [g for seed in range(4) for g in random_groups(seed) if len(g) > 2][:2]
    assert self_check(model, groups) == ""
    body = model.get_decoder()
    forward = type(body).forward

    def deaf(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return forward(self, *args, attention_mask=None, **kwargs)

    monkeypatch.setattr(type(body), "forward", deaf)
    assert "self-check" in self_check(model, groups)
    assert choose(model, groups).method == "plain"


def test_obstacles_are_named(random_model: tuple[Any, Any]) -> None:
    model, _ = random_model
    assert obstacle(model) == ""
    assert isinstance(model, LlamaForCausalLM)
    before = model.config._attn_implementation
    model.config._attn_implementation = "flash_attention_2"
    try:
        assert "flash_attention_2" in obstacle(model)
    finally:
        model.config._attn_implementation = before
