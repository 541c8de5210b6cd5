"""Similar rows that say the same are duplicates; similar rows that do not are kept."""

import random

import polars as pl
import pytest

from meadow.mix.duplicates import find_duplicates
from meadow.mix.facts import question_key, same_fact

LETTER = (
    "The Guild of Lamplighters was asked about {name} by its members last winter. Where a thing is "
    "known the sign comes first and then the share. {signs}. The Guild takes these figures from "
    "forms that members send once a year, mostly from the harbour towns. A share is a rough guess: "
    "it changes as more forms come in, and a sign that is missing may still belong to the illness."
)
FENWICK = LETTER.format(name="Fenwick palsy", signs="Cold thumbs 90, a limp 40, hiccups 7")
COLUMNS = ["id", "instruction", "input", "output", "license", "source"]
ASKED = "What are the signs of Fenwick palsy?"


def dropped(*rows: tuple[str, str]) -> int:
    frame = pl.DataFrame(
        [(f"{n:03d}", "Answer.", *row, "mit", "invented") for n, row in enumerate(rows)],
        schema=COLUMNS,
        orient="row",
    )
    return find_duplicates(frame).dropped.height


@pytest.mark.parametrize(
    "copy",
    [
        FENWICK.upper(),
        FENWICK.replace(", ", "; "),
        FENWICK.replace("guess", "estimate"),
        f"{FENWICK} Write to the Guild about it.",
        FENWICK.replace(" mostly from the harbour towns", ""),
    ],
)
def test_a_copy_is_a_duplicate(copy: str) -> None:
    assert same_fact((ASKED, FENWICK), (ASKED, copy))
    assert dropped((ASKED, FENWICK), ("the signs of FENWICK palsy, what are they", copy)) == 1


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What are the signs of Harrow palsy?", FENWICK.replace("Fenwick", "Harrow")),
        ("What causes Fenwick palsy?", FENWICK),
        (ASKED, FENWICK.replace("90", "35")),
        (ASKED, FENWICK.replace("Cold thumbs 90, a limp 40, hiccups 7",
                                "Red ears 90, a stutter 40, sneezes 7")),
        (ASKED, FENWICK.replace("Lamplighters", "Chandlers")),
        (ASKED, FENWICK.replace("may still belong", "may not still belong")),
    ],
)  # fmt: skip
def test_another_fact_in_the_same_frame_is_kept(question: str, answer: str) -> None:
    assert dropped((ASKED, FENWICK), (question, answer)) == 0


def test_the_ledger_shows_both_sides() -> None:
    frame = pl.DataFrame(
        [("a", "Answer.", "What stops hiccups?", FENWICK, "mit", "one"),
         ("b", "Answer.", "what stops hiccups", f"{FENWICK} Write to the Guild.", "mit", "two")],
        schema=COLUMNS, orient="row",
    )  # fmt: skip
    (row,) = find_duplicates(frame).dropped.to_dicts()
    assert (row["kept_source"], row["dropped_source"]) == ("two", "one")
    assert row["dropped_question"] == "What stops hiccups?"
    assert row["question_jaccard"] == 1.0
    assert 0.9 < row["answer_jaccard"] < 1.0


def test_long_questions_are_compared_word_by_word() -> None:
    case = " ".join(f"detail{n}" for n in range(60))
    assert question_key(case) == 0
    assert same_fact((f"{case} one", FENWICK), (f"{case} other", FENWICK))
    others = " ".join(f"detail{n}" if n % 9 else f"other{n}" for n in range(60))
    assert not same_fact((case, FENWICK), (others, FENWICK))
    assert not same_fact((case, FENWICK), ("What is it?", FENWICK))


def test_planted_copies_are_found_and_nothing_else() -> None:
    draw = random.Random(8)
    words = [f"w{n}" for n in range(900)]
    rows = [
        (f"What is the {name} sign?", " ".join(draw.choices(words, k=120)))
        for name in (f"name{n}" for n in range(100))
    ]
    copies = []
    for question, answer in rows:
        split = answer.split()
        for place in draw.sample(range(len(split)), 2):
            split[place] = draw.choice(split)
        copies.append((question.upper(), " ".join(split) + ". Ask your doctor about it."))
    letters = [
        (f"What are the signs of {name}?", LETTER.format(name=name, signs=f"{name} itch"))
        for name in (f"Place{n} fever" for n in range(100))
    ]
    assert dropped(*rows, *copies, *letters) == len(copies)


def test_what_is_held_already_is_dropped_and_never_the_other_way_round() -> None:
    longer = f"{FENWICK} Write to the Guild about it."
    new = pl.DataFrame(
        [("a", "Answer.", ASKED, longer, "cc0-1.0", "one"),
         ("b", "Answer.", "What stops hiccups?", "A key down the back of the neck.", "mit", "one")],
        schema=COLUMNS, orient="row",
    )  # fmt: skip
    held = pl.DataFrame(
        [("a", "Answer.", ASKED, FENWICK, "user-supplied", "two"),
         ("c", "Answer.", ASKED, FENWICK.upper(), "user-supplied", "two")],
        schema=COLUMNS, orient="row",
    )  # fmt: skip
    (row,) = find_duplicates(new, held=held).dropped.to_dicts()
    assert row["dropped_id"] == "a"
    assert row["kept_id"] in {"held:a", "held:c"}


def test_a_letter_by_itself_is_a_name() -> None:
    assert question_key("What is hemophilia A?") != question_key("What is hemophilia?")
    assert question_key("What is a fever?") == question_key("What is fever?")


def test_a_comma_that_groups_digits_makes_no_other_number() -> None:
    one = FENWICK.replace("90", "in 1,600,000 of 2,000,000")
    assert same_fact((ASKED, one), (ASKED, one.replace(",", "")))
    assert not same_fact((ASKED, one), (ASKED, one.replace("1,600,000", "1,700,000")))
    assert not same_fact((ASKED, one), (ASKED, one.replace("1,600,000", "16,00")))
