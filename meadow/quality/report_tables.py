"""The tables of the report: figures as text, once, for the page and for its Markdown twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from meadow.text.markdown import escape_cell

LEVELS = ("stem", "stem+answer")
_LEVEL_HEADS = tuple(f"Rows: {level}#" for level in LEVELS)


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
                    *(count(exam["rows"].get(level, 0)) for level in LEVELS),
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
    found = sum(rows.get(level, 0) for level in LEVELS)
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
