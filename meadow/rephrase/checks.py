"""What a rewrite has to pass before it replaces anything: pure functions of the two texts.

A model that answers fluently can still drop a "not", change 5 mg to 50 mg, decline, or do what a
card told it to. Each of these has a name here, so that it is counted, and the row keeps its text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from meadow.chat.client import FaultError, json_in
from meadow.chat.prompts import refusal_phrases

MAX_QUESTION = 400
MIN_QUESTION = 8
MAX_TERM = 40


class Fault(StrEnum):
    """Why an answer is not used."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    NOT_JSON = "not_json"
    ECHO = "echo"
    REFUSAL = "refusal"
    NO_QUESTION = "no_question"
    SEVERAL_QUESTIONS = "several_questions"
    LENGTH = "length"
    LANGUAGE = "language"
    NUMBER_LOST = "number_lost"
    NUMBER_ADDED = "number_added"
    UNIT_CHANGED = "unit_changed"
    TERM_LOST = "term_lost"
    NEGATION_CHANGED = "negation_changed"
    NOT_GROUNDED = "not_grounded"
    # of a reasoning
    NO_ANSWER = "no_answer"
    WRONG_ANSWER = "wrong_answer"
    NO_CONCLUSION = "no_conclusion"
    KEY_MENTIONED = "key_mentioned"
    REPEATS = "repeats"
    MARKUP = "markup"
    PERSONAL_DATA = "personal_data"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A rewritten pair; for headings the answer is None: the section's text stays."""

    question: str
    answer: str | None


_WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’-](?=[^\W_]))*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MEASURE = re.compile(
    r"(?<![\d.,])(\d++(?:[.,]\d++)*+)\s*+(%|°\s?[CF]\b|(?:mg|µg|μg|mcg|kg|ng|g|mL|ml|dL|dl|L|l|mmol|µmol|mol|mEq|IU|"
    r"U|mmHg|cm|mm|m|Hz|kHz|kcal|cal|kJ|J|bpm|kPa|Pa|mV|V|Gy|hours?|h|minutes?|min|seconds?|s|days?|"
    r"d|weeks?|months?|years?)(?:/(?:kg|mL|ml|dL|dl|L|l|h|min|day|d|m2|m²|mm3|s))?)(?![\w])"
)
_DRUG = re.compile(
    r"[a-z]{3,}(?:olol|pril|sartan|statin|mab|zumab|azole|cillin|mycin|micin|cycline|dipine|prazole"
    r"|tidine|afil|triptan|vir|caine|floxacin|azepam|zolam|barbital|phylline|terol|sone|solone|tinib"
    r"|gliptin|gliflozin|glutide|parin|xaban|gatran|setron|oxetine|triptyline|thiazide|semide|lactone"
    r"|formin|zolidinedione|glitazone|curium|curonium|mustine|platin|rubicin|taxel|poietin|grastim"
    r"|cept|stigmine|dronate|fibrate|profen|oxicam|coxib|cortisone|sulfa\w*|ephrine|dopa|idone|apine"
    r"|azine|peridol|lukast|tropium)",
)
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9-]*+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEGATIONS = _words("""
no not never none neither nor without cannot absent absence except contraindicated lacks lack unable
unlikely denies negative excluding avoid
""")
_FUNCTION_WORDS = _words("""
a an the of to in on at by for from with and or as is are was were be been being do does did has
have had it its this that these those which what who whom whose when where why how can could may
might will would should there their they he she his her you your than then also into between during
after before under over about most more less very such one if but so describe name following called
known used caused given patient patients
""")
_FOREIGN = _words("""
der die das und ist nicht ein eine mit für von le la les des une est et dans pour que qui el los las
una es por con como della che il di sono het een van
""")
_ENGLISH = _words("the of and is a in what which how to are for")


def parse_rewrite(kind: str, text: str, finish_reason: str, sent: str) -> Rewrite:
    """The rewrite in a model's answer.

    Args:
        kind: "flashcard" or "heading".
        text: What the model wrote.
        finish_reason: Why it ended.
        sent: The message that it was sent, to know it again.

    Raises:
        FaultError: The answer is empty, cut off, a refusal, an echo, or not the JSON asked for.
    """
    bare = text.strip()
    _first_fault(
        (Fault.EMPTY, not bare),
        (Fault.TRUNCATED, finish_reason != "stop"),
        (Fault.ECHO, bare == sent.strip() or "<card>" in bare or "<section>" in bare),
    )
    try:
        found = json_in(bare)
    except FaultError:
        raise FaultError(Fault.REFUSAL if refuses(bare, "") else Fault.NOT_JSON) from None
    wanted = {"question", "answer"} if kind == "flashcard" else {"question"}
    if (
        not isinstance(found, dict)
        or found.keys() != wanted
        or not all(isinstance(value, str) for value in found.values())
    ):
        raise FaultError(Fault.NOT_JSON)
    found = {name: value.strip() for name, value in found.items()}
    _first_fault((Fault.EMPTY, "" in found.values()))
    return Rewrite(found["question"], found.get("answer"))


def check_flashcard(rewrite: Rewrite, front: str, back: str) -> None:
    """Validate a rewritten card against the card.

    Raises:
        FaultError: What is wrong with it.
    """
    question, answer = rewrite.question, rewrite.answer or ""
    card = f"{front}\n{back}"
    whole = f"{question}\n{answer}"
    before, after = numbers(card), numbers(whole)
    said = {*_said(whole), *(word.lower() for word in _TOKEN.findall(whole))}
    _first_fault(
        *_question_faults(question, card),
        (Fault.LANGUAGE, _is_foreign(whole, card)),
        (Fault.LENGTH, len(answer) > 3 * len(card) + 200),
        (Fault.REFUSAL, refuses(whole, card)),
        (Fault.NUMBER_LOST, not before <= after),
        (Fault.NUMBER_ADDED, not after <= before),
        (Fault.UNIT_CHANGED, not measures(card) <= measures(whole)),
        (Fault.TERM_LOST, not terms(card) <= said),
        (Fault.NEGATION_CHANGED, negations(card) != negations(whole)),
        # what the card does not say
        (Fault.NOT_GROUNDED, grounded(answer, card) < 0.6 or grounded(question, card) < 0.4),
        # obeying "answer only with X" is grounded in the card, but no longer what it teaches
        (Fault.NOT_GROUNDED, grounded(back, whole) < 0.5),
    )


def check_heading(rewrite: Rewrite, topic: str, heading: str, sentence: str) -> None:
    """Validate a question against the heading, the topic and the first sentence.

    Raises:
        FaultError: What is wrong with it.
    """
    question = rewrite.question
    given = f"{topic}\n{heading}\n{sentence}"
    about = set(_said(topic)) - _FUNCTION_WORDS
    _first_fault(
        *_question_faults(question, given),
        (Fault.LANGUAGE, _is_foreign(question, given)),
        (Fault.REFUSAL, refuses(question, given)),
        (Fault.NUMBER_ADDED, not numbers(question) <= numbers(given)),
        (Fault.NOT_GROUNDED, bool(about) and about.isdisjoint(_said(question))),
        (Fault.NOT_GROUNDED, grounded(question, given) < 0.5),
    )


def _first_fault(*found: tuple[Fault, bool]) -> None:
    for fault, holds in found:
        if holds:
            raise FaultError(fault)


def _question_faults(question: str, given: str) -> tuple[tuple[Fault, bool], ...]:
    return (
        (Fault.LENGTH, not MIN_QUESTION <= len(question) <= MAX_QUESTION + len(given)),
        (Fault.NO_QUESTION, not question.endswith("?")),
        (Fault.SEVERAL_QUESTIONS, question.count("?") > 1),
    )


def _is_foreign(text: str, given: str) -> bool:
    """Whether the text has left English, but for words that it was given."""
    words, known = _said(text), set(_said(given))
    foreign = sum(word in _FOREIGN and word not in known for word in words)
    english = sum(word in _ENGLISH for word in words)
    strange = sum(not word.isascii() and word not in known for word in words)
    return foreign > english or strange > len(words) / 4


def refuses(text: str, given: str) -> bool:
    """Whether the text declines, in words that what was given does not hold itself."""
    said = " ".join(text.lower().replace("’", "'").split())
    source = " ".join(given.lower().replace("’", "'").split())
    return any(phrase in said and phrase not in source for phrase in refusal_phrases())


def numbers(text: str) -> set[str]:
    """The numbers of a text, with a point for a decimal comma's place."""
    return {found.replace(",", ".").strip(".") for found in _NUMBER.findall(text)}


def measures(text: str) -> set[str]:
    """Numbers with their units: "5 mg", "38.5 °c"."""
    return {
        f"{number.replace(',', '.')} {''.join(unit.split())}"
        for number, unit in _MEASURE.findall(text)
    }


def terms(text: str) -> set[str]:
    """Drug-like words and abbreviations, in lower case."""
    drugs = {word for word in _said(text) if len(word) < MAX_TERM and _DRUG.fullmatch(word)}
    return drugs | {word.lower() for word in _TOKEN.findall(text) if _is_abbreviation(word)}


def _is_abbreviation(word: str) -> bool:
    """DNA, HbA1c, CYP3A4, HLA-B27: a capital first, and one more capital or a digit."""
    marks = sum(character.isupper() or character.isdigit() for character in word)
    return word[0].isupper() and marks >= 2 and len(word) < MAX_TERM


def negations(text: str) -> int:
    """How many negations a text has."""
    words = [word.replace("’", "'") for word in _said(text)]
    return sum(word in _NEGATIONS or word.endswith("n't") for word in words)


def grounded(text: str, given: str) -> float:
    """The share of a text's content words that what was given holds too; 1 for none."""
    known = {_stem(word) for word in _said(given)}
    content = [_stem(word) for word in _said(text) if word not in _FUNCTION_WORDS]
    return sum(word in known for word in content) / len(content) if content else 1.0


def _said(text: str) -> list[str]:
    """The words of a text in lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def _stem(word: str) -> str:
    return word.replace("’", "'").removesuffix("'s")[:6]
