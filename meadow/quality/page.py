"""report.html and report.md from report.json: the same tables, as one safe page and as text.

The page has no script and no asset; its content security policy allows its own style sheet, by
hash, and nothing else. Every text from a corpus is escaped by the template engine or here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from markupsafe import Markup

from meadow import charts as svg
from meadow.errors import UsageError
from meadow.quality.report_tables import LEVELS, Table, count, reasons, share_of, tables, words
from meadow.text.markdown import escape_cell

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 1200
"""Characters of a field that an example shows; the row itself is in the shard."""
SECTIONS = (
    ("flow", "Flow"),
    ("sources", "Sources"),
    ("licences", "Licences"),
    ("lengths", "Lengths"),
    ("duplicates", "Duplicates"),
    ("contamination", "Exam overlap"),
    ("personal-data", "Personal data"),
    ("flags", "Quality flags"),
    ("release-2023", "2023"),
)


def _publishable(report: Mapping[str, Any]) -> int:
    return sum(item["rows"] for item in report["licenses"] if item["redistribute"] == "yes")


def _lost(report: Mapping[str, Any]) -> int:
    return sum(stage["lost"] for stage in report["flow"])


def _overlaps(report: Mapping[str, Any]) -> int:
    return sum(
        exam["rows"].get(level, 0) for exam in report["contamination"]["exams"] for level in LEVELS
    )


def verdict(report: Mapping[str, Any]) -> str:
    """The report in two sentences."""
    kept = share_of(_publishable(report), report["rows"])
    sources = sum(1 for source in report["sources"] if source["rows"])
    raised = [flag for flag in report["flags"] if flag["rows"]]
    lead = (
        f"{report['rows']:,} rows from {sources} source{'' if sources == 1 else 's'}, of which "
        f"{kept} may be republished; {_lost(report):,} were set aside on the way, each with a "
        "reason."
    )
    if report["contamination"]["checked"]:
        exams = len(report["contamination"]["exams"])
        lead += (
            f" {_overlaps(report):,} rows overlap with items of {exams} "
            f"exam{'' if exams == 1 else 's'}, as found before anything was removed."
        )
    if raised:
        most = max(raised, key=lambda flag: flag["rows"])
        lead += (
            f" {len(raised)} of {len(report['flags'])} quality flags are raised, most often "
            f"“{most['title'].lower()}” ({most['rows']:,} rows)."
        )
    else:
        lead += " No quality flag is raised."
    return lead


def _title(report: Mapping[str, Any]) -> str:
    if report["stage"] == "mix":
        names = dict.fromkeys(split["config"] for split in report["splits"])
        return f"Mix {', '.join(names)}"
    return "Corpus"


def _figures(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    checked = report["contamination"]["checked"]
    return [
        (
            "rows",
            f"{report['rows']:,}",
            f"{report['shards']} shards, {report['bytes'] / 1e6:.1f} MB",
        ),
        (
            "redistributable",
            share_of(_publishable(report), report["rows"]),
            f"{_publishable(report):,} rows by licence",
        ),
        ("set aside", f"{_lost(report):,}", "each one with a reason"),
        ("duplicates", f"{report['duplicates']['pairs']:,}", "within and across sources"),
        (
            "exam overlap",
            f"{_overlaps(report):,}" if checked else "–",
            "rows at stem or answer level" if checked else "a mix is checked; this is a build",
        ),
    ]


@functools.cache
def _style() -> tuple[str, str]:
    """The style sheet, and its hash for the content security policy."""
    text = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return text, f"sha256-{digest}"


def _row_link(page: str, example: Mapping[str, Any]) -> str:
    place = {"source": example["config"], "split": example["split"], "row": example["row"]}
    return f"{page}#{urlencode(place)}"


def _check_page(page: str) -> None:
    if page and urlsplit(page).scheme not in {"http", "https"}:
        raise UsageError(
            f"not the address of a browse page: {page[:80]!r}", fix="give an http(s) address"
        )


def shorten(text: str) -> str:
    """A field of an example, cut to what a reader needs."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} … ({len(text):,} characters)"


def render_html(report: Mapping[str, Any], *, page: str = "") -> str:
    """The report as one HTML page that needs nothing else.

    Args:
        report: What `build_report` gives.
        page: The address of a browse page, for links to example rows.

    Raises:
        UsageError: `page` is not an http(s) address.
    """
    import jinja2

    _check_page(page)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    style, style_hash = _style()
    lengths = report["lengths"]
    stages = [
        (stage["name"], stage["rows"], [(words(reason), n) for reason, n in stage["losses"]])
        for stage in report["flow"]
    ]
    charts = {
        "flow": svg.flow(stages, "Rows by stage, with losses"),
        "sources": svg.bars(
            [(words(source["name"]), source["rows"]) for source in report["sources"]],
            "Rows by source",
        ),
        "lengths": [
            (name, svg.histogram(lengths["edges"], counts, f"Characters of {name}"))
            for name, counts in lengths["fields"].items()
        ],
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        title=_title(report),
        verdict=verdict(report),
        figures=_figures(report),
        sections=SECTIONS,
        charts=charts,
        tables={name: table.to_html() for name, table in tables(report).items()},
        shade=svg.matrix_shade,
        largest_cell=max((n for row in report["duplicates"]["matrix"] for n in row), default=0),
        shorten=shorten,
        page=page,
        row_link=functools.partial(_row_link, page),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=style_hash,
        versions=" · ".join(f"{name} {version}" for name, version in report["versions"].items()),
    )


def render_markdown(report: Mapping[str, Any], *, page: str = "") -> str:
    """The report as Markdown: the page's tables, and the examples as escaped excerpts."""
    _check_page(page)
    found = tables(report)
    duplicates = report["duplicates"]
    matrix = Table(
        ("kept from", *(f"{words(name)}#" for name in duplicates["sources"])),
        [
            (words(name), *(count(n) for n in row))
            for name, row in zip(duplicates["sources"], duplicates["matrix"], strict=True)
        ],
    )
    flow = Table(
        ("Stage", "Rows#", "Lost#", "Why~"),
        [
            (s["name"], count(s["rows"]), count(s["lost"]), reasons(dict(s["losses"])))
            for s in report["flow"]
        ],
    )
    parts = [
        f"# Quality report: {escape_cell(_title(report))}",
        escape_cell(verdict(report)),
        *(f"**Warning.** {escape_cell(text)}" for text in report["warnings"]),
        "## From raw rows to this corpus",
        flow.to_markdown(),
        "## Sources",
        found["sources"].to_markdown(),
        *(["## The recipe's parts", found["parts"].to_markdown()] if report["parts"] else []),
        *(escape_cell(line) for line in report["arithmetic"]),
        "## Licences",
        found["licenses"].to_markdown(),
        "## Lengths in characters",
        found["lengths"].to_markdown(),
        "## Duplicates across sources",
        escape_cell(duplicates["basis"]),
        matrix.to_markdown() if duplicates["pairs"] else "None was found.",
        "## Overlap with exams",
        found["contamination"].to_markdown()
        if report["contamination"]["checked"]
        else "Not checked here: a mix compares every row with every exam item.",
        "## Personal data",
        "Rows in which something was replaced by a typed placeholder. Names may remain.",
        found["personal_data"].to_markdown()
        if report["personal_data"]["kinds"]
        else "Nothing was replaced.",
        "## Quality flags",
        found["flags"].to_markdown(),
        *_markdown_examples(report, page),
        "## Beside the 2023 release",
        found["release"].to_markdown(),
        *(escape_cell(note) for note in report["release_2023"]["notes"]),
        "Not medical advice.",
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_examples(report: Mapping[str, Any], page: str) -> list[str]:
    parts = []
    for flag in report["flags"]:
        if not flag["rows"]:
            continue
        lines = [f"### {escape_cell(flag['title'])}", "", escape_cell(flag["why"]), ""]
        for example in flag["examples"]:
            place = f"{words(example['config'])} {example['row']:,}"
            link = (
                f"[{escape_cell(place)}](<{_row_link(page, example)}>)"
                if page
                else escape_cell(place)
            )
            lines.append(f"- {link}: {escape_cell(example['excerpt'])}")
        parts.append("\n".join(lines))
    return parts
