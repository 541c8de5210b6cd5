"""Alpaca: placeholders for no input, the demo file."""

from pathlib import Path

import pytest

from meadow.schema import Reason, Record, Style
from meadow.source import Input, Options
from meadow.sources import SOURCES

UPSTREAM = SOURCES["alpaca"].upstream


def convert(options: Options | None = None, **row: object):
    raw = {"_where": "a#0", "instruction": "Do it.", "input": "", "output": "Done.", **row}
    (item,) = UPSTREAM.convert(raw, options or Options())
    return item


@pytest.mark.parametrize("given", ["<noinput>", "NoInput", "none.", " N/A "])
def test_placeholders_go_in_style_meadow(given: str) -> None:
    assert convert(input=given).input == ""
    assert convert(input=given).repairs == ("input_placeholder",)
    old = convert(Options(style=Style.PUBLISHED_2023), input=given)
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
    raws = UPSTREAM.read([Input(path, path.name)], Options())
    items = [item for raw in raws for item in UPSTREAM.convert(raw, Options())]
    assert len(items) == 999
    assert all(isinstance(item, Record) for item in items)
