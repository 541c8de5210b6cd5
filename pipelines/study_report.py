"""The study's report: the four questions, each answered with an interval, and what lies behind.

Made of the arms' predictions alone: no clock and no path, so that a study that was killed and
continued gives the same report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from meadow.atomic import locked, write_json, write_text
from meadow.cards.documents import render_documents
from meadow.charts import intervals
from meadow.corpus.commit import commit_folder
from meadow.corpus.folder import Corpus
from meadow.exams.items import load_exam
from pipelines.held_out import HeldOut
from pipelines.study_config import QUESTIONS, SUBSET, Study
from pipelines.touched import disguised, kept_runs, touched_ids

ALPHA = 0.05
TEMPLATES = Path(__file__).parent / "templates"


def study_report(
    study: Study, out: Path, arms: Mapping[str, Mapping[str, Any]], held: HeldOut
) -> dict[str, Any]:
    """The report as a value.

    `arms` holds arm.json of every arm.
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
                comparison.margin,
            ),
            "tokens": [
                arms[name]["trained"].get("tokens") for name in (comparison.a, comparison.b)
            ],
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
            if (name == "sources") == any(comparison.source for comparison in study.comparisons)
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
        "contamination": _contamination(study, out, held, modes),
        "worth": _worth(study, out),
        "paper": _paper() if study.paper else [],
    }


def sentence(entry: Mapping[str, Any]) -> str:
    """What a paired comparison says, and how sure it is."""
    difference, (low, high) = entry["difference"], entry["ci95"]
    tests = f"exact McNemar p {_p(entry['p'])}, {_p(entry['p_holm'])} after Holm"
    if entry["question"] == "sources":
        return (
            f"{entry['about']}: {_points(difference, low, high)} on {entry['exam']} "
            f"({entry['a']} {entry['accuracy_a']:.3f}, {entry['b']} {entry['accuracy_b']:.3f}, "
            f"{entry['n']} items, {tests})"
        )
    equal = entry["equivalence"]
    within, shown = f"within {equal['margin'] * 100:g} points", equal["p"] < ALPHA
    tost = f" (TOST p {_p(equal['p'])})"
    if low > 0:
        verdict = "yes"
    elif high < 0:
        verdict = "the other way round"
    elif equal["margin"] and shown:
        verdict = f"no: they are equal {within}{tost}"
    elif equal["margin"]:
        verdict = f"no difference was shown, nor equality {within}{tost}"
    else:
        verdict = "no difference was shown"
    first, second = entry["tokens"]
    plan = f" Both were trained on {first:,} tokens." if first and first == second else ""
    return (
        f"{entry['about']}: {verdict}. {entry['b']} {entry['accuracy_b']:.3f} against {entry['a']} "
        f"{entry['accuracy_a']:.3f} on {entry['n']} items of {entry['exam']}; difference "
        f"{difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, {tests}.{plan}"
    )


def _points(difference: float, low: float, high: float) -> str:
    """A difference of accuracies with its interval, in points."""
    return f"{difference * 100:+.1f} points [{low * 100:+.1f}, {high * 100:+.1f}]"


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
        for exam in filter(lambda exam: arm.asked(exam.name), study.exams):
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
        holds = {exam: _levels(record.get("remaining", record)) for exam, record in found.items()}
        rows.append(
            {
                "name": name,
                "rows": sum(shard.rows for shard in manifest.shards()),
                "contamination": holds,
                "told": _told(holds),
                "before": _told({exam: _levels(record) for exam, record in found.items()}),
            }
        )
    return rows


def _levels(record: Mapping[str, Any]) -> dict[str, int]:
    return {level: n for level, n in record.get("rows", {}).items() if n}


def _told(exams: Mapping[str, Mapping[str, int]]) -> str:
    """Rows that hold an item, by exam and level."""
    counts = {e: ", ".join(f"{level} {n}" for level, n in got.items()) for e, got in exams.items()}
    return "; ".join(f"{exam}: {told or 'none'}" for exam, told in counts.items()) or "not measured"


def _contamination(
    study: Study, out: Path, held: HeldOut, modes: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Per level: the twin against the clean arm, on the touched items and on the others.

    What the rows beside the items did is the difference on the others; contamination is what the
    touched items gained beyond that.
    """
    if study.contamination is None:
        return []
    from evaluation.results import read_run
    from evaluation.stats import RESAMPLES, bootstrap, mcnemar, percentiles, resampled_means
    from evaluation.summary import read_contamination

    asked = study.contamination
    clean, mode = study.arm(asked.arm), modes[asked.exam]
    items = load_exam(asked.exam, [out / "held_out" / f"{asked.exam}.jsonl"])
    item_of = {
        row["id"]: item.item_id for row, item in zip(held.items[asked.exam], items, strict=True)
    }
    whole = Corpus.open(out / "corpus")
    before = read_run(out / "arms" / clean.name / "eval" / asked.exam).correct(mode)
    rest = _ids(out / "mixes" / clean.mix)
    rows = []
    for level in asked.levels:
        arm = study.arm(f"{clean.name}-{level}")
        touch = study.mixes[arm.mix].touch
        if touch is None:
            continue
        touched = {item_of[one] for one in touched_ids(held, touch, study.seed)}
        after = read_run(out / "arms" / arm.name / "eval" / asked.exam).correct(mode)
        found = read_contamination(out / "mixes" / arm.mix, asked.exam)
        strata: dict[str, Any] = {}
        draws: list[Any] = []
        for stratum, chosen in (
            ("touched", [item for item in before if item in touched]),
            ("untouched", [item for item in before if item not in touched]),
        ):
            moved = [float(after[item]) - float(before[item]) for item in chosen]
            strata[stratum] = {
                "n": len(chosen),
                "clean": sum(before[item] for item in chosen) / len(chosen),
                "contaminated": sum(after[item] for item in chosen) / len(chosen),
                "difference": sum(moved) / len(moved),
                "ci95": list(bootstrap(moved)),
                "p": mcnemar(sum(step < 0 for step in moved), sum(step > 0 for step in moved)),
            }
            draws.append(resampled_means(moved, resamples=RESAMPLES, seed=len(draws)))
        effect = strata["touched"]["difference"] - strata["untouched"]["difference"]
        planted = _ids(out / "mixes" / arm.mix)
        own = Counter({key: n for key, n in planted.items() if key[2] != SUBSET})
        levels = Counter(found.get(item, "none") for item in touched)
        rows.append(
            {
                "level": level,
                "arm": arm.name,
                "clean": clean.name,
                "exam": asked.exam,
                "kept_runs": kept_runs(disguised(whole, held, touch, study.seed)),
                "found": dict(sorted(levels.items())),
                "rows": planted.total() - own.total(),
                "elsewhere": (rest - own).total() + (own - rest).total(),
                "strata": strata,
                "effect": effect,
                "effect_ci95": list(percentiles(draws[0] - draws[1])),
            }
        )
        rows[-1]["sentence"] = _contaminated(rows[-1])
    return rows


def _contaminated(row: Mapping[str, Any]) -> str:
    touched, others = row["strata"]["touched"], row["strata"]["untouched"]
    seen = touched["n"] - row["found"].get("none", 0)
    return (
        f"{row['level']}: {_points(touched['difference'], *touched['ci95'])} on {touched['n']} "
        f"touched items, {_points(others['difference'], *others['ci95'])} on {others['n']} others: "
        f"contamination is worth {_points(row['effect'], *row['effect_ci95'])}; decontamination "
        f"finds {seen} of {touched['n']}"
    )


def _ids(folder: Path) -> Counter[tuple[str, str, str | None]]:
    """How often each row stands in a mix: by id, source and subset."""
    table = Corpus.open(folder).to_arrow(columns=["id", "source", "subset"])
    return Counter(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))


def _worth(study: Study, out: Path) -> list[dict[str, Any]]:
    """Per source: its rows, and how many rows of others differ between the twins: none ought to."""
    found = []
    for one, a, b in dict.fromkeys((c.source, c.a, c.b) for c in study.comparisons if c.source):
        without, with_it = (
            _ids(out / "mixes" / mix) if mix else Counter()
            for mix in (study.arm(a).mix, study.arm(b).mix)
        )
        own = Counter({key: n for key, n in with_it.items() if key[1] == one})
        others = with_it - own
        changed = (others - without).total() + (without - others).total()
        found.append({"source": one, "rows": own.total(), "elsewhere": changed})
    return found


def write_worth(document: Mapping[str, Any], study: Study, out: Path) -> None:
    """Put what each source is worth into the manifest and the card of the arm's own mix.

    Its rows stay as they are: whoever mixes again, or resumes the study, finds the same mix.
    """
    arm = study.arms[0]
    folder = out / "mixes" / arm.mix
    told = {
        "study": study.title,
        "method": document["arms"][0]["trained"]["method"],
        "parameters": document["arms"][0]["parameters"],
        "elsewhere": sum(row["elsewhere"] for row in document["worth"]),
        "results": [
            {
                key: entry[key]
                for key in ("source", "about", "exam", "difference", "ci95", "n", "p_holm")
            }
            for entry in document["comparisons"]
        ],
    }
    with locked(folder):
        manifest = Corpus.open(folder).manifest
        manifest = replace(manifest, details={**manifest.own_details, "worth": told})
        commit_folder(folder, manifest, {}, render_documents(manifest, lambda path: folder / path))


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


def write_study_report(document: dict[str, Any], out: Path, name: str) -> None:
    """NAME.json, NAME.md and NAME.html."""
    from evaluation.report import template

    write_json(out / f"{name}.json", document)
    charts = _charts(document)
    for suffix in (".md", ".html"):
        text = template(f"study{suffix}.j2", TEMPLATES).render(**document, charts=charts)
        write_text(out / f"{name}{suffix}", text.rstrip() + "\n")
