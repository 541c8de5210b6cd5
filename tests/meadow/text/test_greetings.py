"""Greetings and signatures: whole sentences at the ends go, everything else stays."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.text.greetings import strip_greetings

BODY = "Take the tablets with food for one week."


@pytest.mark.parametrize(
    "opening",
    [
        "Hi, ",
        "Hello doctor, ",
        "Hi, thanks for your query. ",
        "Hello. Welcome to Chat Doctor. ",
        "Dear friend, ",
        "hi, thanks for using Chat Doctor forum. i have gone through your query. ",
        "Good morning, doctor. I understand your concern. ",
    ],
)
def test_openings_go(opening: str) -> None:
    assert strip_greetings(opening + BODY)[0] == BODY


ENDS = Path(__file__).parents[2] / "fixtures/courtesies"


def ends(name: str) -> list[str]:
    """The labelled ends of answers, one a line, all invented."""
    found = (ENDS / name).read_text(encoding="utf-8").splitlines()
    assert len(found) >= 200
    return found


def test_ends_that_are_courtesies_go() -> None:
    left = {end: strip_greetings(f"{BODY} {end}")[0] for end in ends("go.txt")}
    assert {end: text for end, text in left.items() if text != BODY} == {}


def test_ends_that_say_something_stay() -> None:
    left = {end: strip_greetings(f"{BODY} {end}") for end in ends("stay.txt")}
    assert {end: cut for end, cut in left.items() if cut != (f"{BODY} {end}", ())} == {}


def test_what_went_is_told_by_form_without_the_name_of_who_signed() -> None:
    text = f"Hello doctor, thanks for your query. {BODY} Hope it helps. Regards,\nDr. Jane Miller."
    assert strip_greetings(text) == (
        BODY,
        (
            ("greeting", "Hello doctor,"),
            ("thanks", "thanks for your query."),
            ("hope", "Hope it helps."),
            ("signature", "Regards,\nDr. [NAME]"),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        "Hypertension is common. Take care of your salt.",
        "Hope is a good thing that helps patients with their disease. It matters.",
        "He improved, thanks to the new drug it got better.",
        "Rest helps most people recover. Thanks to the splint it heals.",
        "High fever needs a doctor today.",
        "Thanks for your query, it is viral and goes by itself.",
        "I understand your concern, but the lump needs a biopsy.",
        "Welcome to a life without gluten. It starts with bread.",
        "Thank you for your query about aspirin. It thins the blood.",
        "Hello.",
        "Thanks, regards.",
        "",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert strip_greetings(text) == (text, ())


def test_the_cost_is_linear() -> None:
    for text in (
        "hi, " * 30_000,
        "thanks " * 20_000,
        "Thanks and regards " * 8_000,
        "hope " * 30_000,
        "Regards " + "A." * 100_000,
        " " * 100_000,
        "\n" * 100_000,
    ):
        watch = Stopwatch()
        strip_greetings(text)
        assert watch.within(1)


@given(st.text(max_size=200))
def test_twice_is_once(text: str) -> None:
    once, _ = strip_greetings(text)
    twice, _ = strip_greetings(once)
    assert len(once) <= len(text)
    assert len(twice) <= len(once)
