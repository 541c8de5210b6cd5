"""Step-faithful packing: every optimizer step sees exactly the examples it would see padded.

Packing by token count makes "batch 256" mean a number of rows, and the examples per step a matter
of chance. Here the order comes first: the examples of an epoch are put in a fixed order, cut into
optimizer steps of `batch` examples, and only then are the examples of one step spread over rows.
The number of rows per step is the same for the whole run, so that any launcher can run the plan as
gradient accumulation over rows. All epochs stand in the plan, so that a resumed run needs no
sampler state.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from meadow.atomic import hash_json
from meadow.errors import UsageError
from training.config import Batch, Recipe
from training.data import TokenRows

Integers = npt.NDArray[np.int64]
MicroBatch = tuple[int, ...]

MEGABATCH = 50
"""Steps whose examples are sorted together under length grouping, as Trainer's sampler does."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: the epoch it began in and its examples, row or micro-batch by row."""

    epoch: int
    micro_batches: tuple[MicroBatch, ...]

    @property
    def examples(self) -> list[int]:
        """Every example of the step."""
        return [index for micro_batch in self.micro_batches for index in micro_batch]


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole run."""

    layout: str  # as in the recipe
    # every optimizer step of every epoch; each has the same number of micro-batches, some of which
    # may be empty in a short step
    steps: tuple[Step, ...]
    micro_batches: int  # micro-batches of each step, a multiple of the number of devices
    short_steps: int  # steps with fewer examples than the batch
    fill: float  # real tokens over token slots

    def hash(self, rows: TokenRows, steps: int | None = None) -> str:
        """Identifies which tokens are seen and learned in which of the first `steps` steps.

        How a step's examples are spread over rows follows from them and the number of rows.
        """
        names = [f"{identity}/{copy}" for identity, copy in zip(rows.ids, rows.copies, strict=True)]
        seen = [sorted(names[i] for i in step.examples) for step in self.steps[:steps]]
        return hash_json([self.layout, seen, rows.digest()])


def order_examples(
    rows: TokenRows, batch: int, epochs: int, seed: int, *, carry: bool, grouped: bool
) -> list[tuple[int, list[int]]]:
    """Cut every epoch into optimizer steps.

    Args:
        rows: The examples.
        batch: Examples per step.
        epochs: Passes over them.
        seed: Each epoch's order is the order of hash(seed, epoch, record id, copy).
        carry: Take an epoch's rest into the next epoch instead of a short step.
        grouped: Sort by length within stretches of steps.

    Returns:
        (epoch, examples) of each step. Every example appears once per epoch.
    """
    steps: list[tuple[int, list[int]]] = []
    rest: list[int] = []
    lengths = rows.lengths
    for epoch in range(epochs):
        keys = [
            hashlib.sha256(f"{seed}/{epoch}/{identity}/{copy}".encode()).digest()
            for identity, copy in zip(rows.ids, rows.copies, strict=True)
        ]
        order = sorted(range(len(rows)), key=keys.__getitem__)
        if grouped:
            span = batch * max(1, min(len(order) // (batch * 4), MEGABATCH))
            order = [
                index
                for start in range(0, len(order), span)
                for index in sorted(order[start : start + span], key=lambda i: -int(lengths[i]))
            ]
        order = rest + order
        whole = len(order) // batch * batch
        steps.extend((epoch, order[i : i + batch]) for i in range(0, whole, batch))
        rest = order[whole:]
        if rest and not carry:
            steps.append((epoch, rest))
            rest = []
    if rest:
        steps.append((epochs - 1, rest))
    return steps


def spread(examples: Sequence[int], lengths: Integers, rows: int) -> list[list[int]]:
    """Put examples into `rows` rows, the longest first into the emptiest row.

    Ties go to the lower index, so that the result depends on nothing else.
    """
    bins: list[tuple[int, int]] = [(0, index) for index in range(rows)]
    found: list[list[int]] = [[] for _ in range(rows)]
    for example in sorted(examples, key=lambda i: (-int(lengths[i]), i)):
        filled, index = bins[0]
        found[index].append(example)
        heapq.heapreplace(bins, (filled + int(lengths[example]), index))
    return found


def _longest(rows: list[list[int]], lengths: Integers) -> int:
    return max(int(sum(lengths[i] for i in row)) for row in rows)


def pack_steps(
    steps: Sequence[tuple[int, list[int]]], lengths: Integers, row_tokens: int, devices: int
) -> list[Step]:
    """Spread each step over the same number of rows, none longer than `row_tokens`.

    The number of rows is the smallest multiple of `devices` with which every step fits.

    Raises:
        UsageError: An example is longer than a row.
    """
    if len(lengths) and int(lengths.max()) > row_tokens:
        raise UsageError(
            f"an example of {int(lengths.max())} tokens does not fit a row of {row_tokens}",
            fix="raise batch.row_tokens to at least data.length",
        )
    tokens = [int(lengths[examples].sum()) for _, examples in steps]
    rows = devices
    order = sorted(range(len(steps)), key=lambda i: -tokens[i])
    for index in order:
        at_least = -(-tokens[index] // row_tokens)
        rows = max(rows, -(-at_least // devices) * devices)
        while _longest(spread(steps[index][1], lengths, rows), lengths) > row_tokens:
            rows += devices
    while True:
        # More rows can make one step's longest row longer (the greedy rule is not monotone).
        packed = [spread(examples, lengths, rows) for _, examples in steps]
        if all(_longest(step, lengths) <= row_tokens for step in packed):
            break
        rows += devices
    return [
        Step(epoch, tuple(tuple(row) for row in step))
        for (epoch, _), step in zip(steps, packed, strict=True)
    ]


def pad_steps(steps: Sequence[tuple[int, list[int]]], batch: Batch, devices: int) -> list[Step]:
    """Cut each step into micro-batches of `batch.micro_batch` examples in their order.

    Raises:
        UsageError: The micro-batches of a step cannot be shared evenly.
    """
    count = batch.examples // batch.micro_batch
    if count % devices:
        raise UsageError(
            f"{count} micro-batches of {batch.micro_batch} cannot be shared by {devices} devices",
            fix=f"choose batch.micro_batch so that {batch.examples} examples divide evenly",
        )
    found = []
    for epoch, examples in steps:
        size = batch.micro_batch
        cut = [tuple(examples[i * size : (i + 1) * size]) for i in range(count)]
        found.append(Step(epoch, tuple(cut)))
    return found


def make_plan(
    rows: TokenRows,
    batch: Batch,
    *,
    epochs: int,
    seed: int,
    row_tokens: int,
    devices: int = 1,
    max_steps: int = 0,
) -> Plan:
    """The plan of a run.

    Raises:
        UsageError: There is no row to train on, or the batch cannot be shared by the devices.
    """
    if not len(rows):
        raise UsageError(
            "the mix has no row with a token to learn",
            fix="raise data.length, or see rejects.jsonl in the run folder",
        )
    if batch.examples % devices:
        raise UsageError(
            f"a batch of {batch.examples} examples cannot be shared evenly by {devices} devices",
            fix=f"choose batch.examples as a multiple of {devices}",
        )
    ordered = order_examples(
        rows,
        batch.examples,
        epochs,
        seed,
        carry=batch.tail == "carry",
        grouped=batch.layout == "length_grouped",
    )
    if max_steps:
        ordered = ordered[:max_steps]
    lengths = rows.lengths
    if batch.layout == "packed":
        steps = pack_steps(ordered, lengths, row_tokens, devices)
    else:
        steps = pad_steps(ordered, batch, devices)
    return Plan(
        layout=batch.layout,
        steps=tuple(steps),
        micro_batches=len(steps[0].micro_batches),
        short_steps=sum(len(examples) < batch.examples for _, examples in ordered),
        fill=fill(steps, lengths, packed=batch.layout == "packed"),
    )


def plan_recipe(rows: TokenRows, recipe: Recipe, *, devices: int) -> Plan:
    """The plan of a recipe's run on its training rows; errors as of `make_plan`."""
    return make_plan(
        rows,
        recipe.batch,
        epochs=recipe.schedule.epochs,
        seed=recipe.run.seed,
        row_tokens=recipe.row_tokens,
        devices=devices,
        max_steps=recipe.schedule.max_steps,
    )


def fill(steps: Sequence[Step], lengths: Integers, *, packed: bool) -> float:
    """Real tokens over the token slots that are computed.

    A packed row is as long as its examples, so that its slots are measured against the longest row
    of its step: what devices that work in step wait for.
    """
    real = slots = 0
    for step in steps:
        sums = [int(sum(lengths[i] for i in m)) for m in step.micro_batches]
        real += sum(sums)
        if packed:
            slots += max(sums) * len(sums)
        else:
            slots += sum(max(int(lengths[i]) for i in m) * len(m) for m in step.micro_batches if m)
    return real / slots if slots else 0.0


def write_plan(plan: Plan, rows: TokenRows, path: Path) -> None:
    """Write which record is seen in which step: one line per example and epoch, as Parquet."""
    import pyarrow as pa

    from meadow.corpus.shards import write_parquet

    names = ["step", "epoch", "micro_batch", "record_id", "copy", "source"]
    lines = [
        (number, step.epoch, position, rows.ids[i], rows.copies[i], rows.sources[rows.source[i]])
        for number, step in enumerate(plan.steps, start=1)
        for position, micro_batch in enumerate(step.micro_batches)
        for i in micro_batch
    ]
    columns = dict(zip(names, zip(*lines, strict=True), strict=True))
    write_parquet(pa.table({name: list(values) for name, values in columns.items()}), path)
