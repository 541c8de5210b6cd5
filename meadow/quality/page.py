"""report.html and report.md from report.json: the same tables, as one safe page and as text.

The tables are made here once, figures as text; each template puts them in its own markup. The page
has no script and no asset; its content security policy allows its own style sheet, by hash, and
nothing else. Every text from a corpus is escaped by the template engine, for either document.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup

from meadow import charts
from meadow.errors import UsageError
from meadow.exams.overlap import FOUND, Level
from meadow.net.http import split_address
from meadow.text.markdown import Markdown, escape_cell, number_of

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 1200
"""Characters of a field that an example shows; the row itself is in the shard."""
Columns = dict[str, Callable[[Any], str]]
"""Name of a column, as `Table` has it -> its cell for an item."""
_TERMS = {"yes": "may be republished", "no": "not to be republished"}


class Link(str):
    """A table cell that leads to an anchor of the page or to an http(s) address."""

    __slots__ = ("href",)
    href: str


def link(text: str, href: str) -> str:
    """A cell that leads somewhere; the text alone where a page must not lead there."""
    if not href.startswith(("#", "https://", "http://")):
        return text
    cell = Link(text)
    cell.href = href
    return cell


@dataclass(frozen=True, slots=True)
class Table:
    """Column names (a trailing "#" marks figures, "~" long text) and rows of cells."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def told(self) -> Table:
        """Without the columns that say nothing in any row."""
        if not self.rows:
            return self
        kept = [any(row[n] not in ("", "–") for row in self.rows) for n in range(len(self.head))]
        return Table(
            tuple(compress(self.head, kept)), [[*compress(row, kept)] for row in self.rows]
        )

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Kind and name of each column; the kind is its class in the style sheet."""
        kinds = {"#": "number", "~": "long"}
        return [(kinds.get(name[-1:], ""), name.rstrip("#~")) for name in self.head]

    def to_markdown(self) -> Markdown:
        """As a Markdown table; nothing in a cell is markup."""
        lines = [
            [name for _, name in self.columns],
            ["---:" if kind == "number" else "---" for kind, _ in self.columns],
            *([escape_cell(cell) for cell in row] for row in self.rows),
        ]
        return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


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


def reasons(rejected: Mapping[str, int]) -> str:
    """Reasons and their counts, the commonest first."""
    pairs = sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{words(reason)} {count:,}" for reason, count in pairs if count)


def tables(report: Mapping[str, Any]) -> dict[str, Table]:
    """The report's tables, by section."""
    duplicates = report["duplicates"]
    kinds = report["personal_data"]["kinds"]
    names = [words(name) for name in duplicates["sources"]]
    sizes = [(part, value) for part in ("prompt", "output") for value in ("median", "p95", "max")]
    exams = report["contamination"]["exams"]  # a level that was not looked for has no column
    levels = [x for x in FOUND if x != Level.SEMANTIC or any(x in exam["rows"] for exam in exams)]

    def share(item: Mapping[str, Any]) -> str:
        return share_of(item["rows"], report["rows"])

    sources: Columns = {
        "Source": lambda s: link(s["title"], s["homepage"]),
        "Rows#": _count_of("rows"),
        "Share#": share,
    }
    if report["stage"] == "build":  # what a mix loses, it loses step by step: see the flow
        sources["Raw rows#"] = _count_of("rows_in")
        sources["Set aside~"] = lambda s: reasons(s["rejected"])
    return {
        "flow": _table(report["flow"], {
            "Stage": lambda s: s["name"],
            "Rows#": _count_of("rows"),
            "Lost#": _count_of("lost"),
            "Why~": lambda s: reasons(dict(s["losses"])),
        }),
        "sources": _table(report["sources"], sources),
        "parts": _table(report["parts"], {
            "Part": lambda part: part["part"],
            "Expected#": _count_of("expected"),
            "Found#": _count_of("found"),
            "": lambda part: {True: "met", False: "missed"}.get(part["met"], ""),
            "Note~": lambda part: part["note"] or "",
        }).told(),
        "licenses": _table(report["licenses"], {
            "Licence": lambda item: link(item["name"], item["url"]),
            "Rows#": _count_of("rows"),
            "Share#": share,
            "Terms~": _terms,
        }),
        "lengths": Table(
            (
                "Source", "Prompt, median#", "95 %#", "longest#",
                "Response, median#", "95 %#", "longest#",
            ),
            [
                (words(name), *(count(found[part][value]) for part, value in sizes))
                for name, found in report["lengths"]["sources"].items()
            ],
        ),
        "duplicates": Table(
            ("kept from", *(f"{name}#" for name in names)),
            [
                (name, *map(count, row))
                for name, row in zip(names, duplicates["matrix"], strict=True)
            ],
        ),
        "contamination": _table(exams, {
            "Exam": lambda exam: exam["exam"],
            "Items#": _count_of("items"),
            "Found#": lambda exam: count(sum(exam["items_found"].values())),
            **{f"Rows: {level}#": _level(level) for level in levels},
            "Still here#": lambda exam: count(sum(exam["remaining"].values())),
            "Verdict~": lambda exam: (
                exam["verdict"] or f"{_overlaps(exam['rows']):,} rows overlap"
            ),
        }),
        "personal_data": Table(
            ("Source", *(f"{words(kind)}#" for kind in kinds)),
            [
                (words(source), *(count(found.get(kind, 0)) for kind in kinds))
                for source, found in report["personal_data"]["sources"].items()
            ],
        ),
        "flags": _table([flag for flag in report["flags"] if flag["rows"]], {
            "Flag": lambda flag: link(flag["title"], f"#flag-{flag['name']}"),
            "Rows#": _count_of("rows"),
            "Share#": share,
            "Sources~": lambda flag: (
                ", ".join(f"{words(s)} {n:,}" for s, n in flag["by_source"].items())
            ),
        }),
        "release": _table(filter(_in_2023, report["release_2023"]["rows"]), {
            "Source": lambda row: words(row["source"]),
            "Published 2023#": _count_of("published"),
            "2023 mix#": _count_of("mix"),
            "Paper#": _count_of("paper"),
            "Here#": _count_of("found"),
            "Difference#": lambda row: (
                "–" if row["difference"] is None else f"{row['difference']:+,}"
            ),
            "Why~": lambda row: row["why"],
        }).told(),
    }  # fmt: skip


def _table(items: Iterable[Any], columns: Columns) -> Table:
    """A row for each item, with a column for each name."""
    return Table(tuple(columns), [[cell(item) for cell in columns.values()] for item in items])


def _count_of(name: str) -> Callable[[Any], str]:
    return lambda item: count(item[name])


def _level(level: str) -> Callable[[Any], str]:
    return lambda exam: count(exam["rows"].get(level, 0))


def _terms(license: Mapping[str, Any]) -> str:
    asked = {"attribution": "name the authors", "share_alike": "share alike",
             "non_commercial": "non-commercial"}  # fmt: skip
    first = _TERMS.get(license["redistribute"], "republication unknown")
    return " · ".join([first, *(text for name, text in asked.items() if license[name])])


def _overlaps(rows: Mapping[str, int]) -> int:
    return sum(rows.get(level, 0) for level in FOUND)


def _totals(report: Mapping[str, Any]) -> dict[str, int]:
    """Rows that may be republished, that were set aside, that overlap with an exam."""
    open_to_all = (item for item in report["licenses"] if item["redistribute"] == "yes")
    return {
        "publishable": sum(item["rows"] for item in open_to_all),
        "lost": sum(stage["lost"] for stage in report["flow"]),
        "overlaps": sum(_overlaps(exam["rows"]) for exam in report["contamination"]["exams"]),
    }


def verdict(report: Mapping[str, Any]) -> str:
    """The report in two sentences."""
    totals = _totals(report)
    sources = sum(1 for source in report["sources"] if source["rows"])
    raised = [flag for flag in report["flags"] if flag["rows"]]
    lead = (
        f"{report['rows']:,} rows from {number_of(sources, 'source')}, of which "
        f"{share_of(totals['publishable'], report['rows'])} may be republished; "
        f"{totals['lost']:,} were set aside on the way, each with a reason."
    )
    if report["contamination"]["checked"]:
        exams = number_of(len(report["contamination"]["exams"]), "exam")
        lead += (
            f" {totals['overlaps']:,} rows overlap with items of {exams}, as found before anything "
            "was removed."
        )
    if not raised:
        return f"{lead} No quality flag is raised."
    most = max(raised, key=lambda flag: flag["rows"])
    return (
        f"{lead} {len(raised)} of {len(report['flags'])} quality flags "
        f"{'is' if len(raised) == 1 else 'are'} raised, most often “{most['title'].lower()}” "
        f"({number_of(most['rows'], 'row')})."
    )


def shorten(text: str) -> str:
    """A field of an example, cut to what a reader needs."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} … ({len(text):,} characters)"


def _escaped(value: object) -> str:
    """What a `{{ }}` of the Markdown template gives: text, unless it is Markdown of our own."""
    return value if isinstance(value, Markdown) else escape_cell(str(value))


_LOADER = jinja2.FileSystemLoader(TEMPLATES)
_HTML = jinja2.Environment(loader=_LOADER, autoescape=True, undefined=jinja2.StrictUndefined)
_MARKDOWN = jinja2.Environment(
    loader=_LOADER,
    autoescape=False,  # noqa: S701 - `finalize` escapes, as Markdown needs it
    finalize=_escaped,
    undefined=jinja2.StrictUndefined,
)


def _common(report: Mapping[str, Any], page: str) -> dict[str, Any]:
    """What both templates are given."""
    if page and split_address(page).scheme not in {"http", "https"}:
        raise UsageError(
            f"not the address of a browse page: {page[:80]!r}", fix="give an http(s) address"
        )

    def row_link(example: Mapping[str, Any]) -> Markdown:
        place = {"source": example["config"], "split": example["split"], "row": example["row"]}
        return Markdown(f"{page}#{urlencode(place)}")

    names = ", ".join(dict.fromkeys(split["config"] for split in report["splits"]))
    return {
        "report": report,
        "title": f"Mix {names}" if report["stage"] == "mix" else "Corpus",
        "verdict": verdict(report),
        "raised": any(flag["rows"] for flag in report["flags"]),
        "quiet": ", ".join(flag["title"].lower() for flag in report["flags"] if not flag["rows"]),
        "words": words,
        "count": count,
        "page": page,
        "row_link": row_link,
        # without expectations, what was found stands in the table of sources already
        "expects": any(p["expected"] is not None or p["note"] for p in report["parts"]),
        "released": any(map(_in_2023, report["release_2023"]["rows"])),
    }


def _in_2023(row: Mapping[str, Any]) -> bool:
    """Whether the 2023 release has a number for a row of its table."""
    return any(row[name] is not None for name in ("published", "mix", "paper"))


def render_html(report: Mapping[str, Any], *, page: str = "") -> str:
    """The report as one HTML page that needs nothing else.

    Args:
        report: What `build_report` gives.
        page: The address of a browse page, for links to example rows.

    Raises:
        UsageError: `page` is not an http(s) address.
    """
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    stages = [
        (stage["name"], stage["rows"], [(words(reason), n) for reason, n in stage["losses"]])
        for stage in report["flow"]
    ]
    return _HTML.get_template("report.html.j2").render(
        _common(report, page),
        tables=tables(report),
        totals=_totals(report),
        share_of=share_of,
        shorten=shorten,
        charts=charts,
        stages=stages,
        bars=[(words(source["name"]), source["rows"]) for source in report["sources"]],
        largest_cell=max((n for row in report["duplicates"]["matrix"] for n in row), default=0),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def render_markdown(report: Mapping[str, Any], *, page: str = "") -> str:
    """The report as Markdown: the page's tables, and the examples as escaped excerpts.

    Raises:
        UsageError: `page` is not an http(s) address.
    """
    return _MARKDOWN.get_template("report.md.j2").render(
        _common(report, page),
        tables={name: table.to_markdown() for name, table in tables(report).items()},
    )
