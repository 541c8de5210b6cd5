"""The tables of a run: predictions and items, with fixed columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from meadow.exams.items import ExamItem


def predictions_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as an Arrow table: one per item, mode and variant."""
    schema = pa.schema(
        [
            ("item_id", pa.string()),
            ("mode", pa.string()),
            ("variant", pa.string()),
            ("sample", pa.int32()),
            ("labels", pa.list_(pa.string())),
            ("order", pa.list_(pa.string())),
            ("logliks", pa.list_(pa.float64())),
            ("pred", pa.string()),
            ("gold", pa.string()),
            ("correct", pa.bool_()),
            ("status", pa.string()),
            ("rule", pa.string()),
            ("text", pa.string()),
            ("retries", pa.int32()),
            ("strict_pred", pa.string()),
            ("n_tokens", pa.int32()),
            ("truncated", pa.bool_()),
            ("lost", pa.string()),
            ("scorable", pa.bool_()),
            ("step", pa.string()),
            ("discipline", pa.string()),
            ("n_options", pa.int32()),
        ]
    )
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def items_table(items: Sequence[ExamItem], levels: Mapping[str, str] | None) -> Any:
    """Every item of the exam, left-out ones with their reason."""
    return pa.Table.from_pylist(
        [
            {
                "item_id": item.item_id,
                "exam": item.exam,
                "number": item.number,
                "question": item.question,
                "labels": list(item.labels),
                "options": [text for _, text in item.options],
                "answer": item.answer,
                "n_options": len(item.options),
                "step": item.step,
                "discipline": item.discipline,
                "has_image": item.has_image,
                "exclusion_reason": item.exclusion_reason,
                "contamination": None if levels is None else levels.get(item.item_id, "none"),
            }
            for item in items
        ],
        schema=pa.schema(
            [
                ("item_id", pa.string()),
                ("exam", pa.string()),
                ("number", pa.string()),
                ("question", pa.string()),
                ("labels", pa.list_(pa.string())),
                ("options", pa.list_(pa.string())),
                ("answer", pa.string()),
                ("n_options", pa.int32()),
                ("step", pa.string()),
                ("discipline", pa.string()),
                ("has_image", pa.bool_()),
                ("exclusion_reason", pa.string()),
                ("contamination", pa.string()),
            ]
        ),
    )
