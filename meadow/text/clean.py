"""Cleaning: what is repaired in a record, what is refused, each under a name. Idempotent.

Rules are conservative, and a source's traits say which are for it: an exam item with lab tables is
not a forum post. In style "2023" the published text is left as it is, except for what cannot be
written at all, and for personal data in free text: that is no matter of wording. What is seen but
not repaired stands in `meta` under "flags": mojibake is counted, not guessed at.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from html.entities import html5
from typing import Any, Protocol

from meadow.schema import (
    Reason,
    Record,
    Reject,
    Style,
    dump_meta,
    has_lone_surrogate,
    join_turns,
    printable,
    split_turns,
)
from meadow.text.language import is_foreign
from meadow.text.privacy import scrub, suspects
from meadow.text.render import normalise_characters, normalise_whitespace, tag_pattern
from meadow.text.scripts import lowered, raised

MAX_CHARACTERS = 200_000


class Traits(Protocol):
    """What a source says of its texts; `meadow.source.Source` is one and explains each."""

    @property
    def free_text(self) -> bool: ...  # noqa: D102
    @property
    def mixed_languages(self) -> bool: ...  # noqa: D102
    @property
    def markup(self) -> bool: ...  # noqa: D102
    @property
    def greetings(self) -> bool: ...  # noqa: D102
    @property
    def refuse(self) -> frozenset[Reason]: ...  # noqa: D102


def clean_record(record: Record, traits: Traits, style: Style) -> Record | Reject:
    """The record repaired, or why it cannot be used.

    Args:
        record: As its converter made it.
        traits: What its source says of its texts.
        style: In "2023" only what cannot be written and personal data is touched.
    """
    return clean_records([record], traits, style)[0]


def clean_records(records: Sequence[Record], traits: Traits, style: Style) -> list[Record | Reject]:
    """`clean_record` for each; far cheaper for many than one at a time.

    Args:
        records: As their converters made them, all of one source.
        traits: What the source says of its texts.
        style: In "2023" only what cannot be written and personal data is touched.
    """
    touched = style is not Style.PUBLISHED_2023
    certain = traits.greetings or not touched
    odd = [True] * len(records) if certain else _odd(records, traits.markup)
    # of a text that is neither odd nor free nothing is left to ask
    drafts = [
        _Draft(record, traits) if unclear or traits.free_text else None
        for record, unclear in zip(records, odd, strict=True)
    ]
    if touched:
        for draft, unclear in zip(drafts, odd, strict=True):
            if draft is not None and unclear:
                draft.normalise()
    if traits.free_text:
        writable = [draft for draft in drafts if draft is not None and draft.writable]
        marks = iter(suspects([text for draft in writable for text in draft.texts]))
        for draft in writable:
            draft.scrub([next(marks) for _ in draft.texts])
    return [
        record if draft is None else draft.decide(touched)
        for record, draft in zip(records, drafts, strict=True)
    ]


_FEWEST_SCREENED = 32
"""Fewer records are not worth the detour."""
_SUSPECT = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\x{ad}\x{180e}\x{200b}\x{200e}\x{200f}\x{2028}-\x{202e}"
    r"\x{2060}-\x{2064}\x{2066}-\x{2069}\x{feff}"
    r"\x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]"
    r"|[ \t]\n|\n\n\n|\A[ \t\n]|[ \t\n]\z|\?\?|[ÃÂÎÏ√¬‚\x{fffd}]|â[€‰ˆ†]|ï»¿"
)
"""What `_Draft.normalise` may change or flag, in the regular expressions of polars."""
_INERT = (
    r"\x00-\x{2ff}\x{388}-\x{482}\x{2002}-\x{20cf}\x{2100}-\x{2125}\x{212c}-\x{2328}"
    r"\x{309b}-\x{a66e}"
)
"""Characters that NFC leaves as they are, whichever of them stand beside them."""


def _odd(records: Sequence[Record], markup: bool) -> Sequence[bool]:
    """For each record whether `_Draft.normalise` could change it, or it be refused for its size.

    False is certain, True is not. A whole batch is asked at once, since almost all texts are clean.
    """
    if len(records) < _FEWEST_SCREENED:
        return [True] * len(records)
    import polars as pl

    columns = {
        name: [getattr(record, name) for record in records]
        for name in ("instruction", "input", "output")
    }
    try:
        frame = pl.DataFrame(columns, dict.fromkeys(columns, pl.String))
    except UnicodeEncodeError:
        return [True] * len(records)
    text, (instruction, input, output) = pl.col(*columns), map(pl.col, columns)

    def odd(frame: pl.DataFrame, pattern: str) -> pl.Series:
        return frame.select(
            pl.any_horizontal(
                text.str.contains(pattern),
                text.str.len_bytes() > MAX_CHARACTERS,
                output == "",
                (instruction == "") & (input == ""),
            )
        ).to_series()

    pattern = _SUSPECT if markup else f"{_SUSPECT}|[<&]"
    # a second expression costs as much as the first one: the few that match are looked at again
    found = odd(frame, f"{pattern}|[^{_INERT}]")
    again = frame.filter(found)
    certain = iter(zip(odd(again, pattern), again.iter_rows(), strict=True))
    return [maybe and _is_odd(*next(certain)) for maybe in found]


def _is_odd(suspect: bool, texts: Sequence[str]) -> bool:
    return suspect or not all(map(partial(unicodedata.is_normalized, "NFC"), texts))


class _Draft:
    """A record on its way through the rules: its texts, and what was done to them."""

    __slots__ = ("flags", "record", "removed", "repairs", "texts", "traits", "writable")

    def __init__(self, record: Record, traits: Traits) -> None:
        self.record = record
        self.traits = traits
        # of a conversation each turn is a text of its own, and the input is made of them again
        turns = split_turns(record.input, record.meta)
        self.texts = [record.instruction, "" if turns else record.input, record.output, *turns]
        self.repairs: list[str] = []
        self.flags: list[str] = []
        self.removed: dict[str, list[str]] = {}
        """Form -> the courtesies that went, as `meadow show --removed` lists them."""
        self.writable = not any(map(has_lone_surrogate, self.texts))
        """Whether every text can be encoded."""
        if not self.writable:
            _repair(self.texts, self.repairs, "joined_surrogates", _join_surrogates)
            self.writable = not any(map(has_lone_surrogate, self.texts))

    def normalise(self) -> None:
        """Markup, characters, white space and greetings."""
        texts, repairs = self.texts, self.repairs
        if not self.writable:
            return
        if any(map(_is_mojibake, texts)):
            self.flags.append("mojibake")
        if not self.traits.markup:
            _repair(texts, repairs, "unescaped_entities", _unescape)
            _repair(texts, repairs, "removed_markup", _remove_markup)
        _repair(texts, repairs, "normalised_characters", normalise_characters)
        _repair(texts, repairs, "normalised_whitespace", normalise_whitespace)
        if self.traits.greetings:
            from meadow.text.greetings import strip_greetings

            for index in (1, 2):
                texts[index], removed = strip_greetings(texts[index])
                for form, sentence in removed:
                    repairs.append(f"removed_{form}")
                    self.removed.setdefault(form, []).append(sentence)

    def scrub(self, marks: Sequence[bool]) -> None:
        """Placeholders for personal data in the texts that are suspected of it."""
        found: set[str] = set()
        for index, marked in enumerate(marks):
            if marked:
                self.texts[index], counts = _scrub(self.texts[index])
                found.update(counts)
        self.repairs.extend(f"scrubbed_{kind}" for kind in sorted(found))

    def decide(self, touched: bool) -> Record | Reject:
        """The record with its new texts, or why it cannot be used."""
        record, texts, turns = self.record, self.texts[:3], self.texts[3:]
        if turns:
            texts[1] = join_turns(turns)
        if not self.writable:
            return _reject(record, Reason.LONE_SURROGATE, "half of a surrogate pair")
        if touched and (refused := _refuse(self.traits, texts)):
            return _reject(record, *refused)
        if not texts[2].strip():
            return _reject(record, Reason.EMPTY_OUTPUT, "nothing to learn from")
        if not texts[0].strip() and not texts[1].strip():
            return _reject(record, Reason.EMPTY_INPUT, "nothing to answer")
        cleaned = record
        if self.repairs:
            if touched and not self.flags and any(map(_is_mojibake, texts)):
                self.flags.append("mojibake")  # a repair can bring it to light
            cleaned = record.with_text(
                instruction=texts[0], input=texts[1], output=texts[2], repairs=self.repairs
            )
        noted = {
            "removed": self.removed,
            "flags": self.flags,
            "turns": [len(turn) for turn in turns],
        }
        return _note(cleaned, noted) if any(noted.values()) else cleaned


@lru_cache(maxsize=256)
def _scrub(text: str) -> tuple[str, dict[str, int]]:
    """`scrub`, remembered: instructions are all the same, and many answers share a question."""
    return scrub(text)


def _repair(
    texts: list[str], repairs: list[str], name: str, function: Callable[[str], str]
) -> None:
    """Apply one repair to all texts, and note it where it changed any."""
    repaired = list(map(function, texts))
    if repaired != texts:
        texts[:] = repaired
        repairs.append(name)


def _refuse(traits: Traits, texts: list[str]) -> tuple[Reason, str] | None:
    """Why the cleaned texts are no example; None where they are one."""
    _, question, answer = texts
    longest = max(map(len, texts))
    if longest > MAX_CHARACTERS:
        return Reason.TOO_LONG, f"{longest:,} characters; at most {MAX_CHARACTERS:,}"
    if not traits.free_text:
        return None
    end = answer[-60:]
    if ("[" in end or "..." in end or "…" in end) and _TRUNCATED.search(end):
        return Reason.TRUNCATED, "the answer says that it goes on elsewhere"
    if Reason.TOO_SHORT in traits.refuse and answer and not _WORD.search(answer):
        return Reason.TOO_SHORT, "no letter and no digit in the answer"
    if Reason.LINK_ONLY in traits.refuse and _is_link_only(answer):
        return Reason.LINK_ONLY, "the answer is a link"
    if not traits.markup and "<" in answer and _MARKUP.search(answer):
        return Reason.HTML_RESIDUE, "markup is left after the repair"
    if traits.mixed_languages:
        parts = [question[:1000], answer[:1000]]
        if min(map(len, parts)) < _TELLS_ITS_LANGUAGE:
            parts.append("\n".join(parts))  # too short by itself, but not together
        if any(map(is_foreign, parts)):
            return Reason.LANGUAGE, "not English"
    return None


_TELLS_ITS_LANGUAGE = 200
"""Characters from which on a text has letters enough to tell its language by itself."""


def _join_surrogates(text: str) -> str:
    """UTF-16 pairs that came as two halves, as the one character that they are."""
    if not has_lone_surrogate(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


_ESCAPE = re.compile(
    r"\\{1,2}u([0-9A-Fa-f]{4})|((?:\\{1,2}x[0-9A-Fa-f]{2})+)|\\n(?=[A-Za-z(])", re.ASCII
)


def decode_escapes(text: str) -> str:
    r"""The characters that a program wrote by their numbers, as in `p \xe2\x89\xa4\u20090.05`.

    For texts of running words: in code and in TeX a backslash is the author's.

    >>> decode_escapes(r"p\u2009\xe2\x89\xa40.05, age\nand 5\\xa0mg")
    'p\u2009≤0.05, age and 5\xa0mg'
    """
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(match: re.Match[str]) -> str:
    number, numbers = match.groups()
    if number is not None:
        return match[0] if 0xD800 <= (code := int(number, 16)) < 0xE000 else chr(code)
    if numbers is None:
        return " "
    codes = bytes.fromhex(numbers.replace("\\", "").replace("x", ""))
    spaces = not codes.strip(b"\xa0\xad")
    try:
        return codes.decode("latin-1" if spaces or len(codes) == 1 else "utf-8")
    except UnicodeDecodeError:
        return match[0]


_DOUBLED = re.compile(r'"{2,}')


def without_stray_quotes(text: str) -> str:
    """The text without what a spreadsheet's quotation left of it.

    Upstream has options that go on with a line of one quotation mark, quotations in three marks,
    and questions that end in `?"`.

    >>> without_stray_quotes('Which drug?"'), without_stray_quotes('He says "no."')
    ('Which drug?', 'He says "no."')
    """
    text = _DOUBLED.sub('"', text.strip()).replace('?"\n"', "?\n")
    # quotations of upstream open with one kind and close with another
    unpaired = (text.count('"') + text.count("”") - text.count("“")) % 2
    return text[:-1].rstrip() if unpaired and text.endswith('"') else text


_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31};|#\d{1,7};|#[xX][0-9A-Fa-f]{1,6};)")


def _unescape(text: str) -> str:
    """Entities as characters, also where they were escaped more than once."""
    for _ in range(4):
        if "&" not in text:
            break
        before, text = text, _ENTITY.sub(_character, text)
        if text == before:
            break
    return text


def _character(entity: re.Match[str]) -> str:
    known = entity[1].startswith("#") or entity[1] in html5
    return html.unescape(entity[0]) if known else entity[0]


_BREAKING = re.compile(tag_pattern("(?:jats:)?(?:p|br|div|li|ul|ol|tr|table|h[1-6]|sec|title)"))
_INLINE = re.compile(
    tag_pattern("(?:jats:)?(?:b|i|u|em|strong|span|font|a|tbody|italic|bold|sc|small|big)")
)
_CELL = re.compile(tag_pattern("t[dh]"))
_SHIFTED = re.compile(
    r"<(?:jats:)?(su[bp])\b[^<>]{0,200}>([^<>]{0,200})</(?:jats:)?\1>", re.IGNORECASE
)
_MARKUP = re.compile(
    r"</?(?:script|style|iframe|img|html|body|form|input)\b[^<>]{0,500}>", re.IGNORECASE
)


def _remove_markup(text: str) -> str:
    """Tags of running text gone, a line break where they broke the line."""
    while "<" in text:
        bare = _CELL.sub(" ", _INLINE.sub("", _BREAKING.sub("\n", text)))
        bare = _SHIFTED.sub(_shifted, bare)
        if bare == text:
            break
        text = bare
    return text


def _shifted(match: re.Match[str]) -> str:
    return raised(match[2]) if match[1].lower() == "sup" else lowered(match[2])


_LINK = re.compile(
    r"\[([^\]\n]{0,300})\]\([^()\s]{1,2000}(?:\([^()\s]{0,200}\)[^()\s]{0,500})*\)"
    r"|https?://\S+"
)
_POINTER = re.compile(
    r"(?i)\A(?:here|this|link|this (?:link|page|post|answer|question|site)|see here)\Z"
)
_MOST_SPACES = 100
"""A text with more has words of its own, whatever it links to."""
_ENOUGH_LETTERS = 60
_WORDS_ENOUGH = re.compile(rf"(?:[\W_]*+[^\W_]){{{_ENOUGH_LETTERS}}}")
_FOUND_ELSEWHERE = re.compile(r"(?i)\bcan be found (?:here|at)\b")
_WORD = re.compile(r"[^\W_]")


def _is_link_only(answer: str) -> bool:
    """Whether the answer only points elsewhere."""
    if "](" not in answer and "://" not in answer:
        return False
    found = [at for cue in ("[", "http") if (at := answer.find(cue)) >= 0]
    start = min(found, default=len(answer))
    if answer.count(" ") > _MOST_SPACES or _WORDS_ENOUGH.match(answer, 0, start):
        return False

    def label(match: re.Match[str]) -> str:
        shown = match.group(1) or ""
        return "" if _POINTER.match(shown.strip("*_ ")) else shown

    rest = _LINK.sub(label, answer)
    length = len(_WORD.findall(rest))
    return length < 15 or (length < _ENOUGH_LETTERS and _FOUND_ELSEWHERE.search(rest) is not None)


_TRUNCATED = re.compile(
    r"(?i)(?:\[(?:\.{3}|…|truncated|continued)\]"
    r"|(?:\.{3}|…)\s*(?:read|see|show|view) more)\W{0,3}\Z"
)
_MOJIBAKE = re.compile(
    r"Ã[\x80-\xbf]|â(?:€|‰[¤¥ˆ]|ˆ[¼’‘]|†[’‘])|Â[\xa0°±·]|[ÎÏ](?:[\x80-\xbf]|[€‚ƒ„…†‡ˆ‰Š‹Œ])|ï»¿"
    # UTF-8 that was read as Mac Roman, and that once more
    r"|‚(?:Ä|â[§•])|√(?:[©®±º∂ß°]|é¬|¢[‚√ÄÇâ])|¬(?:∞|±|µ)"
    r"|\ufffd|[A-Za-z]\?\?(?:ve|re|ll|[dlmste])(?![A-Za-z])"
)


_MOJIBAKE_CUES = ("??", "Ã", "â", "Â", "Î", "Ï", "√", "¬", "‚", "ï»¿", "\ufffd")


def _is_mojibake(text: str) -> bool:
    # the search costs more than all other cleaning: plain text is told first
    if text.isascii() and "??" not in text:
        return False
    return any(cue in text for cue in _MOJIBAKE_CUES) and _MOJIBAKE.search(text) is not None


def _note(record: Record, found: Mapping[str, Any]) -> Record:
    meta = json.loads(record.meta)
    meta |= {name: value for name, value in found.items() if value and name != "flags"}
    if flags := dict.fromkeys((*meta.get("flags", ()), *found["flags"])):
        meta["flags"] = list(flags)
    return record._replace(meta=dump_meta(meta))


def _reject(record: Record, reason: Reason, detail: str) -> Reject:
    where = record.source_id or record.id
    return Reject(where, reason, detail, printable(record.output or record.input)[:500])
