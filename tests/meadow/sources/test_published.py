"""The 2023 release: rows repaired, questions parsed back, the same ids as upstream."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.converted import one

from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import detect_origin
from meadow.errors import UsageError
from meadow.schema import Reason, Refused, Style
from meadow.source import Input, Options, OriginName
from meadow.sources import SOURCES, health_advice, mmmlu
from meadow.sources.anki import source as anki
from meadow.sources.published import multiple_choice, published_row, repair_spacing

RELEASED = sorted(name for name, source in SOURCES.items() if source.published)
QUESTION = "A man has gout.\nUric acid 9 mg/dL\nWhat is given?"
OPTIONS = {"A": "Colchicine", "B": "Rosuvastatin's salt", "C": 'Say "no"', "D": "None", "E": "Iron"}


def released(question: str, options: dict[str, str], letter: str) -> dict[str, str]:
    return {
        "instruction": mmmlu.INSTRUCTION_2023,
        "input": f"Q:{question}? \n{options!r},",
        "output": f"{letter}: {options[letter]}",
    }


@pytest.mark.parametrize("name", RELEASED)
def test_every_released_file_has_a_pinned_address(name: str) -> None:
    origin = SOURCES[name].origin(OriginName.PUBLISHED)
    for file in origin.files:
        assert file.url is not None
        assert file.url.startswith("hf://datasets/medalpaca/medical_meadow_")
        assert "@" in file.url
        assert file.url.endswith(f"/{file.name}")
    assert SOURCES[name].published_rows


def texts(record: Any) -> tuple[str, str, str]:
    return record.instruction, record.input, record.output


@pytest.mark.parametrize("style", Style)
def test_a_released_question_is_upstreams_question(style: Style) -> None:
    upstream = {"question": QUESTION, "options": OPTIONS, "answer_idx": "B", "answer": OPTIONS["B"]}
    theirs = one(SOURCES["medqa"].upstream, style=style, **upstream)
    row = released(QUESTION, OPTIONS, "B")
    ours = one(SOURCES["medqa"].published, style=style, **row)
    assert (ours.id, texts(ours)) == (theirs.id, texts(theirs))
    if style is Style.PUBLISHED_2023:
        assert texts(ours) == (row["instruction"], row["input"], row["output"])


def test_a_released_mmlu_item_is_upstreams_item() -> None:
    four = {letter: OPTIONS[letter] for letter in "ABCD"}
    mmlu, row = SOURCES["mmmlu"], released(QUESTION, four, "D")
    ours = one(mmlu.published, **row)
    theirs = one(mmlu.upstream, **four, question=QUESTION, answer="D", subject="anatomy")
    assert (ours.id, ours.input, ours.subset) == (theirs.id, theirs.input, None)
    assert one(mmlu.published, **released(QUESTION, OPTIONS, "D")).reason is Reason.BAD_VALUE
    wrong = one(mmlu.published, **row | {"output": "D: Something else"})
    assert wrong.reason is Reason.ANSWER_NOT_IN_OPTIONS


words = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30)


@given(words, st.lists(words, min_size=2, max_size=5), st.integers(0, 4))
def test_whatever_python_printed_is_parsed_back(
    question: str, texts: list[str], answer: int
) -> None:
    options = dict(zip("ABCDE", texts, strict=False))
    letter = "ABCDE"[answer % len(texts)]
    row = released(question, options, letter)
    found = multiple_choice({"_where": "x", **row})
    assert (found["question"], found["options"], found["answer_idx"]) == (question, options, letter)


@pytest.mark.parametrize(
    "text",
    [
        "no options at all",
        "Q:x? \n{'A': open(),",
        "Q:x? \n{'A': __import__('os')},",
        "Q:x? \n{1: 'a'},",
        "Q:x? \n" + "{" * 5000 + "}" * 5000 + ",",
        "Q:x? \n{'A': 'a'",
    ],
)
def test_options_that_are_none_are_rejects(text: str) -> None:
    with pytest.raises(Refused) as refused:
        multiple_choice({"_where": "x", "instruction": "i", "input": text, "output": "A: a"})
    assert refused.value.reason is Reason.BAD_VALUE


def test_options_as_a_list_get_letters() -> None:
    row = {"instruction": "i", "input": "Q:x? \n['a', 'b'],", "output": "B: b"}
    found = multiple_choice({"_where": "x", **row})
    assert found["options"] == {"A": "a", "B": "b"}


@pytest.mark.parametrize(
    ("label", "told"), [("0", "This is no advice"), ("2", "this is a strong advice.")]
)
def test_released_advice_has_upstreams_label(label: str, told: str) -> None:
    row = {"instruction": "?", "input": " Patients should rest. ", "output": told}
    advice, old = SOURCES["health_advice"], Style.PUBLISHED_2023
    ours = one(advice.published, style=old, **row)
    assert ours.output == health_advice.OUTPUTS_2023[label]
    upstream = {"label": label, "pmid": "1", "sentence": row["input"], "design": "RCT"}
    theirs = one(advice.upstream, style=old, **upstream)
    assert ours.id == theirs.id
    assert (ours.subset, theirs.subset) == (None, "structured_abstract")
    unknown = one(advice.published, **row | {"output": "Maybe"})
    assert unknown.reason is Reason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"output": ""}, Reason.EMPTY_OUTPUT),
        ({"input": " \n"}, Reason.EMPTY_INPUT),
        ({"input": None}, Reason.MISSING_FIELD),
        ({"instruction": 3}, Reason.MISSING_FIELD),
    ],
)
def test_empty_and_missing_fields(change: dict, reason: Reason) -> None:
    row = {"_where": "x#0", "instruction": "i", "input": "q", "output": "a", **change}
    with pytest.raises(Refused) as refused:
        published_row(row)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("text", "repaired", "repairs"),
    [
        ("What  is it ?", "What is it?", ("double_space", "space_before_mark")),
        ("p < .05 and n = 3", "p < .05 and n = 3", ()),
        ("a .5 mg dose", "a .5 mg dose", ()),
        ("one , two", "one, two", ("space_before_mark",)),
        ("  indented", "  indented", ()),
    ],
)
def test_spacing(text: str, repaired: str, repairs: tuple) -> None:
    assert repair_spacing(text) == (repaired, repairs)
    assert repair_spacing(repaired)[0] == repaired


def test_released_flashcards_are_built_and_counted(tmp_path: Path) -> None:
    rows = [
        {"instruction": anki.INSTRUCTION_2023, "input": question, "output": answer}
        for question, answer in (
            ("What is  gout ?", "A disease of the joints."),
            ("What is gout?", "A disease of the joints."),
            ("", "An answer."),
            ("A question?", ""),
            ("What is iron?", "A metal."),
        )
    ]
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(rows))
    item = Input(path, "cards.json")
    assert detect_origin([item], SOURCES["anki"]) is OriginName.PUBLISHED
    settings = BuildSettings(sources=("anki",), origins={"anki": OriginName.PUBLISHED})
    entry = build_corpus(settings, {"anki": [item]}, tmp_path / "out").manifest.sources["anki"]
    assert (entry.rows_in, entry.rows_out) == (5, 2)
    assert entry.rejected == {"duplicate": 1, "empty_input": 1, "empty_output": 1}
    assert entry.repaired == {"double_space": 1, "space_before_mark": 1}


OLD = Options(style=Style.PUBLISHED_2023)


def test_the_mislabelled_release_is_refused() -> None:
    with pytest.raises(UsageError, match="refused: its labels are shifted by one"):
        SOURCES["pubmed_causal"].origin(OriginName.PUBLISHED)


def test_the_released_sets() -> None:
    assert set(RELEASED) >= {
        "anki",
        "cord19",
        "health_advice",
        "medqa",
        "mediqa",
        "mmmlu",
        "wikidoc",
        "wikidoc_patient_information",
    }


def test_style_2023_gives_the_released_text_back() -> None:
    row = {"_where": "x.json#0"} | released(QUESTION, OPTIONS, "C")
    (record,) = SOURCES["medqa"].published.convert(row, OLD)
    assert (record.instruction, record.input, record.output) == tuple(
        row[name] for name in ("instruction", "input", "output")
    )
