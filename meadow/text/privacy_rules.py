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
    """One pattern.

    Args:
        kind: What it finds.
        pattern: Its group `found` is what goes, or the whole match where it has none.
        number: Whether a finding holds four digits with no more than separators between them.
        keeps: Says of a match that it is something else after all.
        in_code: Whether it is looked for inside code, too.
    """

    kind: Kind
    pattern: re.Pattern[str]
    number: bool = False
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


_GREETINGS = "dear|hi|hello|hey|respected|good (?:morning|afternoon|evening)"
_CLOSING = (
    r"(?:[Kk]ind(?:est)?[ ]|[Ww]arm(?:est)?[ ]|[Bb]est[ ]|[Tt]hanks[ ](?:and|&)[ ])?[Rr]egards"
    r"|[Bb]est[ ]wishes|[Ss]incerely(?:[ ]yours)?|[Yy]ours[ ](?:truly|sincerely|faithfully)"
    r"|[Cc]heers|[Ww]ith[ ]love|[Tt]ake[ ]care|[Mm]any[ ]thanks|[Tt]hanks(?:[ ]again)?"
    r"|[Tt]hank[ ]you(?:[ ]very[ ]much)?|[Rr]espectfully"
)
_PHONE_CUE = (
    r"(?i:\b(?:tele)?phone|\btel\b\.?|\bmobile"
    r"|\bcell(?=[ ]?(?:phone|no|:|[+(]|\d{3}[ .-]\d{3}[ .-]))"
    r"|\bcall(?:ed|ing)?|\bfax|\bwhatsapp"
    r"|\btext me|\bcontact)(?i:[ ](?:number|no\.?|me|us|him|her|on|at|is|my)){0,3}"
)
# these words are everywhere in medical texts: only with "number", "no", "id" or "#" behind them
_NUMBERED = "medical record|patient|hospital|chart|nhs|insurance|policy|member"

RULES: tuple[Rule, ...] = (
    Rule(
        Kind.CREDENTIALS,
        pattern=re.compile(r"://(?P<found>[^\s/@:]{1,64}:[^\s/@]{1,64})@[\w.-]{1,200}"),
    ),
    Rule(
        Kind.EMAIL,
        pattern=re.compile(
            r"(?<![\w.+%@-])[A-Za-z0-9][\w.+%'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}"
            r"(?![\w@-])"
        ),
    ),
    Rule(
        Kind.EMAIL,
        pattern=re.compile(
            r"(?<![\w.+%-])[\w.+%-]{1,64} ?[(\[{] ?(?:at|AT) ?[)\]}] ?[\w-]{1,63}"
            r"(?: ?(?:\.|[(\[{] ?(?:dot|DOT|\.) ?[)\]}]) ?[\w-]{2,63}){1,3}"
        ),
    ),
    Rule(
        Kind.PROFILE_LINK,
        pattern=re.compile(
            r"(?:https?://)?(?<![\w.])(?:[\w-]{1,63}\.){0,3}(?:[\w-]{1,63}\.(?:com|net|org)"
            r"/users?/-?\d{1,12}(?:/[\w.%-]{0,100})?(?:\?[\w=&.%-]{0,200})?"
            r"|facebook\.com/(?:profile\.php\?id=\d{1,20}|[\w.-]{3,60})/?(?![\w/?.])"
            r"|(?:twitter|x|instagram)\.com/@?\w[\w.]{0,38}\w/?(?![\w/?])"
            r"|linkedin\.com/in/[\w.%-]{1,100}/?"
            r"|researchgate\.net/profile/(?![\w.%-]{1,100}/publication/)[\w.%-]{1,100}/?"
            r"|reddit\.com/u(?:ser)?/[\w-]{2,40}/?)"
        ),
    ),
    Rule(
        Kind.HANDLE,
        pattern=re.compile(r"(?<![\w@/.`\\&\]])(?P<found>@[A-Za-z_][\w.-]{1,38}\w)(?![\w@(])"),
        in_code=False,
    ),
    Rule(
        Kind.SSN,
        pattern=re.compile(
            r"(?<![\w./-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w/-])"
        ),
        number=True,
    ),
    Rule(
        Kind.SSN,
        pattern=re.compile(
            r"(?i:\bSSN|\bsocial security(?: (?:number|no\.?))?)\s{0,2}(?i:is|:|#|=)?"
            r"\s{0,2}(?P<found>\d{3}[ -]?\d{2}[ -]?\d{4})(?!\d)"
        ),
        number=True,
    ),
    Rule(
        Kind.RECORD_NUMBER,
        pattern=re.compile(
            rf"(?:\b(?i:MRN)|(?i:\b(?:{_NUMBERED})(?:'s)? (?:number|no\b\.?|id\b|identifier|#)))"
            r"\s{0,2}(?i:is\b|:|#|=|no\b\.?)?\s{0,2}#?"
            r"(?P<found>[A-Z]{0,4}-?\d[\d -]{2,14}\d)(?!\w)"
        ),
        number=True,
    ),
    Rule(
        Kind.PHONE,
        pattern=re.compile(
            r"(?<![\w./+-])(?<!\d[ ])(?P<found>"
            r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}(?:[ .-]?\d{2,5}){1,4}"
            r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]?\d{4}"
            r"|\(0\d{2,4}\) ?\d{3,4}[ -]?\d{3,4}"
            r"|(?:1-)?\d{3}-\d{3}-\d{4}|(?:1\.)?\d{3}\.\d{3}\.\d{4}"
            r"|[2-9]\d{2}[ ][2-9]\d{2}[ ]\d{4}|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}"
            r")(?![\w/%-])(?![ ]?(?:mg|mcg|ml|mL|g|kg|units?|IU|kcal|\d)\b)"
        ),
        number=True,
        keeps=_is_no_phone,
    ),
    Rule(
        Kind.PHONE,
        pattern=re.compile(
            rf"{_PHONE_CUE}\s{{0,2}}[:=#]?\s{{0,2}}"
            r"(?P<found>\+?\(?\d[\d().]{0,5}(?:[ .-]?\d{2,6}){1,5})(?![\w/%])"
        ),
        number=True,
        keeps=_is_no_phone,
    ),
    Rule(
        Kind.IP_ADDRESS,
        pattern=re.compile(
            r"(?:\bIP(?:v4)?\b(?: address)?|\b[Ll]ogged in from|\b[Ss]erver at|\bhost)"
            r"[ ]?(?:is|was|of|:|=)?[ ]?(?P<found>\d{1,3}(?:\.\d{1,3}){3})(?!\.?\w)"
        ),
        number=True,
        keeps=_is_no_address,
    ),
    Rule(
        Kind.NAME,
        pattern=re.compile(
            rf"^(?i:{_GREETINGS})(?:[ ]there)?,?[ ]"
            rf"(?:{_TITLE}[ ])?(?P<found>{_NAME})(?=[ ]?[,.!:;\n–-]|$)",
            re.MULTILINE,
        ),
        keeps=_is_no_name,
    ),
    Rule(
        Kind.NAME,
        pattern=re.compile(
            rf"(?<![\w-])(?:{_CLOSING})[ ]?[,.!-]{{0,2}}\s{{1,3}}[-–—~]?[ ]?(?:{_TITLE}[ ]?)?"
            rf"(?P<found>{_NAME})(?=[ ]?(?:,[ ]?(?:M\.?D\.?|Ph\.?D\.?|RN|MBBS|DO)\b[^\n]{{0,40}})?"
            r"[ ]?[.!]?\s{0,5}(?:\n|\Z))"
        ),
        keeps=_is_no_name,
    ),
    Rule(
        Kind.NAME,
        pattern=re.compile(
            r"(?:[Mm]y (?:full )?name is|[Mm]y name's"
            r"|(?i:(?:patient|full) name|name of patient)[ ]?[:=])"
            rf"[ ]?(?:{_TITLE}[ ])?(?P<found>{_NAME})"
        ),
        keeps=_is_no_name,
    ),
)
