"""The 2023 table: twelve checkpoints, what was published, and what a run of ours says.

The published figures are those of the 2023 README (three decimals, one random draw each); their
intervals take the README's denominators, since no denominator reproduces all of them. A row that
was not run says so; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.images import README_2023
from evaluation.results import RUN, read_run
from meadow.charts import wilson
from meadow.config import did_you_mean
from meadow.errors import UsageError

STEPS = tuple(README_2023)
MODES = "letter,generate,medalpaca_legacy"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A row of the table."""

    key: str
    title: str
    model: str  # repository of the weights (of the base, where there is an adapter)
    published: tuple[float, float, float]  # accuracy per step
    adapter: str | None = None  # repository of the adapter
    load: str = "float16"  # how it was loaded in 2023
    note: str = ""  # what stands in the way
    # what the paper says of a step where the README says something else
    paper: Mapping[str, float] = field(default_factory=dict)


LLAMA_7B, LLAMA_13B = "huggyllama/llama-7b", "huggyllama/llama-13b"
_COPY = "the 2023 base repository had broken special tokens; this copy of the weights stands in"
CHECKPOINTS: tuple[Checkpoint, ...] = (
    Checkpoint("llama-7b", "LLaMA 7b", LLAMA_7B, (0.198, 0.202, 0.203), note=_COPY),
    Checkpoint("alpaca-7b-naive", "Alpaca 7b naive", "chavinlo/alpaca-native",
               (0.275, 0.266, 0.293)),
    Checkpoint("alpaca-7b-lora", "Alpaca 7b LoRA", LLAMA_7B, (0.220, 0.138, 0.252),
               adapter="tloen/alpaca-lora-7b", note="which adapter was scored is not recorded"),
    Checkpoint("medalpaca-7b", "MedAlpaca 7b", "medalpaca/medalpaca-7b", (0.297, 0.312, 0.398)),
    Checkpoint("medalpaca-7b-lora", "MedAlpaca 7b LoRA", LLAMA_7B, (0.231, 0.202, 0.179),
               adapter="medalpaca/medalpaca-lora-7b-16bit"),
    Checkpoint("medalpaca-7b-lora-8bit", "MedAlpaca 7b LoRA 8bit", LLAMA_7B,
               (0.231, 0.241, 0.211), adapter="medalpaca/medalpaca-lora-7b-8bit", load="int8"),
    Checkpoint("chatdoctor-7b", "ChatDoctor 7b", "zl111/ChatDoctor", (0.187, 0.185, 0.148),
               note="the scored weights were shared by request; the repository is unverified"),
    Checkpoint("llama-13b", "LLaMA 13b", LLAMA_13B, (0.222, 0.248, 0.276), note=_COPY,
               paper={"step3": 0.277}),
    Checkpoint("alpaca-13b-naive", "Alpaca 13b naive", "chavinlo/alpaca-13b",
               (0.319, 0.312, 0.301)),
    Checkpoint("medalpaca-13b", "MedAlpaca 13b", "medalpaca/medalpaca-13b",
               (0.473, 0.477, 0.602)),
    Checkpoint("medalpaca-13b-lora", "MedAlpaca 13b LoRA", LLAMA_13B, (0.250, 0.255, 0.255),
               adapter="medalpaca/medalpaca-lora-13b-16bit",
               note="the 2023 link to this adapter was broken"),
    Checkpoint("medalpaca-13b-lora-8bit", "MedAlpaca 13b LoRA 8bit", LLAMA_13B,
               (0.189, 0.303, 0.289), adapter="medalpaca/medalpaca-lora-13b-8bit", load="int8"),
)  # fmt: skip


def chosen(names: Sequence[str]) -> list[Checkpoint]:
    """The rows to run; "all" is every row.

    Raises:
        UsageError: A name is no row.
    """
    known = {row.key: row for row in CHECKPOINTS}
    if "all" in names:
        return list(CHECKPOINTS)
    for name in names:
        if name not in known:
            fix = f"{did_you_mean(name, known)}one of {', '.join(known)}"
            raise UsageError(f"no row {name!r} in the table", fix=fix)
    return [known[name] for name in names]


def table(out: Path) -> list[dict[str, Any]]:
    """Every row with its published values and, where its folder holds a run, our own."""
    rows = []
    for row in CHECKPOINTS:
        run = _run(out / row.key)
        published: dict[str, dict[str, Any]] = {}
        for step, value in zip(STEPS, row.published, strict=True):
            n = README_2023[step]
            published[step] = {"accuracy": value, "ci95": list(wilson(round(value * n), n))}
            if step in row.paper:
                published[step]["paper"] = row.paper[step]
        facts = {name: getattr(row, name) for name in ("key", "title", "model", "adapter", "load")}
        status = "run" if run else "not run"
        rows.append(
            {**facts, "note": row.note, "published": published, "status": status, "run": run}
        )
    return rows


def _run(folder: Path) -> dict[str, Any] | None:
    if not (folder / RUN).exists():
        return None
    run = read_run(folder)
    kept = ("accuracy", "ci95", "steps")
    return {
        "model": run.run["model"],
        "limit": run.run["limit"],
        "n": run.summary["n"],
        "modes": {
            mode: {name: cell[name] for name in kept} for mode, cell in run.summary["modes"].items()
        },
    }


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table as Markdown: published, then ours per mode, then "not run"."""
    found = [
        "| checkpoint | loaded as | figures | step 1 | step 2 | step 3 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [_cell(row["published"][step]) for step in STEPS]
        found.append(f"| {row['title']} | {row['load']} | published 2023 | {' | '.join(cells)} |")
        if row["run"] is None:
            found.append("| | | ours | not run | not run | not run |")
            continue
        part = f", first {row['run']['limit']} questions" if row["run"]["limit"] else ""
        for mode, value in row["run"]["modes"].items():
            cells = [
                _cell(value["steps"][step]) + f" n {value['steps'][step]['n']}"
                if step in value["steps"]
                else "–"
                for step in STEPS
            ]
            found.append(f"| | | ours, {mode}{part} | {' | '.join(cells)} |")
    found.append("")
    found += [f"{row['title']}: {row['note']}." for row in rows if row["note"]]
    return found


def _cell(value: Mapping[str, Any]) -> str:
    low, high = value["ci95"]
    other = f" (the paper: {value['paper']:.3f})" if "paper" in value else ""
    return f"{value['accuracy']:.3f} [{low:.3f}, {high:.3f}]{other}"
