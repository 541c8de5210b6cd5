"""The strict parser and the 2023 one: labelled responses, known bugs, and what always holds."""

from __future__ import annotations

import json
import re
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import generate
from evaluation.generate import accepted_2023, right_2023
from evaluation.questions import Question
from evaluation.summary import conventions, summarise
from meadow.exams.answers import Parsed, Status, answer_of, parse
from meadow.exams.items import ExamItem, item_id

OPTIONS = [
    ("A", "Aspirin"),
    ("B", "Warfarin sodium"),
    ("C", "Cardiac catheterization"),
    ("D", "Observation only"),
    ("E", "Intravenous heparin"),
]

# response, gold, what the 2023 code scores, what a careful reader takes (None: no letter)
TABLE = [
    ("B: Warfarin sodium", "B", True, "B"),
    ("B. Warfarin sodium", "B", True, "B"),
    ("B Warfarin sodium", "B", True, "B"),
    ("C", "C", True, "C"),
    ("(C) Cardiac catheterization", "C", True, "C"),
    ("(C)", "C", True, "C"),
    ("**D**", "D", True, "D"),
    ("D: Observation only\n\n### Instruction:\nNext", "D", True, "D"),
    ("The answer is E.", "E", False, "E"),
    ("The correct answer is (B) Warfarin sodium.", "B", False, "B"),
    ("Option C is correct.", "C", False, "C"),
    ("Warfarin sodium", "B", False, "B"),
    ("Intravenous heparin", "E", False, "E"),
    ("Cardiac catheterization", "C", True, "C"),
    ("Aspirin", "A", True, "A"),
    ("Because of the risk of bleeding, none.", "B", True, None),
    ("A 67-year-old woman with chest pain should be watched.", "A", True, None),
    ("Acute coronary syndrome is likely.", "A", True, None),
    ("Elderly patients need care.", "E", True, None),
    ("I am sorry, I cannot answer medical questions.", "E", False, None),
    ("", "A", False, None),
    ("...", "A", False, None),
    ("A or B", "A", True, None),
    ("B: Aspirin", "B", True, None),
    ("A: Asprin", "A", True, "A"),
    ("The answer is A. No, the answer is D.", "D", False, "D"),
    ("Answer: B", "B", False, "B"),
    ("e", "E", False, "E"),
    ("F: Something else", "A", False, None),
    ("I would choose option D because it is safe.", "D", False, "D"),
]


@pytest.mark.parametrize(("response", "gold", "as_2023", "careful"), TABLE)
def test_thirty_responses(response, gold, as_2023, careful) -> None:
    assert right_2023(response, gold) is as_2023
    assert parse(response, OPTIONS).letter == careful


def test_labelled_responses(root) -> None:
    """Twelve families of invented responses with the letter that a careful reader takes.

    The last 138 were written and labelled before a rule was touched: 48 of the first 60 were read
    as labelled, then 40 of 48, then 23 of 30; every miss but one had no letter.
    """
    lines = (
        (root / "tests" / "fixtures" / "answers" / "labelled.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    cases = [json.loads(line) for line in lines]
    agreed: dict[str, list[bool]] = {}
    for case in cases:
        options = list(zip("ABCD", case["options"], strict=True))
        found = parse(case["text"], options, at_limit=case["at_limit"])
        right = found.letter == case["right"] and case["status"] in ("", found.status)
        agreed.setdefault(case["family"], []).append(right)
        if not right:
            print(f"{case['text']!r}: {found.letter} {found.status}, right is {case['right']}")
    for family, values in agreed.items():
        print(f"{family}: {sum(values)} of {len(values)}")
    share = sum(map(sum, agreed.values())) / len(cases)
    print(f"agreement {share:.3f}")
    assert (len(agreed), len(cases)) == (12, 438)
    assert share >= 0.99


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think> b", " b"),
        ("a </think> b", " b"),
        ("<think>a</think> b <think>c</think> d", " d"),
        ("the tag <think> in a sentence", "the tag <think> in a sentence"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
            "b",
        ),
        ("analysisA thought.assistantfinalb", "b"),
        ("analysis of the case", "analysis of the case"),
        ("<think>a", None),
        ("<|channel|>analysis<|message|>a<|end|>", None),
    ],
)
def test_what_stands_behind_the_thinking_is_the_answer(text, answer) -> None:
    assert answer_of(text) == answer


def test_of_a_response_that_was_cut_only_a_statement_is_read() -> None:
    text = "Option B is the best, and option C"
    assert parse(text, OPTIONS).letter == "B"
    assert parse(text, OPTIONS, at_limit=True) == Parsed(None, "", "", Status.TRUNCATED)
    assert parse("<think>it is B", OPTIONS).status is Status.TRUNCATED


@pytest.mark.parametrize(
    "part", ["<|channel|>final ", "\n", "<think>", "\\boxed{", "A. ", " ", "(A) "]
)
def test_a_long_response_costs_what_its_length_says(part) -> None:
    def seconds(times: int) -> float:
        start = time.process_time()
        parse(part * times + "x", OPTIONS)
        return time.process_time() - start

    # twenty times the text, where a square would cost four hundred times as much; the least of
    # three each, since a busy machine's caches cost a short run several times what it takes
    long, short = (min(seconds(times) for _ in range(3)) for times in (20_000, 1_000))
    assert long < 100 * max(short, 0.002)


@given(text=st.text(alphabet="<>/|{}\\\"':ABCD think(answer)boxed\n.", max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_status(text) -> None:
    found = parse(text, OPTIONS)
    assert found.letter is None or re.fullmatch("[A-E]", found.letter)


def test_the_summary_tells_the_two_readings_apart() -> None:
    options = tuple(OPTIONS)
    rows = []
    for number, (response, gold, _, _) in enumerate(TABLE):
        stem = f"case {number}"
        item = ExamItem("table", item_id(stem, options), stem, options, gold)
        question = Question(item, "", tuple(range(len(options))), "")
        value = {"text": response, "tries": 1, "accepted": accepted_2023(response)}
        rows += generate.rows("medalpaca_legacy", question, value)
    cell = summarise("table", rows)["modes"]["medalpaca_legacy"]
    assert cell["correct"] == 17
    assert cell["strict_reading"] == {"correct": 20, "legacy_only": 6, "strict_only": 9, "n": 30}


def test_what_the_2023_format_check_accepts() -> None:
    for response in ("A: Aspirin", "A. Aspirin", "A 67-year-old woman", "Z nothing"):
        assert accepted_2023(response), response
    for response in ("C", "(C) text", "C) text", "a: Aspirin", "The answer is C", "A:Aspirin"):
        assert not accepted_2023(response), response


@pytest.mark.parametrize(
    ("response", "status"),
    [
        ("B: Warfarin sodium", Status.PARSED),
        ("Warfarin sodium", Status.REPAIRED),
        ("B: Warfarine sodium", Status.PARSED),
        ("B: something else", Status.REPAIRED),
        ("B: Aspirin", Status.CONFLICT),
        ("The answer is B: Aspirin", Status.CONFLICT),
        ("B Aspirin", Status.CONFLICT),
        ("A or B", Status.AMBIGUOUS),
        ("As an AI language model, I cannot provide that.", Status.REFUSAL),
        ("  \n ", Status.EMPTY),
        ("The patient", Status.NONE),
    ],
)
def test_statuses(response, status) -> None:
    assert parse(response, OPTIONS).status is status


def test_a_response_cut_at_the_limit_without_answer_is_truncated() -> None:
    assert parse("The patient has", OPTIONS, at_limit=True).status is Status.TRUNCATED
    assert parse("C: Cardiac", OPTIONS, at_limit=True).letter == "C"


def test_known_bugs_of_other_parsers() -> None:
    assert parse("Answer", OPTIONS).letter is None  # not A
    nine = [(letter, f"text {letter} long") for letter in "ABCDEFGHI"]
    assert parse("I think the patient is ill", nine).letter is None  # not option I
    assert parse("The answer is a matter of debate", OPTIONS).letter is None
    assert parse("The answer is A patient with", OPTIONS).letter is None
    assert parse("Option C is not correct.", OPTIONS).letter is None
    # a verbose answer is not scored as wrong only for its words
    verbose = "Given the findings, the best answer is C: Cardiac catheterization, since ..."
    assert parse(verbose, OPTIONS).letter == "C"
    # an option that is part of another one
    nested = [("A", "Sodium"), ("B", "Sodium and potassium")]
    assert parse("Sodium and potassium", nested).letter == "B"
    assert parse("Sodium", nested).letter == "A"
    # two options with the same words in another case keep their own letters
    assert parse("B: sodium", [("A", "Sodium"), ("B", "sodium")]).letter == "B"


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("The correct answer is 3. Only 2 of 5 criteria are met.", "3"),
        ("The answer is 4. It is 2 times as common in women.", "4"),
        ("The fever lasts, so 3 months of follow-up are planned.", None),
        ("It is 2.5 mg, or 1 in 10 of the dose.", None),
        ("1. The fever is high. 2. The cough is most likely viral.", None),
        ("1. Incorrect.\n2. Too slow.\n3. Correct, since it acts at once.", "3"),
        ("1. Aspirin is wrong.\n2. Warfarin is too slow.\n3. Heparin is the best.", "3"),
        ("The answer is 3 in this case.", "3"),
    ],
)
def test_a_number_that_counts_is_no_numbered_option(response, number) -> None:
    texts = ("Aspirin", "Warfarin", "Heparin", "Surgery", "Observation")
    assert parse(response, [(str(n), text) for n, text in enumerate(texts, 1)]).letter == number


LABELS = st.integers(2, 9).map(lambda n: list(string.ascii_uppercase[:n]))
WORDS = st.text("abcdefghij klmnopqrstuvwxyz", min_size=1, max_size=40)


@given(labels=LABELS, text=st.text(max_size=200), data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_letter_is_always_the_items_own(labels, text, data) -> None:
    options = [(label, data.draw(WORDS)) for label in labels]
    found = parse(text, options)
    assert found.letter is None or found.letter in labels
    assert (found.letter is not None) == (found.status in {Status.PARSED, Status.REPAIRED})


@given(labels=LABELS, index=st.integers(0, 8), frame=st.sampled_from(
    ["{}", "({})", "{}.", "The answer is {}.", "Answer: {}", "The correct option is ({})",
     "I am not sure. The final answer is {}"]))  # fmt: skip
def test_explicit_statements_are_read(labels, index, frame) -> None:
    label = labels[index % len(labels)]
    options = [(name, f"finding number {place}") for place, name in enumerate(labels)]
    assert parse(frame.format(label), options).letter == label


@given(word=st.text(string.ascii_lowercase, min_size=2, max_size=12))
def test_a_word_is_never_a_letter(word) -> None:
    options = [(label, f"{label}{label} 12345") for label in "ABCDEFGHI"]
    text = word.capitalize() + " and so on for a while"
    assert parse(text, options).letter is None


def test_three_conventions() -> None:
    rows = [
        {"pred": pred, "correct": right, "n_options": k}
        for pred, right, k in (("A", True, 4), ("B", False, 4), (None, False, 4), (None, False, 5))
    ]
    assert conventions(rows) == {
        "strict": 0.25, "parsed_only": 0.5, "chance": pytest.approx((1 + 0.25 + 0.2) / 4),
        "n": 4, "n_parsed": 2,
    }  # fmt: skip
    assert conventions([])["strict"] == 0.0
