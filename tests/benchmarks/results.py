"""What the benchmarks found, kept: docs/benchmarks.json for programs, docs/benchmarks.md to read.

Each benchmark gives one dictionary. `ratios` are its figures, `targets` what they should at least
be, `limits` what they may at most be; `not_run` says of a figure why there is none, `measured` what
each program took. A run replaces its own part and leaves the others as they are, so each part
carries the day, the machine and the versions that it was measured with. What takes too long for
every run is measured by `--record`, and stands beside what the part has otherwise until it is
recorded again.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.missed import note

from meadow.atomic import write_bytes

DOCS = Path(__file__).resolve().parents[2] / "docs"
LIBRARIES = (
    "pyarrow",
    "polars",
    "numpy",
    "turbohtml",
    "xxhash",
    "pandas",
    "datasets",
    "beautifulsoup4",
    "datasketch",
    "torch",
    "transformers",
    "lm_eval",
    "trl",
)
_COLUMNS = {
    "wall_s": ("wall s", "{:,.2f}"),
    "cpu_s": ("CPU s", "{:,.2f}"),
    "peak_mb": ("peak MB", "{:,.0f}"),
    "mb_per_s": ("MB/s", "{:,.1f}"),
    "rows_per_s": ("rows/s", "{:,.0f}"),
    "pairs_per_s": ("pairs/s", "{:,.0f}"),
    "tokens_per_s": ("tokens/s", "{:,.0f}"),
    "cpu_us_per_row": ("CPU µs/row", "{:,.1f}"),
    "recall": ("recall", "{:.4f}"),
    "false": ("false pairs", "{:.4f}"),
}


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB and system; nothing that names the machine."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if ":" in line
        )
        model = fields.get("model name", model)
        if "model" in fields and "cpu family" in fields:
            model += f" (family {fields['cpu family']}, model {fields['model']})"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python's and those of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def flat(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Ratios, targets, limits and what was not run, those that are recorded among them."""
    recorded = result.get("recorded", {})
    return {
        part: {
            **result.get(part, {}),
            **{f"{what} (recorded)": value for what, value in recorded.get(part, {}).items()},
        }
        for part in ("ratios", "targets", "limits", "not_run")
    }


def verdicts(result: Mapping[str, Any]) -> list[tuple[str, float, str, bool | None]]:
    """(what, figure, target as text, whether met) of each ratio; None where there is no target."""
    parts = flat(result)
    rows = []
    for what, value in parts["ratios"].items():
        least, most = parts["targets"].get(what), parts["limits"].get(what)
        met: bool | None = None
        target = ""
        if least is not None:
            met, target = value >= least, f"≥ {least:g}"
        elif most is not None:
            met, target = value <= most, f"≤ {most:g}"
        rows.append((what, value, target, met))
    return rows


def lines(name: str, result: Mapping[str, Any]) -> list[str]:
    """What has a target, or was not run, as rows of the page's first table."""
    word = {None: "", True: "yes", False: "**no**"}
    return [
        f"| {name} | {what} | {value:,.4g} | {target} | {word[met]} |"
        for what, value, target, met in verdicts(result)
        if target
    ] + [
        f"| {name} | {what} | not run: {why} | | |" for what, why in flat(result)["not_run"].items()
    ]


def keep(
    result: Mapping[str, Any], folder: Path = DOCS, *, recorded: bool = False
) -> dict[str, Any]:
    """Put one benchmark's result into benchmarks.json and render benchmarks.md anew.

    Args:
        result: What its `main` or its `record` returned.
        folder: Where both files stand; the parts of other benchmarks in it stay.
        recorded: It was `record`; the rest of the part stays. Else what is recorded stays.

    Returns:
        The part as it is kept.
    """
    document = load(folder)
    facts = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions() | result.get("versions", {}),
    }
    name = result["bench"]
    former = document["benchmarks"].get(name, {"bench": name, "ratios": {}, **facts})
    if recorded:
        part = {**former, "recorded": {**result, **facts}}
    else:
        part = {**result, **facts}
        if "recorded" in former:
            part["recorded"] = former["recorded"]
    document["benchmarks"] = dict(sorted({**document["benchmarks"], name: part}.items()))
    write(document, folder)
    return part


def load(folder: Path = DOCS) -> dict[str, Any]:
    """What benchmarks.json holds."""
    path = folder / "benchmarks.json"
    if not path.is_file():
        return {"benchmarks": {}}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def write(document: Mapping[str, Any], folder: Path = DOCS) -> None:
    """Both files anew."""
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=False)
    write_bytes(folder / "benchmarks.json", f"{text}\n".encode())
    write_bytes(folder / "benchmarks.md", render(document).encode())


def render(document: Mapping[str, Any]) -> str:
    """docs/benchmarks.md from what benchmarks.json holds."""
    parts = document["benchmarks"]
    page = [
        "# Benchmarks",
        "",
        "Written by `make bench`; `make bench BENCH=posts SIZE_MB=300` measures one part anew.",
        "Peer and ours run in turn on the same input, with the same result compared; the figures",
        "are medians. A ratio is peer / ours where the line does not say otherwise: 10 is ten",
        "times as fast, or a tenth of the memory. Absolute times are of a small, shared machine",
        "and only give context. What each benchmark does stands at the head of its file in",
        "`tests/benchmarks`. What is recorded takes too long for every run: `make bench",
        "BENCH=dedup RECORD=1` measures it anew. `make bench` fails where a target is missed.",
        "",
        "| benchmark | what | measured | target | met |",
        "|---|---|---:|---:|---|",
    ]
    for name, part in parts.items():
        page += lines(name, part)
    missed = [
        f"- **{name}, {what}**: {value:,.4g}, where {target} is wished. {note(name, what)}"
        for name, part in parts.items()
        for what, value, target, met in verdicts(part)
        if met is False
    ]
    if missed:
        page += ["", "## Missed", "", "What was tried, and where the time goes.", "", *missed]
    for name, part in parts.items():
        page += ["", f"## {name}", "", *_part(part)]
        if "recorded" in part:
            page += ["", "Recorded:", "", *_part(part["recorded"])]
    return "\n".join(page) + "\n"


def _part(part: Mapping[str, Any]) -> list[str]:
    text = [line for line in [part.get("input_text", "")] if line]
    facts = part["machine"]
    known = ", ".join(f"{library} {version}" for library, version in part["versions"].items())
    text += [
        f"{part['date']}; {facts['processor']}, {facts['cores']} cores, "
        f"{facts['memory_gib']:g} GiB, {facts['system']}; {known}.",
        "",
    ]
    others = [
        (what, value) for what, value, target, _ in verdicts({**part, "recorded": {}}) if not target
    ]
    if others:
        text += ["| without a target | |", "|---|---:|"]
        text += [*(f"| {what} | {value:,.4g} |" for what, value in others), ""]
    measured = part.get("measured", {})
    columns = [key for key in _COLUMNS if any(key in took for took in measured.values())]
    if columns:
        text += [
            "| | " + " | ".join(_COLUMNS[key][0] for key in columns) + " |",
            "|---|" + "---:|" * len(columns),
        ]
        for who, took in measured.items():
            cells = (
                _COLUMNS[key][1].format(took[key]) if took.get(key) is not None else ""
                for key in columns
            )
            text.append(f"| {who} | " + " | ".join(cells) + " |")
        text.append("")
    text += [f"{note}" for note in part.get("notes", [])]
    while text and not text[-1]:
        text.pop()
    return text
