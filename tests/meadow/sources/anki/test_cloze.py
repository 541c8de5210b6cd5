"""Deletions: blanks, hints, nesting, and text that only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.sources.anki.cloze import parse_cloze


@pytest.mark.parametrize(
    ("text", "number", "question", "answers"),
    [
        ("a {{c1::b}} c", 1, "a [...] c", ["b"]),
        ("a {{c1::b::hint?}} c", 1, "a [hint?] c", ["b"]),
        ("a {{c1::b}} and {{c2::c}}", 2, "a b and [...]", ["c"]),
        ("{{c1::a}} {{c1::b}} {{c1::a}}", 1, "[...] [...] [...]", ["a", "b"]),
        ("{{c1::x {{c2::y}} z}}", 1, "[...]", ["x y z"]),
        ("{{c1::x {{c2::y}} z}}", 2, "x [...] z", ["y"]),
        ("{{c1,3::both}} {{c2::one}}", 3, "[...] one", ["both"]),
        ("{{c1::}} empty", 1, "[...] empty", [""]),
        ("{{c12::twelve}}", 12, "[...]", ["twelve"]),
        ("{{c1::<b>html</b>}}", 1, "[...]", ["<b>html</b>"]),
        ("{{c1::a:b::c::d}}", 1, "[c::d]", ["a:b"]),
    ],
)
def test_question_and_answers(text: str, number: int, question: str, answers: list) -> None:
    parsed = parse_cloze(text)
    assert number in parsed.numbers
    assert parsed.question(number) == question
    assert parsed.answers(number) == answers


@pytest.mark.parametrize(
    "text",
    ["plain", "", "}}", "{{c1::never closed", "{{c::x}}", "{{cx::y}}", "a :: b", "{{d1::x}}"],
)
def test_text_without_a_deletion_stays(text: str) -> None:
    parsed = parse_cloze(text)
    assert parsed.numbers == ()
    assert parsed.question(1) == text


def test_numbers_ascend_and_zero_is_none() -> None:
    assert parse_cloze("{{c10::a}} {{c2::b}} {{c0::c}}").numbers == (2, 10)


def test_an_unclosed_one_keeps_its_hint_and_its_closed_neighbours() -> None:
    parsed = parse_cloze("{{c1::a::h {{c2::b}}")
    assert parsed.numbers == (2,)
    assert parsed.question(9) == "{{c1::ab::h "


@given(st.text("abc{}:c1 ", max_size=60))
def test_shown_text_loses_only_the_marks_of_deletions(text: str) -> None:
    parsed = parse_cloze(text)
    shown = parsed.question(0)
    if not parsed.numbers and "{{c0::" not in text:
        assert sorted(shown) == sorted(text)
    assert len(shown) <= len(text)


def test_depth_and_length_cost_little() -> None:
    watch = Stopwatch()
    deep = parse_cloze("{{c1::" * 20_000 + "x" + "}}" * 20_000)
    deep.question(1)
    wide = parse_cloze("{{c1::a}}" * 20_000)
    assert len(wide.answers(1)) == 1
    assert watch.within(2)
