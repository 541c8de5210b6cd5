"""Multiple-choice scoring: lm-evaluation-harness and the trie scorer, interleaved in one process.

Random LLaMAs with a vocabulary of 32,000 and synthetic vignettes (stem about 270 tokens, five
options of about 8); both sides tokenise, one thread, the same questions. The ratio is of CPU time,
the median over rounds; loading a model and the scorer's self-check are on no side. Small models of
each family, with a small vocabulary, where little can be saved, are timed self-check included.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 3
SHOTS = 3
TARGETS = {"letter": 1.8, "A: text": 6.0, "both": 9.0, "3-shot letter": 5.0, "3-shot text": 15.0,
           "letter (m512)": 1.8, "A: text (m512)": 6.0}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "gemma": ("gemma", {}),
    "qwen3": ("qwen3", {"tie_word_embeddings": True}),
    "phi3": ("phi3", {"pad_token_id": 0, "sliding_window": None}),
    "neox": ("gpt_neox", {}),
    "moe": ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2,
                          "moe_intermediate_size": 32}),
    # shorter than every question: rows without branches
    "gemma3, window": ("gemma3_text", {"sliding_window": 256}),
    "mistral, window": ("mistral", {"sliding_window": 256}),
    # layers without attention among those with it
    "lfm2, hybrid": ("lfm2", {"layer_types": ["conv", "full_attention"],
                              "block_auto_adjust_ff_dim": False}),
    "qwen3_next, hybrid": ("qwen3_next", {
        "layer_types": ["linear_attention", "full_attention"], "num_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32, "linear_key_head_dim": 16,
        "shared_expert_intermediate_size": 32, "linear_value_head_dim": 16,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4}),
}  # fmt: skip
"""Name -> model type, what it takes beside the sizes that all have."""
FAMILY_QUESTIONS = 24
SYLLABLES = ("ca", "di", "ne", "pho", "ra", "stro", "tis", "ven", "lo", "mi", "xe", "bul", "gan",
             "thy", "ro", "pli", "sar", "cor", "der", "em")  # fmt: skip


def word(rank: int) -> str:
    """The rank-th word of an invented language."""
    dice = random.Random(rank)
    return "".join(dice.choices(SYLLABLES, k=dice.randint(1, 4)))


def sentence(seed: str, words: int) -> str:
    """Words with frequencies that fall like those of a language."""
    dice = random.Random(seed)
    text = " ".join(word(int(60_000 ** dice.random())) for _ in range(words))
    return text.capitalize() + "."


def vignettes(count: int, first: int = 0) -> list[tuple[str, list[tuple[str, str]]]]:
    """(stem, options) of invented questions."""
    return [
        (
            " ".join(sentence(f"stem {q} {s}", 14) for s in range(15)),
            [(label, sentence(f"option {q} {label}", 5)) for label in "ABCDE"],
        )
        for q in range(first, first + count)
    ]


def tokenizer_of(vocabulary: int) -> Any:
    """A byte-level BPE over the invented language."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from meadow.prompt import medalpaca

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    frame = medalpaca("Answer this multiple choice question.", "The Answer to the question is: A B")
    words = (" ".join(word(rank) for rank in range(n, n + 50)) for n in range(0, 60_000, 50))
    text = [*[frame] * 200, *words, *(sentence(f"train {n}", 200) for n in range(400))]
    tokenizer.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=2048
    )


def random_llama(hidden: int, layers: int, vocabulary: int) -> Any:
    """An untied LLaMA with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


class Peer:
    """lm-evaluation-harness around the same model object."""

    def __init__(self, model: Any, tokenizer: Any, batch: int) -> None:
        from lm_eval.models.huggingface import HFLM

        self.model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, backend="causal")

    def score(self, contexts: list[str], tails: list[list[list[str]]]) -> list[float]:
        """Log-likelihoods, one call per mode, as its tasks are run."""
        from lm_eval.api.instance import Instance

        found: dict[tuple[int, int, int], float] = {}
        for mode in range(len(tails[0])):
            keys = [(q, mode, o) for q in range(len(contexts)) for o in range(len(tails[q][mode]))]
            requests = [
                Instance("loglikelihood", {}, (contexts[q], tails[q][m][o]), 0) for q, m, o in keys
            ]
            answers = self.model.loglikelihood(requests, disable_tqdm=True)
            found.update({key: answer[0] for key, answer in zip(keys, answers, strict=True)})
        return [found[key] for key in sorted(found)]


def ours(
    model: Any,
    tokenizer: Any,
    contexts: list[str],
    tails: list[list[list[str]]],
    checked: bool = False,
) -> list[float]:
    """Log-likelihoods of all modes from one pass, after the self-check if that counts."""
    from evaluation.scorer import Scorer, choose
    from evaluation.trie import encode

    groups = encode(tokenizer, contexts, [[t for mode in own for t in mode] for own in tails])
    scorer = choose(model, groups) if checked else Scorer(model)
    return [score.loglik for scores in scorer.score(groups) for score in scores]


def measure(first: Callable[[], list[float]], second: Callable[[], list[float]]) -> dict[str, Any]:
    """Both in turn, `ROUNDS` times: median CPU and wall seconds, ratios, largest difference."""
    times: dict[str, list[tuple[float, float]]] = {"peer": [], "ours": []}
    worst = 0.0
    for _ in range(ROUNDS):
        results = {}
        for name, call in (("peer", first), ("ours", second)):
            cpu, wall = time.process_time(), time.perf_counter()
            results[name] = call()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
        worst = max(
            worst, *(abs(a - b) for a, b in zip(results["peer"], results["ours"], strict=True))
        )
    cpu = {name: statistics.median(t[0] for t in values) for name, values in times.items()}
    wall = {name: statistics.median(t[1] for t in values) for name, values in times.items()}
    return {
        "cpu": cpu,
        "ratio": cpu["peer"] / cpu["ours"],
        "wall_ratio": wall["peer"] / wall["ours"],
        "difference": worst,
    }


def case(
    model: Any,
    tokenizer: Any,
    kinds: list[str],
    questions: int,
    *,
    shots: int = 0,
    batch: int = 8,
    checked: bool = False,
) -> dict[str, Any]:
    """One row of the table: some modes on some questions, with or without examples."""
    from evaluation.questions import continuations
    from meadow.prompt import exam_prompt

    examples = "".join(
        exam_prompt("medalpaca", stem, options) + f" A: {options[0][1]}\n\n"
        for stem, options in vignettes(shots, first=1000)
    )
    asked = vignettes(questions)
    contexts = [examples + exam_prompt("medalpaca", stem, options) for stem, options in asked]
    tails = [[continuations(options, kind) for kind in kinds] for _, options in asked]
    peer = Peer(model, tokenizer, batch)
    return measure(
        lambda: peer.score(contexts, tails),
        lambda: ours(model, tokenizer, contexts, tails, checked),
    )


def family_cases() -> dict[str, dict[str, Any]]:
    """Two layers of each family with a vocabulary of 1,000."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer_of(1_000)
    found = {}
    for name, (kind, own) in FAMILIES.items():
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind, vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
            max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, **own,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for mode, kinds in (("letter", ["letter"]), ("A: text", ["option"])):
            found[f"{mode} ({name})"] = case(
                model, tokenizer, kinds, FAMILY_QUESTIONS, checked=True
            )
    return found


def stories_cases() -> dict[str, dict[str, Any]]:
    """The real tiny LLaMA, where it is at hand: its head is small, so there is less to save."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from meadow.exams.items import eligible, load_exam

    root = Path(__file__).resolve().parents[2]
    upstream = Path(os.environ.get("MEADOW_UPSTREAM", root.parent / "shared" / "upstream"))
    folder = upstream / "tiny_llama" / "stories260K-hf"
    if not folder.is_dir():
        return {}
    from evaluation.questions import continuations
    from meadow.prompt import exam_prompt

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    items = eligible(load_exam("usmle_self_assessment", [root / "meadow" / "samples" / "exam"]))[
        :24
    ]
    contexts = [exam_prompt("medalpaca", item.question, list(item.options)) for item in items]
    peer = Peer(model, tokenizer, 8)
    found = {}
    for name, kinds in (("letter", ["letter"]), ("A: text", ["option"]),
                        ("both", ["letter", "option"])):  # fmt: skip
        tails = [[continuations(list(item.options), kind) for kind in kinds] for item in items]
        found[f"{name} (stories260K)"] = measure(
            lambda tails=tails: peer.score(contexts, tails),
            lambda tails=tails: ours(model, tokenizer, contexts, tails),
        )
    return found


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print the table; `size_mb` is of no meaning here and ignored."""
    import torch
    from lm_eval import __version__ as peer_version

    torch.set_num_threads(1)
    tokenizer = tokenizer_of(32_000)
    small = random_llama(256, 4, len(tokenizer))
    results = {
        "letter": case(small, tokenizer, ["letter"], 8),
        "A: text": case(small, tokenizer, ["option"], 8),
        "both": case(small, tokenizer, ["letter", "option"], 8),
        "3-shot letter": case(small, tokenizer, ["letter"], 8, shots=SHOTS, batch=2),
        "3-shot text": case(small, tokenizer, ["option"], 8, shots=SHOTS, batch=2),
    }
    large = random_llama(512, 8, len(tokenizer))
    results["letter (m512)"] = case(large, tokenizer, ["letter"], 4)
    results["A: text (m512)"] = case(large, tokenizer, ["option"], 4)
    results |= stories_cases() | (families := family_cases())
    targets = TARGETS | dict.fromkeys(families, 1.0)
    print(f"lm-evaluation-harness {peer_version} against the trie scorer, one thread, "
          f"median of {ROUNDS} rounds")  # fmt: skip
    print(f"{'':24}{'peer cpu s':>12}{'ours cpu s':>12}{'ratio':>8}{'wall':>8}{'target':>8}"
          f"{'max diff':>10}")  # fmt: skip
    for name, value in results.items():
        target = targets.get(name)
        print(
            f"{name:24}{value['cpu']['peer']:12.2f}{value['cpu']['ours']:12.2f}"
            f"{value['ratio']:7.1f}x{value['wall_ratio']:7.1f}x"
            f"{f'{target}x' if target else '':>8}{value['difference']:10.1e}"
        )
    return {
        "bench": "scorer",
        "ratios": {name: round(value["ratio"], 2) for name, value in results.items()},
        "targets": targets,
        "input_text": "One thread; ratios of CPU time, medians of the rounds.",
    }


if __name__ == "__main__":
    import json

    print(json.dumps(main()))
