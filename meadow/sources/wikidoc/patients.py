"""WikiDoc patient information: what a patient asks, answered by a section of a wiki page.

Origin upstream reads WikiDoc pages ("Asthma (patient information)") from a page store, saved HTML
or an XML export; one section is one candidate. Origin published adopts the 5,942 rows of 2023,
whose defects style `meadow` repairs one by one: see `meadow.sources.wikidoc.headings` and the card.
"""

from __future__ import annotations

import re
from functools import partial

from meadow.schema import Author, Raw, Reason, Record, Refused, Style, Task, make_record, one_record
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


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """A section of a patient-information page: stock headings get the topic, others a rule."""
    title, heading = str(raw["title"]), str(raw["heading"])
    if PATIENT_PAGE not in title.lower():
        raise Refused(Reason.NOT_A_TARGET, f"{title}: no patient information")
    as_published = options.style is Style.PUBLISHED_2023
    topic = raw_topic(title) if as_published else topic_of_title(title)
    question: str | None = None
    repairs: tuple[str, ...] = ()
    if heading in STOCK_HEADINGS or heading.rstrip().endswith("?"):
        question, repairs = patient_question(heading, topic, options.style)
    elif heading:
        question = section_question(heading, topic_of_title(title))
    if question is not None:
        check_pair(question, str(raw["text"]))
    made = section_record(raw, question, options, NAME)
    if not repairs or as_published:
        return made
    texts = {"instruction": made.instruction, "input": made.input, "output": made.output}
    return made.with_text(**texts, repairs=repairs)


@one_record
def convert_published(raw: Raw, options: Options) -> Record:
    """A row of the 2023 release, repaired in style `meadow`.

    Both styles keep the same rows; style `2023` keeps the text byte for byte.
    """
    question, answer = raw.get("input"), raw.get("output")
    if not isinstance(question, str) or not isinstance(answer, str):
        raise Refused(Reason.MISSING_FIELD, "input and output are not both text", str(raw))
    check_pair(question, answer)
    repaired = repair_published(question, answer)
    text, repairs = repair_answer(answer)
    if not text:
        raise Refused(Reason.EMPTY_OUTPUT, "nothing but a video", f"{question}\n{answer}")
    found = split_published(question)
    topic = repair_topic(found[1])[0] if found else None
    as_published = options.style is Style.PUBLISHED_2023
    address = page_address(found[1]) if found and found[1].endswith(" ") else HOMEPAGE
    return make_record(
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


def check_pair(question: str, answer: str) -> None:
    """Refuse a pair that is no example, whatever its style."""
    told: tuple[Reason, str] | None = None
    if not question.strip():
        told = Reason.EMPTY_INPUT, "no question"
    elif not answer.strip():
        told = Reason.EMPTY_OUTPUT, "no answer"
    elif is_link_only(answer):
        told = Reason.LINK_ONLY, "the answer was a link"
    elif _ABOUT_THE_WIKI.search(question) or _PLACEHOLDER_ANSWER.match(answer):
        told = Reason.BOILERPLATE, "about the wiki itself"
    elif _PICTURES.search(answer):
        told = Reason.MEDIA, "the answer was pictures: their names are left"
    elif answer.rstrip().endswith(":"):
        told = Reason.TRUNCATED, "what the answer announces is gone"
    elif names_no_topic(question):
        told = Reason.NO_TOPIC, "the question does not say what it is about"
    if told:
        raise Refused(*told, f"{question}\n{answer}")


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
