"""HTML to text: no word lost against beautifulsoup4, readable Markdown, hostile input is cheap."""

import contextlib
import re
import unicodedata
from pathlib import Path
from urllib.parse import urljoin

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.schema import Reason
from meadow.sources.stack_exchange.dump import parse_row
from meadow.text import render
from meadow.text.render import (
    MAX_CHARACTERS,
    HtmlLimitError,
    html_to_text,
    normalise,
    quote_literal_markup,
    render_html,
)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain text", "plain text"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("a<br>b<br/><br>c", "a\nb\n\nc"),
        ("<b>bold</b>, <em>it</em> and <s>gone</s>", "**bold**, *it* and ~~gone~~"),
        ("foo<strong>bar</strong>baz", "foo**bar**baz"),
        ("<em>a <em>b</em> <b>c</b></em>", "*a b **c***"),
        ("<strong> </strong>x", "x"),
        ("<b><p>a</p><p>b</p></b><b><pre>c</pre></b>", "a\n\nb\n\n```\nc\n```"),
        ("<h2>Head</h2><p>x</p>", "## Head\n\nx"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ('<ol start="3"><li>x</li><li>y</li></ol>', "3. x\n4. y"),
        ("<blockquote><p>q</p><p>r</p></blockquote>", "> q\n>\n> r"),
        ("<p>x</p><blockquote><img></blockquote><p>y</p>", "x\n\ny"),
        ("<pre><code>a &lt; b\n  c\n</code></pre>", "```\na < b\n  c\n```"),
        ("use <code>x_1 &amp;&amp; *y</code>", "use `x_1 && *y`"),
        ("<code>a`b</code>", "``a`b``"),
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1<br>2</td><td>x|y</td></tr></table>",
            "| A | B |\n| --- | --- |\n| 1 2 | x\\|y |",
        ),
        (
            "10<sup>3</sup>, H<sub>2</sub>O, V<sub>max</sub>, 4<sup>th</sup>",
            "10³, H₂O, V_(max), 4th",
        ),
        ("x<sup>a+b</sup> note<sup>see below, please</sup>", "x^(a+b) note^(see below, please)"),
        ("$\\alpha_1 * b_2$ and $$\\frac{1}{2}$$", "$\\alpha_1 * b_2$ and $$\\frac{1}{2}$$"),
        ('<a href="https://a.b/c">label</a>', "[label](https://a.b/c)"),
        ('<a href="https://a.b/c">a.b/c</a>', "https://a.b/c"),
        ('<a href="https://a.b/c d_(e">x</a>', "[x](https://a.b/c%20d_%28e)"),
        ('<a href="javascript:alert(1)">x</a> <a href="#y">y</a>', "x y"),
        ('<a href="https://a.b/"><img src="x.png"></a>', ""),
        ('<p>See <img src="x.png" alt="a cat"> here</p>', "See here"),
        ("a&nbsp;b &lt; 3 &amp; 4 &eacute;", "a b < 3 & 4 é"),
        ("(<math><mn>2</mn></math>)", "(2)"),
        ("4<math><mn>2</mn></math>7", "4 2 7"),
        ('10<span style="vertical-align: super">7</span>', "10⁷"),
        ("10<sup><em>7</em></sup> x<sup><s>4</s>5</sup>", "10⁷ x^(~~4~~5)"),
        ("<code>3<sup>7</sup></code> <code>3<sub>7</sub>a</code>", "`3^7` `3_(7)a`"),
        ("<pre>3<sup>-7</sup></pre>", "```\n3^(-7)\n```"),
        (
            "x<p><sup>A remark that a <b>reader</b> may skip.</sup></p>",
            "x\n\nA remark that a **reader** may skip.",
        ),
        ("salt <sub>(the small kind)</sub> is", "salt (the small kind) is"),
        ("4 <sup>7 mg</sup> is", "4 ^(7 mg) is"),
        ("seen<sup>[4]</sup>", "seen[4]"),
        ("<b>one<br>two</b> three", "**one**\n**two** three"),
        ("4<i><br></i>7", "4\n7"),
        ('<a href="https://a.b/">one<br>two</a> x', "[one two](https://a.b/) x"),
        ('4<a href="https://a.b/"><br></a>7', "4\n7"),
        ("<h2>one<br>two</h2>x", "## one two\n\nx"),
        ("<ul><li><br>one</li></ul>", "- one"),
        ("<ol reversed><li>x</li><li>y</li></ol>", "2. x\n1. y"),
        ('<ol type="a" start="3"><li>x</li><li><p>y</p></li></ol>', "c. x\n\nd. y"),
        ('<ol type="I"><li>x</li><li>y</li></ol>', "I. x\nII. y"),
        ("<ol><li><img></li><li>x</li></ol>", "2. x"),
        ("<ul><li><img></li><li>x</li></ul><h3><img></h3>y", "- x\n\ny"),
        ("<li>x</li>\n<li>y</li>", "- x\n- y"),
        ('<a name="n">x</a> <a href="">y</a>', "x y"),
        ('<a href="https://a.b/">- x</a>', "[- x](https://a.b/)"),
        ('<a href="http://https://a.b//">a.b</a>', "http://https://a.b//"),
        ('<a href="http://a.b">http://a.b</a>', "http://a.b"),
        ('<image src="x" alt="y">a<svg><image href="z"/></svg>', "a"),
        ('<a href="https://a.b/"><h2>x</h2></a>y', "## x\n\nhttps://a.b/\n\ny"),
        ("<code>x</code><kbd>y</kbd> `<code>z</code>", "`x` `y` ` `z`"),
        ("4<form>7</form>2", "4\n\n7\n\n2"),
        ("a &lt;i and j&gt; b, &lt;mean or &gt;mean", "a <i and j> b, <mean or >mean"),
        ('say &lt;a href="x"&gt;', 'say `<a href="x">`'),
        ("write &lt;br&gt; or &amp;nbsp;", "write `<br>` or `&nbsp;`"),
        ("$a&lt;b&gt;c$", "$a< b >c$"),
        ("p&lt;0.05 &lt;- x &lt;3", "p<0.05 <- x <3"),
        ("<script>evil()</script><style>p{}</style>kept<!-- no -->", "kept"),
        ("<p>unclosed <b>bold", "unclosed **bold**"),
        ("<hr>", "---"),
        ("", ""),
    ],
)
def test_examples(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("<tr><td rowspan=1>a<td>b", "| a | b |\n| --- | --- |"),
        ("<tr><td>a<td>b<tr><td>c", "| a | b |\n| --- | --- |\n| c |  |"),
        ("<tr><td>a<td>b<tr><tr><td>c<td>d", "| a | b |\n| --- | --- |\n| c | d |"),
        ("<tr><td rowspan=2>a<td>b<tr><td>c", "| a | b |\n| --- | --- |\n| a | c |"),
        ("<tr><td rowspan=0>4<sup>7</sup><td>b<tr><td>c", "| 4⁷ | b |\n| --- | --- |\n| 4⁷ | c |"),
        ("<tr><td colspan=90>a<tr><td>b<td>c", "| a |  |\n| --- | --- |\n| b | c |"),
        ("<caption>t</caption><tr><td>a<td>b", "t\n\n| a | b |\n| --- | --- |"),
        ("<tr><td><p>a</p><p>b</p><td>c", "| a b | c |\n| --- | --- |"),
        ("<tr><td>a", "a"),
        ("<tr><td>a<td><pre>b</pre>", "a\n\n```\nb\n```"),
        (
            "<tr><td>a<td><table><tr><td>b<td>c</table>",
            "a\n\n| b | c |\n| --- | --- |",
        ),
        ("<tr><td><b>a|b</b><td>c", "| **a\\|b** | c |\n| --- | --- |"),
    ],
)
def test_tables(rows: str, text: str) -> None:
    assert html_to_text(f"<table>{rows}</table>") == text


def test_a_formula_that_cannot_be_written_refuses_the_text() -> None:
    with pytest.raises(HtmlLimitError) as caught:
        html_to_text("x <math><mlongdiv><mn>2</mn></mlongdiv></math>")
    assert caught.value.reason is Reason.HTML_RESIDUE


def test_relative_links_need_a_base() -> None:
    html = '<a href="/q/1">x</a>'
    assert html_to_text(html) == "x"
    assert html_to_text(html, base_url="https://s.example/") == "[x](https://s.example/q/1)"
    assert html_to_text('<a href="//[bad">x</a>', base_url="https://s.example/") == "x"
    assert html_to_text('<a href="/q/1">x</a>', base_url="https://[bad]/") == "x"


def test_images_are_counted() -> None:
    assert render_html("<p><img><IMG>text</p>").images == 2
    assert render_html("<p>text</p>").images == 0


def bodies(folder: Path, every: int) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.xml")):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if b"<row" in line and number % every == 0:
                    found.append(parse_row(line.strip()).get("Body", ""))
    return found


def words(text: str) -> str:
    """Every letter and digit in order: what is left when white space and marks do not count."""
    return "".join(re.findall(r"[^\W_]", unicodedata.normalize("NFKC", text)))


def oracle(html: str) -> str:
    """What beautifulsoup4 sees, with the numbers that a browser puts before list items."""
    soup = BeautifulSoup(html, "html.parser")
    for listing in soup.find_all("ol"):
        start = int(str(listing.get("start") or 1))
        for number, item in enumerate(listing.find_all("li", recursive=False), start):
            item.insert(0, f"{number}. ")
    return soup.get_text()


def test_no_word_is_lost_against_beautifulsoup(upstream: Path) -> None:
    checked = 0
    for body in bodies(upstream / "stack_exchange", every=4):
        # targets of links are additions: without them the words must be the same
        html = re.sub(r'\shref="[^"]*"', "", body)
        assert words(html_to_text(html)) == words(oracle(html))
        checked += 1
    assert checked > 2000


def test_the_parser_sees_the_text_that_beautifulsoup_sees(upstream: Path) -> None:
    import turbohtml

    for body in bodies(upstream / "stack_exchange", every=9):
        tree = turbohtml.parse_fragment(body, positions=False)
        soup = BeautifulSoup(body, "html.parser")
        assert tree.text.split() == soup.get_text().split()


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<div>" * 100_000, Reason.TOO_DEEP),
        ("<div></b>" * 50_000, Reason.TOO_DEEP),
        ("<DIV><Span>" * 5000, Reason.TOO_DEEP),
        ("<b>" * 200_000, Reason.TOO_DEEP),
        ("x" * (MAX_CHARACTERS + 1) + "<p>", Reason.TOO_LARGE),
    ],
)
def test_limits_come_before_the_parser(html: str, reason: Reason) -> None:
    watch = Stopwatch()
    with pytest.raises(HtmlLimitError) as caught:
        html_to_text(html)
    assert caught.value.reason is reason
    assert watch.within(1)


@pytest.mark.parametrize(
    "html",
    [
        "<p>" * 300_000 + "x",
        "<li>" * 200_000 + "x",
        "<td>" * 200_000 + "x",
        "<br>" * 200_000 + "x",
        "<" * 900_000,
        "&" * 900_000,
        "<a " * 300_000,
        "<!--" * 200_000,
        "&lt;a" * 150_000,
        "`&lt;b&gt;" * 90_000,
        "$&lt;b&gt;" * 90_000,
        ("`" * 7 + "x" + "`" * 3 + "&lt;br&gt;") * 20_000,
        "<blockquote>" * 499 + "x",
        "<ul><li>" * 499 + "x",
        "<script>" + "x" * 900_000,
        "<b>" + "x<br>" * 150_000,
        "<b><i>" * 240 + "x<br>" * 150_000,
        "<ol>" + "<li><img></li>" * 70_000,
        "<p><li>x</li>\n" * 60_000,
        "<ol reversed>" + "<li>x" * 150_000,
        "<table>" + "<tr><td colspan=1000>x" * 40_000,
        "<table><tr>" + "<td rowspan=60000>x" * 300 + "<tr><td>y" * 90_000,
        "<table><tr>" + "<td>" * 120_000 + "<tr><td>" * 40_000,
        "<table><tr><td>" * 160 + "x",
        "<b>" * 400 + "<sup>ab cd</sup>" * 30_000,
        "<math>" + "<mi>a</mi>" * 90_000,
        "<code>a</code>" * 70_000,
        "&lt;a" + " b=c" * 240_000,
    ],
)
def test_a_megabyte_of_rubbish_is_linear(html: str) -> None:
    watch = Stopwatch()
    with contextlib.suppress(HtmlLimitError):
        html_to_text(html)
    assert watch.within(2)


ANY_TEXT = st.text(
    st.characters() | st.sampled_from("\u00a0\u0301\u0338e<\n\t \x7f\u200b\u1161\u1100\ud800")
)


@settings(deadline=None, max_examples=300)
@given(ANY_TEXT)
def test_what_is_taken_for_plain_has_the_form_that_all_rules_give(text: str) -> None:
    odd = render._CONTROL.sub("", render._BREAK.sub("\n", text))
    every = unicodedata.normalize("NFC", render._INVISIBLE.sub("", odd))
    assert normalise(text) == render._trim(render._SPACE.sub(" ", every))


HREFS = st.lists(
    st.sampled_from(
        [
            "/",
            "q",
            "1",
            ".",
            "..",
            "?",
            "#",
            ";",
            ":",
            "http:",
            "HTTPS://",
            "é",
            "-",
            "_",
            "\n",
            " ",
        ]
    )
).map("".join)


@settings(deadline=None)
@given(HREFS, st.sampled_from(["", "https://s.example/", "https://s.example/a/b?c", "mailto:x"]))
def test_links_lead_where_the_library_says(href: str, base: str) -> None:
    try:
        found = urljoin(base, href)
    except ValueError:
        found = ""
    target = href if href.lower().startswith(render._SCHEMES) else found
    page = target if target.lower().startswith(render._SCHEMES) else ""
    assert render._absolute(href, base) == page


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_the_normal_form_is_a_fixed_point(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\x0bd\u2028e", "a\nb\nc\nd\ne"),
        ("a\u00a0b\u2009c\u3000d", "a b c d"),
        ("zero\u200bwidth\ufeff, soft\u00adhyphen", "zerowidth, softhyphen"),
        ("bell\x07 and \x85 next", "bell and\n next"),
        ("e\u0301", "é"),
        ("line  \n\n\n\nnext", "line\n\nnext"),
        ("  indented\n    code", "indented\n    code"),
        ("👩\u200d⚕️", "👩\u200d⚕️"),
        ("5\u2009µg", "5 µg"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normalise(text) == expected


TAGS = [
    "p",
    "b",
    "em",
    "code",
    "pre",
    "ul",
    "ol",
    "li",
    "blockquote",
    "table",
    "tr",
    "td",
    "a",
    "s",
]
TAGS += ["sup", "sub", "h2", "div", "script"]
fragments = st.recursive(
    st.text(max_size=20) | st.sampled_from(["<br>", "&lt;b&gt;", "&amp;", "$x$", "`", "\x0b", "<"]),
    lambda inner: st.builds(
        lambda tag, parts, close: f"<{tag}>{''.join(parts)}{f'</{tag}>' if close else ''}",
        st.sampled_from(TAGS),
        st.lists(inner, max_size=4),
        st.booleans(),
    ),
    max_leaves=25,
)


@settings(deadline=None, max_examples=200)
@given(fragments)
def test_any_html_gives_text_in_normal_form(html: str) -> None:
    text = html_to_text(html)
    assert normalise(text) == text
    if "`" not in html:  # a stray backtick of the author's may end where ours begins
        assert quote_literal_markup(text) == text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text)
