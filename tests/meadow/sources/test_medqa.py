"""MedQA: the quotation marks that a spreadsheet left, in either style."""

import json

import pytest
from support.converted import one

from meadow.schema import Style
from meadow.sources import SOURCES
from meadow.text.clean import without_stray_quotes


def convert(question: str, options: dict[str, str], style: Style = Style.MEADOW):
    raw = {"question": question, "options": options, "answer_idx": "A", "answer": options["A"]}
    return one(SOURCES["medqa"].upstream, style=style, **raw)


def test_what_a_spreadsheet_left_is_no_part_of_an_option() -> None:
    options = {"A": 'Iron deficiency\n"', "B": '"""Have you slept well?"""'}
    row = convert('A nurse is tired. Which is the "cause"?"', options)
    assert row.output == "A: Iron deficiency"
    assert row.input == (
        'A nurse is tired. Which is the "cause"?\nA: Iron deficiency\nB: "Have you slept well?"'
    )
    assert row.repairs == ("stray_quotation_mark",)
    assert json.loads(row.meta)["options"]["A"] == "Iron deficiency"
    old = convert('A nurse is tired. Which is the "cause"?"', options, Style.PUBLISHED_2023)
    assert (old.output, old.id) == ('A: Iron deficiency\n"', row.id)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('He says "no."', 'He says "no."'),
        ('She feels ""heavy” and cold. Why?"', 'She feels "heavy” and cold. Why?'),
        ('He feels “heavy" and cold.', 'He feels “heavy" and cold.'),
        ('"""You may need a doctor.”"', '"You may need a doctor.”'),
        ('Which is next?"\n"Chart\nAge: 3 days"', "Which is next?\nChart\nAge: 3 days"),
        ("5'10\" tall", "5'10\" tall"),
    ],
)
def test_a_quotation_of_the_author_stays(text: str, plain: str) -> None:
    assert without_stray_quotes(text) == plain
    assert without_stray_quotes(plain) == plain
