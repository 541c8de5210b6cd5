"""The counts of the 2023 release, as published, and why a corpus made today has others.

Three places gave counts and they do not agree: the repositories on the Hub ("published"), the table
of the README ("mix", what the models were trained on) and the paper's 160,076 rows ("paper").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Count2023:
    """One source of the 2023 release.

    Args:
        source: The source's name today; several rows may share one, told apart by `subset`.
        subset: The part of the source.
        published: Rows of the repository on the Hub, or of its data description.
        mix: Rows in the README's table of the training mix.
        paper: Rows in the paper's collection of 160,076.
        why: Why today's number differs.
    """

    source: str
    subset: str | None
    published: int | None
    mix: int | None
    paper: int | None
    why: str


_STACK = (
    "Every answer with a score of at least 5 today, from a later dump: later votes and posts add "
    "rows; the counts of the README and of the data description differ among themselves."
)
COUNTS: tuple[Count2023, ...] = (
    Count2023(
        "anki", None, 33_955, 33_955, 33_955,
        "Depends on the decks that you supply; cards with media are left out, as in 2023.",
    ),
    Count2023("stack_exchange", "academia", 39_633, 40_865, 39_633, _STACK),
    Count2023("stack_exchange", "biology", 7_482, 27_887, 7_482, _STACK),
    Count2023("stack_exchange", "fitness", 3_026, 9_833, 3_026, _STACK),
    Count2023("stack_exchange", "health", 1_428, 7_721, 1_428, _STACK),
    Count2023("stack_exchange", "bioinformatics", 906, 5_407, 906, _STACK),
    Count2023(
        "wikidoc", None, 10_000, 10_000, 67_704,
        "2023 rewrote every heading with a language model and published 10,000 of 67,704 rows; "
        "headings without a rule are set aside here unless the rewriting step is run.",
    ),
    Count2023(
        "wikidoc_patient_information", None, 5_942, 5_942, 5_942,
        "Duplicates, link-only answers and questions without a topic are set aside and counted.",
    ),
    Count2023(
        "medqa", None, 10_178, None, None,
        "Missing from the README's table, which prints MedQA's count beside health advice.",
    ),
    Count2023(
        "mmmlu", None, 3_787, 3_787, None,
        "The 2023 list of subjects is not known; these are test items elsewhere and stay out of "
        "the default mix.",
    ),
    Count2023(
        "pubmed_causal", None, 2_446, 2_446, None,
        "2023 published 2,446 of 3,061 rows under labels shifted by one; here every row under the "
        "upstream label, less duplicates and conflicts.",
    ),
    Count2023(
        "health_advice", None, 8_676, 10_178, None,
        "The README prints 10,178, which is MedQA's count; upstream has 10,848 rows, here less "
        "duplicates and conflicts.",
    ),
    Count2023(
        "mediqa", None, 2_208, 2_208, None,
        "Question by answer by kind of summary; empty summaries are set aside.",
    ),
    Count2023(
        "cord19", None, 821_007, 50_000, None,
        "2023 took every abstract; rows whose paper may not be republished are local only here.",
    ),
    Count2023(
        "chatdoctor", None, None, 10_000, None,
        "Never published by Medical Meadow; its licence forbids it, so it is local only.",
    ),
    Count2023(
        "openassistant", None, None, 9_209, None,
        "English prompts with their best ranked reply; depends on the snapshot.",
    ),
)  # fmt: skip

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
        found: Source -> rows in this corpus.
        subsets: Source -> subset -> rows, where a source has subsets.

    Returns:
        `rows` (source, published, mix, paper, found, difference, why) and `notes`.
    """
    rows = []
    for count in COUNTS:
        if count.source not in found:
            here = None
        elif count.subset is None:
            here = found[count.source]
        else:
            parts = subsets.get(count.source, {})
            here = sum(n for name, n in parts.items() if name.split(".")[0] == count.subset)
        name = count.source if count.subset is None else f"{count.source} {count.subset}"
        then = count.published if count.published is not None else count.mix
        rows.append(
            {
                "source": name,
                "published": count.published,
                "mix": count.mix,
                "paper": count.paper,
                "found": here,
                "difference": None if here is None or then is None else here - then,
                "why": count.why,
            }
        )
    known = {count.source for count in COUNTS}
    for source in sorted(set(found) - known):
        rows.append(
            dict.fromkeys(("published", "mix", "paper", "difference"))
            | {"source": source, "found": found[source], "why": _NEW}
        )
    return {"rows": rows, "notes": list(NOTES)}
