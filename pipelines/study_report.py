"""The study's report: the four questions, each answered with an interval, and what lies behind.

Made of the arms' predictions alone: no clock and no path, so that a study that was killed and
continued gives the same report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meadow.atomic import write_json, write_text
from meadow.charts import intervals
from pipelines.study_config import QUESTIONS, Study

TEMPLATES = Path(__file__).parent / "templates"


def study_report(study: Study, out: Path, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The report as a value.

    Args:
        study: What was asked.
        out: The study's folder.
        arms: arm.json of every arm.
    """
    from evaluation.compare import pair
    from evaluation.results import read_run
    from evaluation.stats import holm

    modes = {exam.name: exam.mode for exam in study.exams}

    def predictions(arm: str, exam: str) -> Any:
        return read_run(out / "arms" / arm / "eval" / exam)

    comparisons = [
        {
            **comparison.model_dump(mode="json"),
            **pair(
                predictions(comparison.a, comparison.exam),
                predictions(comparison.b, comparison.exam),
                modes[comparison.exam],
            ),
        }
        for comparison in study.comparisons
    ]
    for entry, adjusted in zip(
        comparisons, holm([entry["p"] for entry in comparisons]), strict=True
    ):
        entry["p_holm"] = adjusted
        entry["sentence"] = sentence(entry)
    return {
        "title": study.title,
        "description": study.description,
        "questions": [
            {
                "name": name,
                "text": text,
                "answers": [
                    entry["sentence"] for entry in comparisons if entry["question"] == name
                ],
            }
            for name, text in QUESTIONS.items()
        ],
        "arms": [
            {
                "name": arm.name,
                "questions": list(arm.questions),
                "base": arm.base,
                "mix": arm.mix,
                "parameters": arms[arm.name]["parameters"],
                "trained": arms[arm.name]["trained"],
                "exams": arms[arm.name]["exams"],
                "machine": _machine(arms[arm.name]["machine"]),
            }
            for arm in study.arms
        ],
        "strata": _strata(study, out, modes),
        "comparisons": comparisons,
        "mixes": _mixes(study, out),
        "ablation": _ablation(study, out, modes),
        "paper": _paper() if study.paper else [],
    }


def sentence(entry: Mapping[str, Any]) -> str:
    """What a paired comparison says, and how sure it is."""
    difference, (low, high) = entry["difference"], entry["ci95"]
    if low > 0:
        verdict = "yes"
    elif high < 0:
        verdict = "the other way round"
    else:
        verdict = "no difference was shown"
    return (
        f"{entry['about']}: {verdict}. {entry['b']} {entry['accuracy_b']:.3f} against {entry['a']} "
        f"{entry['accuracy_a']:.3f} on {entry['n']} items of {entry['exam']}; difference "
        f"{difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, exact McNemar p "
        f"{_p(entry['p'])}, {_p(entry['p_holm'])} after Holm."
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _machine(machine: Mapping[str, Any]) -> str:
    return ", ".join(machine["gpus"]) or f"{machine['cores']} CPUs, {machine['system']}"


def _strata(study: Study, out: Path, modes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Accuracy by source of the items, for every arm and exam."""
    from evaluation.results import read_run
    from evaluation.summary import by

    rows = []
    for arm in study.arms:
        for exam in study.exams:
            run = read_run(out / "arms" / arm.name / "eval" / exam.name)
            chosen = [r for r in run.rows if r["mode"] == modes[exam.name] and not r["variant"]]
            items = run.items
            strata = by(chosen, lambda row: items[row["item_id"]]["discipline"])  # noqa: B023 - at once
            rows += [
                {"arm": arm.name, "exam": exam.name, "stratum": name, **cell}
                for name, cell in sorted(strata.items())
            ]
    return rows


def _mixes(study: Study, out: Path) -> list[dict[str, Any]]:
    from meadow.corpus.manifest import read_manifest

    rows = []
    for name in sorted(study.mixes):
        manifest = read_manifest(out / "mixes" / name)
        found = manifest.details.get("contamination", {})
        rows.append(
            {
                "name": name,
                "rows": sum(shard.rows for shard in manifest.shards()),
                "contamination": {
                    exam: {level: n for level, n in record.get("rows", {}).items() if n}
                    for exam, record in found.items()
                },
            }
        )
    return rows


def _ablation(study: Study, out: Path, modes: Mapping[str, str]) -> dict[str, Any] | None:
    """The planted items: accuracy of both arms on planted and on clean items."""
    if study.ablation is None:
        return None
    from evaluation.results import read_run
    from evaluation.stats import newcombe
    from evaluation.summary import read_contamination

    asked = study.ablation
    mix = next(arm.mix for arm in study.arms if arm.name == asked.arm)
    levels = read_contamination(out / "mixes" / mix, asked.exam)
    mode = modes[asked.exam]
    correct = {
        name: read_run(out / "arms" / name / "eval" / asked.exam).correct(mode)
        for name in (asked.arm, asked.clean)
    }
    strata = []
    for stratum, wanted in (("planted", True), ("not planted", False)):
        items = [i for i in correct[asked.clean] if (levels.get(i, "none") != "none") is wanted]
        n = len(items)
        first = sum(correct[asked.clean][item] for item in items)
        second = sum(correct[asked.arm][item] for item in items)
        strata.append(
            {
                "stratum": stratum,
                "n": n,
                "clean": first / n if n else None,
                "contaminated": second / n if n else None,
                "difference": (second - first) / n if n else None,
                "ci95": list(newcombe(second, n, first, n)) if n else None,
            }
        )
    return {"arm": asked.arm, "clean": asked.clean, "exam": asked.exam, "strata": strata}


def _paper() -> list[dict[str, Any]]:
    """The published accuracies of 2023, step by step."""
    from evaluation.paper import CHECKPOINTS

    return [
        {
            "name": row.title,
            **{f"step{i}": f"{value:.3f}" for i, value in enumerate(row.published, 1)},
        }
        for row in CHECKPOINTS
    ]


def _charts(document: Mapping[str, Any]) -> dict[str, Any]:
    """A chart per exam: every arm's accuracy with its interval."""
    rows: dict[str, list[tuple[str, float, float, float]]] = {}
    chance = {}
    for arm in document["arms"]:
        for name, cell in arm["exams"].items():
            rows.setdefault(name, []).append((arm["name"], cell["accuracy"], *cell["ci95"]))
            chance[name] = cell["chance"]
    return {
        name: intervals(own, chance[name], f"accuracy of the arms on {name}, 95 % intervals")
        for name, own in rows.items()
    }


def write_study_report(document: dict[str, Any], out: Path) -> None:
    """report.json, report.md and report.html."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        # Markdown is no HTML: nothing is escaped there, and numbers and texts are our own
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    write_json(out / "report.json", document)
    charts = _charts(document)
    for name in ("report.md", "report.html"):
        template = templates.get_template(f"study{Path(name).suffix}.j2")
        write_text(out / name, template.render(**document, charts=charts))
