"""Headings of an encyclopaedia page to questions: pure rules over (heading, topic).

WikiDoc's patient-information pages have headings that are questions already ("What causes
Asthma?"), or one of 18 stock headings that say nothing without the page's topic. The 2023 release
put the topic into the stock ones; style `2023` does that to the letter, style `meadow` does it
without the defects: the topic is decoded and cleaned, and a heading that asks where to go is not
turned into one that asks when to go. The other half of the module asks a question for the common
headings of the living textbook. A heading without a rule gives None: nothing is guessed.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from meadow.schema import Style

_URGENT = "When to seek urgent medical care when I have {topic}?"
_EXPECT = "What to expect if I have {topic} (Outlook/Prognosis)?"
_RISK = "Who is at highest risk for {topic}?"
_FIND = "Where to find medical care for {topic}?"

STOCK_HEADINGS: dict[str, str] = {
    "When to seek urgent medical care?": _URGENT,
    "When to Seek Urgent Medical Care?": _URGENT,
    "When to seek Urgent Medical Care?": _URGENT,
    "When to seek medical care?": _URGENT,
    # the 2023 mapping asks the wrong question here
    "Where to find Medical Care for (Disease name)?": _URGENT,
    "What to expect (Outlook/Prognosis)?": _EXPECT,
    "What to expect (Outook/Prognosis)?": _EXPECT,
    "What to Expect (Outlook/Prognosis)?": _EXPECT,
    "What to expect (outlook/prognosis)?": _EXPECT,
    "What to expect Prognosis?": _EXPECT,
    "Who is at highest risk?": _RISK,
    "Who is at Highest Risk?": _RISK,
    "Who is at the highest risk?": _RISK,
    "What are the symptoms?": "What are the symptoms of {topic}?",
    "What are the causes?": "What are the causes of {topic}?",
    "When could I drive after the procedure?": "When could I drive after i underwent {topic}?",
    "What medications should I take after the procedure?": (
        "What medications should I take after {topic}?"
    ),
    "When can I go back to work?": "When can I go back to work after {topic}?",
}
"""The 18 stock headings and the question that the 2023 release made of each."""

_REPAIRED_TEMPLATES = {
    "Where to find Medical Care for (Disease name)?": _FIND,
    "When could I drive after the procedure?": "When could I drive after I underwent {topic}?",
}
_PUBLISHED = tuple(
    (template, re.compile(re.escape(template).replace(re.escape("{topic}"), "(.*)"), re.DOTALL))
    for template in dict.fromkeys(STOCK_HEADINGS.values())
)
_PLACEHOLDER = re.compile(
    r"\(\s*(?:(?:disease|project|condition)\s+name|disease|condition)\s*\)", re.IGNORECASE
)
_PATIENT = re.compile(r"\(?\s*\bpa(?:ti|it)ent\s+info(?:r)?mation\b\s*\)?", re.IGNORECASE)
# Chapters that are pages of their own ("Asthma risk factors"). Words that end real topics too, such
# as surgery, screening, diagnosis and treatment, are not among them.
_CHAPTERS = (
    "natural history, complications,? and prognosis",
    "natural history",
    "differential diagnosis",
    "epidemiology and demographics",
    "historical perspective",
    "history and symptoms",
    "discharge instructions",
    "pathophysiology",
    "laboratory (?:findings|tests)",
    "physical examination",
    "medical therapy",
    "primary prevention",
    "secondary prevention",
    "risk factors",
    "overview",
    "causes",
)
_CHAPTER = re.compile(rf"\s+(?:{'|'.join(_CHAPTERS)})\s*$", re.IGNORECASE)
# Headings that name no topic even where the 2023 mapping left them alone.
_TOPICLESS = re.compile(
    r"""(?:
      who\ (?:is|are)\ at\ (?:the\ )?(?:highest|high)?\ ?risk | what\ causes | possible\ complications
    | what\ (?:are|is)\ the\ (?:symptoms|causes|risks|possible\ complications|outlook/prognosis)
    | what\ to\ expect(?:\ (?:before|during|after)\ the\ procedure)?
      (?:\ \(?(?:outl?ook)\)?)?(?:\ ?\(?/?\(?(?:prognosis)\)?)?
    | when\ to\ (?:seek(?:\ urgent)?\ medical\ care|contact\ a\ medical\ professional)
    | what\ do\ (?:abnormal\ results\ mean | i\ experience\ during\ the\ procedure)
    | what\ are\ (?:normal\ results | the\ side\ effects\ of\ treatment) | why\ is\ the\ procedure\ performed
    | why\ the\ procedure\ is\ performed | how\ to\ perform\ the\ test | is\ the\ disease\ fatal
    )\s*\?+""",  # noqa: E501  (one alternative stands on one line)
    re.IGNORECASE | re.VERBOSE,
)


class Question(NamedTuple):
    """A question, and the names of the repairs that made it."""

    text: str
    repairs: tuple[str, ...] = ()


def patient_question(heading: str, topic: str, style: Style) -> Question:
    """The question of a patient-information section.

    Args:
        heading: As the page has it.
        topic: For style 2023 the raw topic (see `raw_topic`), with its percent signs and spaces;
            style meadow takes either form.
        style: 2023 reproduces the release, meadow repairs it.
    """
    template = STOCK_HEADINGS.get(heading)
    if style is Style.PUBLISHED_2023:
        return Question(heading if template is None else template.replace("{topic}", topic))
    if template is None:
        text, repairs = tidy_question(heading)
        return Question(text, repairs)
    named, repairs = repair_topic(topic)
    better = _REPAIRED_TEMPLATES.get(heading, template)
    found = list(repairs)
    if heading == "Where to find Medical Care for (Disease name)?":
        found.append("wrong_heading")
    elif better != template:
        found.append("lower_case_i")
    return Question(better.replace("{topic}", named), tuple(found))


def split_published(question: str) -> tuple[str, str] | None:
    """The 2023 template and the raw topic of a published question; None for other questions."""
    for template, pattern in _PUBLISHED:
        if match := pattern.fullmatch(question):
            return template, match[1]
    return None


def repair_published(question: str, answer: str) -> Question:
    """A published question without the defects of the 2023 release; the answer tells headings.

    The release does not say which heading a question came from. An answer that points to hospitals
    or to "medical care for X" belongs to the heading that asks where, whatever the question says.
    """
    found = split_published(question)
    if found is None:
        return Question(*tidy_question(question))
    template, raw = found
    topic, repairs = repair_topic(raw)
    noted = list(repairs)
    if "  " in question:
        noted.append("double_space")
    if question.endswith(" ?"):
        noted.append("space_before_question_mark")
    if template == _URGENT and is_link_only(answer):
        template = _FIND
        noted.append("wrong_heading")
    if "after i underwent" in template:
        template = template.replace("after i underwent", "after I underwent")
        noted.append("lower_case_i")
    return Question(template.replace("{topic}", topic), tuple(dict.fromkeys(noted)))


def raw_topic(title: str) -> str:
    """The topic as the 2023 release had it: out of the page's address, percent signs included.

    Addresses encode as MediaWiki does; what "(patient information)" leaves behind is a space.
    """
    address = quote(title, safe=" ;@$!*(),/~:")
    return address.replace("(patient information)", "")


def repair_topic(raw: str) -> tuple[str, tuple[str, ...]]:
    """The topic for a reader, and what had to be done to it (trimming is not counted)."""
    repairs = []
    topic = raw
    if re.search(r"%[0-9A-Fa-f]{2}", topic):
        decoded = unquote(topic, errors="strict") if _decodes(topic) else topic
        if decoded != topic:
            topic = decoded
            repairs.append("url_decoded_topic")
    shorter = topic_of_title(topic)
    if shorter != " ".join(topic.split()):
        repairs.append("page_name_in_topic")
    return shorter, tuple(repairs)


def topic_of_title(title: str) -> str:
    """The topic of a page title: without "(patient information)" and without a chapter's name."""
    plain = " ".join(title.replace("_", " ").split())
    topic = " ".join(_PATIENT.sub(" ", plain).split())
    shorter = _CHAPTER.sub("", topic)
    return shorter or topic


def tidy_question(question: str) -> tuple[str, tuple[str, ...]]:
    """White space and question marks as English has them; the words stay."""
    repairs = []
    text = question
    if re.search(r"%[0-9A-F]{2}", text) and _decodes(text):
        text = unquote(text)
        repairs.append("url_decoded_topic")
    single = " ".join(text.split())
    if single != text:
        repairs.append("double_space")
    if not single.endswith("?"):
        return single, tuple(repairs)
    words = single.rstrip("?")
    if words.endswith(" "):
        repairs.append("space_before_question_mark")
    if len(single) - len(words) > 1:
        repairs.append("repeated_question_mark")
    return words.rstrip("? ") + "?", tuple(repairs)


def names_no_topic(question: str) -> bool:
    """Whether a question cannot be answered for want of what it is about."""
    return (
        _PLACEHOLDER.search(question) is not None
        or _TOPICLESS.fullmatch(" ".join(question.split())) is not None
        or ((found := split_published(question)) is not None and not repair_topic(found[1])[0])
    )


_LINK_ONLY = re.compile(
    r"(?:medical care for .{1,80} can be found here\.?"
    r"|directions to hospitals (?:treating|performing)\b.{0,120})\s*",
    re.IGNORECASE,
)


def is_link_only(answer: str) -> bool:
    """Whether an answer was a link and nothing else: its target is gone, its words say nothing."""
    return len(answer) < 250 and _LINK_ONLY.fullmatch(answer) is not None


def _decodes(text: str) -> bool:
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
