"""report.html and report.md from report.json: the same tables, as one safe page and as text.

The page has no script and no asset; its content security policy allows its own style sheet, by
hash, and nothing else. Every text from a corpus is escaped by the template engine or here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from markupsafe import Markup, escape

from meadow import charts as svg
from meadow.errors import UsageError
from meadow.exams.overlap import FOUND
from meadow.text.markdown import escape_cell

# The tables of the report: figures as text, once, for the page and for its Markdown twin.


_LEVEL_HEADS = tuple(f"Rows: {level}#" for level in FOUND)


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: text, and where it leads; an anchor of the page, or an http(s) address."""

    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Column names (a trailing "#" marks figures, "~" long text) and rows of cells or texts."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[str | Cell]]

    def to_html(self) -> Markup:
        """As HTML; every text escaped."""
        kinds = [{"#": "number", "~": "long"}.get(name[-1:], "") for name in self.head]
        names = [name.rstrip("#~") for name in self.head]
        head = Markup().join(
            Markup('<th scope="col" class="{}">{}</th>').format(kind, name)
            for kind, name in zip(kinds, names, strict=True)
        )
        body = Markup().join(
            Markup("<tr>{}</tr>").format(
                Markup().join(
                    Markup('<td class="{}">{}</td>').format(kind, _html_cell(cell))
                    for kind, cell in zip(kinds, row, strict=True)
                )
            )
            for row in self.rows
        )
        return Markup(
            '<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
        ).format(head, body)

    def to_markdown(self) -> str:
        """As a Markdown table; nothing in a cell is markup."""
        marks = ["---:" if name.endswith("#") else "---" for name in self.head]
        lines = [" | ".join(name.rstrip("#~") for name in self.head), " | ".join(marks)]
        lines += [" | ".join(_markdown_cell(cell) for cell in row) for row in self.rows]
        return "\n".join(f"| {line} |" for line in lines)


def _html_cell(cell: str | Cell) -> Markup:
    if isinstance(cell, str):
        return escape(cell)
    if cell.href.startswith(("#", "https://", "http://")):
        return Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(cell.href, cell.text)
    return escape(cell.text)


def _markdown_cell(cell: str | Cell) -> str:
    return escape_cell(cell if isinstance(cell, str) else cell.text)


def count(value: int | None) -> str:
    """A count for people; a dash where there is none."""
    return "–" if value is None else f"{value:,}"


def share_of(part: int, whole: int) -> str:
    """A share in per cent, never rounded to nothing or to all."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99 < share < 100:
        return f"{int(share * 10) / 10} %"  # never rounded up to all of them
    return f"{share:.1f} %" if share < 10 else f"{share:.0f} %"


def words(name: str) -> str:
    """A name with underscores as words."""
    return name.replace("_", " ")


def tables(report: Mapping[str, Any]) -> dict[str, Table]:
    """The report's tables, by section."""
    rows = report["rows"]
    terms = {"yes": "may be republished", "no": "not to be republished"}
    lengths = report["lengths"]["sources"]
    personal = report["personal_data"]
    flags = [flag for flag in report["flags"] if flag["rows"]]
    clean = [flag for flag in report["flags"] if not flag["rows"]]
    return {
        "sources": _sources(report),
        "parts": Table(
            ("Part", "Expected#", "Found#", "", "Note~"),
            [
                (
                    part["part"],
                    count(part["expected"]),
                    count(part["found"]),
                    {True: "met", False: "missed"}.get(part["met"], ""),
                    part["note"] or "",
                )
                for part in report["parts"]
            ],
        ),
        "licenses": Table(
            ("Licence", "Rows#", "Share#", "Terms~"),
            [
                (
                    Cell(license["name"], license["url"]),
                    count(license["rows"]),
                    share_of(license["rows"], rows),
                    " · ".join(
                        text
                        for text, holds in (
                            (terms.get(license["redistribute"], "republication unknown"), True),
                            ("name the authors", license["attribution"]),
                            ("share alike", license["share_alike"]),
                            ("non-commercial", license["non_commercial"]),
                        )
                        if holds
                    ),
                )
                for license in report["licenses"]
            ],
        ),
        "lengths": Table(
            (
                "Source", "Prompt, median#", "95 %#", "longest#",
                "Response, median#", "95 %#", "longest#",
            ),
            [
                (
                    words(name),
                    *(
                        count(found[part][value])
                        for part in ("prompt", "output")
                        for value in ("median", "p95", "max")
                    ),
                )
                for name, found in lengths.items()
            ],
        ),
        "contamination": Table(
            ("Exam", "Items#", "Found#", *_LEVEL_HEADS, "Still here#", "Verdict~"),
            [
                (
                    exam["exam"],
                    count(exam["items"]),
                    count(sum(exam["items_found"].values())),
                    *(count(exam["rows"].get(level, 0)) for level in FOUND),
                    count(sum(exam["remaining"].values())),
                    exam["verdict"] or _verdict(exam["rows"]),
                )
                for exam in report["contamination"]["exams"]
            ],
        ),
        "personal_data": Table(
            ("Source", *(f"{words(kind)}#" for kind in personal["kinds"])),
            [
                (words(source), *(count(found.get(kind, 0)) for kind in personal["kinds"]))
                for source, found in personal["sources"].items()
            ],
        ),
        "flags": Table(
            ("Flag", "Rows#", "Share#", "Sources~"),
            [
                (
                    Cell(flag["title"], f"#flag-{flag['name']}"),
                    count(flag["rows"]),
                    share_of(flag["rows"], rows),
                    ", ".join(f"{words(s)} {n:,}" for s, n in flag["by_source"].items()),
                )
                for flag in flags
            ]
            + [(flag["title"], "0", "0.0 %", "") for flag in clean],
        ),
        "release": Table(
            ("Source", "Published 2023#", "2023 mix#", "Paper#", "Here#", "Difference#", "Why~"),
            [
                (
                    words(row["source"]),
                    *(count(row[name]) for name in ("published", "mix", "paper", "found")),
                    "–" if row["difference"] is None else f"{row['difference']:+,}",
                    row["why"],
                )
                for row in report["release_2023"]["rows"]
            ],
        ),
    }  # fmt: skip


def reasons(rejected: Mapping[str, int]) -> str:
    """Reasons and their counts, the commonest first."""
    pairs = sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{words(reason)} {count:,}" for reason, count in pairs if count)


def _verdict(rows: Mapping[str, int]) -> str:
    found = sum(rows.get(level, 0) for level in FOUND)
    return "no overlap found" if not found else f"{found:,} rows overlap"


def _sources(report: Mapping[str, Any]) -> Table:
    """Sources; what they lost stands there for a build, since a mix loses rows step by step."""
    head: tuple[str, ...] = ("Source", "Rows#", "Share#")
    rows: list[tuple[str | Cell, ...]] = [
        (
            Cell(source["title"], source["homepage"]),
            count(source["rows"]),
            share_of(source["rows"], report["rows"]),
        )
        for source in report["sources"]
    ]
    if report["stage"] == "build":
        head = (*head, "Raw rows#", "Set aside~")
        rows = [
            (*row, count(source["rows_in"]), reasons(source["rejected"]))
            for row, source in zip(rows, report["sources"], strict=True)
        ]
    return Table(head, rows)


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
        exam["rows"].get(level, 0) for exam in report["contamination"]["exams"] for level in FOUND
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
