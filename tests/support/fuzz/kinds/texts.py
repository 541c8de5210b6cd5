"""Any text through every function of text, and in records: no exception, and twice is once."""

from __future__ import annotations

import json
import random
from pathlib import Path

from support.fuzz.engine import Kind
from support.fuzz.mutate import encodable, mutant, odd_text
from support.fuzz.patterns import all_patterns, sample
from support.fuzz.rows import check_item, check_records, clean_once

from meadow.exams.answers import Status, parse
from meadow.samples import FOLDER
from meadow.schema import (
    Record,
    Style,
    Task,
    has_lone_surrogate,
    make_record,
    normalise_key,
    printable,
    record_id,
)
from meadow.source import Options
from meadow.sources import SOURCES
from meadow.sources.anki.cloze import parse_cloze
from meadow.sources.wikidoc.headings import (
    STOCK_HEADINGS,
    is_link_only,
    names_no_topic,
    patient_question,
    repair_published,
    repair_topic,
    split_published,
    tidy_question,
    topic_of_title,
)
from meadow.sources.wikidoc.lists import split_glued_lists
from meadow.sources.wikidoc.section_headings import is_apparatus, page_question, section_question
from meadow.text.greetings import strip_greetings
from meadow.text.language import is_foreign
from meadow.text.markdown import escape_cell
from meadow.text.privacy import scrub
from meadow.text.render import normalise, quote_literal_markup

PROSE = [
    str(json.loads(line)["output"])
    for path in sorted((FOLDER.parents[1] / "tests/fixtures").glob("*/expected.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
WORDS = (
    *("Dear Dr. Miller,", "Hi,", "Thanks for your query.", "Regards,\nAnna Bell", "Take care."),
    *("A", "B", "{{c1::", "{{c2::", "}}", "::hint", "The answer is ", "(C)", "option D", " or "),
    *("not ", "I", "a@b.example", "+1 212 555 0187", "123-45-6789", "MRN 12345"),
    *("https://x.org/users/1", "@ann", "&lt;", "<br>", "```", "`", "$", "$$", "|", "\n", "\n\n"),
    *(" ", "- ", "1. ", "%20", "%C3", "?", " ?", "(patient information)", "Natural history"),
    *("What is (are) ", "e\u0301", "\u00a0", "\u200b", "\x0b", "Chest pain Dizziness Nausea"),
    *("See:", "[EMAIL]", "[label](http://x.org/a)", "http://x.org", "..."),
)
OPTIONS = tuple(
    zip("ABCDE", ("Warfarin", "Sodium", "Sodium and potassium", "", "(+)"), strict=True)
)


def text_of(chance: random.Random) -> str:
    """A text of samples of our own patterns, words that they look for, prose and odd pieces."""
    parts = []
    for _ in range(chance.randint(1, 8)):
        how = chance.randrange(5)
        if how == 0:
            parts.append(sample(chance.choice(all_patterns())[1], chance))
        elif how == 1:
            parts.append(odd_text(chance))
        elif how == 2:
            prose = chance.choice(PROSE)
            start = chance.randrange(len(prose))
            parts.append(prose[start : start + chance.choice((5, 40, 300))])
        else:
            parts.append(chance.choice(WORDS))
    return chance.choice(("", " ", "\n", ", ")).join(parts)


def make_text(chance: random.Random, index: int) -> bytes:
    """A text as UTF-8; lone surrogates stay."""
    if index % 4 == 0:
        return mutant(chance, chance.choice(PROSE).encode(), [w.encode() for w in WORDS])
    return text_of(chance).encode("utf-8", "surrogatepass")


def check_text(data: bytes, folder: Path) -> str:
    """All laws of all functions of text."""
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    printable(text).encode()
    record_id("fuzz", "content", text)
    assert normalise_key(normalise_key(text)) == normalise_key(text)
    is_foreign(text)
    text = printable(text)
    for name, function in (
        ("normalise", normalise),
        ("quote_literal_markup", quote_literal_markup),
        ("scrub", lambda value: scrub(value)[0]),
        ("strip_greetings", lambda value: strip_greetings(value)[0]),
        ("split_glued_lists", lambda value: split_glued_lists(value)[0]),
        ("tidy_question", lambda value: tidy_question(value)[0]),
        ("repair_topic", lambda value: repair_topic(value)[0] and value),
    ):
        once = function(text)
        assert not has_lone_surrogate(once)
        again = function(once)
        assert again == once, f"{name} twice differs: {once!r} became {again!r}"
    assert _letters(split_glued_lists(text)[0]) == _letters(text), "a list lost a letter"
    assert text.strip().endswith(strip_greetings(text)[0].strip()[-5:]) or len(text) > 20
    _check_headings(text)
    cell = escape_cell(text)
    assert "\n" not in cell
    assert cell.count("|") == cell.count("\\|")
    cloze = parse_cloze(text)
    assert cloze.numbers == tuple(sorted(set(cloze.numbers)))
    assert cloze.numbers or text == cloze.question(0) or "{{c" in text, "no deletion, and changed"
    for number in cloze.numbers[:5]:
        assert "[" in cloze.question(number)
        cloze.answers(number)
    without = {Status.CONFLICT, Status.AMBIGUOUS, Status.REFUSAL, Status.EMPTY, Status.NONE}
    for at_limit in (False, True):
        found = parse(text, OPTIONS, at_limit=at_limit)
        assert found.letter is None or found.letter in dict(OPTIONS)
        assert (found.letter is None) == (found.status in {*without, Status.TRUNCATED}), found
    return "text"


def _letters(text: str) -> str:
    return "".join(c for c in text if not c.isspace() and c != "-")


def _check_headings(text: str) -> None:
    line = " ".join(text.split())[:300]
    for function in (names_no_topic, split_published, topic_of_title, is_apparatus):
        function(line)
    is_link_only(text)
    repair_published(line, text)
    section_question(line, line)
    page_question(line, line)
    for heading in (line, *list(STOCK_HEADINGS)[:3]):
        for style in Style:
            assert isinstance(patient_question(heading, line, style).text, str)


NAMES = sorted(SOURCES)


def make_row(chance: random.Random, index: int) -> bytes:
    """A record as JSON; its texts may hold halves of surrogate pairs."""
    style = chance.choice(("meadow", "meadow", "2023"))
    texts = {name: text_of(chance) for name in ("instruction", "input", "output")}
    return json.dumps(texts | {"source": NAMES[index % len(NAMES)], "style": style}).encode()


def check_row(data: bytes, folder: Path) -> str:
    """Kept or refused; what is kept fits a shard and stays as it is."""
    texts = json.loads(data)
    style, source = Style(texts.pop("style")), texts.pop("source")
    record = make_record(
        source=source, key=tuple(texts.values()), task=Task.OPEN_QA, license="mit", **texts
    )
    cleaned = clean_once(record, Options(style=style))
    if not isinstance(cleaned, Record):
        check_item(cleaned)
        return f"reject {cleaned.reason.value}"
    check_records([cleaned])
    if style is Style.PUBLISHED_2023 and all(encodable(text) == text for text in texts.values()):
        same = (cleaned.instruction, cleaned.input, cleaned.output) == tuple(texts.values())
        scrubbed = any(repair.startswith("scrubbed_") for repair in cleaned.repairs)
        assert scrubbed or same, "style 2023 changed more than it may"
    return "row"


KINDS = (
    Kind("texts", make_text, check_text, 10_000, "texts"),
    Kind("records", make_row, check_row, 10_000, "records"),
)
