"""The guide's page has every key of a source's TOML file, but those that only the house's need."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from meadow.sources.own import form

HOUSE_ONLY = {
    *("published_refused", "style_2023", "published", "counts_2023", "published_generated"),
    *("always", "explains"),
}
MODELS = [
    *(form.OwnSource, form.RawFile, form.Read, form.Row, form.Credit, form.Options, form.Chat),
    *(form.Label, form.Filter, form.Repair, form.Example, form.Facts),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_stands_in_the_guide(model: type[BaseModel], root: Path) -> None:
    page = (root / "docs/own-source.md").read_text(encoding="utf-8").partition("## The file")[2]
    keys = set(model.model_fields) - HOUSE_ONLY
    assert {key for key in keys if not re.search(rf"\b{key}\b", page)} == set()
