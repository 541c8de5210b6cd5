"""Paired comparison of runs: the same questions, discordant pairs, and the power they had."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.results import Finished, named, read_run
from evaluation.rubric import KIND, is_rubric_run, read_rubric_run
from evaluation.stats import ALPHA, bootstrap, holm, mcnemar, minimum_detectable, tost
from meadow.errors import UsageError

MARGIN = 0.01
"""Difference of accuracies under which two runs count as equal, unless another one is named."""


def pair(a: Finished, b: Finished, mode: str, margin: float = MARGIN) -> dict[str, Any]:
    """One mode of two runs, on the questions that both have.

    The difference is b - a; its interval is the paired bootstrap's, its p is McNemar's, exact (of
    scores, as against a rubric, that is the sign test). The equivalence is that of two one-sided
    tests against the margin, and the flips are the questions that one of the two alone has right.
    """
    first, second = a.correct(mode), b.correct(mode)
    said, then, golds = a.column(mode, "pred"), b.column(mode, "pred"), a.column(mode, "gold")
    shared = [item for item in first if item in second]
    left = [float(first[item]) for item in shared]
    right = [float(second[item]) for item in shared]
    moved = [after - before for before, after in zip(left, right, strict=True)]
    only_a, only_b = sum(step < 0 for step in moved), sum(step > 0 for step in moved)
    n = len(shared)
    return {
        "n": n,
        "accuracy_a": sum(left) / n,
        "accuracy_b": sum(right) / n,
        "difference": (sum(right) - sum(left)) / n,
        "ci95": list(bootstrap(moved)),
        "only_a": only_a,
        "only_b": only_b,
        "p": mcnemar(only_a, only_b),
        "p_mid": mcnemar(only_a, only_b, mid=True),
        "minimum_detectable": None
        if mode == KIND
        else minimum_detectable(n, (only_a + only_b) / n),
        "equivalence": {
            "margin": margin,
            "p": tost(moved, margin),
        },
        "flips": [
            {"item_id": item, "gold": golds[item], "a": said[item], "b": then[item]}
            for item in shared
            if first[item] != second[item]
        ],
    }


def read_comparable(folders: Sequence[Path]) -> list[Finished]:
    """Runs on exams, and runs against rubrics as runs of one mode whose questions have scores."""
    return named([_scored(f) if is_rubric_run(f) else read_run(f) for f in folders])


def _scored(folder: Path) -> Finished:
    found = read_rubric_run(folder)
    asked = {row["prompt_id"]: row["conversation"] for row in found.answers}
    for verdict in found.verdicts:
        asked[verdict["prompt_id"]] += f"\n{verdict['points']:+g} {verdict['criterion']}"
    rows = [
        {"item_id": row["prompt_id"], "mode": KIND, "variant": "", "correct": row["score"],
         "pred": f"{row['score']:.1%}", "gold": "", "prompt": asked[row["prompt_id"]]}
        for row in found.answers
        if row["score"] is not None
    ]  # fmt: skip
    run = found.run
    settings = {
        "framing": {"template": ""},
        "judge": run["judge"],
        "max_new_tokens": run["max_new_tokens"],
    }
    summary = {"exam": run["exam"], "modes": {KIND: found.summary}, "n_truncated": 0}
    name = str(run["model"]["name"])
    return Finished(folder, name, {**run, "settings": settings}, summary, rows, {})


def compare(runs: Sequence[Finished], margin: float = MARGIN) -> dict[str, Any]:
    """All pairs of runs in all modes that both have, with Holm's correction over all tests.

    `margin` is the smallest difference of accuracies that would matter, as a share.

    Raises:
        UsageError: Fewer than two runs, other exams, or no question or mode in common.
    """
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs", fix="meadow compare RUN_A RUN_B")
    exams = {run.summary["exam"] for run in runs}
    if len(exams) > 1:
        raise UsageError(f"the runs are of several exams: {', '.join(sorted(exams))}")
    pairs: list[dict[str, Any]] = []
    for a, b in combinations(runs, 2):
        modes = [mode for mode in a.modes if mode in b.modes]
        if not modes and len(runs) > 2:
            continue  # one report of scored and of generating runs
        if not modes:
            raise UsageError(f"{a.name} and {b.name} have no mode in common")
        if not set(a.correct(modes[0])) & set(b.correct(modes[0])):
            raise UsageError(f"{a.name} and {b.name} have no question in common")
        pairs.append(
            {
                "a": a.name,
                "b": b.name,
                "forms": forms(a, b),
                "warnings": _warnings(a, b, modes[0]),
                "modes": {mode: pair(a, b, mode, margin) for mode in modes},
            }
        )
    if not pairs:
        raise UsageError("no two of the runs have a mode in common")
    tests = [cell for entry in pairs for cell in entry["modes"].values()]
    for cell, adjusted in zip(tests, holm([cell["p"] for cell in tests]), strict=True):
        cell["p_holm"] = adjusted
    document: dict[str, Any] = {"exam": exams.pop(), "tests": len(tests), "pairs": pairs}
    if len(pairs) == 1:  # the common case reads without a list
        document |= pairs[0]
    return document


def _warnings(a: Finished, b: Finished, mode: str) -> list[str]:
    """What makes two runs less comparable than they look."""
    found = []
    first, second = set(a.correct(mode)), set(b.correct(mode))
    if first != second:
        found.append(
            f"{len(first - second)} questions only in {a.name}, {len(second - first)} only in "
            f"{b.name}: both were compared on {len(first & second)}"
        )
    prompts = a.column(mode, "prompt").items() & b.column(mode, "prompt").items()
    if differing := len(first & second) - len(prompts):
        found.append(f"prompts of {differing} questions differ")
    for key, what in (
        ("framing", "templates, shots, cuts or option orders differ"),
        ("max_new_tokens", "response limits differ"),
        ("judge", "the judges or their prompts differ: their scores do not compare"),
    ):
        if a.run["settings"].get(key) != b.run["settings"].get(key):
            found.append(what)
    for run in (a, b):
        if run.summary["n_truncated"]:
            found.append(f"{run.name}: {run.summary['n_truncated']} questions were cut")
    return found


def forms(a: Finished, b: Finished) -> dict[str, Any] | None:
    """What makes two runs two forms of one model: the same weights in other numbers, or an export.

    Returns:
        What each side is, in words, and `proof`, the hashes that say so; None of other models.
    """
    one, other = a.run["model"], b.run["model"]
    held = ("weights", "revision", "adapter_weights")
    weights = {key: one[key] for key in held if one.get(key) and one[key] == other.get(key)}
    same = all(one.get(key) == other.get(key) for key in held)
    if same and weights and one.get("load") != other.get("load"):
        return {
            "a": a.name if one["load"] in a.name else f"{a.name} in {one['load']}",
            "b": f"the {other['load']} form",
            "proof": weights | {key: value for key, value in _manifests(a, b).items() if value},
        }
    trained, also = one.get("trained"), other.get("trained")
    if trained and also and trained["run"] == also["run"] and trained["export"] != also["export"]:
        words = [
            f"the export of {run.name} in {found['export']['dtype']}"
            if found["export"]
            else f"{run.name} as it was trained"
            for run, found in ((a, trained), (b, also))
        ]
        return {"a": words[0], "b": words[1], "proof": {"run": trained["run"], **_manifests(a, b)}}
    return None


def _manifests(a: Finished, b: Finished) -> dict[str, str | None]:
    """The hashes of the run manifests beside the two models."""
    found = [(run.run["model"].get("trained") or {}).get("manifest") for run in (a, b)]
    return {"manifest_a": found[0], "manifest_b": found[1]}


def proof_sentence(entry: dict[str, Any]) -> str:
    """By which hashes two runs are two forms of one model; "" where they are not."""
    if not entry["forms"]:
        return ""
    known = {name: value for name, value in entry["forms"]["proof"].items() if value}
    hashes = ", ".join(f"{name.replace('_', ' ')} {value[:16]}" for name, value in known.items())
    return f"Two forms of one model: {hashes}."


def sentence(entry: dict[str, Any], mode: str) -> str:
    """One pair in one mode, in words."""
    cell = entry["modes"][mode]
    low, high = cell["ci95"]
    better = entry["b"] if cell["difference"] > 0 else entry["a"]
    points = f"{abs(cell['difference']) * 100:.1f} points"
    test = "sign test" if mode == KIND else "McNemar"
    facts = (
        f"(difference {cell['difference'] * 100:+.1f} [{low * 100:+.1f}, {high * 100:+.1f}], "
        f"{test} p {p_text(cell['p'])}, Holm {p_text(cell['p_holm'])}, n {cell['n']:,})"
    )
    if cell["p_holm"] < 0.05:
        return f"{mode}: {better} is better by {points} {facts}."
    seen, equal = cell["minimum_detectable"], cell["equivalence"]
    if equal["p"] < ALPHA:
        named = entry.get("forms") or entry
        return (
            f"{mode}: {named['b']} equals {named['a']} within {equal['margin'] * 100:g} points "
            f"(TOST p {p_text(equal['p'])}), {len(cell['flips'])} flips {facts}."
        )
    power = f"; differences under {seen * 100:.1f} points would be missed" if seen else ""
    return f"{mode}: no difference shown between {entry['a']} and {entry['b']} {facts}{power}."


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
