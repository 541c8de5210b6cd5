"""Quality flags: rows that a careful reader should look at. A flag removes nothing.

Each flag is one polars expression over the columns of a record, with linear patterns only, so that
hostile text costs no more than other text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meadow.licenses import LICENSES

if TYPE_CHECKING:
    import polars as pl

TEXTS = ("instruction", "input", "output")


@dataclass(frozen=True, slots=True)
class Flag:
    """One kind of suspicion.

    Args:
        name: For JSON.
        title: For people.
        why: What it means, and what it does not.
        test: Builds the expression that is true for a flagged row.
        column: Where an example's excerpt comes from.
        pattern: What the excerpt is centred on; "" takes the beginning.
    """

    name: str
    title: str
    why: str
    test: Callable[[], pl.Expr]
    column: str = "output"
    pattern: str = ""


def _any_text(pattern: str) -> Callable[[], pl.Expr]:
    def test() -> pl.Expr:
        import polars as pl

        return pl.any_horizontal(pl.col(name).str.contains(pattern) for name in TEXTS)

    return test


def _output(pattern: str) -> Callable[[], pl.Expr]:
    def test() -> pl.Expr:
        import polars as pl

        return pl.col("output").str.contains(pattern)

    return test


def _short_answer() -> pl.Expr:
    import polars as pl

    free = pl.col("task").is_in(["open_qa", "dialogue", "instruction", "summarization"])
    return free & (pl.col("output").str.len_chars() < 12)


def _echo() -> pl.Expr:
    import polars as pl

    def same(name: str) -> pl.Expr:
        given = pl.col(name).str.strip_chars()
        return (given != "") & (given == pl.col("output").str.strip_chars())

    return same("input") | same("instruction")


def _cut_off() -> pl.Expr:
    import polars as pl

    text = pl.col("output").str.strip_chars_end()
    free = pl.col("task").is_in(["open_qa", "dialogue", "instruction"])
    return free & (text.str.len_chars() >= 200) & text.str.contains(r"(?:[\p{Ll},;]|\p{Pd})$")


def _foreign() -> pl.Expr:
    import polars as pl

    # One class that ASCII text never enters: counting all letters took a hundred times as long.
    foreign = pl.col("output").str.count_matches(r"[\p{L}--[\p{Latin}\p{Greek}]]")
    return (foreign >= 20) & (foreign * 5 >= pl.col("output").str.len_chars() * 2)


def _unattributed() -> pl.Expr:
    import polars as pl

    asking = [key for key, license in LICENSES.items() if license.attribution]
    nameless = pl.col("authors").list.len().fill_null(0) == 0
    return pl.col("license").is_in(asking) & (nameless | pl.col("url").is_null())


HTML = (
    r"(?i)</?(?:p|br|div|span|a|li|ul|ol|b|i|em|strong|img|table|tr|td|h[1-6]|script|style"
    r"|iframe|svg|font)(?:\s[^<>]{0,500})?/?>"
)
SCRIPT = r"(?i)<script\b|javascript:|\bon(?:error|load|click)\s*="
MOJIBAKE = r"Ã[\u{80}-\u{BF}©¨¼¶¤±­]|â€[™œ“”\u{9d}¦]|Â[\u{a0}°±·]|\u{FFFD}"
INJECTION = (
    r"(?i)\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:of\s+)?(?:the\s+|your\s+)?"
    r"(?:previous|prior|above|earlier)\s+(?:instructions?|prompts?|messages?)"
    r"|\byou are now\b.{0,40}\b(?:assistant|model|DAN)\b|\bsystem prompt\b"
)
REFUSAL = (
    r"(?i)\bas an? (?:ai|artificial intelligence)\b|\bas a (?:large )?language model\b"
    r"|\bi(?:'m| am) (?:sorry, but i )?(?:unable|not able) to (?:provide|give|answer)\b"
    r"|\bi can(?:no|')t (?:provide|give) (?:medical|a diagnosis)"
)

FLAGS: tuple[Flag, ...] = (
    Flag(
        "html", "HTML left in the text",
        "A tag of HTML stands in a text. Comparisons such as p<0.05 do not count.",
        _any_text(HTML), pattern=HTML,
    ),
    Flag(
        "script", "Script-like text",
        "Something that a browser could run if a page did not treat text as text.",
        _any_text(SCRIPT), pattern=SCRIPT,
    ),
    Flag(
        "entity", "HTML entities left in the text",
        "A character reference such as &amp;amp; was not decoded, or was encoded twice.",
        _any_text(r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,6});"),
        pattern=r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,6});",
    ),
    Flag(
        "percent_encoding", "URL-encoded text",
        "An escape of an address stands in running text, as in 140 topics of the 2023 release.",
        _any_text(r"[A-Za-z]%(?:20|27|28|29|2C|3F)"), "input", r"[A-Za-z]%(?:20|27|28|29|2C|3F)",
    ),
    Flag(
        "mojibake", "Wrongly decoded characters",
        "UTF-8 that was once read as another encoding. It is counted here, never guessed at.",
        _any_text(MOJIBAKE), pattern=MOJIBAKE,
    ),
    Flag(
        "control", "Control characters",
        "Characters that no text needs.",
        _any_text(r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F]"), pattern=r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F]",
    ),
    Flag(
        "short_answer", "Very short answers",
        "Fewer than 12 characters where a sentence is expected; may be right (a number, a name).",
        _short_answer,
    ),
    Flag(
        "cut_off", "Answers that seem cut off",
        "A long answer that ends in a lower-case letter, a comma or a dash.",
        _cut_off,
    ),
    Flag(
        "echo", "Answer repeats the question",
        "The answer is the input or the instruction, word for word.",
        _echo,
    ),
    Flag(
        "link", "Answers that point elsewhere",
        "The answer says where to look instead of answering.",
        _output(r"(?i)\bcan be found (?:here|at|on)\b|\b(?:see|click|read more) here\b"),
        pattern=r"(?i)\bcan be found (?:here|at|on)\b|\b(?:see|click|read more) here\b",
    ),
    Flag(
        "refusal", "Refusals of a model",
        "A phrase that language models use to decline or to speak of themselves.",
        _output(REFUSAL), pattern=REFUSAL,
    ),
    Flag(
        "injection", "Instructions aimed at a model",
        "Text such as “ignore previous instructions”. It is kept: a reader decides.",
        _any_text(INJECTION), pattern=INJECTION,
    ),
    Flag(
        "contact", "E-mail addresses left",
        "Something that looks like an address after scrubbing.",
        _any_text(r"[A-Za-z0-9]@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2}"),
        pattern=r"[A-Za-z0-9]@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2}",
    ),
    Flag(
        "language", "Mostly another script",
        "Two fifths of the answer or more are letters that are neither Latin nor Greek.",
        _foreign,
    ),
    Flag(
        "attribution", "Attribution incomplete",
        "The licence asks for authors, and the row has no author or no address.",
        _unattributed,
    ),
)  # fmt: skip
