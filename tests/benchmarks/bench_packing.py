"""Training throughput: step-faithful packing against padding, TRL's packing and a hand loop.

All variants train the same small LLaMA on the same examples, in float32 on one processor thread,
with the loss on every token (so that nobody saves work by masking). Rounds are interleaved, each
variant once per round; the table gives medians. A token counts once, however much padding was
computed with it. TRL's packed rows are not kept apart on this attention: its speed is taken, not
its losses. What a GPU is to show is measured by tests/gpu (`run.sh`), at real sizes.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from support.hand_loop import run_steps
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments

from meadow.models.loading import quiet
from meadow.models.random_base import make_tokenizer
from training.batches import PlannedBatches
from training.config import Batch, Run
from training.data import TokenRows
from training.packing import make_plan
from training.trainer import PlanTrainer

VOCABULARY = 4096
EXAMPLES = 128
STEP = 32
MICRO_BATCH = 8
LONGEST = 1024
MEAN_TOKENS = 152
ROUNDS = 3
LEARNING_RATE = 1e-4


def make_rows(count: int) -> TokenRows:
    """Examples with the uneven lengths of instruction data; about 152 tokens on average."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(4.62, 0.9, count), 12, LONGEST).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return TokenRows(
        tokens=draw.integers(3, VOCABULARY, int(starts[-1])).astype(np.int32),
        starts=starts,
        learned=~np.isin(np.arange(starts[-1]), starts),
        source=np.zeros(count, dtype=np.int32),
        ids=[f"row-{i}" for i in range(count)],
        copies=[0] * count,
        sources=["synthetic"],
    )


def make_model() -> Any:
    """3.34 million weights in four layers, from the same seed each time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=LONGEST,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="sdpa",
    )  # fmt: skip
    return LlamaForCausalLM(config)


def arguments(folder: str, **options: Any) -> TrainingArguments:
    """What every Trainer here has in common."""
    return TrainingArguments(
        output_dir=folder, num_train_epochs=1, learning_rate=LEARNING_RATE, max_grad_norm=1.0,
        lr_scheduler_type="constant", optim="adamw_torch", save_strategy="no", logging_steps=1,
        report_to="none", use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
        dataloader_pin_memory=False, use_cache=False, **options,
    )  # fmt: skip


def pad(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A padded micro-batch, as a plain collator makes it."""
    width = max(len(item["input_ids"]) for item in items)
    shape = (len(items), width)
    input_ids = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, -100)
    mask = torch.zeros(shape, dtype=torch.int64)
    for line, item in enumerate(items):
        size = len(item["input_ids"])
        input_ids[line, :size] = torch.tensor(item["input_ids"])
        labels[line, :size] = input_ids[line, :size]
        mask[line, :size] = 1
    return {"input_ids": input_ids, "labels": labels, "attention_mask": mask}


def padded_trainer(rows: TokenRows, folder: str, sampling: str) -> Any:
    """Trainer as it comes: micro-batches of 8, random or grouped by length."""
    data = Dataset.from_list([{"input_ids": rows.row(i).tolist()} for i in range(len(rows))])
    options = arguments(
        folder, per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=STEP // MICRO_BATCH, train_sampling_strategy=sampling,
    )  # fmt: skip
    return Trainer(model=make_model(), args=options, train_dataset=data, data_collator=pad)


def plan_of(rows: TokenRows) -> PlannedBatches:
    """The step-faithful plan of the same examples."""
    batch = Batch(examples=STEP)
    plan = make_plan(rows, batch, epochs=1, seed=0, row_tokens=LONGEST)
    return PlannedBatches(rows, plan, batch, pad=0)


def plan_trainer(rows: TokenRows, folder: str) -> Any:
    """This project's loop."""
    batches = plan_of(rows)
    return PlanTrainer(
        model=make_model(),
        args=arguments(
            folder, per_device_train_batch_size=1,
            gradient_accumulation_steps=batches.plan.micro_batches,
        ),
        batches=batches, tokenizer=None, run=Run(),
    )  # fmt: skip


def trl_trainer(rows: TokenRows, folder: str, tokenizer: Any) -> Any:
    """TRL's SFTTrainer with best-fit-decreasing packing into rows of 1,024 tokens."""
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list([{"input_ids": rows.row(i).tolist()} for i in range(len(rows))])
    packed_rows = max(1, int(rows.starts[-1]) // LONGEST)
    steps = max(1, len(rows) // STEP)
    options = SFTConfig(
        output_dir=folder, num_train_epochs=1, learning_rate=LEARNING_RATE, max_grad_norm=1.0,
        lr_scheduler_type="constant", optim="adamw_torch", save_strategy="no", logging_steps=1,
        report_to="none", use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
        packing=True, packing_strategy="bfd", max_length=LONGEST, bf16=False,
        per_device_train_batch_size=1, gradient_accumulation_steps=max(1, packed_rows // steps),
        gradient_checkpointing=False,
    )  # fmt: skip
    return SFTTrainer(
        model=make_model(), args=options, train_dataset=data, processing_class=tokenizer
    )


def variants(rows: TokenRows, folder: str, tokenizer: Any) -> dict[str, Callable[[], Any]]:
    """Name -> what prepares a run; calling the result trains."""

    def of_trainer(make: Callable[[], Any]) -> Callable[[], Any]:
        def prepare() -> Any:
            trainer = make()
            trainer.remove_callback(PrinterCallback)
            return trainer.train

        return prepare

    def hand() -> Any:
        model, batches = make_model(), plan_of(rows)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
        return lambda: list(run_steps(model, batches, optimizer, max_grad_norm=1.0))

    return {
        "Trainer, padded": of_trainer(lambda: padded_trainer(rows, folder, "random")),
        "Trainer, grouped by length": of_trainer(
            lambda: padded_trainer(rows, folder, "group_by_length")
        ),
        "TRL, packed": of_trainer(lambda: trl_trainer(rows, folder, tokenizer)),
        "plan (ours)": of_trainer(lambda: plan_trainer(rows, folder)),
        "hand loop on the plan": hand,
    }


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Run the rounds, print the table, return the ratios.

    Args:
        size_mb: About so much text instead of 128 examples.
    """
    torch.set_num_threads(1)
    quiet()
    disable_progress_bars()
    warnings.simplefilter("ignore")
    count = EXAMPLES if size_mb is None else max(STEP, int(size_mb * 1e6 / 4 / MEAN_TOKENS))
    count -= count % STEP
    rows = make_rows(count)
    tokens = int(rows.starts[-1])
    tokenizer = make_tokenizer(["a text of a few words"], 300, LONGEST)
    with tempfile.TemporaryDirectory() as folder:
        runs = variants(rows, folder, tokenizer)
        wall: dict[str, list[float]] = {name: [] for name in runs}
        processor: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(ROUNDS + 1):
            for name, prepare in runs.items():
                with contextlib.redirect_stdout(io.StringIO()):
                    start = prepare()
                    begun, used = time.perf_counter(), time.process_time()
                    start()
                    seconds = time.perf_counter() - begun, time.process_time() - used
                if number:  # the first round warms caches and is not counted
                    wall[name].append(tokens / seconds[0])
                    processor[name].append(tokens / seconds[1])
            Path(folder, "metrics.jsonl").unlink(missing_ok=True)
    reference = "Trainer, padded"

    def ratio(name: str, other: str) -> float:
        pairs = zip(processor[name], processor[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    print(f"{count} examples, {tokens:,} tokens, {STEP} per step, {ROUNDS} rounds, one thread")
    print(f"{'variant':<28}{'tokens/s CPU':>14}{'tokens/s wall':>15}{'ratio':>8}")
    for name in runs:
        print(
            f"{name:<28}{statistics.median(processor[name]):>14,.0f}"
            f"{statistics.median(wall[name]):>15,.0f}{ratio(name, reference):>8.2f}"
        )
    return {
        "bench": "packing",
        "ratios": {
            "plan / Trainer padded": round(ratio("plan (ours)", reference), 3),
            "plan / TRL packed": round(ratio("plan (ours)", "TRL, packed"), 3),
            "plan / hand loop": round(ratio("plan (ours)", "hand loop on the plan"), 3),
        },
        "targets": {
            "plan / Trainer padded": 1.8,
            "plan / TRL packed": 1.0,
            "plan / hand loop": 0.9,
        },
        "input_text": f"{count} examples, {tokens:,} tokens, {STEP} a step, {ROUNDS} rounds.",
        "not_run": {
            "a GPU: tokens/s over TRL with FlashAttention, MFU": "tests/gpu/run.sh measures it"
            if torch.cuda.is_available()
            else "no GPU"
        },
    }


if __name__ == "__main__":
    print(main())
