"""What 100 KB of HTML costs: said for every shape, and linear in all of them."""

from __future__ import annotations

import contextlib
import time

import pytest

from meadow.text.render import HtmlLimitError, html_to_text

SHAPES = {
    "paragraphs": "<p>Take two tablets with water.</p>\n",
    "emphasis": "<b>two</b> <i>tablets</i> ",
    "links": '<a href="https://example.org/a?b=c&amp;d">a link</a>, ',
    "lists": "<ul><li>one</li><li>two <b>three</b></li></ul>",
    "tables": "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>",
    "code": "<pre><code>x = 1 &lt; 2\n</code></pre>",
    "entities": "&lt;b&gt; &amp;amp; &nbsp; &#955; ",
    "unclosed": "<p>a<li>b<td>c",
    "stray ends": "</p></div></b>x ",
    "images": '<img src="x.png" alt="y">',
    "scripts": "<script>var a = '<p>';</script>",
    "quotes": "<blockquote><p>a</p></blockquote>",
    "deep": "<div>" * 40 + "x" + "</div>" * 40,
    "backticks": "`a` &lt;b&gt; ` ",
    "dollars": "$a &lt; b$ $$ ",
    "angles": "< 5 and > 3 ",
    "attributes": "<p " + 'a="b" ' * 50 + ">x</p>",
}
SECONDS = 0.1
FACTOR = 3.0


def cost(unit: str, size: int) -> float:
    """Processor seconds for that many characters, the best of three."""
    text = unit * (size // len(unit))
    found = []
    for _ in range(3):
        began = time.process_time()
        with contextlib.suppress(HtmlLimitError):
            html_to_text(text, base_url="https://example.org/")
        found.append(time.process_time() - began)
    return min(found)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cost_of_100_kb_grows_with_its_length(shape: str) -> None:
    html_to_text("<p>warm</p>")
    half, whole = cost(SHAPES[shape], 50_000), cost(SHAPES[shape], 100_000)
    print(f"{shape}: {whole * 1000:.0f} ms for 100 KB{' (slow)' if whole > SECONDS else ''}")
    assert whole < SECONDS or whole < FACTOR * half, f"{half:.3f} s, then {whole:.3f} s"
