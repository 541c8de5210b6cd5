"""Personal data in free text: found by linear patterns, replaced by typed placeholders, counted.

Attribution lives in columns; this module sees only the texts of a record. Each pattern stands
behind a cheap test (is there an `@` at all?), which makes the common row nearly free. Numbers that
are doses, values, ICD codes, DOIs or PMIDs stay: a number goes only with a cue beside it or in a
form that nothing else has. Toll-free numbers are those of hotlines and stay. Names are looked for
where people greet and sign; others may remain, and the card says so. Values are never logged or
kept, only counts per kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


class Kind(StrEnum):
    """What a finding is; its upper-case form in brackets is the placeholder."""

    CREDENTIALS = "credentials"
    EMAIL = "email"
    PROFILE_LINK = "profile_link"
    HANDLE = "handle"
    SSN = "ssn"
    RECORD_NUMBER = "record_number"
    PHONE = "phone"
    IP_ADDRESS = "ip_address"
    NAME = "name"

    @property
    def placeholder(self) -> str:
        """What stands in the text instead."""
        return f"[{self.value.upper()}]"


@dataclass(frozen=True, slots=True)
class _Rule:
    """One pattern behind cheap tests.

    Args:
        kind: What it finds.
        pattern: Its group `found` is what goes, or the whole match where it has none.
        cues: One of these stands in the lower-cased text, or there is nothing to find; empty: any.
        words: One of these must stand there before the cues are looked at; empty: any.
        digits: The text must hold so many digits with no more than separators between them.
        keeps: Says of a match that it is something else after all.
        in_code: Whether it is looked for inside code, too.
        screen: What a text with a finding holds at least, in the regular expressions of polars
            (no look-around, one pass): how a thousand texts are told apart at once.
    """

    kind: Kind
    pattern: re.Pattern[str]
    screen: str
    cues: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    digits: int = 0
    keeps: Callable[[re.Match[str]], bool] = lambda match: False
    in_code: bool = True


_TOLL_FREE = frozenset({"800", "833", "844", "855", "866", "877", "888"})


def _is_no_phone(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match.group("found"))
    if not 7 <= len(digits) <= 15:
        return True
    national = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    return len(national) == 10 and national[:3] in _TOLL_FREE


def _is_no_address(match: re.Match[str]) -> bool:
    return any(int(part) > 255 for part in match.group("found").split("."))


_NOT_NAMES = (
    "all any anyone anybody advance again and are best beforehand both but can cheers community "
    "could dear doc doctor doctors do dr each everybody everyone experts folks for forum friend "
    "friends from good greetings group guys have health help here hi hello hey how i if in is it "
    "just kindly ladies let lot madam maam many me medical member members miss mom mother mr "
    "mrs ms much my nurse of prof sister "
    "once one our patient people please professor readers regards said same sir sirs so some "
    "someone team thank thanks that the there these they this to today user users very viewer "
    "viewers we well what when where which who why will wish with wonderful world would you your"
)
_NOT_A_NAME = frozenset(_NOT_NAMES.split())
_WORD_NAME = r"(?:[DO]['’]|Ma?c)?[A-ZÀ-Þ][a-zà-ÿ]+(?:[-'’][A-ZÀ-Þ][a-zà-ÿ]+)?"
_NAME = rf"{_WORD_NAME}(?:[ ](?:[A-Z]\.[ ]?)?{_WORD_NAME}){{0,2}}"
_TITLE = r"(?:[Dd]r\.?|[Dd]octor|[Mm]r\.?|[Mm]rs\.?|[Mm]s\.?|[Mm]iss|[Pp]rof\.?|[Nn]urse|[Ss]ister)"


def _is_no_name(match: re.Match[str]) -> bool:
    return match.group("found").split()[0].lower() in _NOT_A_NAME


_GREETINGS = ("dear", "hi", "hello", "hey", "respected", "good morning", "good evening")
_CLOSING = (
    r"(?:[Kk]ind(?:est)?[ ]|[Ww]arm(?:est)?[ ]|[Bb]est[ ]|[Tt]hanks[ ](?:and|&)[ ])?[Rr]egards"
    r"|[Bb]est[ ]wishes|[Ss]incerely(?:[ ]yours)?|[Yy]ours[ ](?:truly|sincerely|faithfully)"
    r"|[Cc]heers|[Ww]ith[ ]love|[Tt]ake[ ]care|[Mm]any[ ]thanks|[Tt]hanks(?:[ ]again)?"
    r"|[Tt]hank[ ]you(?:[ ]very[ ]much)?|[Rr]espectfully"
)
_CLOSING_CUES = (
    *("regards", "wishes", "sincerely", "yours ", "cheers", "with love", "take care"),
    *("thanks", "thank you", "respectfully"),
)
_PHONE_CUES = ("phone", "tel", "mobile", "cell", "call", "fax", "whatsapp", "text me", "contact")
_PHONE_CUE = (
    r"(?i:\b(?:tele)?phone|\btel\b\.?|\bmobile"
    r"|\bcell(?=[ ]?(?:phone|no|:|[+(]|\d{3}[ .-]\d{3}[ .-]))"
    r"|\bcall(?:ed|ing)?|\bfax|\bwhatsapp"
    r"|\btext me|\bcontact)(?i:[ ](?:number|no\.?|me|us|him|her|on|at|is|my)){0,3}"
)
_NUMBERED_THINGS = (
    *("medical record", "patient", "hospital", "chart", "nhs", "insurance", "policy", "member"),
)
_NUMBERED = "|".join(_NUMBERED_THINGS)
# these words are everywhere in medical texts: only with "number", "no", "id" or "#" behind them
_NUMBERED_CUES = (
    *(f"{thing} {start}" for thing in _NUMBERED_THINGS for start in ("n", "i", "#")),
    *(f"{thing}'s " for thing in _NUMBERED_THINGS),
    "mrn",
)

_NAME_START = r"(?:[DO]['’]|Ma?c)?[A-ZÀ-Þ][a-zà-ÿ]"
_GAP = r"[\s\x1c-\x1f]{0,2}"

_RULES: tuple[_Rule, ...] = (
    _Rule(
        Kind.CREDENTIALS,
        screen=r"://[^\s/@:]+:[^\s/@]+@",
        pattern=re.compile(r"(?<=://)(?P<found>[^\s/@:]{1,64}:[^\s/@]{1,64})(?=@[\w.-]{1,200})"),
        cues=("@",),
    ),
    _Rule(
        Kind.EMAIL,
        screen=r"@[A-Za-z0-9-]+\.",
        pattern=re.compile(
            r"(?<![\w.+%@-])[A-Za-z0-9][\w.+%'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}"
            r"(?![\w@-])"
        ),
        cues=("@",),
    ),
    _Rule(
        Kind.EMAIL,
        screen=r"[(\[{] ?(?:at|AT) ?[)\]}]",
        pattern=re.compile(
            r"(?<![\w.+%-])[\w.+%-]{1,64} ?[(\[{] ?(?:at|AT) ?[)\]}] ?[\w-]{1,63}"
            r"(?: ?(?:\.|[(\[{] ?(?:dot|DOT|\.) ?[)\]}]) ?[\w-]{2,63}){1,3}"
        ),
        cues=("(at)", "[at]", "{at}", "( at )", "[ at ]"),
    ),
    _Rule(
        Kind.PROFILE_LINK,
        screen=(
            r"/users?/-?\d|facebook\.com/|twitter\.com/|x\.com/|instagram\.com/|linkedin\.com/in/"
            r"|researchgate\.net/profile/|reddit\.com/u"
        ),
        pattern=re.compile(
            r"(?:https?://)?(?<![\w.])(?:[\w-]{1,63}\.){0,3}(?:[\w-]{1,63}\.(?:com|net|org)"
            r"/users?/-?\d{1,12}(?:/[\w.%-]{0,100})?(?:\?[\w=&.%-]{0,200})?"
            r"|facebook\.com/(?:profile\.php\?id=\d{1,20}|[\w.-]{3,60})/?(?![\w/?.])"
            r"|(?:twitter|x|instagram)\.com/@?\w[\w.]{0,38}\w/?(?![\w/?])"
            r"|linkedin\.com/in/[\w.%-]{1,100}/?"
            r"|researchgate\.net/profile/[\w.%-]{1,100}/?"
            r"|reddit\.com/u(?:ser)?/[\w-]{2,40}/?)"
        ),
        cues=("/user", "book.com/", "itter.com/", "/x.com/", "gram.com/", "/in/", "/prof", "/u/"),
    ),
    _Rule(
        Kind.HANDLE,
        screen=r"@[A-Za-z_]",
        pattern=re.compile(r"(?<![\w@/.`\\&\]])(?P<found>@[A-Za-z_][\w.-]{1,38}\w)(?![\w@(])"),
        cues=("@",),
        in_code=False,
    ),
    _Rule(
        Kind.SSN,
        screen=r"\d{3}-\d{2}-\d{4}",
        pattern=re.compile(
            r"(?<![\w./-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w/-])"
        ),
        digits=7,
    ),
    _Rule(
        Kind.SSN,
        screen=rf"(?i:ssn|social security(?: (?:number|no\.?))?){_GAP}(?i:is|:|#|=)?{_GAP}\d",
        pattern=re.compile(
            r"(?i:\bSSN|\bsocial security(?: (?:number|no\.?))?)\s{0,2}(?i:is|:|#|=)?"
            r"\s{0,2}(?P<found>\d{3}[ -]?\d{2}[ -]?\d{4})(?!\d)"
        ),
        cues=("ssn", "social security"),
        digits=7,
    ),
    _Rule(
        Kind.RECORD_NUMBER,
        screen=(
            rf"(?i:mrn|(?:{_NUMBERED})(?:'s)? (?:number|no\.?|id|identifier|#)){_GAP}"
            rf"(?i:is|:|#|=|no\.?)?{_GAP}#?[A-Z]{{0,4}}-?\d"
        ),
        pattern=re.compile(
            rf"(?:\b(?i:MRN)|(?i:\b(?:{_NUMBERED})(?:'s)? (?:number|no\b\.?|id\b|identifier|#)))"
            r"\s{0,2}(?i:is\b|:|#|=|no\b\.?)?\s{0,2}#?"
            r"(?P<found>[A-Z]{0,4}-?\d[\d -]{2,14}\d)(?!\w)"
        ),
        cues=_NUMBERED_CUES,
        words=("mrn", "record", "patient", "hospital", "chart", "nhs", "insur", "policy", "member"),
        digits=4,
    ),
    _Rule(
        Kind.PHONE,
        screen=(
            r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}[ .-]?\d{2}|\(\d{3}\) ?\d{3}[ .-]?\d{4}"
            r"|\(0\d{2,4}\) ?\d{3}|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}"
            r"|[2-9]\d{2} [2-9]\d{2} \d{4}|0\d{2,4}[ -]\d{3,4}[ -]?\d{3}"
        ),
        pattern=re.compile(
            r"(?<![\w./+-])(?<!\d[ ])(?P<found>"
            r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}(?:[ .-]?\d{2,5}){1,4}"
            r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]?\d{4}"
            r"|\(0\d{2,4}\) ?\d{3,4}[ -]?\d{3,4}"
            r"|(?:1-)?\d{3}-\d{3}-\d{4}|(?:1\.)?\d{3}\.\d{3}\.\d{4}"
            r"|[2-9]\d{2}[ ][2-9]\d{2}[ ]\d{4}|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}"
            r")(?![\w/%-])(?![ ]?(?:mg|mcg|ml|mL|g|kg|units?|IU|kcal|\d)\b)"
        ),
        digits=7,
        keeps=_is_no_phone,
    ),
    _Rule(
        Kind.PHONE,
        screen=(
            r"(?i:phone|tel\.?|mobile|cell|call(?:ed|ing)?|fax|whatsapp|text me|contact)"
            rf"(?i: (?:number|no\.?|me|us|him|her|on|at|is|my)){{0,3}}{_GAP}[:=#]?{_GAP}"
            r"\+?\(?\d[\d().]{0,5}[ .-]?\d{2}"
        ),
        pattern=re.compile(
            rf"{_PHONE_CUE}\s{{0,2}}[:=#]?\s{{0,2}}"
            r"(?P<found>\+?\(?\d[\d().]{0,5}(?:[ .-]?\d{2,6}){1,5})(?![\w/%])"
        ),
        cues=_PHONE_CUES,
        digits=7,
        keeps=_is_no_phone,
    ),
    _Rule(
        Kind.IP_ADDRESS,
        screen=r"\d\.\d{1,3}\.\d{1,3}\.\d",
        pattern=re.compile(
            r"(?:\bIP(?:v4)?\b(?: address)?|\b[Ll]ogged in from|\b[Ss]erver at|\bhost)"
            r"[ ]?(?:is|was|of|:|=)?[ ]?(?P<found>\d{1,3}(?:\.\d{1,3}){3})(?!\.?\w)"
        ),
        cues=("ip", "logged in from", "server at", "host"),
        digits=4,
        keeps=_is_no_address,
    ),
    _Rule(
        Kind.NAME,
        screen=(
            rf"(?m:^)(?i:{'|'.join(_GREETINGS)}|good afternoon)(?: there)?,? (?:{_TITLE} )?"
            rf"{_NAME_START}"
        ),
        pattern=re.compile(
            rf"^(?i:{'|'.join(_GREETINGS)}|good afternoon)(?:[ ]there)?,?[ ]"
            rf"(?:{_TITLE}[ ])?(?P<found>{_NAME})(?=[ ]?[,.!:;\n–-]|$)",
            re.MULTILINE,
        ),
        cues=tuple(f"\n{greeting}" for greeting in (*_GREETINGS, "good afternoon")),
        keeps=_is_no_name,
    ),
    _Rule(
        Kind.NAME,
        screen=(
            rf"(?:{_CLOSING}) ?[,.!-]{{0,2}}[\s\x1c-\x1f]{{1,3}}[-–—~]? ?(?:{_TITLE} ?)?"
            rf"{_NAME_START}"
        ),
        pattern=re.compile(
            rf"(?<![\w-])(?:{_CLOSING})[ ]?[,.!-]{{0,2}}\s{{1,3}}[-–—~]?[ ]?(?:{_TITLE}[ ]?)?"
            rf"(?P<found>{_NAME})(?=[ ]?(?:,[ ]?(?:M\.?D\.?|Ph\.?D\.?|RN|MBBS|DO)\b[^\n]{{0,40}})?"
            r"[ ]?[.!]?\s{0,5}(?:\n|\Z))"
        ),
        cues=_CLOSING_CUES,
        keeps=_is_no_name,
    ),
    _Rule(
        Kind.NAME,
        screen=(
            r"(?:[Mm]y (?:full )?name is|[Mm]y name's|(?i:(?:patient|full) name|name of patient) ?"
            rf"[:=]) ?(?:{_TITLE} )?{_NAME_START}"
        ),
        pattern=re.compile(
            r"(?:[Mm]y (?:full )?name is|[Mm]y name's"
            r"|(?i:(?:patient|full) name|name of patient)[ ]?[:=])"
            rf"[ ]?(?:{_TITLE}[ ])?(?P<found>{_NAME})"
        ),
        cues=("name is", "name's", "patient name", "name of patient", "full name"),
        keeps=_is_no_name,
    ),
)

_MOST_ROUNDS = 8
"""Findings without a space between them; more than this is no text that anybody wrote."""
_RUNS = (
    # written out, since a repeated group costs several times as much
    (7, re.compile(r"\d" + r"[ .()-]{0,2}\d" * 6)),
    (4, re.compile(r"\d" + r"[ .-]?\d" * 3)),
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,500}`", re.DOTALL)


_FEWEST_SCREENED = 32
"""Fewer texts are not worth the detour."""
_FOLDED = "[ıİ]"
"""Letters that Python takes for an i where case is ignored, and polars does not."""


def suspects(texts: Sequence[str]) -> Sequence[bool]:
    """For each text whether `scrub` could change it; False is certain, True is not.

    Args:
        texts: Without lone surrogates.
    """
    if len(texts) < _FEWEST_SCREENED:
        return [True] * len(texts)
    import polars as pl

    # instructions are all the same, and many answers share a question
    distinct = dict.fromkeys(texts)
    text = pl.col("text")
    frame = pl.DataFrame({"text": pl.Series(list(distinct), dtype=pl.String)}).with_columns(
        found=_any_of(_PLAIN_SCREENS), number=text.str.contains(_NUMBER)
    )
    # most texts hold no number of four digits, and half of the rules need one
    numbers = frame["number"].to_numpy()
    found = frame["found"].to_numpy().copy()
    found[numbers] |= frame.filter("number").select(_any_of(_NUMBER_SCREENS)).to_series().to_numpy()
    marks: dict[str, bool] = dict(zip(distinct, found.tolist(), strict=True))
    return [marks[each] for each in texts]


def _any_of(screens: Sequence[str]) -> pl.Expr:
    import polars as pl

    return pl.any_horizontal([pl.col("text").str.contains(screen) for screen in screens])


_NUMBER = r"\d[ .()-]{0,2}\d[ .()-]{0,2}\d[ .()-]{0,2}\d"
_PLAIN_SCREENS = (_FOLDED, *dict.fromkeys(rule.screen for rule in _RULES if not rule.digits))
_NUMBER_SCREENS = tuple(dict.fromkeys(rule.screen for rule in _RULES if rule.digits))


def scrub(text: str) -> tuple[str, dict[str, int]]:
    """The text with placeholders for personal data, and how many of each kind.

    Idempotent; a text without findings comes back as the same object.
    """
    counts: Counter[str] = Counter()
    for _ in range(_MOST_ROUNDS):
        # a placeholder can free its neighbour, so a text with findings is looked at again
        scrubbed = _scrub_once(text, counts)
        if scrubbed is text:
            break
        text = scrubbed
    return text, dict(counts)


def _scrub_once(text: str, counts: Counter[str]) -> str:
    for rule in _suspected(text):
        code = [] if rule.in_code or "`" not in text else [m.span() for m in _CODE.finditer(text)]
        pieces: list[str] = []
        position = 0
        for match in rule.pattern.finditer(text):
            if rule.keeps(match) or any(start <= match.start() < end for start, end in code):
                continue
            start, end = match.span("found" if "found" in rule.pattern.groupindex else 0)
            pieces += (text[position:start], rule.kind.placeholder)
            position = end
            counts[rule.kind.value] += 1
        if pieces:
            text = "".join((*pieces, text[position:]))
    return text


def _suspected(text: str) -> Iterator[_Rule]:
    """The rules that can find anything, by cheap tests on the text as it came."""
    # the line feed lets a cue ask for the beginning of a line
    lower = f"\n{text.lower()}"
    most = next((least for least, run in _RUNS if run.search(text)), 0)
    for rule in _RULES:
        if rule.digits > most:
            continue
        if _any_in(lower, rule.words) and _any_in(lower, rule.cues):
            yield rule


def _any_in(text: str, needles: tuple[str, ...]) -> bool:
    """Whether one of the needles stands in the text; where there are none, nothing is asked."""
    for needle in needles:  # a loop: any() with a generator costs twice as much
        if needle in text:
            return True
    return not needles
