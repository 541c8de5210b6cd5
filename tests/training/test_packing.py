"""The plan: every step sees exactly its examples, whatever the rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpora import token_rows

from meadow.errors import UsageError
from training.config import Batch
from training.packing import fill, make_plan, order_examples, spread

lengths_strategy = st.lists(st.integers(2, 64), min_size=1, max_size=60)


@settings(max_examples=80, deadline=None)
@given(
    lengths=lengths_strategy,
    batch=st.integers(1, 8),
    devices=st.sampled_from([1, 2, 4]),
    epochs=st.integers(1, 3),
    cap=st.integers(64, 200),
    tail=st.sampled_from(["short", "carry"]),
    seed=st.integers(0, 5),
)
def test_every_step_has_its_examples_and_every_row_fits(
    lengths, batch, devices, epochs, cap, tail, seed
) -> None:
    batch *= devices
    rows = token_rows(lengths)
    settings_ = Batch.model_validate({"examples": batch, "tail": tail})
    plan = make_plan(rows, settings_, epochs=epochs, seed=seed, row_tokens=cap, devices=devices)
    assert plan.micro_batches % devices == 0
    seen: Counter[int] = Counter()
    for step in plan.steps:
        assert len(step.micro_batches) == plan.micro_batches
        assert all(sum(lengths[i] for i in row) <= cap for row in step.micro_batches)
        seen.update(step.examples)
    assert seen == Counter(dict.fromkeys(range(len(lengths)), epochs))
    sizes = [len(step.examples) for step in plan.steps]
    assert all(size == batch for size in sizes[:-1]) or tail == "short"
    assert plan.short_steps == sum(size < batch for size in sizes)
    if tail == "carry":
        assert plan.short_steps <= 1


@settings(max_examples=60, deadline=None)
@given(lengths=lengths_strategy, batch=st.integers(1, 8), caps=st.tuples(
    st.integers(64, 128), st.integers(128, 400)), seed=st.integers(0, 3))  # fmt: skip
def test_steps_are_the_same_examples_padded_and_under_any_cap(lengths, batch, caps, seed) -> None:
    rows = token_rows(lengths)
    found = []
    for cap in caps:
        plan = make_plan(rows, Batch(examples=batch), epochs=2, seed=seed, row_tokens=cap)
        found.append([sorted(step.examples) for step in plan.steps])
    padded = make_plan(
        rows, Batch(examples=batch, layout="padded"), epochs=2, seed=seed, row_tokens=64
    )
    found.append([sorted(step.examples) for step in padded.steps])
    assert found[0] == found[1] == found[2]


@settings(max_examples=40, deadline=None)
@given(lengths=lengths_strategy, seed=st.integers(0, 3))
def test_the_order_depends_on_ids_not_on_the_order_of_the_file(lengths, seed) -> None:
    rows = token_rows(lengths)
    turned = token_rows(lengths[::-1], rows.ids[::-1])
    arguments = {"batch": 4, "epochs": 2, "seed": seed, "carry": False, "grouped": False}

    def names(found: Any) -> list[list[str]]:
        return [[found.ids[i] for i in examples] for _, examples in order_examples(
            found, **arguments)]  # fmt: skip

    assert names(rows) == names(turned)


def test_epochs_differ_and_seeds_differ() -> None:
    rows = token_rows([8] * 32)
    ordered = order_examples(rows, 32, 2, 0, carry=False, grouped=False)
    assert ordered[0][1] != ordered[1][1]
    assert order_examples(rows, 32, 1, 1, carry=False, grouped=False)[0][1] != ordered[0][1]


def test_longest_first_into_the_emptiest() -> None:
    lengths = np.array([9, 8, 4, 3, 2])
    sums = [sum(int(lengths[i]) for i in row) for row in spread(range(5), lengths, 2)]
    assert sorted(sums) == [12, 14]


def test_length_grouping_saves_padding_and_keeps_every_example() -> None:
    draw = np.random.default_rng(0)
    rows = token_rows([int(n) for n in draw.integers(2, 120, 512)])
    batch = {"examples": 16, "micro_batch": 4}
    padded = make_plan(rows, Batch.model_validate(batch | {"layout": "padded"}), epochs=1, seed=0,
                       row_tokens=128)  # fmt: skip
    grouped = make_plan(rows, Batch.model_validate(batch | {"layout": "length_grouped"}), epochs=1,
                        seed=0, row_tokens=128)  # fmt: skip
    assert grouped.fill > padded.fill + 0.2
    assert sorted(i for s in grouped.steps for i in s.examples) == list(range(512))


def test_fill_of_realistic_lengths_beats_padding() -> None:
    draw = np.random.default_rng(1)
    rows = token_rows([int(n) for n in np.clip(draw.lognormal(4.5, 0.8, 4096), 8, 1024)])
    packed = make_plan(rows, Batch(examples=256), epochs=1, seed=0, row_tokens=2048)
    padded = make_plan(rows, Batch(examples=256, layout="padded", micro_batch=8), epochs=1, seed=0,
                       row_tokens=2048)  # fmt: skip
    assert packed.fill > 0.9
    assert padded.fill < 0.6
    assert fill(packed.steps, rows.lengths, packed=True) == packed.fill


def test_the_plan_hash_names_records() -> None:
    rows = token_rows([8] * 16)
    plan = make_plan(rows, Batch(examples=4), epochs=1, seed=0, row_tokens=64)
    other = make_plan(rows, Batch(examples=4), epochs=1, seed=1, row_tokens=64)
    assert plan.hash(rows) == plan.hash(rows) != other.hash(rows)
    renamed = token_rows([8] * 16, [f"other-{i}" for i in range(16)])
    assert plan.hash(renamed) != plan.hash(rows)


@pytest.mark.parametrize(
    ("settings_", "devices", "message"),
    [
        ({"examples": 6}, 4, "cannot be shared evenly by 4 devices"),
        ({"examples": 8, "layout": "padded", "micro_batch": 4}, 4, "micro-batches of 4"),
    ],
)
def test_a_batch_is_never_rounded(settings_, devices, message) -> None:
    rows = token_rows([8] * 16)
    with pytest.raises(UsageError, match=message):
        make_plan(rows, Batch.model_validate(settings_), epochs=1, seed=0, row_tokens=64,
                  devices=devices)  # fmt: skip


def test_an_example_longer_than_a_row_is_an_error() -> None:
    with pytest.raises(UsageError, match="does not fit a row of 32"):
        make_plan(token_rows([40]), Batch(examples=1), epochs=1, seed=0, row_tokens=32)


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(UsageError, match="no row with a token to learn"):
        make_plan(token_rows([]), Batch(examples=1), epochs=1, seed=0, row_tokens=32)
