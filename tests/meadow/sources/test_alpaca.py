"""Alpaca: placeholders for no input, the demo file."""

from pathlib import Path

import pytest
from support.converted import converted, one

from meadow.schema import Reason, Record, Style
from meadow.sources import SOURCES

UPSTREAM = SOURCES["alpaca"].upstream


def convert(style: Style = Style.MEADOW, **row: object):
    given = {"instruction": "Do it.", "input": "", "output": "Done.", **row}
    return one(UPSTREAM, style=style, **given)


@pytest.mark.parametrize("given", ["<noinput>", "NoInput", "none.", " N/A "])
def test_placeholders_go_in_style_meadow(given: str) -> None:
    assert convert(input=given).input == ""
    assert convert(input=given).repairs == ("input_placeholder",)
    old = convert(Style.PUBLISHED_2023, input=given)
    assert old.input == given
    assert old.id == convert(input=given).id
    assert convert(input=f"{given} of these").repairs == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"instruction": ""}, Reason.EMPTY_INPUT), ({"output": None}, Reason.MISSING_FIELD)],
)
def test_the_reasons(row: dict, reason: Reason) -> None:
    assert convert(**row).reason is reason


@pytest.mark.realdata
def test_the_real_rows(upstream: Path) -> None:
    path = upstream / "alpaca/llamafactory_alpaca_en_demo.json"
    items = converted(UPSTREAM, path)
    assert len(items) == 999
    assert all(isinstance(item, Record) for item in items)
