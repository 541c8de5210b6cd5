"""From a free response to a letter: what is the answer, then ordered rules, each named.

A model that thinks aloud writes two texts. Only what stands behind the last closing mark of its
thinking (`</think>`, the `final` channel, ...) is its answer; of thinking that was not closed
nothing is read. In the answer a rule either finds labels that the item has, or it does not apply;
the first rule that applies decides, and the status says what became of the response.

There is no rule "first capital letter": "A 67-year-old woman" is not option A, "Answer" is not A,
"I" is not option I, and the first entry of a list of verdicts ("A. ... is wrong. B. ... is right.")
states nothing. What no rule can read has no letter, and counts as wrong only in the convention that
says so.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

Options = Sequence[tuple[str, str]]
FUZZY = 0.9
"""Similarity from which a response's text is an option's text."""


class Status(StrEnum):
    """What became of a response."""

    PARSED = "parsed"
    REPAIRED = "repaired"
    """A letter was found, but the text beside it is not quite the option's, or only the text."""
    CONFLICT = "conflict"
    """The letter of one option with the text of another: no letter is taken."""
    AMBIGUOUS = "ambiguous"
    """Several letters, none of them stated as the answer."""
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    """The response ends at the token limit before an answer."""
    EMPTY = "empty"
    NONE = "none"
    """Text in which no rule finds an answer."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a response says.

    Args:
        letter: A label of the item, or None.
        rule: The rule that decided; "" where none did.
        span: The characters that it read.
        status: See `Status`.
    """

    letter: str | None
    rule: str
    span: str
    status: Status


_TAGS = r"think(?:ing)?|thoughts?|reason(?:ing)?|analysis|scratchpad|reflection|seed:think"
_CLOSED = re.compile(
    rf"</(?:{_TAGS})>|\[/THINK\]|\u25c1/think\u25b7|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|<channel\|>|<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|^analysis.*assistantfinal",
    re.IGNORECASE | re.DOTALL,
)
"""Where thinking ends: tags, and channels with their marks or as what is left without them."""
_OPENED = re.compile(
    rf"^[^\S\n]*<(?:{_TAGS})>|\[THINK\]|\u25c1think\u25b7|<\|START_THINKING\|>|<\|begin_of_thought\|>"
    r"|<\|?channel\|?>|\Aanalysis(?=[A-Z])",
    re.IGNORECASE | re.MULTILINE,
)
_MARK = re.compile(r"<\|[^<>|\s]{1,40}\|>|</s>|<(?:end_of_turn|start_of_turn|eos)>")
"""Special tokens of a frame that a server left in the text."""


CLOSING = {
    "<|channel|>analysis": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "[THINK]": "[/THINK]",
    "<think>": "\n</think>\n\n",
}
"""What ends thinking that was begun in this way."""
THOUGHT_TOKENS = {"<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "<channel|>"}
"""Tokens without which thinking cannot be told from the answer, special or not."""


def answer_of(response: str) -> str | None:
    """What stands behind a model's thinking; None where the thinking was not closed."""
    answer = response[max((m.end() for m in _CLOSED.finditer(response)), default=0) :]
    return None if _OPENED.search(answer) else _MARK.sub("", answer)


def thinking_of(response: str) -> str:
    """What a model thought before its answer; "" where it did not think aloud, or did not end."""
    closed = max((m.start() for m in _CLOSED.finditer(response)), default=0)
    return _MARK.sub("", _OPENED.sub("", response[:closed], count=1)).strip()


def parse(response: str, options: Options, *, at_limit: bool = False) -> Parsed:
    """The answer that a careful reader would see in a response.

    Args:
        response: What the model wrote after the cue.
        options: (label, text) of the item as shown.
        at_limit: Whether generation stopped at the token limit.
    """
    silent = Status.TRUNCATED if at_limit else Status.NONE
    answer = answer_of(response)
    if answer is None:
        return Parsed(None, "thinking not closed", "", Status.TRUNCATED)
    text = unicodedata.normalize("NFKC", answer).replace("\u2019", "'").strip()
    # emphasis and the marks of headings and quotations; an underscore in a word stays
    text = re.sub(r"[*`]+|(?<![^\W_])_+|_+(?![^\W_])|(?m:^[ \t]*[#>]+[ \t]*)", "", text).strip()
    # no run of blank space is longer than two signs: whatever a rule allows of it costs nothing,
    # also where a model has written ten thousand line breaks
    lines = "\n".join(" ".join(line.split()) for line in text.split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", lines).strip()
    if not text:
        return Parsed(None, "", "", Status.TRUNCATED if at_limit else Status.EMPTY)
    if not at_limit:
        text = _raised(text, options)
    elif "\n" in text:
        text += "\u2026"  # the last line of a text that was cut is no conclusion
    for rule in STRICT if at_limit else (*STRICT, *WEIGHED):
        found = rule(text, options)
        if found is not None:
            return found
    return Parsed(None, "", "", Status.REFUSAL if _REFUSAL.search(text) else silent)


def _labels(options: Options) -> str:
    """A pattern for the item's own labels, and nothing else."""
    return "(?:" + "|".join(re.escape(label) for label, _ in options) + ")"


def _raised(text: str, options: Options) -> str:
    """The text with labels in lower case raised where they can be nothing else: "(d)", "option d".

    A letter in a sentence stays: "answer is a", cut short, may go on with a noun.
    """
    low = "[" + "".join(label.lower() for label, _ in options if len(label) == 1) + "]"
    marked = (
        rf"\A\W*{low}(?=\W*\Z)|(?<=[(\[\"']){low}(?=[)\]\"'])|(?m:^\s*{low}(?=[).:]\s))"
        rf"|(?i:\b(?:option|choice|letter)\s+){low}(?=[.,:;)]|\s*$|\s+(?:is|was|would|seems)\b)"
        rf"|(?i:\b(?:answer|option|choice)\s*[:=]\s*){low}(?=[.,;)]|\s*$)"
    )
    if low == "[]":
        return text
    return re.sub(marked, lambda mark: mark[0][:-1] + mark[0][-1].upper(), text)


def _key(text: str) -> str:
    """Letters and digits in lower case: what makes two option texts the same."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words)


def _nearest(text: str, options: Options) -> tuple[str, float]:
    """(label, similarity) of the option whose text a response's beginning is most like."""
    best, most = "", 0.0
    key = _key(text)
    for label, option in options:
        wanted = _key(option)
        if not wanted:
            continue
        head = key[: len(wanted)]
        following = key[len(wanted) : len(wanted) + 1]
        if head == wanted and following in {"", " "}:
            share = 1.0 + len(wanted) / 1e6  # the longest option that fits whole
        else:
            share = difflib.SequenceMatcher(None, wanted, head).ratio()
        if share > most:
            best, most = label, share
    return best, min(most, 1.0)


def _contained(text: str, options: Options) -> Parsed | None:
    r"""An answer in a container: `\boxed{...}`, `<answer>...</answer>`, a JSON key; the last one.

    Whatever prose stands around it, a container is where the model was asked to put its answer.
    """
    for pattern in _CONTAINERS:
        for found in reversed(list(pattern.finditer(text))):
            value = re.sub(r"\\(?:text|mathrm|mathbf|textbf|rm|bf)\b|[{}$\\\"\[\]]", " ", found[1])
            value = value.strip(" .'\n")
            if not value:
                continue
            read = _lone_letter(value.upper() if len(value) == 1 else value, options)
            for rule in (_letter_and_text, _stated, _option_text, _mentioned):
                read = read or rule(value, options)
            if read:
                return Parsed(read.letter, "contained", found[0][:80], read.status)
    return None


_CONTAINERS = (
    re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"),
    re.compile(r"(?is)<(?:final_?)?(?:answer|choice)>(.*?)(?:</(?:final_?)?(?:answer|choice)>|$)"),
    re.compile(
        r"(?i)[\"'](?:(?:final|correct|best|selected|my)[\s_]?)?(?:answer|choice|option|letter)"
        r"(?:[\s_]?(?:choice|letter|option))?[\"']\s*:\s*\[?\s*"
        r"(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z]\b)"
    ),
)


def _listed(text: str, options: Options) -> list[re.Match[str]]:
    """The places where a label opens a line or a sentence, or an option is named by its label."""
    own = _labels(options)
    before = "".join(rf"|(?<={word}\s)" for word in ("but", "that", "sure", "think", "believe"))
    marks = re.finditer(
        rf"(?:^|(?<=[\n.;!?])\s*)(?:[-•]\s*)?[(\[]?({own})(?:[)\].:]+(?=\s|$)|\s+[-–—]\s)"
        rf"|(?i:\b(?:option|choice|answer)\s+)[(\[]?({own})(?![\w'-])[)\].:]*|\(({own})\)"
        rf"|(?:^|(?<=[\n.;!?,]\s){before})({own})"
        r"(?=\s+(?:is|isn't|was|does|seems|fits|matches|remains|would|can|cannot|must|should)\b)",
        text,
    )
    return [m for m in marks if not (m[0][0] in "aA" and m[2] and _is_word(m, text))]


def _names_option(mark: re.Match[str], text: str, options: Options) -> bool:
    """Whether an entry is on the option of its number, and no point of an argument.

    It begins with a verdict, or has a word of that option.
    """
    if not (mark[1] or "").isdigit():
        return True
    entry = re.split(r"[.;\n]\s", text[mark.end() :].lstrip(), maxsplit=1)[0]
    words = {word for word in _key(dict(options)[mark[1]]).split() if len(word) > 3}
    judged = _verdict(" ".join(entry.split()[:3])) is not None
    return judged or not words.isdisjoint(_key(entry).split())


def _label(match: re.Match[str]) -> str:
    """The label that one of a pattern's groups holds."""
    return next(group for group in match.groups() if group)


def _letter_and_text(text: str, options: Options) -> Parsed | None:
    """Label and text, as in "A: text" or "(A) text"; the text is held against the option's."""
    found = re.match(rf"({_labels(options)}),?\s+(?:because|since)\b", text)
    if found:
        return Parsed(found[1], "letter and reason", text[:80], Status.PARSED)
    found = re.match(
        rf"\(?({_labels(options)})\s*(?:[:.)\]]|\s?[-–—]\s)\)?\s*(\S.*)", text, re.DOTALL
    )
    if found is None:  # "B Warfarin": a letter only where an option's text follows
        found = re.match(rf"({_labels(options)})\s+(\S.*)", text, re.DOTALL)
        if found is None or _nearest(found[2].partition("\n")[0], options)[1] < FUZZY:
            return None
    letter, rest = found.group(1), found.group(2).strip().partition("\n")[0]
    others = {_label(mark) for mark in _listed(text, options)} - {letter}
    # "C. Heparin", and then what is wrong with A and B, is no list of verdicts
    first = _key(rest) == _key(dict(options)[letter]) and min(others, default="") < letter
    if (others and not first) or _verdict(rest.partition(". ")[0]) is False:
        return None
    return _checked("letter and text", letter, rest, found.group(0)[:80], options)


def _checked(rule: str, letter: str, rest: str, span: str, options: Options) -> Parsed:
    """The letter, unless the text that follows is another option's."""
    nearest, share = _nearest(rest, options)
    own = _key(dict(options)[letter])
    if _key(rest).startswith(own) and own:
        return Parsed(letter, rule, span, Status.PARSED)
    if share >= FUZZY and nearest != letter:
        return Parsed(None, rule, span, Status.CONFLICT)
    return Parsed(letter, rule, span, Status.PARSED if share >= FUZZY else Status.REPAIRED)


def _lone_letter(text: str, options: Options) -> Parsed | None:
    """A letter and nothing else, as the whole text, its first line or its last one."""
    lone = rf"(?i:option|answer|choice|letter)?:?\s*[(\[{{\"']*({_labels(options)})[)\]}}.:,\"']*"
    lines = [line for line in text.splitlines() if line.strip()]
    places = [text, lines[0], lines[-1]]
    if len({line for line in lines if re.fullmatch(lone, line.strip())}) > 1:
        places = [text]  # a list with its texts on lines of their own
    for place in places:
        found = re.fullmatch(lone, place.strip())
        if found:
            return Parsed(found.group(1), "lone letter", found.group(0).strip(), Status.PARSED)
    return None


def _stated(text: str, options: Options) -> Parsed | None:
    """Statements such as "the answer is X": the last explicit one wins, if it is not taken back."""
    own = _labels(options)
    sure = r"(?:(?:clearly|definitely|indeed|therefore|thus|most\s+likely|likely|probably)\s+)?"
    # runs of words are bounded: each word begins a run of its own, and all of them would be read
    statement = (
        r"(?i:\b(?:(?:final|correct|right|best|my)\s+){0,4}(?:answer|option|choice|response)\b"
        r"(?:\s+to\s+(?:the|this)\s+question)?"
        r"[^\S\n]*(?:here\s+|,?\s*(?:therefore|then|thus),?\s+|(?:among|of)\s[^.,:;\n]{1,40}?\s)?"
        rf"(?:(?:is|(?:(?:would|should|must|will)\s+)?(?:have\s+to\s+)?be|has\s+to\s+be)\b\s*{sure}"
        r"|[:=–—-]+>?|(?=[(\[]))"
        r"|(?m:^)(?:(?:final|correct|right|best|my)\s+){0,4}(?:answer|option|choice|response)\s*:?\s*\n"
        r"|(?m:^)(?:correct|right|best)\s*:|(?:^|(?<=[.:\n]\s))(?:choose|pick|select)\b"
        r"|\bnot\s[^.;\n]{1,80},\s*but(?:\s+rather)?\b"
        r"|\b(?:i|we|you)\s*(?:would|should|must|will|'d|'ll)?\s+"
        r"(?:choose|pick|select|go\s+with|opt\s+for|settle\s+on|say)\b(?:\s+that\b)?"
        r"|\b(?:leaves|leaving|left\s+with|(?<!not\s)only|points?\s+to(?:wards?)?)\s+"
        r"(?:us\s+with\s+|only\s+|just\s+){0,3}"
        r"|\b(?:it\s+is|it's|it\s+(?:must|should)\s+be|go(?:ing)?\s+with|is\s+therefore"
        r"|therefore|thus|hence|so)\b,?)"
        rf"\s*:?\s*(?i:(?:option|choice|letter)\s+)?[(\[\"']*({own})(?:[\"'](?!\w)|(?![\w'-]))"
        r"[)\].:]*"
    )
    found = [m for m in re.finditer(statement, text) if not _is_word(m, text)]
    found = [
        m for m in found if text[m.end() : m.end() + 1] != "?" and not _put_aside(m, text, own)
    ]
    if not found:
        return None
    last, rest = found[-1], text[found[-1].end() :]
    another = rf"\s*(?:[,/&]|or\b|and\b)\s*(?:or\s+|and\s+)?(?i:option\s+)?[(\[]?{own}\b(?!')"
    if re.match(another, rest) or _TAKEN_BACK.search(rest):
        return Parsed(None, "stated", last.group(0), Status.AMBIGUOUS)
    rest = rest.strip().partition("\n")[0]
    if re.match(r"[:.)\]]", text[last.end(1) : last.end(1) + 1]) and rest:
        checked = _checked("stated", last.group(1), rest, last.group(0), options)
        if checked.status is Status.CONFLICT:
            return checked
    return Parsed(last.group(1), "stated", last.group(0), Status.PARSED)


_COUNTS = re.compile(
    r"(?<=\.)\d|\s?[%/]|\s+(?:of\b|(?:in|to)\s\d|(?!(?:is|was|because|since|as|due|and|or|which|in|for|to"
    r"|given|but|by|if|that|here|with|not|from|would|has|seems|fits|remains)\b)[a-z])"
)
"""What follows a number that is no label: "only 2 of them", "so 3 months", "it is 2.5 mg"."""


def _is_word(match: re.Match[str], text: str) -> bool:
    """Whether a label is a word of its sentence: an article, a pronoun, or a number that counts."""
    if _label(match).isdigit():
        return _COUNTS.match(text, match.end()) is not None
    if _label(match) not in {"A", "I"} or match.group(0)[-1] in ")].:":
        return False
    goes_on = r"\s+(?!(?:is|because|since|as|due|and|or)\b)[a-z0-9]"
    return re.match(goes_on, text[match.end() :]) is not None


def _put_aside(mark: re.Match[str], text: str, own: str) -> bool:
    """Whether the words behind a label deny it ("so D is out"), or what points to it is outdone."""
    rest = text[mark.end() :]
    clause = re.match(r"\s+(?:is|was|are|can|could|does|would|seems|isn't)\b[^.,;\n]*", rest)
    if clause and _verdict(clause[0]) is False:
        return True
    but = rf"[^.\n]*\b(?:but|however|whereas|while)\b[^.\n]*\b{own}\b"
    return bool(re.match(r"(?i)points?\b|only\b", mark[0]) and re.match(but, rest))


_TAKEN_BACK = re.compile(
    r"(?i)\b(?:wait|hold\s+on|hmm|reconsider|on\s+second\s+thoughts?|actually,?\s+no|"
    r"let\s+me\s+(?:re|double|check|think))"
)
_DENIED = (
    r"\bnot\b|n't\b|\b(?:incorrect|wrong|false|inappropriate|unlikely|less|excluded|contraindicated|"
    r"never|no|cannot|neither|rather\s+than|instead\s+of|rule[sd]?\s+out|is\s+out|eliminated|too|"
    r"only\s+(?:if|after))\b|[\u274c\u2717\u2718]"
    r"|\b(?:would|could|might|may)\s+(?:also\s+)?be\b[^.;\n]*\b(?:if|but|unless|were)\b"
)
_AFFIRMED = (
    r"\b(?:correct|right|true|best|preferred|(?:most|more)\s+"
    r"(?:appropriate|likely|suitable|accurate|probable|consistent)|answer|"
    r"first[-\s]line|of\s+choice|fits|(?:my|the)\s+(?:pick|choice|one)|yes|what(?:'s|\s+is)\s+left|"
    r"remains(?=\s*(?:[.!]|$)))\b|[\u2705\u2713\u2714]"
)
_WEAKLY = r"\b(?:consistent\s+with|match(?:es)?|explains|compatible\s+with)\b"
"""Praise that only says something where every option has its remark."""


def _verdict(text: str) -> bool | None:
    """What a remark on an option says of it first: it is right, it is not, or neither."""
    found = re.search(rf"(?i)(?P<denied>{_DENIED})|{_AFFIRMED}", text)
    return None if found is None else found["denied"] is None


def _remarks(text: str, options: Options) -> list[tuple[re.Match[str], bool | None, bool]]:
    """Every named option with what is said of it, up to the next one; and whether it is praised."""
    marks = [mark for mark in _listed(text, options) if _names_option(mark, text, options)]
    found = []
    for place, mark in enumerate(marks):
        remark = text[mark.end() : marks[place + 1].start() if place + 1 < len(marks) else None]
        for option in (text for _, text in options if len(text) > 3):
            # "Right coronary artery" is no praise
            remark = re.sub(re.escape(option), " ", remark, flags=re.IGNORECASE)
        remark = re.sub(rf"(?i)(?:{_BEFORE})\s*$", "", remark)  # that is said of the next one
        said = False if _denied_before(mark, text) else _verdict(remark)
        found.append((mark, said, re.search(rf"(?i){_WEAKLY}", remark) is not None))
    return found


def _judged(text: str, options: Options) -> Parsed | None:
    """Remarks on options, each under its label: the one that is called right, if it is one."""
    remarks = _remarks(text, options)
    right = {_label(mark): mark[0].strip() for mark, said, _ in remarks if said}
    if not right and len({_label(mark) for mark, _, _ in remarks}) == len(options):
        right = {_label(mark): mark[0].strip() for mark, said, weakly in remarks
                 if said is None and weakly}  # fmt: skip
    if len(right) > 1:
        return Parsed(None, "judged", ", ".join(right), Status.AMBIGUOUS)
    return next((Parsed(k, "judged", span, Status.PARSED) for k, span in right.items()), None)


def _concluded(text: str, options: Options) -> Parsed | None:
    """One label with its own option's text in the last line, which is no entry of a list."""
    *before, last = text.splitlines()
    entry = [mark for mark in _listed(last, options) if mark.start() == 0]
    texts = dict(options)
    found = {
        mark[1]
        for mark in re.finditer(rf"(?<![\w'-])({_labels(options)})[).:]+\s*(?=\S)", last)
        # no more of the line than the option can take: labels may stand in it by the thousand
        if _key(last[mark.end() : mark.end() + 4 * len(texts[mark[1]]) + 80]).startswith(
            _key(texts[mark[1]]) or "\0"
        )
    }
    if len(found) != 1 or (entry and _listed("\n".join(before), options)):
        return None
    return Parsed(found.pop(), "concluded", last[:80], Status.PARSED)


def _denied_before(mark: re.Match[str], text: str) -> bool:
    """Whether a label is named as what it is not: "not A", "rather than B"."""
    before = text[max(0, mark.start() - 24) : mark.start(mark.lastindex or 0)]
    end = r"\s+(?:be\s+)?(?:option\s+|choice\s+)?[(\[]?$"
    return re.search(rf"(?i)(?:{_BEFORE}){end}", before) is not None


_BEFORE = r"\bnot|n't|\bnor|\bneither|\brather\s+than|\binstead\s+of|\bover"


def _option_text(text: str, options: Options) -> Parsed | None:
    """The text of one option, without its letter."""
    found = [] if _listed(text, options) else [text]
    found += re.findall(
        r"(?i)\b(?:answer|choice|option)\b\s*(?:is|would\s+be|[:\u2013-])\s*(?:the\s+)?(.+)", text
    )[-1:]
    for said in found:
        nearest, share = _nearest(said, options)
        if share >= FUZZY:
            return Parsed(nearest, "option text", said[:80], Status.REPAIRED)
    return None


def _text_inside(text: str, options: Options) -> Parsed | None:
    """The text of one option in what is said, where no other's is."""
    aside = r"more\s+\w+\s+than|rather\s+than|instead\s+of|unlike|as\s+opposed\s+to"
    own_words = re.sub(rf"(?i)\b(?:{aside})\b[^.,;\n]*", " ", text)
    said = f" {_key(own_words)} "
    keys = {label: key for label, option in options if len(key := _key(option)) >= 4}
    inside = {label: key for label, key in keys.items() if f" {key} " in said}
    # an option's text inside another's ("sodium", "sodium and potassium") is that other's
    others = inside.values()
    kept = [k for k, own in inside.items() if not any(own in o and own != o for o in others)]
    if len(kept) == 1 and not re.search(r"\b(?:not|except|unlikely|rule out)\b", text.lower()):
        return Parsed(kept[0], "option text inside", text[:80], Status.REPAIRED)
    if len(kept) > 1:
        return Parsed(None, "option text inside", text[:80], Status.AMBIGUOUS)
    return None


def _mentioned(text: str, options: Options) -> Parsed | None:
    """The labels that are named and not denied: one that is named as an option, or several."""
    own = _labels(options)
    weak = re.finditer(rf"(?:^|[\s(\[,/])({own})(?=[):.\],/]|\s+(?:or|and)\s|$)", text)
    kept = {mark[1] for mark in weak if not _denied_before(mark, text)}
    remarks = [(m, said) for m, said, _ in _remarks(text, options) if not m[4] or said is False]
    kept |= {_label(mark) for mark, _ in remarks}
    kept -= {_label(mark) for mark, said in remarks if said is False}
    if len(kept) > 1:
        return Parsed(None, "several letters", ", ".join(sorted(kept)), Status.AMBIGUOUS)
    for mark, _ in remarks:
        if _label(mark) in kept:
            return Parsed(_label(mark), "letter named", mark.group(0).strip(), Status.REPAIRED)
    return None


_REFUSAL = re.compile(
    r"(?i)\b(?:i\s*(?:')?(?:m|\s+am)\s+(?:sorry|unable|not\s+able)|as\s+an\s+ai|i\s+(?:can(?:no|')t|"
    r"won't|will\s+not)\s+(?:answer|provide|help|give|assist)|(?:cannot|can't|unable\s+to)\s+"
    r"(?:answer|provide|give)\b|(?:consult|see|ask)\s+a\s+(?:doctor|physician|healthcare|qualified)|"
    r"not\s+a\s+(?:doctor|physician)|decline\s+to)"
)

STRICT: tuple[Callable[[str, Options], Parsed | None], ...] = (
    _contained,
    _lone_letter,
    _letter_and_text,
    _stated,
    _option_text,
)
"""In order; the first that applies decides."""
WEIGHED = (_concluded, _judged, _text_inside, _mentioned)
"""Further rules, which weigh the whole of a response: not for one that was cut."""
