"""Quality flags: rows that a careful reader should look at. A flag removes nothing.

They stand beside the corpus, which is filtered by them; the report counts them, and docs/flags.md
says how often each was right. Each flag is one polars expression over the columns of a record, with
linear patterns only, so that hostile text costs no more than other text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from meadow.licenses import LICENSES

TEXTS = ("instruction", "input", "output")
PERCENT = r"[A-Za-z]%(?:20|27|28|29|2C|3F)"


@dataclass(frozen=True, slots=True)
class Flag:
    """One kind of suspicion: a pattern in the texts, or a test of its own.

    Args:
        name: For JSON.
        title: For people.
        why: What it means, and what it does not.
        pattern: What raises it, and what an example's excerpt is centred on.
        test: Builds the expression that is true for a flagged row, where no pattern does.
        texts: The columns in which the pattern is looked for.
        column: Where an example's excerpt comes from first.
    """

    name: str
    title: str
    why: str
    pattern: str = ""
    test: Callable[[], pl.Expr] | None = None
    texts: tuple[str, ...] = TEXTS
    column: str = "output"

    def raised(self) -> pl.Expr:
        """True for a flagged row."""
        if self.test is not None:
            return self.test()
        return pl.any_horizontal(pl.col(self.texts).str.contains(self.pattern))


def _echo() -> pl.Expr:
    given = pl.col("input", "instruction").str.strip_chars()
    return pl.any_horizontal((given != "") & (given == pl.col("output").str.strip_chars()))


_OPEN_WORDS = (
    "a an the of and or to with in for by from that which who is are was were be been as at on may "
    "can will should your their its his her our not but than such including if when because while "
    "into between about these this those has have had also"
)
"""Words that no sentence ends with, but one that was cut."""


def _cut_off() -> pl.Expr:
    text = pl.col("output").str.strip_chars_end()
    free = pl.col("task").is_in(["open_qa", "dialogue", "instruction"])
    words = "|".join(_OPEN_WORDS.split())
    return free & (text.str.len_chars() >= 200) & text.str.contains(rf"(?:,|\s(?:{words}))$")


def _percent_encoding() -> pl.Expr:
    outside = pl.col(TEXTS).str.replace_all(r"[a-zA-Z]+://\S+|www\.\S+|\]\([^)]*\)", "")
    return pl.any_horizontal(outside.str.contains(PERCENT))


def _foreign() -> pl.Expr:
    # One class that ASCII text never enters: counting all letters took a hundred times as long.
    foreign = pl.col("output").str.count_matches(r"[\p{L}--[\p{Latin}\p{Greek}]]")
    return (foreign >= 20) & (foreign * 5 >= pl.col("output").str.len_chars() * 2)


def _unattributed() -> pl.Expr:
    asking = [key for key, license in LICENSES.items() if license.attribution]
    nameless = pl.col("authors").list.len().fill_null(0) == 0
    return pl.col("license").is_in(asking) & (nameless | pl.col("url").is_null())


FLAGS: tuple[Flag, ...] = (
    Flag(
        "html", "HTML in the text",
        "A tag of HTML stands in a text: left over or, in answers about code, meant. Comparisons "
        "such as p<0.05 do not count.",
        r"(?i)</?(?:p|br|div|span|a|li|ul|ol|b|i|em|strong|img|table|tr|td|h[1-6]|script|style"
        r"|iframe|svg|font)(?:\s[^<>]{0,500})?/?>",
    ),
    Flag(
        "script", "Script-like text",
        "Something that a browser could run if a page did not treat text as text.",
        r"(?i)<script\b|javascript:|\bon(?:error|load|click)\s*=",
    ),
    Flag(
        "entity", "HTML entities left in the text",
        "A character reference such as &amp;amp; was not decoded, or was encoded twice.",
        r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,6});",
    ),
    Flag(
        "percent_encoding", "URL-encoded text",
        "An escape of an address stands in running text, as in 140 topics of the 2023 release; "
        "addresses themselves do not count.",
        PERCENT, test=_percent_encoding, column="input",
    ),
    Flag(
        "mojibake", "Wrongly decoded characters",
        "UTF-8 that was once read as another encoding. It is counted here, never guessed at.",
        r"Ã[\u{80}-\u{BF}©¨¼¶¤±­]|â€[™œ“”\u{9d}¦]|Â[\u{a0}°±·]|\u{FFFD}",
    ),
    Flag(
        "control", "Control characters",
        "Characters that no text needs.",
        r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F]",
    ),
    Flag(
        "cut_off", "Answers that were cut off",
        "A long answer whose last word no sentence ends with (“of”, “the”, “while”), or that ends "
        "in a comma. Lists and titles do not count; a cut behind another word is not seen.",
        r"(?:,|\s\p{Ll}+)\s*$", test=_cut_off,
    ),
    Flag(
        "echo", "Answer repeats the question",
        "The answer is the input or the instruction, word for word.",
        test=_echo,
    ),
    Flag(
        "link", "Pointers to what is not here",
        "The text says “click here”, and neither a link nor a picture came with it.",
        r"(?i)\bclick here\b(?:[^\]<]|$)", texts=("output",),
    ),
    Flag(
        "non_answer", "Answers that only name pages elsewhere",
        "Every line behind the first is the title of another page, whose link is gone.",
        r"^These resources (?:address|offer)[^\n]*(?:\n- [^\n]*)*$", texts=("output",),
    ),
    Flag(
        "refusal", "Refusals of a model",
        "A phrase that language models use to decline or to speak of themselves.",
        r"(?i)\bas an? (?:ai|artificial intelligence)\b|\bas a (?:large )?language model\b"
        r"|\bi(?:'m| am) (?:sorry, but i )?(?:unable|not able) to (?:provide|give|answer)\b"
        r"|\bi can(?:no|')t (?:provide|give) (?:medical|a diagnosis)", texts=("output",),
    ),
    Flag(
        "injection", "Instructions aimed at a model",
        "Text such as “ignore previous instructions”. It is kept: a reader decides.",
        r"(?i)\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:of\s+)?(?:the\s+|your\s+)?"
        r"(?:previous|prior|above|earlier)\s+(?:instructions?|prompts?|messages?)"
        r"|\byou are now\b.{0,40}\b(?:assistant|model|DAN)\b|\bsystem prompt\b",
    ),
    Flag(
        "contact", "E-mail addresses left",
        "Something that looks like an address after scrubbing.",
        r"[A-Za-z0-9]@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2}",
    ),
    Flag(
        "language", "Mostly another script",
        "Two fifths of the answer or more are letters that are neither Latin nor Greek.",
        test=_foreign,
    ),
    Flag(
        "attribution", "Attribution incomplete",
        "The licence asks for authors, and the row has no author or no address.",
        test=_unattributed,
    ),
)  # fmt: skip
