"""The report of one or several runs: one self-contained HTML page and its Markdown twin.

The page loads nothing: styles, script, charts and data are inside, the content security policy
allows no more, and exam text or model output is only ever text (escaped by the template, or set as
textContent by the script).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.compare import compare, p_text, proof_sentence, sentence
from evaluation.modes import GENERATED
from evaluation.results import Finished, read_runs
from evaluation.stats import softmax
from evaluation.summary import LEVELS
from meadow import charts
from meadow.atomic import write_text
from meadow.text.markdown import escape_cell

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_TEXT = 1200
"""Characters of a response that the item browser shows."""
STATUSES = ("parsed", "repaired", "conflict", "ambiguous", "refusal", "truncated", "empty", "none",
            "accepted", "not accepted", "unscorable", "scored", "censored")  # fmt: skip
ALPHA = 0.05


def write_report(folders: Sequence[Path], out: Path, *, with_text: bool = True) -> dict[str, str]:
    """Write `report.html` and `report.md` into `out`.

    `with_text`: the item browser holds the exam's text and the responses.

    Returns:
        The paths written, and the verdict.
    """
    runs = read_runs(list(folders))
    facts = gather(runs)
    page = render_page(facts, browser(runs) if with_text else None)
    return write_twins(out, page, template("report.md.j2").render(**facts), facts["verdict"])


def gather(runs: Sequence[Finished]) -> dict[str, Any]:
    """Everything that the page and its Markdown twin say."""
    comparison = compare(runs) if len(runs) > 1 else None
    cells = [cell for run in runs for cell in run.summary["modes"].values()]
    return {
        "exam": runs[0].summary["exam"],
        "chance": runs[0].summary["chance"],
        "verdict": verdict(runs, comparison),
        "runs": [_facts(run) for run in runs],
        "steps": sorted({step for cell in cells for step in cell["steps"]}),
        "levels": [k for k in LEVELS if any(k in c.get("contamination", {}) for c in cells)],
        "comparison": comparison,
        "excluded": _excluded(runs[0]),
        "audit": runs[0].run.get("image_audit"),
    }


def verdict(runs: Sequence[Finished], comparison: dict[str, Any] | None) -> str:
    """The one sentence that a reader takes home, chance and cuts included."""
    parts = []
    for run in runs:
        mode = run.primary
        cell = run.summary["modes"][mode]
        low, high = cell["ci95"]
        chance = run.summary["chance"]
        against = (
            f"above the {chance:.1%} of guessing (p {p_text(cell['beats_chance_p'])})"
            if cell["beats_chance_p"] < ALPHA and cell["accuracy"] > chance
            else f"near chance: not distinguishable from the {chance:.1%} of guessing"
            if low <= chance <= high or cell["accuracy"] > chance
            else f"below the {chance:.1%} of guessing"
        )
        parts.append(
            f"{run.name} answers {cell['accuracy']:.1%} [{low:.1%}, {high:.1%}] of "
            f"{cell['n']:,} {run.summary['exam']} questions right ({mode}), {against}."
        )
        read = cell.get("conventions", {"n": 0, "n_parsed": 0})  # of a generating mode
        if silent := read["n"] - read["n_parsed"]:
            why = ", ".join(f"{name} {n:,}" for name, n in cell["statuses"].items()
                            if name not in ("parsed", "repaired", "accepted"))  # fmt: skip
            parts.append(f"No letter could be read in {silent:,} of the responses ({why}).")
        if longer := cell["statuses"].get("truncated"):
            parts.append(
                f"{longer:,} ended before their answer, inside their thinking or at the limit of a "
                "response, which --max-new-tokens raises."
            )
        cut, lost = run.summary["n_truncated"], run.summary["n_unscorable"]
        if cut or lost:
            parts.append(
                f"{cut:,} of them had to be cut to its context and {lost:,} could not be scored "
                "(counted as wrong)."
            )
    if comparison:
        for entry in comparison["pairs"]:
            shared = list(entry["modes"])
            best = next((m for m in ("generate", "letter") if m in shared), shared[0])
            parts.append(f"{sentence(entry, best)} {proof_sentence(entry)}".rstrip())
    return " ".join(parts)


def _facts(run: Finished) -> dict[str, Any]:
    """What the templates say of one run: run.json as it stands, its numbers and its charts."""
    modes, primary = run.summary["modes"], run.primary
    statuses = [(m, modes[m]["statuses"]) for m in run.modes if m in GENERATED]
    calibrated = {m: c["calibration"] for m, c in modes.items() if c.get("calibration")}
    bias = {m: c["position"] for m, c in modes.items() if c.get("position")}
    shares = [(m, c["accuracy"], *c["ci95"]) for m, c in modes.items()]
    # charts of one mode: the primary one's where it has them
    reliable, placed = (
        primary if primary in found else next(iter(found), "") for found in (calibrated, bias)
    )
    return {
        **run.run,
        "name": run.name,
        "command": shlex.join(run.run["command"]),
        "summary": run.summary,
        "cost": run.run.get("cost", {}),
        "modes": modes,
        "primary": primary,
        "leaderboard": charts.intervals(
            shares, run.summary["chance"], "accuracy with 95 % intervals"
        ),
        "statuses": statuses,
        "parsing": statuses and charts.stacked_bars(statuses, STATUSES, "responses by status"),
        "calibrated": calibrated,
        "reliability_mode": reliable,
        "reliability": reliable
        and charts.reliability(calibrated[reliable]["bins"], "accuracy against confidence"),
        "bias": bias,
        "positions_mode": placed,
        "positions": placed and _positions(bias[placed]),
        "variants": run.summary.get("variants", {}),
        "legacy": modes.get("medalpaca_legacy"),
        "step_discipline": modes[primary]["step_discipline"],
        "agreement": run.summary["agreement"],
    }


def _positions(bias: Mapping[str, Any]) -> Any:
    series = {name: bias[name] for name in ("predicted", "gold")}
    labels = sorted({label for counts in series.values() for label in counts})
    return charts.columns(labels, series, "labels predicted and right")


def _excluded(run: Finished) -> list[dict[str, Any]]:
    return [
        {
            "step": item["step"] or "",
            "number": item["number"] or "",
            "reason": item["exclusion_reason"],
            "start": " ".join(item["question"].split())[:80],
        }
        for item in run.items.values()
        if item["exclusion_reason"]
    ]


def browser(runs: Sequence[Finished]) -> dict[str, Any]:
    """The data of the item browser."""
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    prompts: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for row in run.rows:
            if row["variant"]:
                continue
            asked = prompts.setdefault(row["item_id"], {}).setdefault(row["prompt"], [])
            asked.append(row["mode"] if len(runs) == 1 else f"{run.name} {row['mode']}")
            entry = answers.setdefault(row["item_id"], {}).setdefault(run.name, {})
            entry[row["mode"]] = {
                "pred": row["pred"],
                "ok": bool(row["correct"]),
                "status": row["status"],
                "rule": row["rule"],
                **_response(row),
                "lost": row["lost"],
            }
    items = []
    shown = ("number", "step", "discipline", "question", "answer", "contamination")
    for key, item in runs[0].items.items():
        if key in answers:
            options = list(zip(item["labels"], item["options"], strict=True))
            facts = {name: item[name] for name in shown}
            said = {"options": options, "runs": answers[key], "prompts": [*prompts[key].items()]}
            items.append({"id": key, **facts, **said})
    return {
        "runs": [run.name for run in runs],
        "modes": list(dict.fromkeys(mode for run in runs for mode in run.modes)),
        "items": items,
    }


def _response(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a model said: its text, or log-probabilities with their margin and confidence."""
    if not row["logliks"]:
        return {"text": None if row["text"] is None else row["text"][:SHOWN_TEXT], "sure": None}
    known = {k: v for k, v in zip(row["labels"], row["logliks"], strict=True) if not math.isnan(v)}
    first, second = ([*sorted(known.values(), reverse=True), math.nan, math.nan])[:2]
    said = ", ".join(
        f"{label} {known[label]:.2f}" if label in known else f"{label} censored"
        for label in row["labels"]
    )
    margin = "" if math.isnan(second) else f"; margin {first - second:.2f}"
    sure = round(max(softmax(list(known.values()))), 4) if len(known) > 1 else None
    return {"text": said + margin, "sure": sure}


def render_page(facts: dict[str, Any], data: dict[str, Any] | None) -> str:
    """The HTML page of exams, with the data of its browser."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    embedded = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c") if data else ""
    return html_page("report.html.j2", script, **facts, data=embedded)


def html_page(name: str, script: str = "", **facts: Any) -> str:
    """A page; its policy allows its own style and script, by hash, and nothing else."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    scripts = f"script-src {_digest(script)}; " if script else ""
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; {scripts}"
        "base-uri 'none'; form-action 'none'"
    )
    page: str = template(name).render(**facts, style=style, script=script, policy=policy)
    return page


def write_twins(out: Path, page: str, markdown: str, verdict: str) -> dict[str, str]:
    """Write a page and its Markdown twin into a folder; returns their paths and the verdict."""
    paths = {"html": out / "report.html", "markdown": out / "report.md"}
    write_text(paths["html"], page)
    write_text(paths["markdown"], markdown)
    return {**{name: str(path) for name, path in paths.items()}, "verdict": verdict}


def cost_text(cost: Mapping[str, float]) -> str:
    """What a part of a run took, in words."""
    said = {
        "requests": "requests",
        "tokens": "tokens through the model",
        "plain_tokens": "without sharing",
        "prompt_tokens": "tokens of prompts",
        "new_tokens": "new tokens",
    }
    parts = [f"{cost[name]:,.0f} {words}" for name, words in said.items() if name in cost]
    return ", ".join([*parts, f"{cost.get('seconds', 0):,.1f} s"])


def _digest(text: str) -> str:
    """A text as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def template(name: str, folder: Path = TEMPLATES) -> Any:
    """A template of ours; what is put into HTML is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda v: "–" if v is None else f"{v:.1%}"
    environment.filters["points"] = lambda v: "–" if v is None else f"{v * 100:+.1f}"
    environment.filters["p"] = p_text
    environment.filters["cost"] = cost_text
    environment.filters["cellmd"] = lambda v: escape_cell(str(v))
    return environment.get_template(name)
