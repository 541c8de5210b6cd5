"""Greetings and signatures: what stands around an answer and says nothing.

Only whole sentences at the two ends go, and only those of a closed list of forms, word by word: a
sentence that says one thing more is advice, a warning or an instruction, and stays. What went is
given back by form, a writer's name left out of it. A text that is nothing else stays as it is.
Names that remain are `meadow.text.privacy`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SITE = r"(?:(?:the )?(?:chat ?doctor|health ?care ?magic|icliniq)(?:\.com)?(?: (?:forum|team))?)"
_US = rf"(?:us|our (?:site|forum|service|website)|{_SITE})"
_QUERY = (
    r"(?:(?:any|some|your|all|the|this|further|more|other|additional|medical|health|detailed) )*"
    r"(?:quer(?:y|ies)|questions?|concerns?|doubts?|details|messages?|mail|post)"
    r"(?: (?:about|regarding|on) (?:this|it|that))?"
)
_ANSWER = (
    r"(?:this|it|that|these|(?:my|the|this|our)(?: above)? (?:answer|reply|advice|suggestions?|"
    r"information|explanation|response))"
)
_HELPS = (
    r"(?:(?:(?:will |would |has |have |may |can |could )?(?:been able to )?(?:helps?|helped)|"
    r"(?:is|was|will be|would be|has been) (?:of help|helpful|useful|informative))"
    r"(?: to you| for you| you)?"
    # of an illness, too, one hopes that it clears
    r"|(?:will |would |has |have |could )?(?:answers?|answered|clarify|clarifies|clarified|clears?|"
    rf"cleared|resolves?|resolved|solves?|solved) {_QUERY})"
)
_WRITE = (
    r"(?:(?:ask|write|contact|revert|get|reach|reply|consult|post|let)(?: out| back)?(?: to)?"
    rf"(?: me| us| {_SITE})?(?: know)?(?: again| anytime| at any time| here| back)*)"
)
_FREELY = (
    r"(?:(?:please |kindly |then |you can |you may )*(?:feel free(?: to)?|(?:do not|don'?t) "
    rf"hesitate(?: to)?)(?: {_WRITE}| in writing to us)?)"
)
_IF = rf"(?:(?:if|in case) you (?:still )?have {_QUERY})"
_GLADLY = (
    r"(?:(?:i|we)(?:'ll| will| would|'d) (?:always )?be (?:happy|glad|pleased) to (?:help|assist|"
    rf"answer)(?: you| them| it| {_QUERY})?(?: again| further)?)"
)

# A greeting is an address, so a comma may end it; the others have to be sentences.
_OPENINGS = {
    "greeting": (
        r"(?:hi+|hello|hey|hallo|namaste|dear|greetings?|good (?:morning|afternoon|evening|day))"
        r"(?:[ ,]+(?:there|doctor|dr|doc|sir|madam|ma'?am|mam|friend|user|patient))*"
        r"(?: *[.,!:]+|,? (?=(?:thanks?|thank you|welcome) (?:to|for)\b))"
    ),
    "thanks": (
        r"(?:many )?(?:thanks?|thank you)(?: (?:so|very) much| a lot)? for "
        rf"(?:{_QUERY}|(?:posting|sending|writing|submitting|sharing|asking)(?: in)?(?: {_QUERY})?"
        rf"|(?:using|choosing|contacting|consulting|visiting|writing to) {_US})"
        rf"(?: (?:to|on|at|in|with|via) (?:{_US}|{_QUERY}))*[.!]+"
    ),
    "welcome": rf"(?:and )?welcome(?: back)?(?: to {_US})?[.!]+",
    "reading": (
        r"(?:i|we)(?:'ve| have| had)?(?: just| carefully)? (?:gone through|went through|read|"
        rf"read through|reviewed|noted|understood) {_QUERY}(?: (?:carefully|thoroughly|in detail|"
        rf"with (?:care|interest)))?(?: and (?:i )?(?:can )?(?:understand|understood) {_QUERY})?"
        r"[.!]+"
    ),
    "understanding": (
        r"(?:i|we) (?:can |do )?(?:fully |completely )?(?:understand|appreciate) your "
        r"(?:concerns?|worr(?:y|ies)|situation)[.!]+"
    ),
}
_CLOSINGS = {
    "hope": (
        r"(?:i |we )?(?:do )?hope(?: that)? "
        rf"(?:{_ANSWER}|i(?:'ve)?|to) {_HELPS}(?: with {_QUERY})?"
    ),
    "offer": (
        rf"{_IF}[, ]+(?:{_FREELY}|{_GLADLY}|(?:please |kindly |then |you can |you may )*{_WRITE})"
        rf"|{_FREELY}(?:,? {_IF}| (?:for|with) {_QUERY})?|{_GLADLY}(?:,? {_IF})?"
        rf"|(?:please |kindly )?let (?:me|us) know,? {_IF}"
    ),
    "wish": (
        r"(?:i |we )?wish(?:ing)? (?:you|him|her|your (?:son|daughter|child|mother|father|wife|"
        r"husband))(?: a| an| the| all the)? (?:very )?(?:good|best|great|speedy|quick|fast|early|"
        r"healthy|happy)(?: (?:health|recovery|luck|day|life|of luck|of health))?"
        r"|all the best|(?:best of|good) luck|get well soon|god bless(?: you)?"
        r"|have a (?:nice|good|great|healthy|lovely) (?:day|evening|week|weekend)"
    ),
    "farewell": r"take (?:good )?care(?: of yourself)?|stay (?:healthy|safe|well)|(?:good)?bye",
    "thanks": (
        r"(?:many )?(?:thanks|thank(?:ing)? you)(?: (?:so|very) much| a lot| again| in advance)*"
        r"(?:,? (?:doctor|doc|sir|madam))?(?: for (?:your|the) (?:time|help|answer|reply|advice|"
        rf"patience|trust)| for {_QUERY}| for (?:using|choosing|contacting|consulting) {_US})?"
    ),
    "signature": (
        r"(?:with )?(?:thanks (?:and|&) )?(?:(?:best|kind|warm|kindest|warmest) )?regards"
        r"|(?:best|kind|warm) wishes|(?:yours )?(?:sincerely|faithfully|truly)"
        rf"|{_SITE}"
    ),
    "notice": (
        r"for (?:more|further) (?:information|queries),? consult (?:a|an|our) (?:[a-z]+ ){1,4}"
        r"online ?(?:-->|→)(?: ?https?://\S{1,200})?"
    ),
}
FORMS = frozenset({*_OPENINGS, *_CLOSINGS})
"""The names of all forms."""
# names only behind a title: "Regards. Avoid Alcohol" is no signature
_SIGNED = (
    rf"(?:[\s,-]*(?:{_SITE}|(?:dr|doctor|prof)\b\.?"
    r"(?P<name>(?-i:(?: [A-Z][\w'-]{0,20}\.?){1,3}))?)[ .,!]*)?"
)


def _compiled(forms: dict[str, str], frame: str) -> list[tuple[str, re.Pattern[str]]]:
    return [(name, re.compile(frame % form, re.IGNORECASE)) for name, form in forms.items()]


_BEGINNINGS = _compiled(_OPENINGS, r"(?:%s)\s*+")
_ENDS = _compiled(_CLOSINGS, r"(?<=[.!?\n])\s*+(?:%s)[.,!]*+" + _SIGNED + r"\Z")
_REACH = 500
"""How far from the end a closing may begin."""
_MINIMUM = 20
"""Characters that must remain for greetings to go; placeholders are none, so that a text whose
names have been replaced since is judged as before."""
_PLACEHOLDER = re.compile(r"\[[A-Z_]+\]")


def strip_greetings(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The text without greetings at its beginning and leave-taking at its end.

    Returns:
        The text, and (form, sentence) for each that went, in the order in which they stood.
    """
    body = text.strip()
    start = 0
    before: list[tuple[str, str]] = []
    while found := _found((each.match(body, start), name) for name, each in _BEGINNINGS):
        match, form = found
        before.append((form, match[0].strip()))
        start = match.end()
    left = body[start:]
    after: list[tuple[str, str]] = []
    while found := _found((each.search(left[-_REACH:]), name) for name, each in _ENDS):
        match, form = found
        sentence = match[0].strip()
        after.insert(0, (form, sentence.replace(match["name"] or "\n\n", " [NAME]")))
        # white space and commas, in whatever order
        left = left[: len(left) - len(match[0])]
        while (shorter := left.rstrip().rstrip(",")) != left:
            left = shorter
    if left == body or len(_PLACEHOLDER.sub("", left)) < _MINIMUM:
        return text, ()
    return (left[0].upper() + left[1:] if before else left), (*before, *after)


def _found(
    tried: Iterable[tuple[re.Match[str] | None, str]],
) -> tuple[re.Match[str], str] | None:
    return next(((match, form) for match, form in tried if match), None)
