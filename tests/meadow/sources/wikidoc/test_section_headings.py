"""The living textbook's headings: each common one has its question, the rest has none."""

import pytest
from support.stopwatch import Stopwatch

from meadow.sources.wikidoc.section_headings import (
    is_apparatus,
    page_question,
    section_question,
)


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("", "What is Gout?"),
        ("Overview", "What is Gout?"),
        ("Causes", "What causes Gout?"),
        ("Causes of Gout", "What causes Gout?"),
        ("Treatment of the gout", "How is Gout treated?"),
        ("Risk   factors", "What are the risk factors for Gout?"),
        ("Gout", None),
        ("2. Causes:", "What causes Gout?"),
        ("Gout causes", "What causes Gout?"),
        ("Differentiating Gout from other Diseases", "What is the differential diagnosis of Gout?"),
        ("Natural History, Complications and Prognosis",
         "What are the natural history, complications and prognosis of Gout?"),
        ("History and Symptoms", "What are the history and symptoms of Gout?"),
        ("Chest X-ray", "What are the X-ray findings in Gout?"),
        ("Echocardiography or Ultrasound", "What are the ultrasound findings in Gout?"),
        ("Treatment", "How is Gout treated?"),
        ("Cost-Effectiveness of Therapy",
         "What is known about the cost-effectiveness of therapy for Gout?"),
        ("Why does it hurt ?", "Why does it hurt?"),
        ("Gout and music", None),
        ("1923", None),
        ("Why?", None),
    ],
)  # fmt: skip
def test_common_headings(heading: str, question: str | None) -> None:
    assert section_question(heading, "Gout") == question


@pytest.mark.parametrize(
    "heading", ["References", "See also", "External Links", "Related Chapters", "Notes:", "Gallery"]
)
def test_apparatus(heading: str) -> None:
    assert is_apparatus(heading)
    assert not is_apparatus("Causes")


def test_a_chapter_page_is_asked_about_its_chapter() -> None:
    assert page_question("Overview", "Gout risk factors") == "What are the risk factors for Gout?"
    assert page_question("", "Gout natural history, complications and prognosis") == (
        "What are the natural history, complications and prognosis of Gout?"
    )
    assert page_question("Common Risk Factors", "Gout risk factors") == (
        "What are the risk factors for Gout?"
    )
    assert page_question("Overview", "Gout") == "What is Gout?"


def test_the_rules_do_not_backtrack() -> None:

    watch = Stopwatch()
    for heading in ("differentiating " + "a " * 50_000, "x" * 100_000, "1." * 50_000):
        section_question(heading, "Gout")
        is_apparatus(heading)
    assert watch.within(2)


@pytest.mark.parametrize(
    "heading", ["Gout and music", "In popular culture", "1923", "Zebra", "Why?"]
)
def test_other_headings_have_no_question(heading: str) -> None:
    assert section_question(heading, "Gout") is None
