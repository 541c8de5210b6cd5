"""What the rows of a shard must be before anything reads them: a corpus can come from anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meadow.errors import CheckError
from meadow.schema import COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

NEVER_NULL = ("id", "instruction", "input", "output", "source", "task", "license", "meta")


def check_rows(table: pa.Table, path: Path, columns: list[str] | None = None) -> None:
    """Hold the columns that were read to the schema: there, of their type, text that is UTF-8.

    Args:
        table: What was read.
        path: The shard, for the message.
        columns: What was asked for; None: everything.

    Raises:
        CheckError: They are something else.
    """
    import pyarrow as pa

    schema = arrow_schema()
    found = table.schema
    for name in COLUMNS if columns is None else [name for name in columns if name in COLUMNS]:
        if found.get_all_field_indices(name) != [found.get_field_index(name)]:
            raise _other_rows(path, f"column {name} is missing, or there twice")
        if found.field(name).type != schema.field(name).type:
            raise _other_rows(path, f"column {name} is {found.field(name).type}")
        if name in NEVER_NULL and table[name].null_count:
            raise _other_rows(
                path, f"column {name} has no value in {table[name].null_count:,} rows"
            )
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise _other_rows(path, str(error)[:300]) from error


def _other_rows(path: Path, detail: str) -> CheckError:
    return CheckError(
        f"the rows of a shard are not those of a corpus: {detail}",
        where=str(path),
        fix="do not use this folder; build or pull it again",
    )
