"""Rows that wait on disk until something is known of all of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meadow.schema import Raw, Reason, Reject
from meadow.sources.delimited_columns import Columns

if TYPE_CHECKING:
    import pyarrow as pa

_MOST = 1024
_LINES, _ITEMS, _LABEL = "\x1flines", "\x1fitems", b"label"


class WaitingRows:
    """What a reader gave, in a temporary file without a name, in order; to be read back once.

    Columns lie there as Arrow streams one behind the other, single rows as JSON in such a stream.
    The file is about as large as the wanted columns; it is gone when this is closed.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="meadow-rows-")  # noqa: SIM115 - see __exit__
        self._single: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def put(self, label: str, item: Columns | Raw | Reject) -> None:
        """Add what a reader gave of the file named `label`."""
        import pyarrow as pa

        if isinstance(item, Columns):
            self._flush()
            self._write(item.table.append_column(_LINES, pa.array(item.lines)), label)
            return
        reject, raw = (asdict(item), None) if isinstance(item, Reject) else (None, dict(item))
        self._single.append(json.dumps([label, reject, raw]))
        if len(self._single) >= _MOST:
            self._flush()

    def take(self) -> Iterator[tuple[str, Columns | Raw | Reject]]:
        """All of it, each with its label."""
        import pyarrow as pa

        self._flush()
        end = self._file.tell()
        self._file.seek(0)
        while self._file.tell() < end:
            table = pa.ipc.open_stream(self._file).read_all()
            if _ITEMS in table.column_names:
                for text in table[_ITEMS].to_pylist():
                    label, reject, raw = json.loads(text)
                    yield label, _reject(reject) if raw is None else raw
                continue
            lines = table[_LINES].to_numpy()
            label = json.loads(table.schema.metadata[_LABEL])
            yield label, Columns(table.drop_columns([_LINES]), lines)

    def _flush(self) -> None:
        import pyarrow as pa

        if self._single:
            self._write(pa.table({_ITEMS: pa.array(self._single, pa.string())}), "")
            self._single.clear()

    def _write(self, table: pa.Table, label: str) -> None:
        import pyarrow as pa

        # JSON, since a file name need not be UTF-8
        table = table.replace_schema_metadata({_LABEL: json.dumps(label)})
        with pa.ipc.new_stream(self._file, table.schema) as writer:
            writer.write_table(table)


def _reject(fields: dict[str, str]) -> Reject:
    return Reject(fields["where"], Reason(fields["reason"]), fields["detail"], fields["excerpt"])
