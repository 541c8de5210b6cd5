"""What counts as personal data: one rule per form of it, in the order in which they are applied.

Every pattern is linear: no repetition inside a repetition, and bounds on what may be long. How the
rules are applied is `meadow.text.privacy`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


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
class Rule:
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

RULES: tuple[Rule, ...] = (
    Rule(
        Kind.CREDENTIALS,
        screen=r"://[^\s/@:]+:[^\s/@]+@",
        pattern=re.compile(r"(?<=://)(?P<found>[^\s/@:]{1,64}:[^\s/@]{1,64})(?=@[\w.-]{1,200})"),
        cues=("@",),
    ),
    Rule(
        Kind.EMAIL,
        screen=r"@[A-Za-z0-9-]+\.",
        pattern=re.compile(
            r"(?<![\w.+%@-])[A-Za-z0-9][\w.+%'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}"
            r"(?![\w@-])"
        ),
        cues=("@",),
    ),
    Rule(
        Kind.EMAIL,
        screen=r"[(\[{] ?(?:at|AT) ?[)\]}]",
        pattern=re.compile(
            r"(?<![\w.+%-])[\w.+%-]{1,64} ?[(\[{] ?(?:at|AT) ?[)\]}] ?[\w-]{1,63}"
            r"(?: ?(?:\.|[(\[{] ?(?:dot|DOT|\.) ?[)\]}]) ?[\w-]{2,63}){1,3}"
        ),
        cues=("(at)", "[at]", "{at}", "( at )", "[ at ]"),
    ),
    Rule(
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
    Rule(
        Kind.HANDLE,
        screen=r"@[A-Za-z_]",
        pattern=re.compile(r"(?<![\w@/.`\\&\]])(?P<found>@[A-Za-z_][\w.-]{1,38}\w)(?![\w@(])"),
        cues=("@",),
        in_code=False,
    ),
    Rule(
        Kind.SSN,
        screen=r"\d{3}-\d{2}-\d{4}",
        pattern=re.compile(
            r"(?<![\w./-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w/-])"
        ),
        digits=7,
    ),
    Rule(
        Kind.SSN,
        screen=rf"(?i:ssn|social security(?: (?:number|no\.?))?){_GAP}(?i:is|:|#|=)?{_GAP}\d",
        pattern=re.compile(
            r"(?i:\bSSN|\bsocial security(?: (?:number|no\.?))?)\s{0,2}(?i:is|:|#|=)?"
            r"\s{0,2}(?P<found>\d{3}[ -]?\d{2}[ -]?\d{4})(?!\d)"
        ),
        cues=("ssn", "social security"),
        digits=7,
    ),
    Rule(
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
    Rule(
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
    Rule(
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
    Rule(
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
    Rule(
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
    Rule(
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
    Rule(
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
