"""What a run found, as numbers: the content of summary.json.

A cell is an accuracy with its interval, over rows of one mode with one row per item; strata are
cells of parts of the exam (step, discipline, whole or cut, contamination against a training mix).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.modes import GENERATED, SCORED
from evaluation.stats import (
    beats_chance,
    calibration,
    chance_level,
    mean_interval,
    newcombe,
    position_bias,
    softmax,
)
from meadow.charts import wilson
from meadow.corpus.folder import CONTAMINATION
from meadow.corpus.manifest import NAME as MANIFEST
from meadow.corpus.manifest import read_manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError
from meadow.exams.contamination import remaining
from meadow.exams.overlap import Level

Row = Mapping[str, Any]
"""A row of predictions.parquet."""
LEVELS = tuple(level.value for level in Level)
"""From clean to worst, as `contamination.parquet` of a mix has them."""


def read_contamination(folder: Path, exam: str) -> dict[str, str]:
    """The worst level of each item against the rows of the mix; items not named are "none".

    The folder is a mix, or a ledger of matches by itself.

    Raises:
        FileError: The folder has no contamination.parquet, or the mix was held against other exams.
    """
    if (folder / MANIFEST).exists():
        held = read_manifest(folder).details.get("contamination", {})
        if exam not in held:
            raise FileError(
                f"the mix was not held against exam {exam}",
                where=str(folder),
                fix=f"it knows {', '.join(sorted(held)) or 'no exam'}; mix again with --exam",
            )
    path = folder / CONTAMINATION if folder.is_dir() else folder
    if not path.exists():
        raise FileError(
            "no contamination.parquet: the mix was not held against any exam",
            where=str(folder),
            fix="build the mix with --exam NAME=PATH",
        )
    whole = path.parent == folder and (folder / MANIFEST).exists()
    # the ledger tells what was found; rows that the mix dropped taught nothing
    table = remaining(folder).to_arrow() if whole else read_parquet(path)
    levels: dict[str, str] = {}
    for row in table.select(["exam", "item_id", "level"]).to_pylist():
        if row["exam"] != exam:
            continue
        level = row["level"] if row["level"] in LEVELS else "none"
        old = levels.get(row["item_id"], "none")
        levels[row["item_id"]] = max(old, level, key=LEVELS.index)
    return levels


def summarise(
    exam: str,
    rows: Sequence[Row],
    *,
    # contamination level by item id, where a mix was given
    levels: Mapping[str, str] | None = None,
    excluded: Mapping[str, int] | None = None,  # how many items were left out, by reason
    # item id -> erratum and right label ("": not scored), of the faulty items
    corrected: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Everything that the report and the comparison need, from the rows of predictions.parquet."""
    plain = [row for row in rows if not row["variant"]]
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    first = [row for row in plain if row["mode"] == modes[0]] if modes else []
    lost = [row for row in first if row["truncated"] and row["scorable"]]
    document: dict[str, Any] = {
        "exam": exam,
        "n": len(first),
        "n_truncated": len(lost),
        "n_unscorable": sum(not row["scorable"] for row in first),
        "excluded": dict(excluded or {}),
        "lost": dict(Counter(row["lost"] for row in first if row["lost"])),
        "modes": {},
        "chance": chance_level([row["n_options"] for row in first]),
    }
    for mode in modes:
        own = [row for row in plain if row["mode"] == mode]
        document["modes"][mode] = _mode(mode, own, levels)
        if faulty := {row["item_id"] for row in own} & {*(corrected or ())}:
            document["modes"][mode]["errata"] = with_errata(own, corrected or {})
            names = sorted(str((corrected or {})[key][0]) for key in faulty)
            document["errata"] = dict(Counter(names))
    if variants := _variants(rows, modes):
        document["variants"] = variants
    document["agreement"] = _agreement(plain, modes)
    return document


def cell(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy with its interval over rows of one mode, one per item."""
    right = sum(bool(row["correct"]) for row in rows)
    low, high = wilson(right, len(rows))
    return {
        "accuracy": right / len(rows) if rows else None,
        "ci95": [low, high],
        "n": len(rows),
        "correct": right,
    }


def with_errata(rows: Sequence[Row], corrected: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The cell of a mode with the errata applied: right answers put right, other faults left out.

    `corrected`: item id -> erratum and right label, or "" where the item is not scored.
    """
    kept = []
    for row in rows:
        label = corrected[row["item_id"]][1] if row["item_id"] in corrected else row["gold"]
        if label:
            right = row["correct"] if label == row["gold"] else row["pred"] == label
            kept.append({**row, "correct": right})
    return {**cell(kept), "left_out": len(rows) - len(kept)}


def by(rows: Sequence[Row], key: Callable[[Row], str | None]) -> dict[str, dict[str, Any]]:
    """A cell per stratum; rows without one are left out."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        name = key(row)
        if name is not None:
            groups[name].append(row)
    return {name: cell(groups[name]) for name in sorted(groups)}


def contamination(rows: Sequence[Row], levels: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy per level, and the difference of each to the clean items with its interval."""
    cells = by(rows, lambda row: levels.get(row["item_id"], "none"))
    clean = cells.get("none", {"correct": 0, "n": 0})
    for level, value in cells.items():
        if level != "none" and clean["n"]:
            low, high = newcombe(value["correct"], value["n"], clean["correct"], clean["n"])
            value["difference"] = value["accuracy"] - clean["accuracy"]
            value["difference_ci95"] = [low, high]
    return {level: cells[level] for level in LEVELS if level in cells}


def _mode(mode: str, rows: Sequence[Row], levels: Mapping[str, str] | None) -> dict[str, Any]:
    value = cell(rows)
    options = [row["n_options"] for row in rows]
    value["beats_chance_p"] = beats_chance(value["correct"], options)
    value["steps"] = by(rows, lambda row: row["step"])
    value["disciplines"] = by(rows, lambda row: row["discipline"])
    both = ("step", "discipline")
    value["step_discipline"] = by(
        rows, lambda row: " | ".join(row[n] for n in both) if all(row[n] for n in both) else None
    )
    value["length"] = by(
        rows,
        lambda row: "unscorable" if not row["scorable"] else "cut" if row["truncated"] else "whole",
    )
    value["statuses"] = dict(sorted(Counter(row["status"] for row in rows).items()))
    answered = [row for row in rows if row["pred"] is not None]
    if answered:
        picked = [row["pred"] for row in answered]
        value["position"] = position_bias(picked, [row["gold"] for row in answered])
    if levels is not None:
        value["contamination"] = contamination(rows, levels)
    if mode in SCORED:
        value["calibration"] = _calibration(rows)
    if mode in GENERATED:
        value["conventions"] = conventions(rows)
        value["rules"] = dict(sorted(Counter(r["rule"] for r in rows if r["rule"]).items()))
    if mode == "medalpaca_legacy":
        value["retries"] = sum(row["retries"] for row in rows)
        value["strict_reading"] = _strict_reading(rows)
    return value


def conventions(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy under three conventions for responses without a letter.

    They are wrong (`strict`), left out (`parsed_only`), or earn what guessing earns (`chance`).
    """
    parsed = [bool(row["correct"]) for row in rows if row["pred"] is not None]
    lucky = sum(1 / row["n_options"] for row in rows if row["pred"] is None)
    n, right = len(rows), sum(parsed)
    return {
        "strict": right / n if n else 0.0,
        "parsed_only": right / len(parsed) if parsed else 0.0,
        "chance": (right + lucky) / n if n else 0.0,
        "n": n,
        "n_parsed": len(parsed),
    }


def _strict_reading(rows: Sequence[Row]) -> dict[str, Any]:
    """What the strict parser makes of the responses that the 2023 code scored."""
    pairs = [(bool(row["correct"]), row["strict_pred"] == row["gold"]) for row in rows]
    return {
        "correct": sum(strict for _, strict in pairs),
        "legacy_only": sum(legacy and not strict for legacy, strict in pairs),
        "strict_only": sum(strict and not legacy for legacy, strict in pairs),
        "n": len(rows),
    }


def _calibration(rows: Sequence[Row]) -> dict[str, Any] | None:
    # without those of which a server censored an option: NaN is not itself
    whole = [r for r in rows if r["logliks"] and all(value == value for value in r["logliks"])]
    return calibration(
        [softmax(row["logliks"]) for row in whole],
        [list(row["labels"]).index(row["gold"]) for row in whole],
    )


def _variants(rows: Sequence[Row], modes: Sequence[str]) -> dict[str, Any]:
    """Option orders (each item a cluster) and the stem-blind control, per mode."""
    found: dict[str, dict[str, Any]] = {}
    for mode in modes:
        own = [row for row in rows if row["mode"] == mode]
        value = found[mode] = {}
        ordered = [row for row in own if row["variant"] != "stem_blind"]
        if any(row["variant"] for row in ordered):
            clusters: dict[str, list[Row]] = defaultdict(list)
            for row in ordered:
                clusters[row["item_id"]].append(row)
            right = [[float(row["correct"]) for row in group] for group in clusters.values()]
            # an item counts once, however many orders its options have
            means = [sum(group) / len(group) for group in right]
            picks = [[_picked(row) for row in group] for group in clusters.values()]
            value["orders"] = {
                "accuracy": sum(means) / len(means),
                "ci95": list(mean_interval(means)),
                "n": len(right),
                "scorings": sum(map(len, right)),
                "always_right": sum(all(group) for group in right) / len(right),
                "consistent": sum(len(set(group)) == 1 for group in picks) / len(picks),
            }
        blind = [row for row in own if row["variant"] == "stem_blind"]
        if blind:
            own_cell, options = cell(blind), [row["n_options"] for row in blind]
            p = beats_chance(own_cell["correct"], options)
            value["stem_blind"] = own_cell | {"beats_chance_p": p}
    return {mode: value for mode, value in found.items() if value}


def _picked(row: Row) -> str | None:
    """The exam's own label of what was picked, whatever order it was shown in."""
    if row["pred"] is None:
        return None
    place: int = list(row["labels"]).index(row["pred"])
    return str(row["order"][place])


def _agreement(rows: Sequence[Row], modes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Share of items on which two modes predict the same label, of those with both predictions."""
    picks: dict[str, dict[str, str]] = {mode: {} for mode in modes}
    for row in rows:
        if row["pred"] is not None:
            picks[row["mode"]][row["item_id"]] = row["pred"]

    def share(a: str, b: str) -> float | None:
        both = picks[a].keys() & picks[b].keys()
        same = sum(picks[a][item] == picks[b][item] for item in both)
        return same / len(both) if both else None

    return {a: {b: share(a, b) for b in modes} for a in modes}
