"""What a rewrite has to pass before it replaces anything: pure functions of the two texts.

A model that answers fluently can still drop a "not", change 5 mg to 50 mg, decline, or do what a
card told it to. Each of these has a name here, so that it is counted, and the row keeps its text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from meadow.rephrase.prompts import refusal_phrases

MAX_QUESTION = 400
MIN_QUESTION = 8
MAX_TERM = 40


class Fault(StrEnum):
    """Why a rewrite is not used."""

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


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A rewritten pair; for headings the answer is None: the section's text stays."""

    question: str
    answer: str | None


class FaultError(ValueError):
    """A rewrite that is not used; `fault` says why."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault


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
_NEGATION_WORDS = """
no not never none neither nor without cannot absent absence except contraindicated lacks lack unable
unlikely denies negative excluding avoid
"""
_SMALL_WORDS = """
a an the of to in on at by for from with and or as is are was were be been being do does did has
have had it its this that these those which what who whom whose when where why how can could may
might will would should there their they he she his her you your than then also into between during
after before under over about most more less very such one if but so describe name following called
known used caused given patient patients
"""
_FOREIGN_WORDS = """
der die das und ist nicht ein eine mit für von le la les des une est et dans pour que qui el los las
una es por con como della che il di sono het een van
"""
_NEGATIONS = frozenset(_NEGATION_WORDS.split())
_FUNCTION_WORDS = frozenset(_SMALL_WORDS.split())
_FOREIGN = frozenset(_FOREIGN_WORDS.split())
_ENGLISH = frozenset(
    ("the", "of", "and", "is", "a", "in", "what", "which", "how", "to", "are", "for")
)


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
    if not bare:
        raise FaultError(Fault.EMPTY)
    if finish_reason != "stop":
        raise FaultError(Fault.TRUNCATED, finish_reason)
    if bare == sent.strip() or "<card>" in bare or "<section>" in bare:
        raise FaultError(Fault.ECHO)
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare.strip("`").removeprefix("json").strip()
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        if refuses(bare, ""):
            raise FaultError(Fault.REFUSAL) from None
        raise FaultError(Fault.NOT_JSON) from None
    wanted = {"question", "answer"} if kind == "flashcard" else {"question"}
    if (
        not isinstance(found, dict)
        or found.keys() != wanted
        or not all(isinstance(value, str) for value in found.values())
    ):
        raise FaultError(Fault.NOT_JSON, "other keys than asked for")
    question = found["question"].strip()
    answer = found["answer"].strip() if kind == "flashcard" else None
    if not question or answer == "":
        raise FaultError(Fault.EMPTY)
    return Rewrite(question, answer)


def check_flashcard(rewrite: Rewrite, front: str, back: str) -> None:
    """Hold a rewritten card to the card.

    Raises:
        FaultError: What is wrong with it.
    """
    answer = rewrite.answer or ""
    card = f"{front}\n{back}"
    whole = f"{rewrite.question}\n{answer}"
    _check_question(rewrite.question, card)
    _check_language(whole, card)
    if len(answer) > 3 * len(card) + 200:
        raise FaultError(Fault.LENGTH, f"{len(answer)} characters for a card of {len(card)}")
    if refuses(whole, card):
        raise FaultError(Fault.REFUSAL)
    before, after = numbers(card), numbers(whole)
    if lost := before - after:
        raise FaultError(Fault.NUMBER_LOST, ", ".join(sorted(lost)))
    if added := after - before:
        raise FaultError(Fault.NUMBER_ADDED, ", ".join(sorted(added)))
    if changed := measures(card) - measures(whole):
        raise FaultError(Fault.UNIT_CHANGED, ", ".join(sorted(changed)))
    if lost := terms(card) - {word.lower() for word in _tokens(whole)}:
        raise FaultError(Fault.TERM_LOST, ", ".join(sorted(lost)))
    if negations(card) != negations(whole):
        raise FaultError(Fault.NEGATION_CHANGED, f"{negations(card)} -> {negations(whole)}")
    if grounded(answer, card) < 0.6 or grounded(rewrite.question, card) < 0.4:
        raise FaultError(Fault.NOT_GROUNDED, "says what the card does not")
    if grounded(back, whole) < 0.5:
        # obeying "answer only with X" is grounded in the card, but no longer what it teaches
        raise FaultError(Fault.NOT_GROUNDED, "does not say what the card does")


def check_heading(rewrite: Rewrite, topic: str, heading: str, sentence: str) -> None:
    """Hold a question to the heading, the topic and the first sentence.

    Raises:
        FaultError: What is wrong with it.
    """
    given = f"{topic}\n{heading}\n{sentence}"
    _check_question(rewrite.question, given)
    _check_language(rewrite.question, given)
    if refuses(rewrite.question, given):
        raise FaultError(Fault.REFUSAL)
    if added := numbers(rewrite.question) - numbers(given):
        raise FaultError(Fault.NUMBER_ADDED, ", ".join(sorted(added)))
    about = {word.lower() for word in _WORD.findall(topic)} - _FUNCTION_WORDS
    asked = {word.lower() for word in _WORD.findall(rewrite.question)}
    if (about and not about & asked) or grounded(rewrite.question, given) < 0.5:
        raise FaultError(Fault.NOT_GROUNDED)


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
    words = {word.lower() for word in _WORD.findall(text) if len(word) < MAX_TERM}
    drugs = {word for word in words if _DRUG.fullmatch(word)}
    return drugs | {word.lower() for word in _TOKEN.findall(text) if _is_abbreviation(word)}


def _is_abbreviation(word: str) -> bool:
    """DNA, HbA1c, CYP3A4, HLA-B27: a capital first, and one more capital or a digit."""
    marks = sum(character.isupper() or character.isdigit() for character in word)
    return word[0].isupper() and marks >= 2 and len(word) < MAX_TERM


def negations(text: str) -> int:
    """How many negations a text has."""
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    return sum(word in _NEGATIONS or word.endswith("n't") for word in words)


def grounded(text: str, given: str) -> float:
    """The share of a text's content words that what was given holds too; 1 for none."""
    known = {_stem(word) for word in _WORD.findall(given)}
    content = [_stem(word) for word in _WORD.findall(text) if word.lower() not in _FUNCTION_WORDS]
    return sum(word in known for word in content) / len(content) if content else 1.0


def _stem(word: str) -> str:
    return word.lower().replace("’", "'").removesuffix("'s")[:6]


def _tokens(text: str) -> list[str]:
    return [*_WORD.findall(text), *_TOKEN.findall(text)]


def _check_question(question: str, given: str) -> None:
    if not MIN_QUESTION <= len(question) <= MAX_QUESTION + len(given):
        raise FaultError(Fault.LENGTH, f"a question of {len(question)} characters")
    if not question.endswith("?"):
        raise FaultError(Fault.NO_QUESTION)
    if question.count("?") > 1:
        raise FaultError(Fault.SEVERAL_QUESTIONS)


def _check_language(text: str, given: str) -> None:
    words = [word.lower() for word in _WORD.findall(text)]
    known = {word.lower() for word in _WORD.findall(given)}
    foreign = sum(word in _FOREIGN and word not in known for word in words)
    english = sum(word in _ENGLISH for word in words)
    strange = [word for word in words if not word.isascii() and word not in known]
    if foreign > english or len(strange) > len(words) / 4:
        raise FaultError(Fault.LANGUAGE)
