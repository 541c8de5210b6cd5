"""Raised and lowered text, and formulas: no number becomes another."""

import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from meadow.text.scripts import MathError, formula, lowered, raised


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("8", "⁸", "₈"),
        ("-2", "⁻²", "₋₂"),
        ("\N{EN DASH}2", "⁻²", "₋₂"),
        ("\N{HYPHEN}2", "⁻²", "₋₂"),
        ("\N{NON-BREAKING HYPHEN}2", "⁻²", "₋₂"),
        ("\N{MINUS SIGN}2", "⁻²", "₋₂"),
        ("3\N{EN DASH}", "³⁻", "₃₋"),
        ("4\N{EN DASH}7", "^(4\N{EN DASH}7)", "_(4\N{EN DASH}7)"),
        ("-0.75", "^(-0.75)", "_(-0.75)"),
        ("2/3", "^(2/3)", "_(2/3)"),
        ("n+1", "ⁿ⁺¹", "_(n+1)"),
        ("m-1", "^(m-1)", "_(m-1)"),
        ("max", "^(max)", "_(max)"),
        ("4,9", "^(4,9)", "_(4,9)"),
        ("*", "^(*)", "_(*)"),
        ("nd", "nd", "nd"),
        ("°", "°", "°"),
        ("[12]", "[12]", "[12]"),
        ("[[3]](https://a.b/)", "[[3]](https://a.b/)", "[[3]](https://a.b/)"),
        ("²", "²", "²"),
        (" 2\n", " ²\n", " ₂\n"),
        ("a\n b", "^(a b)", "_(a b)"),
        (" ", " ", " "),
        ("", "", ""),
    ],
)
def test_examples(text: str, up: str, down: str) -> None:
    assert (raised(text), lowered(text)) == (up, down)


@given(st.from_regex(r"[0-9]{1,4}([.,/+-][0-9]{1,3})?", fullmatch=True))
def test_a_raised_number_is_never_adjacent_plain_characters(text: str) -> None:
    for shifted in (raised(text), lowered(text)):
        assert not shifted[0].isascii() or shifted[0] in "^_"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<mfrac><mn>3</mn><mn>4</mn></mfrac>", "3/4"),
        ("<msup><mn>10</mn><mn>8</mn></msup>", "10⁸"),
        ("<msup><msup><mi>x</mi><mn>2</mn></msup><mn>3</mn></msup>", "(x²)³"),
        ("<msup><mi>e</mi><mrow><mo>-</mo><mi>k</mi></mrow></msup><mi>y</mi>", "e^(-k)y"),
        ("<mn>1</mn><mfrac><mn>1</mn><mn>4</mn></mfrac>", "1 1/4"),
        ("<mi>a</mi><mfrac><mi>b</mi><mi>c</mi></mfrac>", "a(b/c)"),
        (
            "<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>b</mi></mfrac>",
            "(a+1)/b",
        ),
        ("<mn>4</mn><mo>\u2062</mo><mn>7</mn>", "4·7"),
        ("<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>", "√(a+b)"),
        ("<mroot><mn>9</mn><mn>3</mn></mroot>", "³√(9)"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>", "x₁²"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x\u0304"),
        ("<munder><mo>lim</mo><mi>n</mi></munder>", "(lim)_(n)"),
        ("<munderover><mo>∑</mo><mn>1</mn><mn>9</mn></munderover>", "∑₁⁹"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a,b)"),
        (
            "<mmultiscripts><mi>I</mi><mprescripts/><none/><mn>131</mn></mmultiscripts>",
            "¹³¹I",
        ),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr></mtable>",
            "[1, 2]",
        ),
        (
            "<semantics><mn>5</mn><annotation encoding='application/x-tex'>\\sqrt{25}"
            "</annotation></semantics>",
            "$\\sqrt{25}$",
        ),
    ],
)
def test_formulas(markup: str, text: str) -> None:
    math = turbohtml.parse_fragment(f"<math>{markup}</math>").find("math")
    assert math is not None
    assert formula(math) == text


def test_the_tex_of_alttext_comes_first() -> None:
    html = r"<math alttext='{\displaystyle \alpha ^{2}}'><mi>z</mi></math>"
    math = turbohtml.parse_fragment(html).find("math")
    assert math is not None
    assert formula(math) == r"$\alpha ^{2}$"


@pytest.mark.parametrize(
    "markup",
    [
        "<mlongdiv><mn>2</mn></mlongdiv>",
        "<mfrac><mn>2</mn></mfrac>",
        "<menclose notation='updiagonalstrike'><mn>2</mn></menclose>",
        "<mmultiscripts><mi>C</mi><mn>6</mn></mmultiscripts>",
    ],
)
def test_a_formula_that_has_no_linear_form_is_not_guessed_at(markup: str) -> None:
    math = turbohtml.parse_fragment(f"<math>{markup}</math>").find("math")
    assert math is not None
    with pytest.raises(MathError):
        formula(math)
