"""Texts with columns in them."""

import pytest

from meadow.sources.own.template import MissingField, look_up, parse

ROW = {
    "Antwort (kurz)": "ja",
    "Nr.": 7,
    "a": {"b": ["x", "y"], "leer": None},
    "a.b": "the column of that name",
    "n": float("nan"),
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{Antwort (kurz)}!", "ja!"),
        ("{ Nr. }", "7"),
        ("{{{Nr.}}}", "{7}"),
        ("{a.b}", "the column of that name"),
        ("{missing|Nr.}", "7"),
        ("[{n|}{missing|}]", "[]"),
        ("{a}", "b: x\ny\nleer: "),
        ("no field", "no field"),
    ],
)
def test_what_stands_in_braces(text: str, rendered: str) -> None:
    assert parse(text).render(ROW) == rendered


def test_a_way_goes_through_tables_and_lists() -> None:
    assert look_up(ROW, "a.b.1") == "y"
    assert look_up(ROW, "a.b.x") is None


@pytest.mark.parametrize(
    "text", ["{n}", "{a.leer}", "{a.b.9}", "{missing|also missing}", "{a.c.d}"]
)
def test_a_field_that_is_not_there_is_told(text: str) -> None:
    with pytest.raises(MissingField):
        parse(text).render(ROW)


def test_a_single_field_keeps_its_kind() -> None:
    assert parse("{Nr.}").value(ROW) == 7
    assert parse("{Nr.} of 9").value(ROW) == "7 of 9"
    assert parse("{missing|}").value(ROW) is None


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{}", "{a||b}", "{a {b}}", "{|}"])
def test_a_brace_too_few_or_many_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"double it|names no column"):
        parse(text)
