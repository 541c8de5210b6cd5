"""MedMCQA: questions of Indian entrance exams (AIIMS, NEET PG) with explanations (Pal et al. 2022).

Only the training split belongs in a corpus: validation is an exam, and the key of the test split is
not public. The authors' archive holds JSON Lines whose `cop` counts from 1, the Hub holds Parquet
whose `cop` counts from 0, and a copy may be either. A key that is off by one makes every row wrong,
so the file decides: a 0 or a 4 stands in any that is more than a handful of rows, and one without
is refused. The explanations are teachers' notes: many open with the letter of the answer ("Ans. is
'c' i.e., ..."), which goes where it is the key's, and takes the row along where it is another's;
many end in a textbook's page, or are a page and nothing else.

Somewhere on its way the set lost the letters "rt" inside of words: an artery is an "aery" in it,
a heart a "hea". Explanations get them back in the words of `LOST`, whose rests are no other words.
Questions and options stay as they are, for so they stand in the exam too, with which rows are
compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meadow.errors import FileError
from meadow.prompt import EXAM_INSTRUCTION, exam_input
from meadow.readers import json_rows, parquet
from meadow.readers.archives import is_archive
from meadow.schema import Raw, Reason, Record, Refused, Reject, Task, make_record, one_record
from meadow.source import File, Input, Options, Origin, Provenance, RawTexts, Source

NAME = "medmcqa"
CHOICES = ("opa", "opb", "opc", "opd")
COLUMNS = ("id", "question", *CHOICES, "cop")
FURTHER = ("choice_type", "exp", "subject_name", "topic_name")
FEWEST_WORDS = 3
"""Of an explanation: what has fewer is the answer again, or a heading."""

LOST = """
    abortion abortions abortive adrenocortical antepartum aorta aortic aortitis aperture
    arteries arteriole arterioles arteriosclerosis arteriovenous arteritis artery arthritis
    arthropathy arthroplasty arthroscopy article articular articulate articulates articulation
    artificial bartholin bartonella cartilage cartilages cartilaginous certain converted cortex
    cortical corticosteroid corticosteroids corticotropin cortisol cortisone department
    distorted distortion diverticula diverticulitis diverticulosis diverticulum exertion
    exertional expert fertile fertilisation fertilised fertility fertilization fertilized fourth
    glucocorticoid glucocorticoids heart heartburn hearts hydrocortisone hypertension
    hypertensive hyperthermia hyperthyroid hyperthyroidism hypertonic hypertriglyceridemia
    hypertrophic hypertrophied hypertrophy importance important infertile infertility inserted
    insertion inserts intervertebral intrapartum inverted mineralocorticoid mineralocorticoids
    mortality mortem mortis osteoarthritis partial partially particle particles particular
    particularly partum pertussis portal portion portions postmortem postpartum properties
    property puberty quarter quarters reported reporting reports sartorius shortened shortening
    shorter shortest shortness subcortical support supported supporting supportive supports
    thirty torticollis tortuous transport transported uncertain vertebra vertebrae vertebral
    vertex vertical vertigo
"""
"""Words whose rest is no other word: in 79 MB of text of the house's other sources none of the
rests stands, but for three capitals."""
_WHOLE = {word.replace("rt", ""): word for word in LOST.split()}
_WORD = re.compile("[a-z]+")
_REST = re.compile(rf"\b(?:{'|'.join(_WHOLE)})\b", re.IGNORECASE)

_QUOTE = "[('\"\u2018\u2019\u201c\u201d\\[]?"
_CLOSE = "[)'\"\u2018\u2019\u201c\u201d\\]]?"
_LETTER = rf"(?!a\s+(?-i:[a-z])){_QUOTE}[a-d]{_CLOSE}(?![a-z])"
"""A letter, but not the article of "Answer: a patient with ..."."""
_BREAK = r"(?:[.,:;-]|\s*[*\u2022]|\s*(?=\()|\s+(?=[A-Z])|$)"
_STATED = re.compile(
    r"\s*(?:(?:correct )?ans(?:wer)?\b[\s.:=\u2013-]*(?:is\b[\s:-]*)?"
    rf"({_LETTER}(?:\s*(?:,|&|and)\s*{_LETTER})*)"
    rf"|({_LETTER})(?=\s*,?\s*i\.?\s*e\b))"
    r"\s*(?:,?\s*i\.?\s*e\b\.?)?[\s.,:;-]*",
    re.IGNORECASE,
)
"""The letters of the answer at the beginning of an explanation."""
_PAGE = re.compile(
    r"[\s(\[]*\b(?:ref(?:erence|er)?s?\b\s*[.:;-]*\s+|ref(?:erence)?s?[.:;-]+)[^\n)]{0,120}\)?\.?$",
    re.IGNORECASE,
)
"""A textbook's page at the end of an explanation."""


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The rows of each file; `_first` is what `cop` is of the first option."""
    for item in inputs:
        first = _first(item)
        for raw in _rows(item, options):
            yield raw if isinstance(raw, Reject) else {**raw, "_first": first}


def _rows(item: Input, options: Options) -> Iterator[Raw | Reject]:
    if not is_archive(item.path) and parquet.is_parquet(item.path):
        return parquet.read_rows(item, COLUMNS, FURTHER)
    return json_rows.read_lines([item], options)


def _first(item: Input) -> int:
    """What `cop` is of the first option: the first 0 or 4 in the file tells."""
    for raw in _rows(item, Options()):
        cop = "" if isinstance(raw, Reject) else str(raw.get("cop")).strip()
        if cop in ("0", "4"):
            return int(cop == "4")
        if cop == "-1":
            raise FileError(
                "cop is -1: this is the test split, whose key is not public",
                where=str(raw["_where"]),  # type: ignore[index]
                fix="build from the training split",
            )
    raise FileError(
        "the file does not tell whether cop counts from 0 or from 1: it holds neither 0 nor 4",
        where=item.label,
        fix="take the whole split, which holds one of them",
    )


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """One question -> one record; the explanation follows the answer where there is one."""
    question = str(raw.get("question") or "").strip()
    texts = (str(raw.get(name) or "").strip() for name in CHOICES)
    choices = dict(zip("ABCD", texts, strict=True))
    if not question or not all(choices.values()) or not raw.get("id"):
        raise Refused(Reason.MISSING_FIELD, "needs id, question and four options", str(raw))
    cop = str(raw.get("cop")).strip()
    # decimal: "²" is a digit to Python, and no number
    place = int(cop) - raw["_first"] if cop.isdecimal() else -1
    if not 0 <= place < len(choices):
        detail = f"cop {cop} is none of {raw['_first']} to {raw['_first'] + 3}"
        raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail, question)
    letter = "ABCD"[place]
    given = str(raw.get("exp") or "")
    whole = restored(given)
    explanation, stated, repairs = explained(whole, restored(choices[letter]))
    if whole != given:
        repairs.append("lost_letters")
    if stated and letter not in stated:
        detail = f"the key is {letter}, and the explanation says {', '.join(stated)}"
        raise Refused(Reason.CONFLICT, detail, question)
    return make_record(
        source=NAME,
        source_id=str(raw["id"]),
        subset=raw.get("subject_name") or None,
        instruction=EXAM_INSTRUCTION,
        input=exam_input(question, list(choices.items())),
        output="\n\n".join(filter(None, (f"{letter}: {choices[letter]}", explanation))),
        task=Task.MULTIPLE_CHOICE,
        license="apache-2.0",
        meta={
            "options": choices,
            "answer": letter,
            "topic": raw.get("topic_name") or None,
            "explained": bool(explanation),
        },
        repairs=repairs,
    )


def restored(text: str) -> str:
    """The text with the letters that its words have lost.

    >>> restored("The coeliac aery leaves the abdominal aoa; Hypeension is common. AOA 2")
    'The coeliac artery leaves the abdominal aorta; Hypertension is common. AOA 2'
    """
    # most texts have none, and their words tell that four times as fast
    lost = not _WHOLE.keys().isdisjoint(_WORD.findall(text.lower()))
    return _REST.sub(_whole, text) if lost else text


def _whole(match: re.Match[str]) -> str:
    rest = match[0]
    word = _WHOLE[rest.lower()]
    if rest.isupper():  # three capitals may be an abbreviation
        return word.upper() if len(rest) > 3 else rest
    return word.capitalize() if rest[0].isupper() else word


def explained(text: str, answer: str) -> tuple[str, list[str], list[str]]:
    """An explanation without what is none, the letters it opens with, and what was repaired.

    >>> explained("Ans. is 'c' i.e., Polyps They bleed at night. Ref: Any Book 3/e p 20", "Polyps")
    ('They bleed at night.', ['C'], ['opening_letter', 'textbook_page'])
    >>> explained("A 40-year-old man needs rest, since the valve leaks.", "Rest")[1:]
    ([], [])
    """
    repairs = []
    text, stated = text.strip(), []
    if match := _STATED.match(text):
        stated = [letter.upper() for letter in re.findall(r"(?i)\b[a-d]\b", match[1] or match[2])]
        text = text[match.end() :].strip()
        # the answer again, unless a sentence goes on with it
        again = rf"(?i:{_QUOTE}{re.escape(answer)}{_CLOSE}){_BREAK}"
        text = re.sub(rf"\A{again}", "", text).strip()
        repairs.append("opening_letter")
    if page := _PAGE.search(text):
        text = text[: page.start()].strip()
        repairs.append("textbook_page")
    if text and len(text.split()) < FEWEST_WORDS:
        text = ""
        repairs.append("explanation_too_short")
    return text, stated, repairs


def raw_texts(item: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of a question, for `check --against-raw`."""
    lines = [f"\n{label}: {item[name]}" for label, name in zip("ABCD", CHOICES, strict=True)]
    yield str(item["id"]), {"input": item["question"] + "".join(lines)}


SOURCE = Source(
    name=NAME,
    title="MedMCQA (AIIMS and NEET PG entrance exams, training split)",
    homepage="https://medmcqa.github.io",
    citation=(
        "Pal et al., MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset for Medical domain "
        "Question Answering, CHIL 2022, PMLR 174:248-260"
    ),
    license="apache-2.0",
    free_text=False,
    license_note=(
        "Apache 2.0 is stated by the authors' repository and loader; the questions were collected "
        "from mock and online test series of others, of whose consent nothing is said there."
    ),
    markup=False,
    upstream=Origin(
        files=(
            File(
                "train-00000-of-00001.parquet",
                url="hf://datasets/openlifescienceai/medmcqa@main/data/train-00000-of-00001.parquet",
                also=("train.json", "train.jsonl"),
                by_hand="the original is a Google Drive archive linked from the repository",
            ),
        ),
        read=read,
        convert=convert,
        expected_rows=182_822,
        raw_texts=RawTexts(raw_texts),
    ),
    provenance=Provenance(
        text_sources=("medical entrance examinations",),
        arxiv="https://arxiv.org/abs/2203.14371",
        github="https://github.com/medmcqa/medmcqa",
        derived=("MedMCQA",),
    ),
    notes=(
        "Only train belongs in a corpus; validation is an exam, and the key of test is not public.",
        "meadow mix --errata known leaves out questions whose right answer has two letters.",
    ),
)
