"""Alpaca: three fields, placeholders for no input, the demo file."""

from pathlib import Path

import pytest

from meadow.readers import json_rows
from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources import alpaca


def convert(options: Options | None = None, **row: object):
    raw = {"_where": "a#0", "instruction": "Do it.", "input": "", "output": "Done.", **row}
    (item,) = alpaca.convert(raw, options or Options())
    return item


@pytest.mark.parametrize("given", ["<noinput>", "NoInput", "none.", " N/A "])
def test_placeholders_go_in_style_meadow(given: str) -> None:
    assert convert(input=given).input == ""
    assert convert(input=given).repairs == ("input_placeholder",)
    old = convert(Options(style=Style.PUBLISHED_2023), input=given)
    assert old.input == given
    assert old.id == convert(input=given).id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"output": " "}, Reason.EMPTY_OUTPUT),
        ({"instruction": ""}, Reason.EMPTY_INPUT),
        ({"output": None}, Reason.MISSING_FIELD),
        ({"input": 7}, Reason.MISSING_FIELD),
    ],
)
def test_the_reasons(row: dict, reason: Reason) -> None:
    assert convert(**row).reason is reason


def test_it_is_for_non_commercial_use() -> None:
    assert convert().license == alpaca.SOURCE.license == "cc-by-nc-4.0"


@pytest.mark.realdata
def test_the_real_rows(upstream: Path) -> None:
    path = upstream / "alpaca/llamafactory_alpaca_en_demo.json"
    items = [
        item
        for raw in json_rows.read_array([Input(path, path.name)], Options())
        for item in ([raw] if isinstance(raw, Reject) else alpaca.convert(raw, Options()))
    ]
    assert len(items) == 999
    assert all(isinstance(item, Record) for item in items)
