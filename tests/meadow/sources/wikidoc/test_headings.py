"""Headings to questions, held to all 5,942 pairs of the 2023 release."""

import csv
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meadow.schema import Style
from meadow.sources.wikidoc.headings import (
    STOCK_HEADINGS,
    is_link_only,
    names_no_topic,
    patient_question,
    raw_topic,
    repair_published,
    repair_topic,
    split_published,
    tidy_question,
    topic_of_title,
)


@pytest.fixture(scope="module")
def pairs(upstream: Path) -> list[tuple[str, str]]:
    with (upstream / "wikidoc/heading_to_question.csv").open(encoding="utf-8", newline="") as file:
        return [
            (row["first_version_input"], row["published_input"]) for row in csv.DictReader(file)
        ]


def independent_topic(heading: str, published: str) -> str:
    """The topic, found without the module under test: what the question has around the heading's
    fixed words is read off the first pair of that heading."""
    before, after = {
        "seek": ("When to seek urgent medical care when I have ", "?"),
        "expect": ("What to expect if I have ", " (Outlook/Prognosis)?"),
        "risk": ("Who is at highest risk for ", "?"),
        "symptoms": ("What are the symptoms of ", "?"),
        "causes": ("What are the causes of ", "?"),
        "drive": ("When could I drive after i underwent ", "?"),
        "medications": ("What medications should I take after ", "?"),
        "work": ("When can I go back to work after ", "?"),
        "find": ("When to seek urgent medical care when I have ", "?"),
    }[
        re.search(r"seek|expect|risk|symptoms|causes|drive|medications|work|find", heading.lower())[
            0
        ]
    ]
    assert published.startswith(before)
    assert published.endswith(after)
    return published[len(before) : len(published) - len(after)]


def test_style_2023_is_a_function_of_heading_and_topic_and_reproduces_every_row(pairs) -> None:
    assert len(pairs) == 5942
    changed = 0
    seen: dict[tuple[str, str], str] = {}
    for heading, published in pairs:
        if heading in STOCK_HEADINGS:
            topic = independent_topic(heading, published)
            changed += 1
        else:
            topic = "no matter what"
        found = patient_question(heading, topic, Style.PUBLISHED_2023)
        assert found.text == published
        assert found.repairs == ()
        assert seen.setdefault((heading, topic), published) == published or heading == published
    assert changed == 3125
    assert {heading for heading, question in pairs if heading != question} == set(STOCK_HEADINGS)
    assert len(STOCK_HEADINGS) == 18


def test_raw_topic_makes_the_topics_of_the_release_from_page_titles(pairs) -> None:
    """Titles decoded from the topics, put through `raw_topic`, give the topics again."""
    from urllib.parse import unquote

    topics = {
        independent_topic(heading, published)
        for heading, published in pairs
        if heading in STOCK_HEADINGS
    }
    usual = {topic for topic in topics if topic.endswith(" ") and not topic.startswith(" ")}
    assert len(usual) > 1000
    for topic in usual:
        assert raw_topic(unquote(topic) + "(patient information)") == topic


def test_the_defects_of_the_release_are_repaired_and_counted(pairs) -> None:
    counts: Counter[str] = Counter()
    for heading, published in pairs:
        found = repair_published(published, "An answer.")
        counts.update(found.repairs)
        assert "%27" not in found.text
        assert "  " not in found.text
        assert not re.search(r"\s\?", found.text)
        assert found.text.endswith("?")
        if (
            heading in STOCK_HEADINGS
            and heading != "Where to find Medical Care for (Disease name)?"
        ):
            # the repaired question is what the rules make of the heading and the repaired topic
            topic = independent_topic(heading, published)
            assert patient_question(heading, topic, Style.MEADOW).text == found.text
    assert counts["url_decoded_topic"] == 140
    assert counts["space_before_question_mark"] == sum(q.endswith(" ?") for _, q in pairs)
    assert counts["double_space"] >= sum("  " in q and "(Outlook" in q for _, q in pairs)
    assert counts["lower_case_i"] == 8


def test_five_headings_were_mapped_to_the_wrong_question(pairs) -> None:
    wrong = [(h, q) for h, q in pairs if h.startswith("Where to find") and h != q]
    assert len(wrong) == 5
    for heading, question in wrong:
        topic = independent_topic(heading, question)
        found = patient_question(heading, topic, Style.MEADOW)
        assert found.text.startswith("Where to find medical care for ")
        assert "wrong_heading" in found.repairs
        # from the published row alone, the answer tells the heading
        link = "Medical care for X can be found here."
        assert repair_published(question, link).text == found.text
        assert repair_published(question, "Call a doctor.").text.startswith("When to seek")


def test_questions_without_a_topic_are_seen(pairs) -> None:
    by_question = defaultdict(int)
    for _, question in pairs:
        by_question[question] += names_no_topic(question)
    without = {question for question, count in by_question.items() if count}
    assert {"What causes?", "What Causes ?", "When to seek urgent medical care??"} <= without
    assert {"What are the symptoms of (disease name)?", "Who Is at the Highest Risk?"} <= without
    # a template that 2023 filled is never without one
    assert not any(names_no_topic(q) for h, q in pairs if h in STOCK_HEADINGS)


@pytest.mark.parametrize(
    ("raw", "topic", "repairs"),
    [
        ("Allergy ", "Allergy", ()),
        ("Meckel%27s diverticulum ", "Meckel's diverticulum", ("url_decoded_topic",)),
        ("Sj%C3%B6gren%27s syndrome ", "Sjögren's syndrome", ("url_decoded_topic",)),
        ("Osteoma patient information", "Osteoma", ("page_name_in_topic",)),
        ("Roseola (patient infomation)", "Roseola", ("page_name_in_topic",)),
        ("Pacemaker insertion discharge instructions ", "Pacemaker insertion",
         ("page_name_in_topic",)),
        (" stromal ovarian tumors ", "stromal ovarian tumors", ()),
        ("100%ile ", "100%ile", ()),
        ("%FF%FE ", "%FF%FE", ()),
        ("Bariatric surgery ", "Bariatric surgery", ()),
    ],
)  # fmt: skip
def test_repair_topic(raw: str, topic: str, repairs: tuple[str, ...]) -> None:
    assert repair_topic(raw) == (topic, repairs)


def test_topic_of_a_chapter_and_of_a_page_that_is_named_like_one() -> None:
    assert topic_of_title("Asthma_risk_factors") == "Asthma"
    assert topic_of_title("Risk factors") == "Risk factors"
    assert topic_of_title("Asthma (patient information)") == "Asthma"


def test_split_published_wants_a_template() -> None:
    assert split_published("Who is at highest risk for Gout ?") == (
        "Who is at highest risk for {topic}?",
        "Gout ",
    )
    assert split_published("How is gout treated?") is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Medical care for (X) can be found here.", True),
        ("Directions to Hospitals Treating Gout", True),
        (
            "Directions to Hospitals Treating Dialysis\nMost often it takes place three times.",
            False,
        ),
        ("Medical care is free.", False),
        ("A complete list of causes can be found here.", False),
    ],
)
def test_link_only(answer: str, expected: bool) -> None:
    assert is_link_only(answer) is expected


@given(st.sampled_from(sorted(STOCK_HEADINGS)), st.text(max_size=40))
def test_both_styles_never_fail(heading: str, topic: str) -> None:
    for style in Style:
        assert patient_question(heading, topic, style).text


@given(st.text(max_size=60))
def test_tidy_question_is_idempotent_and_keeps_the_words(text: str) -> None:
    tidy, _ = tidy_question(text + "?")
    assert tidy_question(tidy) == (tidy, ())
