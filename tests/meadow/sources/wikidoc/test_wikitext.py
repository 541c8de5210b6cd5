"""Wikitext: what is understood is written whole, the rest is told; nothing is lost uncounted."""

from __future__ import annotations

import random
import re

import pytest

from meadow.sources.wikidoc.html_pages import Page
from meadow.sources.wikidoc.wikitext import read_wikitext


def lead(markup: str, title: str = "Gout") -> str:
    section = read_wikitext(markup, title=title).sections[0]
    assert section.unread == (), section.unread
    return section.text


def holes(markup: str) -> tuple[str, ...]:
    return read_wikitext(markup).sections[0].unread


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("{{convert|7|lb|4|oz|kg}}", "7 lb 4 oz"),
        ("{{convert|1|mi|2|yd|3|ft|m|1}}", "1 mi 2 yd 3 ft"),
        ("{{convert|3|x|4|x|5|cm|in|abbr=on}}", "3 × 4 × 5 cm"),
        ("{{convert|5|-|7|C|F}}", "5–7 °C"),
        ("{{convert|5+1/2|in}}", "5 1/2 in"),
        ("{{convert|2|e6acre|km2}} or {{cvt|3|m2}}", "2×10⁶ acre or 3 m²"),
        ("{{val|7|u=C}} {{val|7|u=CFU/mL}} {{convert|7|C}} {{convert|2|mg/m2}} {{convert|2|ug}}",
         "7 C 7 CFU/mL 7 °C 2 mg/m² 2 μg"),
        ("(Dari: {{nq|نقرس}}) {{clarify span|two doses|reason=of?}} {{cn-span|daily|date=May}}",
         "(Dari: نقرس) two doses daily"),
        ("{{val|2|e=-3|u=mol/L}}, {{val|2.5|+0.3|-0.1}}", "2×10⁻³ mol/L, 2.5 (+0.3/−0.1)"),
        ("{{val|2|0.5|e=4|u=Hz}}, {{val|98|u=%}}, {{val|1.25|(3)}}",
         "(2±0.5)×10⁴ Hz, 98%, 1.25(3)"),
        ("1{{frac|3|4}} and {{frac|2|3|4}} and {{sfrac|1|8}}", "1 3/4 and 2 3/4 and 1/8"),
        ("{{sfrac|n + 1|2}}", "(n + 1)/2"),
        ("7{{e|-4}} {{su|p=+|b=3}}", "7×10⁻⁴ ₃⁺"),
        ("{{nowrap|1=a = 2}}, {{nowrap|a {{=}} 3}}", "a = 2, a = 3"),
        ("{{as of|2011|3}} or {{As of|2012|lc=y}}", "As of March 2011 or as of 2012"),
        ("{{PAGENAME}} {{formatnum:12345}} {{lc:ABC}}", "Gout 12345 abc"),
        ("{{chem|H|3|O|+}} {{chem|Fe|(CN)|6|4-}} {{chem2|Ca(OH)2}} {{chem2|NH4+}}",
         "H₃O⁺ Fe(CN)₆⁴⁻ Ca(OH)₂ NH₄⁺"),
        ("<chem>PO4^3-</chem> <ce>H3O+</ce>", "PO₄³⁻ H₃O⁺"),
        ("{{lang|la|os}} ({{lang-la|os}}) {{color|blue|only}} {{abbr|q.d.|daily}}",
         "os (Latin: os) only q.d."),
        ("{{gaps|1|234|567}}", "1234567"),
        ("{{H2O}} {{C6H12O6}} {{strike|5}}", "H₂O C₆H₁₂O₆ ~~5~~"),
        ("x {{sic|doze}} y {{circa|1900}}", "x doze [sic] y c. 1900"),
        ("one{{cn|date=May}} two<ref>{{cite web|a}}</ref>", "one two"),
        ("{{nowrap|[[a|b]] {{nowrap|[[c]]}}}}", "b c"),
        ("It says {{blockquote|Stop it.|A. Nobody}}", "It says\n\n> Stop it.\n> — A. Nobody"),
    ],
)  # fmt: skip
def test_templates_that_are_understood_are_written_whole(markup: str, text: str) -> None:
    assert lead(markup) == text


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("{{No such thing|5|mg}}", "no such thing"),
        ("{{convert|5|kg|disp=out}}", "convert"),
        ("{{convert|5|ft|adj=mid|-long}}", "convert"),
        ("{{convert|{{x}}|kg}}", "convert"),
        ("{{convert|5|e3km2x!}}", "convert"),
        ("{{convert|5|PD/sqmi}}", "convert"),
        ("{{convert|5|Moilbbl/d}}", "convert"),
        ("{{or span|five|six}}", "or span"),
        ("{{val|5|what=6}}", "val"),
        ("{{val|five}}", "val"),
        ("{{frac|a b|{{y}}}}", "frac"),
        ("{{nowrap|5|6}}", "nowrap"),
        ("{{nowrap|a = 5}}", "nowrap"),
        ("{{chem|14|6|C}}", "chem"),
        ("{{chem2|^{14}C}}", "chem2"),
        ("{{#if:x|5|6}}", "#if:"),
        ("{{:Other page}}", ":"),
        ("{{{1|5}}}", "{1"),
        ("{{CURRENTYEAR}}", "currentyear"),
        ("{{lang-xyz|word}}", "lang-xyz"),
        ("<hiero>A1</hiero>", "hiero (tag)"),
        ("<calculator>5</calculator>", "calculator (tag)"),
        ("<math></math>", "math (tag)"),
        ("{{open and never closed", "{{"),
        ("[[fr:goutte|drop]]", "[[fr:]]"),
    ],
)
def test_what_is_not_understood_is_named(inside: str, name: str) -> None:
    assert name in holes(f"Give it {inside} and wait.")
    assert name in holes(f"* {inside}")
    assert name in holes(f"{{|\n| Dose || {inside}\n|}}")
    page = read_wikitext(f"Fine.\n\n==Dose==\nGive {inside} now.\n")
    assert [bool(section.unread) for section in page.sections] == [False, True]
    assert page.facts["templates_unread", name] == 1


def test_boxes_on_lines_of_their_own_go_and_are_counted() -> None:
    page = read_wikitext(
        "{{Some banner|x}}\n{{Box\n|a={{b}}\n}}\n'''Gout''' hurts.\n\n{{Navigation}}\n"
        "{{Tall box\n|y\n}}'''It''' swells.\n<timeline>x</timeline>\n"
    )
    assert page.sections[0].text == "Gout hurts.\n\nIt swells."
    assert page.sections[0].unread == ()
    dropped = {name: n for (group, name), n in page.facts.items() if group == "templates_dropped"}
    assert dropped == dict.fromkeys(
        ("some banner", "box", "navigation", "tall box", "timeline (tag)"), 1
    )


@pytest.mark.parametrize(
    "markup",
    ["Give it\n{{dose|5}}\nmg a day.", "The doses are:\n{{doses}}\n\nMore.",
     "They weigh,\n{{weight}}\nLater.", "{{dose}} is enough.", "Take {{dose}}."],
)  # fmt: skip
def test_a_box_that_a_sentence_needs_is_a_hole(markup: str) -> None:
    assert holes(markup)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("The [[MRI: head|MRI]] and [[doi:10.1/x|paper]]", "The MRI and paper"),
        ("[[War: a tale]] [[wikt:ache|ache]] [[:Category:Pain]]", "War: a tale ache Category:Pain"),
        ("Pain\n[[fr:Douleur]]\n[[zh-min-nan:X]]\n[[Category:Pain]]", "Pain"),
        ("[[als]] [[Foo#Bar]] [[a|b|c]]", "als Foo#Bar b|c"),
        ("Write [mailto:a@b.org the office] [mailto:a@b.org]", "Write the office"),
    ],
)
def test_labels_of_links_are_text(markup: str, text: str) -> None:
    assert lead(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("[[File:a.png|thumb|A [[nested]] caption]]Text[[Category:C]]", "Text"),
        ("a<ref name='x'>one</ref>b<ref name='x'/>c<ref>two {{cite}}</ref>", "abc"),
        ("a<ref>never closed\nb", "a b"),
        ("<math>x^2 < 3</math>", "$x^2 < 3$"),
        ("<nowiki>[[as it is]]</nowiki>", "[[as it is]]"),
        ("<!-- hidden -->shown<!-- never closed", "shown"),
        ("* a\n** b\n* c\n# d", "- a\n  - b\n- c\n1. d"),
        ("{| class='infobox'\n| 1\n|}after", "after"),
        ("__NOTOC__Text &amp; more &nbsp;x", "Text & more x"),
        ("<del>5</del> 6 <s>7</s> <strike>8</strike>", "~~5~~ 6 ~~7~~ ~~8~~"),
        ("It is <font color=red>not</font> <u>so</u>", "It is not so"),
        ('7<span style="visibility: hidden">0</span> mg', "7 mg"),
        ('7<span style="display:none">0</span> mg', "7 mg"),
        ("a<includeonly>b</includeonly><noinclude>c</noinclude>", "ac"),
        ("x<table><tr><td>1</td><td>2</td></tr></table>", "x\n\n| 1 | 2 |\n| --- | --- |"),
        ("<dl><dt>A</dt><dd>1</dd></dl>", "A\n\n1"),
        ("a\n----\nb", "a\n\n---\n\nb"),
        ("Do:\n Wait   5\n Go     6", "Do:\n\n```\nWait   5\nGo     6\n```"),
        ("a\n lone line\nb", "a\n\nlone line\n\nb"),
        ("<poem>\na\nb\n</poem>", "a\nb"),
        ("a <!-- x\n--> b\n<!-- alone -->\nc", "a b c"),
        ("p <low and b> q, p<0.05, R&D &copy", "p <low and b> q, p<0.05, R&D &copy"),
        ("l''''amour'''' and ''x''", "l'amour' and x"),
        ("{| class=a\n|+ Cap\n! A\n|-\n| 1\n|}", "Cap\n\n| A |\n| --- |\n| 1 |"),
        ("{|\n! A !! B\n|-\n| *x || p=0.03 | 5\n|}", r"| A | B |"),
        ("{|\n! A !! B\n|-\n| c ||\n{|\n| 1 || 2\n|}\n|}", "| c | 1; 2 |"),
        ("{|\n! A !! B\n|-\n| never closed", "| never closed"),
        ("<gallery>\na.png|x\n</gallery>b", "b"),
    ],
)  # fmt: skip
def test_markup(markup: str, text: str) -> None:
    assert text in lead(markup).replace("`", "`" if "```" in text else "")


def test_bylines_go_and_are_counted_and_the_text_beside_them_stays() -> None:
    page = read_wikitext(
        "{{CMG}}; '''Associate Editor:''' {{AE}} A. Nobody, M.D. [mailto:a@b.org]\n"
        "'''Gout''' hurts.\n\n{{SK}} toe ache\n\n'''To read more, for patient information "
        "click [[here]]'''\n\nIt does.\n"
    )
    assert "Nobody" not in page.sections[0].text
    assert "toe ache" not in page.sections[0].text
    assert page.sections[0].text.startswith("Gout hurts.")
    assert page.facts["elements_dropped", "byline"] >= 2


# Random pages, each made of pieces of which it is known what a reader sees.

# (markup, what is seen of it): w is a word, n and m are numbers, s and t small ones, i is a piece;
# ^(...) and _(...) stand for raised and lowered signs.
SHOWN = (
    *(("%(w)s", "%(w)s"), ("''%(w)s''", "%(w)s"), ("'''%(w)s'''", "%(w)s")),
    *(("[[T%(w)s: x|%(w)s]]", "%(w)s"), ("[[%(w)s]]", "%(w)s")),
    *(("[http://x.org %(w)s]", "%(w)s"), ("<u>%(w)s</u>", "%(w)s")),
    *(("<del>%(w)s</del>", "~~%(w)s~~"), ("{{formatnum:%(n)s}}", "%(n)s")),
    *(("%(n)s{{e|-%(s)s}}", "%(n)s×10^(-%(s)s)"), ("{{val|%(n)s|e=%(s)s}}", "%(n)s×10^(%(s)s)")),
    ("%(n)s×10<sup>-%(s)s</sup>", "%(n)s×10^(-%(s)s)"),
    ("{{convert|%(n)s|ft|%(m)s|in|cm}}", "%(n)s ft %(m)s in"),
    ("{{convert|%(n)s|to|%(m)s|kg|lb}}", "%(n)s to %(m)s kg"),
    ("{{val|%(n)s|%(m)s|u=mg}}", "%(n)s±%(m)s mg"),
    ("{{nowrap|1=p = %(n)s}}", "p = %(n)s"),
    ("7{{frac|%(s)s|%(t)s}}", "7 %(s)s/%(t)s"),
    ("{{frac|7|%(s)s|%(t)s}}", "7 %(s)s/%(t)s"),
    ("{{chem|SO|%(s)s|%(t)s-}}", "SO_(%(s)s)^(%(t)s-)"),
    ("{{chem2|SO%(s)s(%(t)s-)}}", "SO_(%(s)s)^(%(t)s-)"),
    ("<chem>SO%(s)s^%(t)s-</chem>", "SO_(%(s)s)^(%(t)s-)"),
)
DROPPED = (
    *("<ref>{{cite|%(w)s}}</ref>", "{{citation needed|%(w)s}}"),
    *('<span style="display:none">%(w)s</span>', "<includeonly>%(w)s</includeonly>"),
)
NESTED = ("{{nowrap|1=%(i)s}}", "{{color|red|2=%(i)s}}", "<b>%(i)s</b>")
HOLES = ("{{unknown thing|%(w)s}}", "{{convert|%(w)s|kg|what=1}}", "<hiero>%(w)s</hiero>")
_UP = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_DOWN = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Wiki:
    """A page in the making: its markup, and section by section the words and the holes."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0
        self.markup: list[str] = []
        self.words: list[list[str]] = [[]]
        self.holes: list[bool] = [False]
        self.dropped = 0

    def inline(self, deep: int = 0) -> str:
        """A piece of running text; what is seen of it is noted."""
        self.count += 1
        tail = self.chance.choice(["", "-x", "é", ","])
        n, m = (f"{self.chance.randint(2, 9)}{self.chance.choice(['', '5', '.5'])}" for _ in "nm")
        s, t = self.chance.sample("23456789", 2)
        told = {"w": f"w{self.count}{tail}", "n": n, "m": m, "s": s, "t": t}
        kind = self.chance.choice(["shown"] * 7 + ["dropped", "hole"] + ["nested"] * (deep < 2))
        if kind == "nested":
            return self.chance.choice(NESTED) % {"i": self.inline(deep + 1)}
        if kind == "dropped":
            self.dropped += 1
            return self.chance.choice(DROPPED) % told
        if kind == "hole":
            self.holes[-1] = True
            return self.chance.choice(HOLES) % told
        markup, shown = self.chance.choice(SHOWN)
        raised = re.sub(r"\^\(([^)]*)\)", lambda m: m[1].translate(_UP), shown % told)
        self.words[-1] += re.sub(r"_\((\d)\)", lambda m: m[1].translate(_DOWN), raised).split()
        return markup % told

    def sentence(self) -> str:
        return " ".join(self.inline() for _ in range(self.chance.randint(1, 5)))

    def word(self, letter: str) -> str:
        """A word that the page shows; its letter says where it stands."""
        self.count += 1
        self.words[-1].append(f"{letter}{self.count}")
        return f"{letter}{self.count}"

    def block(self) -> None:
        kind = self.chance.choice(["p", "p", "p", "list", "table", "heading", "box", "pre", "deep"])
        if kind == "p":
            text = f"{self.sentence()} {self.word('e')}"
        elif kind == "list":
            marks = [self.chance.choice(["*", "#", ":", "**", "*#"]) for _ in range(3)]
            text = "\n".join(f"{mark} {self.word('i')} {self.sentence()}" for mark in marks)
        elif kind in {"table", "deep"}:
            rows = [f"! {self.word('h')} !! {self.word('h')}"]
            for _ in range(2):
                cells = [f"{self.word('c')} {self.sentence()}" for _ in range(2)]
                more = [f"\n* {self.word('l')}" for _ in range(2 * (kind == "deep"))]
                rows.append(f"| {' || '.join(cells)}{''.join(more)}")
            text = "{|\n" + "\n|-\n".join(rows) + "\n|}"
        elif kind == "heading":
            text = f"==H{self.count}=="
            self.words.append([])
            self.holes.append(False)
        elif kind == "box":
            text = f"{{{{Some box\n| a = {self.count}\n}}}}"
            self.dropped += 1
        else:
            text = f" {self.word('l')}   {self.word('x')}\n {self.word('l')}"
        self.markup.append(text)


def seen(page: Page) -> list[list[str]]:
    """The words of each section without the marks of Markdown."""
    found = []
    for section in page.sections:
        text = re.sub(
            r"(?m)^\s*(?:(?:[-*>]|\d+[.)])\s+)+|^```$|^\|(?: --- \|)+$", " ", section.text
        )
        found.append([word for word in text.split() if word not in {"|", "*"}])
    return found


def check_random_page(index: int) -> None:
    wiki = Wiki(random.Random(f"wikitext page {index}"))
    for _ in range(wiki.chance.randint(1, 8)):
        wiki.block()
    markup = "\n\n".join(wiki.markup)
    page = read_wikitext(markup, title="T")
    assert [bool(section.unread) for section in page.sections] == wiki.holes, markup
    dropped = sum(
        count
        for (group, name), count in page.facts.items()
        if group in {"elements_dropped", "templates_dropped"} and name != "cite"
    )
    assert dropped == wiki.dropped, (markup, page.facts)
    assert seen(page) == wiki.words, markup


def test_random_pages_keep_every_word_and_every_number() -> None:
    for index in range(200):
        check_random_page(index)


@pytest.mark.slow
def test_many_random_pages_keep_every_word_and_every_number() -> None:
    for index in range(200, 5_200):
        check_random_page(index)
