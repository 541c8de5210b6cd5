"""Anki flashcards: decks that the user supplies, as packages, collections or text exports.

In 2023 a language model turned 33,955 cards into questions and answers; the decks were not
released. Here every card becomes an example by rule: an ordinary note gives its first field as the
question and its second as the answer (or the fields that `note_types` names), a cloze note gives
one example per number. A card goes when a field that is used holds an image or a sound. Decks carry
no clear licence, so that rows are the user's own and are not published without their word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meadow.schema import Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Count2023, File, Input, Options, Origin, Provenance, Rewrite, Source
from meadow.sources.anki.cloze import ClozeText, parse_cloze
from meadow.sources.anki.package import is_package_or_collection, read_collection
from meadow.sources.anki.text_export import is_text_export, read_text_export
from meadow.sources.published import (
    PAPER,
    PAPER_ARXIV,
    REPHRASED_BY,
    published_origin,
    question_converter,
)
from meadow.text.render import HtmlLimitError, html_to_text

NAME = "anki"
LICENSE = "user-supplied"
INSTRUCTION_2023 = "Answer this question truthfully"
INSTRUCTION_QUESTION = "Answer this question truthfully."
INSTRUCTION_CLOZE = "Say what belongs in the brackets of this statement."
INSTRUCTION_PROMPT = "Say what you know about this flashcard prompt."

_MEDIA = re.compile(
    r"<(?:img|svg|audio|video|object|embed|canvas)\b|\[sound:|\bimage-occlusion:",
    re.IGNORECASE,
)
# Emphasis is decoration on a card, and often breaks off in the middle of a word.
# A formula holds no opening of its kind: else each of many openings would look on to the end.
_REPLACEMENTS = (
    (re.compile(r"</?(?:b|strong|i|em|u|s|font|span|mark|small|big)\b[^<>]*>", re.IGNORECASE), ""),
    (re.compile(r"<(/?)h[1-6]\b[^<>]*>", re.IGNORECASE), r"<\1div>"),
    (re.compile(r"\[latex\]((?:(?!\[latex\]).)*?)\[/latex\]", re.DOTALL | re.IGNORECASE), r"\1"),
    (re.compile(r"\[\$\$\]((?:(?!\[\$\$\]).)*?)\[/\$\$\]", re.DOTALL), r"\\[\1\\]"),
    (re.compile(r"\[\$\]((?:(?!\[\$\]).)*?)\[/\$\]", re.DOTALL), r"\\(\1\\)"),
    (re.compile(r"\[/?anki:tts[^\]]{0,200}\]"), ""),
)


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The notes of each deck in the order in which they were made; the content says the format."""
    for item in inputs:
        if is_package_or_collection(item.path):
            yield from read_collection(item)
        else:
            yield from read_text_export(item)


def is_deck(path: Path) -> bool:
    """Whether a file is a package, a collection or a text export."""
    return is_package_or_collection(path) or is_text_export(path)


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """The examples of one note: one for an ordinary note, one per number for a cloze note."""
    note_type = str(raw["note_type"]).rstrip("+")
    fields: list[str] = raw["fields"]
    mapping = options.note_types.get(raw["note_type"]) or options.note_types.get(note_type)
    if mapping is None and "occlusion" in note_type.casefold():
        clozes = parse_cloze(fields[0])
        for _ in clozes.numbers or (1,):
            yield _reject(raw, Reason.MEDIA, "an image with parts covered")
        return
    if mapping is None:
        for clozes in map(parse_cloze, fields):
            if clozes.numbers:
                yield from _convert_cloze(raw, clozes, options)
                return
        if raw["cloze"] or "cloze" in note_type.casefold():
            yield _reject(raw, Reason.NOT_A_TARGET, "a cloze note without a deletion")
            return
    yield _convert_ordinary(raw, mapping, options)


def _convert_ordinary(raw: Raw, mapping: Sequence[str] | None, options: Options) -> Record | Reject:
    fields: list[str] = raw["fields"]
    if mapping is None:
        used = {"question": fields[0], "answer": fields[1] if len(fields) > 1 else ""}
    else:
        named = dict(zip(raw["field_names"], fields, strict=False))
        if missing := [name for name in mapping if name not in named]:
            return _reject(raw, Reason.MISSING_FIELD, f"the note has no field {missing[0]!r}")
        used = {name: named[name] for name in mapping}
    if any(map(_MEDIA.search, used.values())):
        return _reject(raw, Reason.MEDIA, "a field that is used holds an image or a sound")
    try:
        question, *answers = [_to_text(html) for html in used.values()]
    except HtmlLimitError as error:
        return _reject(raw, error.reason, error.detail)
    answer = answers[0] if answers else ""
    if len(answers) > 1:
        named_answers = zip(list(used)[1:], answers, strict=True)
        answer = "\n".join(f"{name}: {text}" for name, text in named_answers if text)
    return _record(raw, question, answer, options)


def _convert_cloze(raw: Raw, clozes: ClozeText, options: Options) -> Iterator[Record | Reject]:
    holds_media = _MEDIA.search(clozes.question(0)) is not None
    for number in clozes.numbers:
        if holds_media:
            yield _reject(raw, Reason.MEDIA, "the text holds an image or a sound")
            continue
        try:
            question = _to_text(clozes.question(number))
            answers = [_to_text(answer) for answer in clozes.answers(number)]
        except HtmlLimitError as error:
            yield _reject(raw, error.reason, error.detail)
            continue
        answer = "; ".join(dict.fromkeys(filter(None, answers)))
        yield _record(raw, question, answer, options, number)


def _record(
    raw: Raw, question: str, answer: str, options: Options, number: int | None = None
) -> Record | Reject:
    if not question:
        return _reject(raw, Reason.EMPTY_INPUT, "no question")
    if not answer:
        return _reject(raw, Reason.EMPTY_OUTPUT, "no answer")
    if options.style is Style.PUBLISHED_2023:
        instruction = INSTRUCTION_2023
    elif number is not None or "[...]" in question:
        instruction = INSTRUCTION_CLOZE
    else:
        asks = question.rstrip(" \n*_").endswith("?")
        instruction = INSTRUCTION_QUESTION if asks else INSTRUCTION_PROMPT
    meta: Mapping[str, Any] = {
        "deck": raw["deck"],
        "note_type": str(raw["note_type"]).rstrip("+"),
        "tags": sorted(raw["tags"]),
        "cloze": number,
    }
    guid = raw["guid"]
    return make_record(
        source=NAME,
        source_id=(guid if number is None else f"{guid}#c{number}") if guid else None,
        key=(*map(str, raw["fields"]), str(number or "")),
        instruction=instruction,
        input=question,
        output=answer,
        task=Task.OPEN_QA,
        license=LICENSE,
        meta={name: value for name, value in meta.items() if value},
    )


def _to_text(html: str) -> str:
    for pattern, replacement in _REPLACEMENTS:
        html = pattern.sub(replacement, html)
    return html_to_text(html)


def _reject(raw: Raw, reason: Reason, detail: str) -> Reject:
    return Reject(str(raw["_where"]), reason, detail, " | ".join(raw["fields"][:2]))


SOURCE = Source(
    name=NAME,
    title="Anki flashcards",
    homepage="https://apps.ankiweb.net",
    citation="The authors of the decks that the user supplies.",
    license=LICENSE,
    free_text=True,
    license_note=(
        "Decks carry no clear licence: rows stay local unless the user vouches for them. The 2023 "
        "release names none for its cards either."
    ),
    upstream=Origin(
        files=tuple(
            File(
                pattern,
                optional=True,
                by_hand="export the deck from Anki: File > Export",
            )
            for pattern in ("*.apkg", "*.colpkg", "collection.anki2*", "*.txt")
        ),
        read=read,
        convert=convert,
        detect=is_deck,
    ),
    published=published_origin(
        "medical_meadow_medical_flashcards",
        "medical_meadow_wikidoc_medical_flashcards.json",
        question_converter(
            NAME, INSTRUCTION_QUESTION, license="unknown", rephrased_by=REPHRASED_BY
        ),
        rows=33_955,
    ),
    rewrite=Rewrite(
        "flashcard",
        {Style.MEADOW: INSTRUCTION_QUESTION, Style.PUBLISHED_2023: INSTRUCTION_2023},
    ),
    provenance=Provenance(
        PAPER,
        ("medical flashcard decks supplied by the user",),
        PAPER_ARXIV,
        published="medical_meadow_medical_flashcards",
        published_generated=("OpenAI GPT-3.5-turbo",),
        note="Shared decks state no licence; CC BY 4.0 was read into the tag cc.",
    ),
    counts_2023=(
        Count2023(
            "Depends on the decks that you supply; cards with media are left out, as in 2023.",
            published=33_955,
            mix=33_955,
            paper=33_955,
        ),
    ),
    notes=(
        "The package ships no deck; supply your own.",
        "A candidate is a note, or one number of a cloze note; reversed cards are not generated.",
    ),
)
