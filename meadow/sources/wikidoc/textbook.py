"""WikiDoc, the living textbook: a section of a page, and the question that its heading asks.

In 2023 a language model turned headings into questions, and the release says itself that about
30 % came out unsatisfactory. Here a fixed rule asks for each common heading (`section_headings`);
the others are rejected as `no_heading_rule`, with what `meadow rephrase wikidoc` needs to ask a
model. The answer is the section's own text, never a model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from meadow.schema import Author, Raw, Reason, Record, Refused, Style, Task, make_record, one_record
from meadow.source import (
    Count2023,
    File,
    NoSecondReader,
    Options,
    Origin,
    Provenance,
    RawTexts,
    Rewrite,
    Source,
    Wanted,
)
from meadow.sources.published import (
    PAPER_ARXIV,
    REPHRASED_BY,
    published_origin,
    question_converter,
)
from meadow.sources.wikidoc import pages as mediawiki
from meadow.sources.wikidoc.headings import topic_of_title
from meadow.sources.wikidoc.section_headings import is_apparatus, page_question

NAME = "wikidoc"
HOMEPAGE = "https://www.wikidoc.org"
API = f"{HOMEPAGE}/api.php"
LICENSE = "cc-by-sa"
INSTRUCTION_2023 = "Answer this question truthfully"
INSTRUCTION = "Answer this question truthfully."
CONTRIBUTORS = "WikiDoc contributors"
PATIENT_PAGE = "patient information"
MIN_CHARACTERS = 40
"""An answer below this is a fragment: a lone link or a caption."""


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """A section of a page: a record where its heading has a rule."""
    if PATIENT_PAGE in str(raw["title"]).lower():
        raise _refused(raw, Reason.NOT_A_TARGET, "belongs to wikidoc_patient_information")
    question = page_question(str(raw["heading"]), str(raw["title"]))
    return section_record(raw, question, options, NAME)


def section_record(raw: Raw, question: str | None, options: Options, source: str) -> Record:
    """The record of a section.

    Args:
        raw: As `meadow.sources.wikidoc.pages` gives it.
        question: What to ask; None where the heading has no rule.
        options: The style.
        source: The source's name.

    Raises:
        Refused: It is no example.
    """
    heading, text = str(raw["heading"]), str(raw["text"])
    if any(map(is_apparatus, (heading, *raw["parents"]))):
        raise _refused(raw, Reason.NOT_A_TARGET, "references, links or pictures")
    if unread := raw["unread"]:
        # a hole, or another number, must not look like any other row
        raise _refused(raw, Reason.UNREAD_MARKUP, f"not understood: {', '.join(unread)}")
    if not text.strip():
        raise _refused(raw, Reason.EMPTY_OUTPUT, "a heading without text of its own")
    if len(text) < MIN_CHARACTERS:
        raise _refused(raw, Reason.TOO_SHORT, f"under {MIN_CHARACTERS} characters")
    if text.rstrip().endswith(":"):
        raise _refused(raw, Reason.TRUNCATED, "what it announces is a picture or a section below")
    if question is None:
        raise _refused(raw, Reason.NO_HEADING_RULE, "for `meadow rephrase`, or nobody")
    as_published = options.style is Style.PUBLISHED_2023
    title, anchor, address = str(raw["title"]), str(raw["anchor"]), str(raw["url"])
    page = address or f"{HOMEPAGE}/index.php/{title.replace(' ', '_')}"
    meta = {
        "topic": topic_of_title(title),
        "heading": heading,
        "parents": list(raw["parents"]),
        "revision": raw["revision"],
        "timestamp": raw["timestamp"],
    }
    return make_record(
        source=source,
        source_id=f"{title}#{anchor}" if anchor else title,
        instruction=INSTRUCTION_2023 if as_published else INSTRUCTION,
        input=question,
        output=text,
        task=Task.OPEN_QA,
        license=LICENSE,
        url=f"{page}#{anchor}" if anchor else page,
        authors=(Author(_contributors(raw), page, "author"),),
        meta={name: value for name, value in meta.items() if value},
    )


def _contributors(raw: Raw) -> str:
    site = str(raw["site"])
    return CONTRIBUTORS if "wikidoc" in site.lower() or not site else f"{site} contributors"


def _refused(raw: Raw, reason: Reason, detail: str) -> Refused:
    return Refused(reason, f"{raw['title']} / {raw['heading']}: {detail}", str(raw["text"]))


def raw_texts(page: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The text of an exported page, for `check --against-raw`."""
    if isinstance(page, dict):
        raise NoSecondReader("pages as HTML have no second reader")
    space = page.tag.removesuffix("page")
    text = page.findtext(f"{space}revision/{space}text")
    yield page.findtext(f"{space}title"), {"output": text}


RAW_TEXTS = RawTexts(
    raw_texts,
    markup="wikitext",
    element="page",
    rules={"template_or_formula": r"output: [^\w]*\ufffc[^\w]* → .*"},
)
PAGE_FILES = (
    File("pages.jsonl", optional=True, by_hand="`meadow fetch wikidoc` crawls it, politely"),
    File("*.html", optional=True, by_hand="pages saved in a browser"),
    File("*.xml", optional=True, by_hand="an export made with Special:Export"),
    File("*.xml.bz2", optional=True, by_hand="a database dump"),
    File("*.xml.gz", optional=True, by_hand="a database dump"),
)

INSTRUCTIONS = {Style.MEADOW: INSTRUCTION, Style.PUBLISHED_2023: INSTRUCTION_2023}

SOURCE = Source(
    name=NAME,
    title="WikiDoc, the living textbook of medicine",
    homepage=HOMEPAGE,
    citation="WikiDoc contributors. WikiDoc, the living textbook of medicine. wikidoc.org",
    license=LICENSE,
    free_text=True,
    license_note=(
        "WikiDoc states CC BY-SA; the version was not verified, so rows carry the key without one."
    ),
    upstream=Origin(files=PAGE_FILES, read=mediawiki.read, convert=convert, raw_texts=RAW_TEXTS),
    published=published_origin(
        "medical_meadow_wikidoc",
        "medical_meadow_wikidoc.json",
        question_converter(
            NAME,
            INSTRUCTION,
            license=LICENSE,
            rephrased_by=REPHRASED_BY,
            # the release names no page: the wiki itself has to be the attribution
            authors=(Author(CONTRIBUTORS, HOMEPAGE, "author"),),
            url=HOMEPAGE,
        ),
        rows=10_000,
    ),
    rewrite=Rewrite("heading", INSTRUCTIONS, partial(section_record, source=NAME)),
    crawl=Wanted(API),
    provenance=Provenance(
        text_sources=("wikidoc.org",),
        arxiv=PAPER_ARXIV,
        published_generated=("OpenAI GPT-3.5-turbo",),
    ),
    counts_2023=(
        Count2023(
            "2023 rewrote every heading with a language model and published 10,000 of 67,704 "
            "rows; headings without a rule are set aside here unless the rewriting step is run.",
            published=10_000,
            mix=10_000,
            paper=67_704,
        ),
    ),
    version=3,
    notes=("Origin published holds a model's questions, about 30 % of which are bad.",),
)
