"""What a source makes of raw files, or of one raw row."""

from pathlib import Path
from typing import Any

from meadow.schema import Fact, Reject, Style
from meadow.source import Input, Options, Origin


def converted(origin: Origin | None, *files: Path | Input, options: Options | None = None) -> list:
    """Every record, reject and fact of the files, in order."""
    assert origin is not None
    options = options or Options()
    inputs = [each if isinstance(each, Input) else Input(each, each.name) for each in files]
    items: list = []
    for raw in origin.read(inputs, options):
        items.extend([raw] if isinstance(raw, Reject | Fact) else origin.convert(raw, options))
    return items


def one(origin: Origin | None, *, style: Style = Style.MEADOW, **raw: Any) -> Any:
    """What becomes of one raw row."""
    assert origin is not None
    (item,) = origin.convert({"_where": "f:1", **raw}, Options(style=style))
    return item
