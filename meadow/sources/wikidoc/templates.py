"""Templates whose text stands in their arguments: a converted unit, a fraction, a formula, a quote.

No template can be expanded without its wiki. These few are written out here, and only completely:
where an argument is left over that could change what a reader sees, the template counts as not
understood, since "5 ft" for 5 ft 6 in is worse than no row. Names are compared in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Arguments = dict[str, str]
Expansion = Callable[[Arguments], str | None]

# How a page looks, not what it says; such arguments may stand anywhere.
_LOOKS = (
    "class style id nocat cat date link lk sp sortable italic italics i bold size color background "
    "rtl script wrap sort debug lang align width nolink title-link multiline colwidth small"
)
# Marks for editors, references, boxes and notes above a text: nothing that a sentence needs.
_MARK = re.compile(
    r"cite (?!quran|bible|hadith).*|citation\b.*|cn|fact\??|sfn.*|harv.*|efn.*|refn?|rp|r|note.*"
    r"|ref(?:list| label)|notelist|cnote.*"
    r"|clarify.*|when\??|who\??|which\??|by whom\??|whom\??|why\??|where\??"
    r"|dubious.*|disputed.*|verify.*|verification.*|page needed|full(?: citation needed)?|pn|dn"
    r"|disambiguation needed"
    r"|unreferenced.*|refimprove.*|original research.*|or|nonspecific|vague|weasel.*|peacock.*"
    r"|pov.*|update.*|needs update|dead link|failed verification|primary source.*|medcn|medref"
    r"|neutrality.*|better source.*|self-published.*|unreliable.*|specify|expand.*|stub|.+-stub"
    r"|sectstub|cleanup.*|how\??|.+-inline|qualify evidence|year needed|wayback"
    r"|anchor.*|clear.*|clr|-|br|toc.*|compact toc|main.*|see|see also|seealso|further.*|details.*"
    r"|about|for|for2|other ?uses.*|redirect.*|distinguish.*|hatnote|dablink|flag ?icon"
    r"|infobox.*|.+ infobox|taxobox.*|drugbox.*|chembox.*|navbox.*|sidebar.*|portal.*|commons.*"
    r"|wiktionary|wikiquote.*|wikisource.*|sister.*|use .+ (?:dates|english)|good article"
    r"|featured article|short description|default ?sort|displaytitle|lowercase.*|italic title"
    r"|[a-z]{2} icon|pp-.*|protected.*|editor (?:join|help)|ws|wh|eh|bots|nobots|authority control"
)
_SYMBOLS = {
    "ndash": "–", "mdash": "—", "spaced ndash": " – ", "snd": " – ", "spnd": " – ", "·": " · ",
    "dot": " · ", "nbsp": " ", "'": "'", "'s": "'s", "=": "=", "!": "|", "pipe": "|", "(": "{{",
    "snds": " – ", "emdash": "—", "endash": "–", "•": " • ", "bull": " • ", "times": "×",
    "mdashb": "—", "eqm": "⇌", "spaces": " ", "!!": "||", "minus": "−", "pm": "±", "half": "1/2",
    "space": " ", "thinsp": " ", ")": "}}", "degree": "°",
    "cmg": "Editor-In-Chief: C. Michael Gibson, M.S., M.D.", "ae": "Associate Editor(s)-in-Chief:",
    "sk": "Synonyms and keywords:", "sic": "[sic]", "circa": "c.", "c.": "c.",
}  # fmt: skip
_LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fa": "Persian", "fr": "French", "ga": "Irish", "gr": "Greek", "grc":
    "Ancient Greek", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "it": "Italian", "ja":
    "Japanese", "ko": "Korean", "la": "Latin", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ru": "Russian", "sa": "Sanskrit", "sv": "Swedish", "tr": "Turkish", "uk":
    "Ukrainian", "zh": "Chinese", "az": "Azerbaijani", "bg": "Bulgarian", "bn": "Bengali", "ca":
    "Catalan", "fi": "Finnish", "hr": "Croatian", "id": "Indonesian", "ro": "Romanian", "sk":
    "Slovak", "sq": "Albanian", "sr": "Serbian", "ta": "Tamil", "th": "Thai", "ur": "Urdu", "vi":
    "Vietnamese",
}  # fmt: skip
_NUMBER = re.compile(
    r"[-−+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\(\d+\))?(?:e[-−+]?\d+)?", re.IGNORECASE
)
_FRACTION = re.compile(r"([-−+]?\d+(?:\+\d+)?)//?(\d+)")
# What {{convert}} calls otherwise than it writes it.
_UNITS = {
    "c": "°C", "f": "°F", "c-change": "°C", "f-change": "°F", "sqmi": "sq mi", "sqft": "sq ft",
    "sqin": "sq in", "sqyd": "sq yd", "cuft": "cu ft", "cuin": "cu in", "usgal": "US gal", "impgal":
    "imp gal", "usfloz": "US fl oz", "impfloz": "imp fl oz", "um": "μm", "ug": "μg",
}  # fmt: skip
# And what it writes as it calls it. What it makes of others is not known: {{convert|2|PD/sqmi}}.
_PLAIN_UNIT_NAMES = (
    "m km dm cm mm μm µm nm pm in ft yd mi nmi kg g mg μg µg ng pg t lb oz ozt st gr L l dL dl cL "
    "mL ml μL µL fL s min h d wk yr year years ha acre K J kJ MJ kcal cal W kW MW hp V mV A mA Pa "
    "kPa hPa MPa mbar bar atm psi mmHg inHg N kN Hz kHz MHz GHz mol mmol μmol µmol nmol IU U mU Gy "
    "mGy Sv mSv Bq kBq MBq Ci mCi rad rem mph kn % ° °C °F AU ly carat rpm kt Mt"
)
_PLAIN_UNITS = frozenset(_PLAIN_UNIT_NAMES.split())
_UNIT = re.compile(r"(\d{0,3})((?:[^\W\d_]|[°%]){1,12})(-?\d?)")
_BETWEEN = {
    "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " × ", "×": " × ", "*": " × ",
    "-": "–", "–": "–", "to(-)": " to ", "and(-)": " and ", "±": " ± ", "+/-": " ± ", "xx": " × ",
    "to about": " to about ", "by(x)": " by ",
}  # fmt: skip


# {{clarify span}} marks the words that it holds.
_SPAN = re.compile(r"(?:\w+ ){1,4}span|\w+-span")


# A page that tells pages of one name apart; {{disambiguation needed}} is a mark.
_INDEX = re.compile(
    r"(?:.+ )?(?:disambig(?:uation)?|disamb|dab)(?: page)?(?:[- ]cleanup)?|hndis(?:-cleanup)?"
    r"|geodis|mil-unit-dis|numberdis|surnames?|given names?|sia|(?:.+ )?set index(?: article)?"
)


def is_index_mark(name: str) -> bool:
    """Whether a template says that its page lists pages of one name and is no article."""
    return _INDEX.fullmatch(name) is not None


def is_mark(name: str) -> bool:
    """Whether a template is a mark, a box or a note that no sentence needs."""
    return _MARK.fullmatch(name) is not None and _SPAN.fullmatch(name) is None


def expand(name: str, arguments: Arguments) -> str | None:
    """What a template writes, as wikitext with HTML tags; None where it is not understood.

    Args:
        name: In lower case, words apart by single spaces.
        arguments: By name; those without one are "1", "2" and so on.
    """
    left = dict(arguments)
    function, colon, value = name.partition(":")
    if colon and value and function in _FUNCTIONS and not left:
        return _FUNCTIONS[function](value)
    if name in _SYMBOLS and not any(map(str.strip, left.values())):
        return _SYMBOLS[name]
    if name.startswith("lang-") and (language := _LANGUAGES.get(name[5:])):
        text = _take(left, "1", "text")
        written = None if text is None else f"{language}: {text}"
    elif name in _EXPANSIONS:
        written = _EXPANSIONS[name](left)
    elif _SPAN.fullmatch(name):
        written = _take(left, "1", "text")
        for told in ("reason", "pre-text", "post-text"):
            left.pop(told, None)
    else:
        return None
    unused = {key for key, value in left.items() if value.strip()}
    return None if unused - set(_LOOKS.split()) else written


def _take(left: Arguments, *names: str) -> str | None:
    """The first of the arguments that is there, taken out."""
    return next((left.pop(name) for name in names if name in left), None)


def _positional(left: Arguments) -> list[str]:
    """The arguments without a name, in order, taken out; up to the first that is missing."""
    found: list[str] = []
    while (value := left.pop(str(len(found) + 1), None)) is not None:
        found.append(value.strip())
    while found and not found[-1]:
        found.pop()
    return found


def _text(number: int) -> Expansion:
    """Expands to the argument of that number, the others before it being about its looks."""

    def write(left: Arguments) -> str | None:
        for other in range(1, number):
            left.pop(str(other), None)
        return _take(left, str(number), "text", "content")

    return write


def _joined(between: str, before: str = "", after: str = "") -> Expansion:
    def write(left: Arguments) -> str | None:
        values = _positional(left)
        return f"{before}{between.join(values)}{after}" if values else None

    return write


def _last(left: Arguments) -> str | None:
    values = _positional(left)
    return values[-1] if values else None


def _lines(left: Arguments) -> str | None:
    """A list in wikitext, which has to begin its lines."""
    text = _last(left)
    return f"\n{text}\n" if text else text


def _ordered(left: Arguments) -> str | None:
    start = left.pop("start", "1").strip()
    return _joined("\n# ", "\n# ", "\n")(left) if start == "1" else None


def _first(left: Arguments) -> str | None:
    """The first argument; the others explain it or name it elsewhere."""
    named, values = _take(left, "name"), _positional(left)
    return named or (values[0] if values else None)


def _phonemes(left: Arguments) -> str | None:
    """{{IPAc-en}}: signs of the phonetic alphabet one by one; anything longer is a word."""
    signs = _positional(left)
    left.pop("audio", None)
    known = all(re.fullmatch(r"[^\W\d]{1,2}[ːˑ̩]?|[ˈˌ.ː]", sign) for sign in signs)
    return (
        f"/{''.join(signs).replace('_', ' ')}/"
        if known and signs and signs[0].lower() not in {"us", "uk"}
        else None
    )


def _sic(left: Arguments) -> str | None:
    hidden = _take(left, "hide") is not None
    text = "".join(_positional(left))
    return text if hidden or not text else f"{text} [sic]"


def _quote(left: Arguments) -> str | None:
    text = _take(left, "text", "quote", "1")
    by = [_take(left, *names) for names in (("author", "sign", "2"), ("source", "title", "3"))]
    credit = ", ".join(filter(None, by))
    if text is None:
        return None
    return f"<blockquote>{text.strip()}{'<br>— ' + credit if credit else ''}</blockquote>"


def _foreign(left: Arguments) -> str | None:
    english, *others = _positional(left)[:3] or [""]
    return f"{english} ({', '.join(filter(None, others))})" if any(others) else english or None


def _as_of(left: Arguments) -> str | None:
    alternative, small = _take(left, "alt"), _take(left, "lc")
    year, month, day = [*_positional(left)[:3], "", "", ""][:3]
    if alternative:
        return alternative
    if month.isdecimal() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    date = " ".join(filter(None, (day, month, year)))
    return f"{'as' if small else 'As'} of {date}" if year else None


_MONTHS = [
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
]


def _fraction(left: Arguments) -> str | None:
    values = _positional(left)
    if not 1 <= len(values) <= 3 or not all(re.fullmatch(r"[\w.,−+ '-]+", part) for part in values):
        return None
    whole = values[0] if len(values) == 3 else ""
    over, under = values[-2:] if len(values) > 1 else ("1", values[0])
    inner = f'<span class="num">{over}</span>/<span class="den">{under}</span>'
    return f'<span class="frac">{whole}{inner}</span>'


def _power(left: Arguments) -> str | None:
    values = _positional(left)
    return f"×10<sup>{_minus(values[0])}</sup>" if len(values) == 1 else None


def _raised_and_lowered(left: Arguments) -> str | None:
    above, below = _take(left, "p", "1"), _take(left, "b", "2")
    return "".join((f"<sub>{below}</sub>" if below else "", f"<sup>{above}</sup>" if above else ""))


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _number(text: str) -> str | None:
    """A number as {{convert}} and {{val}} write it: 5e6 as 5×10⁶, 5+1/2 as 5 1/2."""
    text = text.strip()
    if match := _FRACTION.fullmatch(text):
        return f"{_minus(match[1]).replace('+', ' ')}/{match[2]}"
    if _NUMBER.fullmatch(text) is None:
        return None
    number, _, power = text.lower().partition("e")
    return _minus(number) + (f"×10<sup>{_minus(power).lstrip('+')}</sup>" if power else "")


def _unit(code: str) -> str | None:
    """A unit's code as {{convert}} writes it: m2 as m², C as °C; None for one that is not known."""
    code = code.strip()
    if code.lower() in _UNITS and (len(code) > 1 or code in "CF"):
        return _UNITS[code.lower()]
    return _symbol(code, _PLAIN_UNITS)


def _symbol(code: str, known: frozenset[str] = frozenset()) -> str | None:
    """A unit with its powers raised: mg/m2 as mg/m²; None for what is none.

    Args:
        code: As the template has it.
        known: The names that may be in it; empty for any.
    """
    written = ""
    for part in re.split(r"([/.·⋅ ])", code):
        if not part or part in "/.·⋅ ":
            written += part
        elif (unit := _UNIT.fullmatch(part)) and (not known or unit[2] in known):
            written += unit[1] + unit[2] + (f"<sup>{_minus(unit[3])}</sup>" if unit[3] else "")
        else:
            return None
    return None if re.match(r"e\d", code) else written or None


def _convert(left: Arguments) -> str | None:
    """{{convert|5|ft|6|in|cm}} as "5 ft 6 in"; what it is converted to goes."""
    values = _positional(left)
    for name in _CONVERT_LOOKS.split():
        value = left.pop(name, "").strip()
        if name == "adj" and value not in {"", "on", "off", "1", "pre", "nocat"}:
            return None
        if name == "disp" and re.search(r"out|number|unit|preunit|table|tablecen", value):
            return None
    written, complete = "", False
    while values and (number := _number(values[0])) is not None:
        if len(values) > 1 and (power := re.match(r"e(\d)(?=[a-zA-Z])", values[1])):
            number, values[1] = f"{number}×10<sup>{power[1]}</sup>", values[1][2:]
        unit = _unit(values[1]) if len(values) > 1 else None
        between = _BETWEEN.get(values[1]) if len(values) > 2 else None
        if between is not None:
            written += number + between
            complete = False
            values = values[2:]
        elif unit is not None:
            written += f"{number} {unit} "
            values = values[2:]
            complete = True
            if len(values) < 2:
                break  # a last number is how far to round
        else:
            return None
    if not complete or _HELD.search("".join(values)):
        return None
    return written.strip()


_CONVERT_LOOKS = "abbr order sigfig round comma spell $ frac sing adj disp"
_HELD = re.compile("[\ue000-\ue005]")


def _value(left: Arguments) -> str | None:
    """{{val|5.2|0.3|e=6|u=mg}} as (5.2±0.3)×10⁶ mg."""
    digits = _positional(left)
    if len(digits) == 2 and re.fullmatch(r"\(\d+\)", digits[1]):
        digits = ["".join(digits)]  # the uncertainty of the last digits
    values = [_number(value) for value in digits]
    power = _take(left, "e")
    unit, per = _take(left, "u", "ul"), _take(left, "up", "upl")
    before, after = _take(left, "p", "pre") or "", _take(left, "s", "suf", "end") or ""
    left.pop("fmt", None)
    if not 1 <= len(values) <= 3 or None in values:
        return None
    number, *spread = (value or "" for value in values)
    if len(spread) == 1:
        number = f"{number}±{spread[0].lstrip('+')}"
    elif spread:
        number = f"{number} (+{spread[0].lstrip('+')}/−{spread[1].lstrip('−')})"
    if power:
        if _number(power) is None:
            return None
        number = f"({number})" if spread else number
        number += f"×10<sup>{_minus(power.strip()).lstrip('+')}</sup>"
    units = [_symbol(part.strip()) if part else "" for part in (unit, per)]
    if None in units:
        return None
    named = "/".join(filter(None, units)) if unit else f"/{units[1]}" if per else ""
    apart = "" if not named or named in {"%", "°"} or not unit else " "
    return f"{before}{number}{apart}{named}{after}"


def _chemical(left: Arguments) -> str | None:
    """{{chem|SO|4|2-}}: elements, counts and charges in turn."""
    written = ""
    for part in _positional(left):
        if re.fullmatch(r"\d*[+−-]", part):
            written += f"<sup>{_minus(part)}</sup>"
        elif re.fullmatch(r"[\dkmnxy+−-]+", part.replace("''", "")) and written:
            written += f"<sub>{part}</sub>"
        elif re.fullmatch(r"[\[(]*[A-Z][A-Za-z()\[\]]*|[()\[\]·]+", part):
            written += part
        else:
            return None
    return written or None


def chemical_formula(text: str) -> str | None:
    """SO4(2-), Na+ or, as TeX has it, SO4^2- as HTML; None where it is more than a formula."""
    text = re.sub(r"\^\{?(\d*[+−-])\}?", r"(\1)", text.strip().replace("_", ""))
    text = text.replace("->", "→").replace("*", "·")
    if not re.fullmatch(r"(?:\d*(?:[A-Za-z()\[\]]+\d*)+(?:\(?\d*[+−-]\)?)?[ +→·]*)+", text):
        return None
    text = re.sub(r"\((\d*[+−-])\)", r"<sup>\1</sup>", text)
    text = re.sub(r"(?<=[A-Za-z\])\d])([+−-])(?=\s|$|[)\]])", r"<sup>\1</sup>", text)
    text = re.sub(r"(?<=[A-Za-z)\]])(\d+)", r"<sub>\1</sub>", text)
    return re.sub(r"<sup>[^<]*</sup>", lambda charge: _minus(charge[0]), text)


_KEEPS = (
    "nowrap nobr small smaller big larger large resize strong em mvar math keyword linktext ipa "
    "unicode polytonic hebrew script var bold italic noitalic underline nowraplinks sc smallcaps "
    "allcaps dfn term code kbd samp tt mono nobold formatnum nts number nq nastaliq"
)
_EXPANSIONS: dict[str, Expansion] = {
    **dict.fromkeys(_KEEPS.split(), _text(1)),
    **dict.fromkeys(("lang", "color", "colour", "font color", "fontcolor"), _text(2)),
    **dict.fromkeys(("transl", "transliteration"), _last),
    **dict.fromkeys(("abbr", "tooltip", "abbrlink", "vanchor", "visible anchor", "flag"), _first),
    **dict.fromkeys(("quote", "blockquote", "cquote", "quotation"), _quote),
    **dict.fromkeys(("plainlist", "flatlist", "columns-list", "columnslist"), _lines),
    **dict.fromkeys(("unbulleted list", "ubl", "ublist"), _joined(", ")),
    **dict.fromkeys(("convert", "cvt"), _convert),
    **dict.fromkeys(("frac", "sfrac", "fraction"), _fraction),
    **dict.fromkeys(("circa", "c.", "ca"), _joined(" – c. ", "c. ")),
    "ordered list": _ordered, "respell": _joined("-"), "ipac-en": _phonemes,
    "bulleted list": _joined("\n* ", "\n* ", "\n"), "hlist": _joined(" · "),
    "val": _value, "gaps": _joined(""), "as of": _as_of, "chem": _chemical,
    "su": _raised_and_lowered,
    "chem2": lambda left: chemical_formula(left.pop("1", "")), "nihongo": _foreign, "sic": _sic,
    "sub": _joined("", "<sub>", "</sub>"), "sup": _joined("", "<sup>", "</sup>"),
    **dict.fromkeys(("strike", "strikethrough", "del"), _joined("", "<s>", "</s>")),
    "angbr": _joined("", "⟨", "⟩"), "pmid": _joined("", "PMID "), "isbn": _joined("", "ISBN "),
    "doi": _joined("", "doi:"), "bracket": _joined("", "[", "]"), "e": _power,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "formatnum": str, "lc": str.lower, "uc": str.upper,
}  # fmt: skip
