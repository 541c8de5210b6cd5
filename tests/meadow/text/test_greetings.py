"""Greetings and signatures: whole sentences at the ends go, everything else stays."""

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
    assert strip_greetings(opening + BODY) == (BODY, ("removed_greeting",))


@pytest.mark.parametrize(
    "closing",
    [
        " Regards, Dr. Jane Miller",
        " Thanks and regards. Chat Doctor.",
        " Hope this answers your query. Wishing you good health.",
        " If you have further questions please do not hesitate in writing to us.",
        " Take care.",
        " thank you doctor",
        " For further information consult a physician online --> https://x.example/ask",
    ],
)
def test_closings_go(closing: str) -> None:
    assert strip_greetings(BODY + closing) == (BODY, ("removed_signature",))


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        "Hypertension is common. Take care of your salt.",
        "Hope is a good thing that helps patients with their disease. It matters.",
        "He improved, thanks to the new drug it got better.",
        "Rest helps most people recover. Thanks to the splint it heals.",
        "High fever needs a doctor today.",
        "Hello.",
        "Thanks, regards.",
        "",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert strip_greetings(text) == (text, ())


@given(st.text(max_size=200))
def test_twice_is_once(text: str) -> None:
    once, _ = strip_greetings(text)
    twice, _ = strip_greetings(once)
    assert len(once) <= len(text)
    assert len(twice) <= len(once)


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
