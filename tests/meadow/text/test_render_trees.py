"""Random HTML trees against a list of their words: none is lost, shown unasked or made another."""

import random
import re

import pytest

from meadow.text.render import html_to_text, normalise, quote_literal_markup

_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "01234567890123456789")
_UP, _DOWN = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎"
_PLAIN = str.maketrans(_UP + _DOWN, "0123456789+-=()ni0123456789+-=()")
_INLINE_TAGS = ("b", "strong", "em", "i", "s", "span", "u", "small")
_ATTRIBUTES = (
    *("", "", "", ' class="x"', " id=y onclick=alert(1)", ' style="display:none"', " title='a>b'"),
    *(" a=1 a=2", ' start="x"'),
)
_HIDDEN = ("<script>999 dose</script>", "<style>999 mg</style>", "<!-- 999 x -->")
_LOOSE_TAGS = ("p", "div", "h2", "blockquote", "center", "form", "fieldset", "section", "dl")


_RAW = re.compile(r"</?(?:table|t[rdh]|code|br|su[bp]|span)\b|[\ufdd0-\ufdd3]")


class Tree:
    """Builds one fragment (`html`) and what a reader sees of it in order (`seen`)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.spans = 0
        html, seen = zip(*(self.block(3) for _ in range(self.random.randint(1, 4))), strict=True)
        self.html, self.seen = "".join(html), " ".join(seen)

    def word(self) -> str:
        return self.random.choice(
            [str(self.random.randint(0, 999)), f"{self.random.randint(0, 99)}.5", "dose", "mg", "x"]
        )

    def inline(self, depth: int) -> tuple[str, str]:
        kind = self.random.random()
        if kind < 0.35 or depth < 1:
            word, space = self.word(), self.random.choice(["", " "])
            return word + space, word + space
        if kind < 0.5:
            base = self.word()
            up = self.random.choice(["6", "-3", "5.5", "\u20136", "3/4", "kt", "n-1", "2+", "1,2"])
            tag = self.random.choice(["sup", "sub"])
            inner = self.random.choice(["{}", "<em>{}</em>", "<b>{}</b>", "<span>{}</span>"])
            mark = "^" if tag == "sup" else "_"
            shown = up.replace("\u2013", "-")
            return f"{base}<{tag}>{inner.format(up)}</{tag}>", f"{base}{mark}({shown})"
        if kind < 0.56:
            code = self.word()
            return f" <code>{code}</code><kbd>{code}</kbd> ", f" {code} {code} "
        if kind < 0.62:
            return self.random.choice([("<br>", " "), ("<img src=x>", "")])
        if kind < 0.66:
            low, high = self.word(), self.word()
            sides = f"&lt;{low} and &gt;{high}"
            return f" p {sides} ", f" p {sides} ".replace("&lt;", " ").replace("&gt;", " ")
        if kind < 0.7:
            top, bottom = self.random.randint(1, 9), self.random.randint(2, 9)
            math = f"<math><mfrac><mn>{top}</mn><mn>{bottom}</mn></mfrac></math>"
            return f" {math} ", f" {top}/{bottom} "
        tag = self.random.choice((*_INLINE_TAGS, "a"))
        parts = [self.inline(depth - 1) for _ in range(self.random.randint(1, 3))]
        return (
            f"<{tag}>{''.join(html for html, _ in parts)}</{tag}>",
            "".join(seen for _, seen in parts),
        )

    def block(self, depth: int) -> tuple[str, str]:
        kind = self.random.random()
        if depth > 0 and kind < 0.2:
            return self.listing(depth)
        if depth > 0 and kind < 0.4:
            return self.table(depth)
        if kind < 0.45:
            base = self.word()
            return f"<pre>{base}<sup>6</sup> a</pre>", f" {base}^(6) a "
        if kind < 0.48:
            word = self.word()
            return f"<li>{word}</li>", f" {word} "
        if kind < 0.5:
            return self.random.choice(_HIDDEN), ""
        tag = self.random.choice(_LOOSE_TAGS)
        if depth > 0 and tag not in {"p", "h2"} and kind < 0.7:
            parts = [self.block(depth - 1) for _ in range(self.random.randint(1, 3))]
        else:
            parts = [self.inline(3) for _ in range(self.random.randint(1, 5))]
        html = "".join(html for html, _ in parts)
        # now and then it is not closed, or closed twice; an open heading goes on over all the rest
        times = self.random.choices((1, 0, 2), (18, 1, 1))[0]
        end = f"</{tag}>" * (times or tag == "h2")
        seen = f" {''.join(seen for _, seen in parts)} "
        return f"<{tag}{self.random.choice(_ATTRIBUTES)}>{html}{end}", seen

    def listing(self, depth: int) -> tuple[str, str]:
        tag, count = self.random.choice(["ul", "ol", "ol"]), self.random.randint(1, 4)
        start = self.random.randint(1, 30)
        labels = [""] * count
        attributes = ""
        if tag == "ol":
            style = self.random.choice(["plain", "reversed", "letters"])
            step = -1 if style == "reversed" else 1
            start = max(start, count) if step < 0 else start
            numbers = [start + step * n for n in range(count)]
            labels = [f"{n}. " for n in numbers]
            attributes = f' start="{start}"' + (" reversed" if step < 0 else "")
            if style == "letters" and numbers[-1] < 27:
                labels = [f"{chr(96 + n)}. " for n in numbers]
                attributes += ' type="a"'
        html, seen = "", ""
        for label in labels:
            parts = [self.inline(2) for _ in range(self.random.randint(1, 3))]
            word = self.word()
            html += f"<li>{word} {''.join(part for part, _ in parts)}</li>"
            seen += f" {label}{word} {''.join(part for _, part in parts)} "
        return f"<{tag}{attributes}>{html}</{tag}>", seen

    def table(self, depth: int) -> tuple[str, str]:
        html, seen = "", ""
        for row in range(self.random.randint(1, 4)):
            html += "<tr>"
            for _ in range(self.random.randint(0, 4)):
                spans = self.random.choice(["", "", ' rowspan="1"', ' colspan="2"', ' rowspan="2"'])
                if spans:
                    self.spans += 1
                    part = (f"span{self.spans}",) * 2
                elif depth > 1 and self.random.random() < 0.05:
                    part = self.block(depth - 2)
                else:
                    part = self.inline(1)
                cell = self.random.choice(["td", "td", "th"]) if row else "th"
                html += f"<{cell}{spans}>{part[0]}</{cell}>"
                seen += f" {part[1]} "
            html += "</tr>"
        return f"<table>{html}</table>", seen


def tokens(text: str) -> list[str]:
    """Words and numbers, raised and lowered ones in brackets; of a repeated cell the first."""
    for signs, mark in ((_UP, "^"), (_DOWN, "_")):
        text = re.sub(f"[{signs}]+", lambda m, mark=mark: f"{mark}({m[0].translate(_PLAIN)})", text)
    text = re.sub(r"([\^_])(\d+)", r"\1(\2)", text)
    text = re.sub(r"(?m)^([> ]*\w{1,3})\) ", r"\1. ", text)  # the second list of two
    found = re.findall(r"[\w.,/()^+-]*\w[\w.,/()^+-]*", re.sub(r"[*~`]", "", text))
    first: dict[str, None] = {}
    return [
        word
        for word in found
        if not word.startswith("span") or (word not in first and not first.update({word: None}))
    ]


def check(seed: int) -> None:
    tree = Tree(seed)
    text = html_to_text(tree.html)
    assert tokens(text) == tokens(tree.seen), (seed, tree.html, text)
    assert not _RAW.search(text), (seed, tree.html, text)
    assert normalise(text) == text
    assert quote_literal_markup(text) == text


@pytest.mark.parametrize("hundred", range(4))
def test_no_word_is_lost_and_no_number_becomes_another(hundred: int) -> None:
    for seed in range(100 * hundred, 100 * (hundred + 1)):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("thousand", range(20))
def test_twenty_thousand_trees(thousand: int) -> None:
    for seed in range(1000 * thousand, 1000 * (thousand + 1)):
        check(seed)
