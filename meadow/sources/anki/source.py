"""Anki flashcards: decks that the user supplies, as packages, collections or text exports.

In 2023 a language model turned 33,955 cards into questions and answers; the decks were not
released. Here every card becomes an example by rule. A package says what a card shows: the question
is the front of its template, the answer what the back adds to it. A cloze note gives one example
per number: the text with the gap, and what was hidden. Text exports hold fields without templates,
so their first two fields are question and answer, unless `#columns` names others; `note_types` goes
before everything. A card goes when it shows an image or a sound. Decks carry no clear licence, so
that rows are the user's own and are not published without their word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from meadow.schema import Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import (
    Count2023,
    File,
    Input,
    Options,
    Origin,
    Provenance,
    RawTexts,
    Rewrite,
    Source,
)
from meadow.sources.anki.cloze import parse_cloze
from meadow.sources.anki.crowdanki import is_json, read_crowdanki
from meadow.sources.anki.package import is_package_or_collection, read_collection
from meadow.sources.anki.templates import (
    UNSHOWN,
    Side,
    TemplateError,
    fields_of,
    is_empty,
    parse_template,
)
from meadow.sources.anki.text_export import is_text_export, read_text_export
from meadow.sources.published import (
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
REMARKS, TEMPLATE, FRONT = "left_out_remarks", "template_words", "cut_front"
"""Repairs: fields that are on neither side, a side that is more than one field, a question that
stood on its answer."""

_MEDIA = re.compile(
    r"<(?:img|svg|audio|video|object|embed|canvas)\b|\[sound:|\bimage-occlusion:",
    re.IGNORECASE,
)
_ERROR = re.compile(
    # the address stands in every language, the words in exports without HTML
    r"docs\.ankiweb\.net/templates/errors|\bNo cloze \W?\d+\W? found on card\b"
    r"|\A\W*The front of this card is blank\b|\A\W*(?:Front|Back) template has a problem:"
)
_FRONT_OF_BACK = re.compile(r"\A.*<hr\s+id=[\"']?answer\b[^<>]*>", re.DOTALL | re.IGNORECASE)
"""What Anki itself leaves out of the back of a card that it exports."""
_RULES = re.compile(r"\A\s*---(?:\s*\n|\Z)|\s*\n---\Z")
"""A horizontal rule that has nothing above or below it."""
_NO_TAG = (
    r"[a-z][^<>]*(?:<|\Z)|(?!(?:button|details|div|font|hr|iframe|img|input|li|ol|option|p|script"
    r"|select|span|table|td|textarea|th|tr|ul)\b)[a-z]\w*\s+[^\s=<>/]+[\s>]"
)
"""What begins no tag: no angle closes it, or words follow its name that are no attributes."""
_QUESTIONS = frozenset({"front", "question", "q", "prompt"})
_ANSWERS = frozenset({"back", "answer", "a", "response"})
_IDS = frozenset(
    {"id", "note id", "noteid", "nid", "guid", "no", "no.", "nr", "nr.", "number", "#"}
)
"""What columns call themselves; any other name says nothing of what is asked."""
# Emphasis is decoration on a card, and often breaks off in the middle of a word.
# A formula holds no opening of its kind: else each of many openings would look on to the end.
_REPLACEMENTS = (
    # "pH <normal and PaCO2 >45", "if pH <normal": comparisons that nobody escaped
    (re.compile(rf"<(?={_NO_TAG})", re.IGNORECASE), "&lt;"),
    (re.compile(r"</?(?:b|strong|i|em|u|font|span|mark|small|big)\b[^<>]*>", re.IGNORECASE), ""),
    (re.compile(r"<(/?)h[1-6]\b[^<>]*>", re.IGNORECASE), r"<\1div>"),
    (re.compile(r"\[latex\]((?:(?!\[latex\]).)*?)\[/latex\]", re.DOTALL | re.IGNORECASE), r"\1"),
    (re.compile(r"\[\$\$\]((?:(?!\[\$\$\]).)*?)\[/\$\$\]", re.DOTALL), r"\\[\1\\]"),
    (re.compile(r"\[\$\]((?:(?!\[\$\]).)*?)\[/\$\]", re.DOTALL), r"\\(\1\\)"),
    (re.compile(r"\[/?anki:tts[^\]]{0,200}\]"), ""),
)


@dataclass(frozen=True, slots=True)
class Card:
    """A card as HTML.

    Args:
        question: The front.
        answers: What the back tells, or each text that a gap hides.
        suffix: What tells its id from those of the note's other cards.
        number: Of the deletions that a cloze card hides.
        labels: The names of the answers, where they are fields that the user named.
        repairs: How it differs from the fields of its note.
    """

    question: str
    answers: Sequence[str]
    suffix: str = ""
    number: int | None = None
    labels: Sequence[str] = ()
    repairs: Sequence[str] = ()


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The notes of each deck in the order in which they were made; the content says the format.

    A GUID is one note: what comes later under it with other content is a reject. So is a text that
    is no deck (a README beside the decks), unless it is all there is.

    Raises:
        FileError: A file is damaged, or the only one is no deck.
    """
    first: dict[str, tuple[str, bytes]] = {}
    for item in inputs:
        for raw in _read_deck(item, alone=len(inputs) == 1):
            if isinstance(raw, Reject) or not raw["guid"]:
                yield raw
                continue
            content = repr([raw[name] for name in ("fields", "templates", "cloze", "note_type")])
            digest = hashlib.blake2b(content.encode(), digest_size=16).digest()
            where, known = first.setdefault(raw["guid"], (raw["_where"], digest))
            if known == digest:
                yield raw
            else:
                yield _reject(raw, Reason.CONFLICT, f"its GUID is that of another note, {where}")


def _read_deck(item: Input, *, alone: bool) -> Iterator[Raw | Reject]:
    if is_package_or_collection(item.path):
        return read_collection(item)
    if is_json(item.path):
        return read_crowdanki(item)
    if alone or is_text_export(item.path):
        return read_text_export(item)
    return iter((Reject(item.label, Reason.NOT_A_TARGET, "the file is no deck"),))


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """The examples of one note: one per card, and per number for a cloze note."""
    note_type = str(raw["note_type"]).rstrip("+")
    mapping = options.note_types.get(raw["note_type"]) or options.note_types.get(note_type)
    if mapping is not None:
        cards = [_mapped(raw, mapping)]
    elif "occlusion" in note_type.casefold():
        masks = parse_cloze(raw["fields"][0]).numbers or (1,)
        cards = [_reject(raw, Reason.MEDIA, "an image with parts covered") for _ in masks]
    elif not raw["templates"]:
        cards = _exported_cards(raw, note_type.casefold())
    else:
        try:
            cards = _cloze_cards(raw) if raw["cloze"] else _template_cards(raw)
        except TemplateError as error:
            cards = [_reject(raw, Reason.NOT_A_TARGET, f"Anki shows an error: {error}")]
    for card in cards or [_reject(raw, Reason.EMPTY_INPUT, "every field that asks is empty")]:
        yield card if isinstance(card, Reject) else _record(raw, card, options)


def _mapped(raw: Raw, mapping: Sequence[str]) -> Card | Reject:
    """A note by the fields that the user named for its type."""
    named = dict(zip(raw["field_names"], raw["fields"], strict=False))
    if missing := [name for name in mapping if name not in named]:
        return _reject(raw, Reason.MISSING_FIELD, f"the note has no field {missing[0]!r}")
    question, *labels = mapping
    return Card(named[question], [named[name] for name in labels], labels=labels)


def _values(raw: Raw) -> dict[str, str]:
    """What templates can name; a note can have fewer fields than its type, the others are empty."""
    fields = dict(zip_longest(raw["field_names"], raw["fields"], fillvalue=""))
    shown = {"Tags": " ".join(raw["tags"]), "Deck": raw["deck"], "Type": raw["note_type"]}
    return dict.fromkeys(UNSHOWN, "") | shown | fields


def _cloze_cards(raw: Raw) -> list[Card | Reject]:
    """One card a number, from all the fields that the front shows with gaps."""
    values, (front, back) = _values(raw), map(parse_template, raw["templates"][0])
    remarks = {field.name for field in fields_of(back)} - {field.name for field in fields_of(front)}
    repairs = [] if all(is_empty(values.get(name, "")) for name in remarks) else [REMARKS]
    gapped = dict.fromkeys(field.name for field in fields_of(front) if "cloze" in field.filters)
    clozes = [parse_cloze(values.get(name, "")) for name in gapped]
    cards: list[Card | Reject] = []
    for number in sorted({number for each in clozes for number in each.numbers}):
        question = Side(values, number, is_front=True).render(front)
        alone = {_bare(each.question(number)) for each in clozes}
        added = [] if _bare(question) in alone else [TEMPLATE]
        answers = [answer for each in clozes for answer in each.answers(number)]
        cards.append(Card(question, answers, f"#c{number}", number, repairs=[*repairs, *added]))
    return cards or [_reject(raw, Reason.NOT_A_TARGET, "a cloze note without a deletion")]


def _template_cards(raw: Raw) -> list[Card | Reject]:
    """One card a template, as far as Anki makes one and it does not ask the same in reverse."""
    values = _values(raw)
    alone = set(map(_bare, values.values()))
    cards: list[Card | Reject] = []
    before: list[tuple[set[str], set[str]]] = []
    for number, sources in enumerate(raw["templates"], start=1):
        try:
            front, back = map(parse_template, sources)
            shown = {field.name for field in fields_of(front) if not field.seen_later}
            told = {field.name for field in fields_of(back)} - shown
            if told and any(told <= asked and answers <= shown for asked, answers in before):
                continue
            side = Side(values, number, is_front=True)
            question = side.render(front)
            answer = _FRONT_OF_BACK.sub("", Side(values, number, is_front=False).render(back))
        except TemplateError as error:
            cards.append(_reject(raw, Reason.NOT_A_TARGET, f"Anki shows an error: {error}"))
            continue
        if side.filled:
            before.append((shown, told))
            repairs = ["left_out_hint"] if side.left_out else []
            repairs += [] if {_bare(question), _bare(answer)} <= alone else [TEMPLATE]
            suffix = f"#{number}" if number > 1 else ""
            cards.append(Card(question, [answer], suffix, repairs=repairs))
    return cards


def _bare(html: str) -> str:
    return " ".join(re.sub(r"<[^<>]*>", " ", html).split())


def _exported_cards(raw: Raw, note_type: str) -> list[Card | Reject]:
    """A note without templates, by what its fields hold and what the columns are called."""
    fields: list[str] = raw["fields"]
    is_cloze = raw["cloze"] or "cloze" in note_type
    # an export does not say whether a note type of another name makes gaps
    if is_cloze or (raw["cloze"] is None and not note_type.startswith("basic")):
        gapped = [parse_cloze(text) for text in fields]
        remarks = [not is_empty(each.question(0)) for each in gapped if not each.numbers]
        repairs = [REMARKS] if any(remarks) else []
        cards: dict[int, Card | Reject] = {}
        for each in gapped:
            for number in each.numbers:
                sides = each.question(number), each.answers(number)
                cards.setdefault(number, Card(*sides, f"#c{number}", number, repairs=repairs))
        if cards:
            return [cards[number] for number in sorted(cards)]
        if is_cloze:
            return [_reject(raw, Reason.NOT_A_TARGET, "a cloze note without a deletion")]
    names = (name.strip().casefold() for name in raw["field_names"][: len(fields)])
    columns = list(zip_longest(names, fields, fillvalue=""))
    left = [column for column in columns if column[0] not in _IDS]
    question = next((column for column in left if column[0] in _QUESTIONS), None)
    answer = next((column for column in left if column[0] in _ANSWERS), None)
    rest = [column for column in left if column not in (question, answer)] + [("", "")] * 2
    _, question_html = question or rest.pop(0)
    _, answer_html = answer or rest.pop(0)
    if not raw["field_names"] and answer_html.endswith("?") and not question_html.endswith("?"):
        return [_reject(raw, Reason.NOT_A_TARGET, "its second field asks: say what fields it has")]
    repairs = [] if all(is_empty(html) for _, html in rest) else [REMARKS]
    return [Card(question_html, [answer_html], repairs=repairs)]


def _record(raw: Raw, card: Card, options: Options) -> Record | Reject:
    htmls = (card.question, *card.answers)
    if any(map(_ERROR.search, htmls)):
        return _reject(raw, Reason.NOT_A_TARGET, "a message of Anki's, no card")
    if any(map(_MEDIA.search, htmls)):
        return _reject(raw, Reason.MEDIA, "the card shows an image or plays a sound")
    try:
        question, *answers = map(_to_text, htmls)
    except HtmlLimitError as error:
        return _reject(raw, error.reason, error.detail)
    if len(card.labels) > 1:
        pairs = zip(card.labels, answers, strict=True)
        answer = "\n".join(f"{name}: {text}" for name, text in pairs if text)
    else:
        answer = "; ".join(dict.fromkeys(filter(None, answers)))
    below = _without_front(question, answer)
    repairs, answer = [*card.repairs, *([] if below == answer else [FRONT])], below
    if not question:
        return _reject(raw, Reason.EMPTY_INPUT, "no question")
    if not answer:
        return _reject(raw, Reason.EMPTY_OUTPUT, "no answer")
    if options.style is Style.PUBLISHED_2023:
        instruction = INSTRUCTION_2023
    elif card.number is not None or "[...]" in question:
        instruction = INSTRUCTION_CLOZE
    else:
        asks = question.rstrip(" \n*_").endswith("?")
        instruction = INSTRUCTION_QUESTION if asks else INSTRUCTION_PROMPT
    meta: Mapping[str, Any] = {
        "deck": raw["deck"],
        "note_type": str(raw["note_type"]).rstrip("+"),
        "tags": sorted(raw["tags"]),
        "cloze": card.number,
    }
    guid = raw["guid"]
    return make_record(
        source=NAME,
        source_id=f"{guid}{card.suffix}" if guid else None,
        key=(*map(str, raw["fields"]), str(card.number or "")),
        instruction=instruction,
        input=question,
        output=answer,
        task=Task.OPEN_QA,
        license=LICENSE,
        meta={name: value for name, value in meta.items() if value},
        repairs=repairs,
    )


def _without_front(question: str, answer: str) -> str:
    """An answer without the question that a back repeats above it, and the rule between them."""
    rest = answer.removeprefix(question)
    asks = question.endswith("?") and rest[:1].isspace()
    if question and rest != answer and rest.strip("-\n ") and (asks or rest.startswith("\n")):
        answer = rest
    return _RULES.sub("", answer).strip()


def _to_text(html: str) -> str:
    for pattern, replacement in _REPLACEMENTS:
        html = pattern.sub(replacement, html)
    return html_to_text(html)


def _reject(raw: Raw, reason: Reason, detail: str) -> Reject:
    return Reject(str(raw["_where"]), reason, detail, " | ".join(raw["fields"][:2]))


_GAP = re.compile(r"\{\{c([\d,]+)::((?:(?!\{\{c\d|\}\}).)*)\}\}", re.DOTALL)
"""One that no other lies in."""
_HIDDEN = re.compile("\0([^\0-\2]*)\1([^\0-\2]*)\2")
_FORMULA = re.compile(r"\[/?\${1,2}\]")


def _guid(source_id: str) -> str:
    return re.sub(r"#c?\d+\Z", "", source_id)


def _gaps(number: str, text: str) -> tuple[str, str]:
    """The text with a number's gaps empty but for their hints, and what they hide."""

    def shown(gap: re.Match[str]) -> str:
        answer, _, hint = gap[2].partition("::")
        answer = _HIDDEN.sub(r"\1", answer)
        return f"\0{answer}\1{hint}\2" if number in gap[1].split(",") else gap[2].split("::")[0]

    before = ""
    while before != text:  # from the inside out
        before, text = text, _GAP.sub(shown, text)
    told = dict.fromkeys(hidden[1] for hidden in _HIDDEN.finditer(text))
    return _HIDDEN.sub(r"\2", text), "; ".join(told)


def raw_texts(note: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The cards that a note may show, for `check --against-raw`: two fields, or one with gaps.

    Which of them it shows is the template's to say, so that the nearest one counts.
    """
    fields = [_FORMULA.sub(" ", field) for field in note["fields"]]
    for asked, field in enumerate(fields):
        for number in {
            each for gap in re.findall(r"\{\{c([\d,]+)::", field) for each in gap.split(",")
        }:
            shown, told = _gaps(number, field)
            yield note["guid"], {"input": shown, "output": told}
        for told_by, answer in enumerate(fields):
            if told_by != asked:
                yield note["guid"], {"input": field, "output": answer}


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
            for pattern in (
                *("*.apkg", "*.colpkg", "collection.anki2*", "*.txt"),
                *("deck.json", "*/deck.json"),
            )
        ),
        read=read,
        convert=convert,
        raw_texts=RawTexts(
            raw_texts,
            key=_guid,
            markup="html",
            repairs={TEMPLATE: r"\w+: \|? → .*", FRONT: r"output: \|.* → "},
        ),
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
        text_sources=("medical flashcard decks supplied by the user",),
        arxiv=PAPER_ARXIV,
        published_generated=("OpenAI GPT-3.5-turbo",),
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
        "A candidate is a card; cards that ask the same the other way round are not generated.",
    ),
    version=2,
)
