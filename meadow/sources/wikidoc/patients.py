"""WikiDoc patient information: what a patient asks, answered by a section of a wiki page.

Origin upstream reads WikiDoc pages ("Asthma (patient information)") from a page store, saved HTML
or an XML export; one section is one candidate. Origin published adopts the 5,942 rows of 2023,
whose defects style `meadow` repairs one by one: see `meadow.sources.wikidoc.headings` and the card.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from meadow.schema import Author, Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Count2023, Options, Origin, Provenance, RawTexts, Rewrite, Source, Wanted
from meadow.sources.published import PAPER_ARXIV, published_origin, question_texts
from meadow.sources.wikidoc import pages as mediawiki
from meadow.sources.wikidoc.headings import (
    STOCK_HEADINGS,
    is_link_only,
    names_no_topic,
    patient_question,
    raw_topic,
    repair_published,
    repair_topic,
    split_published,
    topic_of_title,
)
from meadow.sources.wikidoc.lists import split_glued_lists
from meadow.sources.wikidoc.section_headings import section_question
from meadow.sources.wikidoc.textbook import (
    API,
    CONTRIBUTORS,
    HOMEPAGE,
    INSTRUCTION,
    INSTRUCTION_2023,
    INSTRUCTIONS,
    LICENSE,
    PAGE_FILES,
    PATIENT_PAGE,
    section_record,
)

NAME = "wikidoc_patient_information"

# Pages on how to edit the wiki, and the empty page that new pages are copied from.
_ABOUT_THE_WIKI = re.compile(
    r"wikidoc|editor.in.chief|microchapter|\.svg\b|template|user page|\bthe references?\b"
    r"|insert (?:a|an|and|only|it)\b|reference manager|\bfont\b|sidebar|galler|redirect"
    r"|upload a|news services|search for the page|find synonyms|the synonym\b|straight to a picture"
    r"|links black|equal signs|page be structured|syntax of the content|content located"
    r"|big quotes|computer code|sophisticated tools|colors are available|deletion review"
    r"|return to top|in a category|to a category|to edit content|to be an .expert"
    r"|why log in|the audience\?|prevalence project|\(project name\)|only 3 pictures",
    re.IGNORECASE,
)
_PLACEHOLDER_ANSWER = re.compile(
    r"here you can list|this section should focus|in this section you should provide", re.IGNORECASE
)
_PICTURES = re.compile(r"\b\w+\.(?:jpe?g|png|gif) \w", re.IGNORECASE)
_RESIDUE = re.compile(
    r"\{\{#ev:[^{}]*\}\}|<figure-inline[^<>]*>|</figure-inline>|<ref[^\s<]{0,200}\s?</ref>"
)


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """A section of a patient-information page: stock headings get the topic, others a rule."""
    title, heading = str(raw["title"]), str(raw["heading"])
    if PATIENT_PAGE not in title.lower():
        yield Reject(str(raw["_where"]), Reason.NOT_A_TARGET, f"{title}: no patient information")
        return
    as_published = options.style is Style.PUBLISHED_2023
    topic = raw_topic(title) if as_published else topic_of_title(title)
    repairs: tuple[str, ...] = ()
    if heading in STOCK_HEADINGS or heading.rstrip().endswith("?"):
        asked, repairs = patient_question(heading, topic, options.style)
        question: str | None = asked
    else:
        question = section_question(heading, topic_of_title(title)) if heading else None
    answer = str(raw["text"])
    if question is not None and (reason := reason_to_reject(question, answer)):
        yield Reject(str(raw["_where"]), *reason, f"{question}\n{answer}")
        return
    made = section_record(raw, question, options, NAME)
    if isinstance(made, Record) and repairs and not as_published:
        made = made.with_text(
            instruction=made.instruction, input=made.input, output=made.output, repairs=repairs
        )
    yield made


def convert_published(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """A row of the 2023 release: a record, repaired in style `meadow`, or a reject.

    Both styles keep the same rows; style `2023` keeps the text byte for byte.
    """
    question, answer = raw.get("input"), raw.get("output")
    where = str(raw["_where"])
    if not isinstance(question, str) or not isinstance(answer, str):
        yield Reject(where, Reason.MISSING_FIELD, "input and output are not both text", str(raw))
        return
    if reason := reason_to_reject(question, answer):
        yield Reject(where, *reason, f"{question}\n{answer}")
        return
    repaired = repair_published(question, answer)
    text, repairs = repair_answer(answer)
    if not text:
        yield Reject(where, Reason.EMPTY_OUTPUT, "nothing but a video", f"{question}\n{answer}")
        return
    found = split_published(question)
    topic = repair_topic(found[1])[0] if found else None
    as_published = options.style is Style.PUBLISHED_2023
    address = page_address(found[1]) if found and found[1].endswith(" ") else HOMEPAGE
    yield make_record(
        source=NAME,
        key=(question, answer),
        instruction=INSTRUCTION_2023 if as_published else INSTRUCTION,
        input=question if as_published else repaired.text,
        output=answer if as_published else text,
        task=Task.OPEN_QA,
        license=LICENSE,
        url=address,
        authors=(Author(CONTRIBUTORS, address, "author"),),
        meta={"topic": topic} if topic else {},
        repairs=() if as_published else (*repaired.repairs, *repairs),
    )


def reason_to_reject(question: str, answer: str) -> tuple[Reason, str] | None:
    """Why a pair is no example, whatever its style; None where it is one."""
    if not question.strip():
        return Reason.EMPTY_INPUT, "no question"
    if not answer.strip():
        return Reason.EMPTY_OUTPUT, "no answer"
    if is_link_only(answer):
        return Reason.LINK_ONLY, "the answer was a link"
    if _ABOUT_THE_WIKI.search(question) or _PLACEHOLDER_ANSWER.match(answer):
        return Reason.BOILERPLATE, "about the wiki itself"
    if _PICTURES.search(answer):
        return Reason.MEDIA, "the answer was pictures: their names are left"
    if answer.rstrip().endswith(":"):
        return Reason.TRUNCATED, "what the answer announces is gone"
    if names_no_topic(question):
        return Reason.NO_TOPIC, "the question does not say what it is about"
    return None


def repair_answer(answer: str) -> tuple[str, tuple[str, ...]]:
    """The answer with its lists as lists and without video tags, and what was repaired."""
    text, count = _RESIDUE.subn("", answer)
    repairs = ["template_residue"] if count else []
    if "  " in text.strip():
        text = re.sub(r" {2,}", " ", text)
        repairs.append("double_space")
    text, split = split_glued_lists(text.strip())
    if split:
        repairs.append("glued_list")
    return text, tuple(repairs)


def page_address(raw_topic: str) -> str:
    """The page that a raw topic of 2023 came from, under the name that most pages have."""
    return f"{HOMEPAGE}/index.php/{raw_topic.replace(' ', '_')}(patient_information)"


SOURCE = Source(
    name=NAME,
    title="WikiDoc patient information",
    homepage=HOMEPAGE,
    citation="WikiDoc contributors. WikiDoc, the living textbook of medicine. wikidoc.org",
    license=LICENSE,
    free_text=True,
    license_note=(
        "WikiDoc states CC BY-SA; the version was not verified, so rows carry the key without one."
    ),
    upstream=Origin(files=PAGE_FILES, read=mediawiki.read, convert=convert),
    published=published_origin(
        "medical_meadow_wikidoc_patient_information",
        "medical_meadow_wikidoc_patient_info.json",
        convert_published,
        rows=5942,
        raw_texts=RawTexts(
            question_texts,
            repairs={
                "lower_case_i": "input: i → I",
                "page_name_in_topic": r"input: (?i:discharge|patient|paitent) (?i:in\w+) → ",
                "template_residue": r"output: (?:ev youtube|<).* → ",
            },
        ),
    ),
    rewrite=Rewrite("heading", INSTRUCTIONS, partial(section_record, source=NAME)),
    crawl=Wanted(API, category="Patient information"),
    provenance=Provenance(
        text_sources=("wikidoc.org",),
        arxiv=PAPER_ARXIV,
    ),
    counts_2023=(
        Count2023(
            "Duplicates, link-only answers and questions without a topic are set aside and "
            "counted.",
            published=5_942,
            mix=5_942,
            paper=5_942,
        ),
    ),
    version=3,
)
