"""The counts of the 2023 release, as published, and why a corpus made today has others.

Three places gave counts and they do not agree: the repositories on the Hub ("published"), the table
of the README ("mix", what the models were trained on) and the paper's 160,076 rows ("paper").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meadow.source import Count2023

NOTES: tuple[str, ...] = (
    "160,076 = 33,955 flashcards + 52,475 Stack Exchange + 67,704 WikiDoc + 5,942 patient "
    "information: the paper's collection.",
    "The README's column sums to 229,438, with 10,178 beside health advice: that is MedQA's count, "
    "and MedQA itself is missing from the table.",
)
_NEW = "Not in the 2023 release."


def compare(found: Mapping[str, int], subsets: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The table "then and now" for the report.

    Args:
        found: Source -> rows in this corpus; the table speaks of these sources alone.
        subsets: Source -> subset -> rows, where a source has subsets.

    Returns:
        `rows` (source, published, mix, paper, found, difference, why) and `notes`.
    """
    from meadow.sources import SOURCES

    rows = []
    for name in sorted(found):
        counts = SOURCES[name].counts_2023 if name in SOURCES else ()
        for count in counts or (Count2023(_NEW),):
            here = found.get(name)
            if here is not None and count.subset is not None:
                parts = subsets.get(name, {})
                here = sum(n for part, n in parts.items() if part.split(".")[0] == count.subset)
            then = count.published if count.published is not None else count.mix
            rows.append(
                {
                    "source": name if count.subset is None else f"{name} {count.subset}",
                    "published": count.published,
                    "mix": count.mix,
                    "paper": count.paper,
                    "found": here,
                    "difference": None if here is None or then is None else here - then,
                    "why": count.why,
                }
            )
    return {"rows": rows, "notes": list(NOTES)}
