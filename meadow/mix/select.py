"""Mix a corpus into a training set: which rows stay, how often, and in which split.

The steps, in order, each with its rows in, rows out and the reasons of the others:

    select -> exams -> licence -> errata -> duplicates -> contamination -> sample

Where several corpora are mixed, `corpora` stands before them and leaves out a row whose id an
earlier corpus has. `select` leaves out what the recipe does not name, and the licences and tasks
that it does not want; `exams` leaves out sources
that are exams elsewhere; `licence` leaves out rows that may not be redistributed, unless their
source was accepted by name; `errata` leaves out rows with known errors and stands there only where
the recipe names errata; the rest is in `meadow.mix.duplicates` and `meadow.exams.contamination`.
Repeats (weights above 1) come after the last step and are counted apart. Every draw is a hash of
(seed, record id): adding rows to a source changes little of what is drawn.

Only the columns that decisions need are held in memory; the rows themselves are streamed from the
corpus to the mix by `meadow.mix.write`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from meadow.cards.card import split_warning
from meadow.cards.rows import refused_rows
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Step
from meadow.errors import CheckError, UsageError
from meadow.exams.errata import read_errata, row_fault, row_faults
from meadow.exams.items import ExamItem
from meadow.licenses import LICENSES
from meadow.mix.duplicates import Duplicates, find_duplicates
from meadow.mix.recipe import MixRecipe, Part
from meadow.schema import THINKING, Reason, split_turns
from meadow.source import Source
from meadow.sources import with_own

Integers = npt.NDArray[np.int64]
COLUMNS = ["id", "instruction", "input", "output", "source", "subset", "license", "task"]
LARGE_CLUSTER = 0.1
"""A cluster of more than this share of the validation split stays in train: it would fill it."""


@dataclass(slots=True)
class Selection:
    """What a recipe makes of a corpus.

    Args:
        copies: How often each row of the corpora stands in the mix, in their order.
        validation: Whether a row goes to the split validation.
        steps: Rows in, out and rejected by reason, step by step.
        parts: Per part of the recipe: title, rows found, expected, and whether that is met.
        warnings: What a user ought to know, one line each.
        duplicates: kept_id, dropped_id, jaccard, kind.
        clusters: cluster, id, kept.
        contamination: exam, item_id, row_id, level, score, matched: before anything was dropped.
        details: Facts for the manifest.
    """

    copies: Integers
    validation: npt.NDArray[np.bool_]
    steps: list[Step]
    parts: list[dict[str, Any]]
    warnings: list[str]
    duplicates: pl.DataFrame
    clusters: pl.DataFrame
    contamination: pl.DataFrame
    details: dict[str, Any]


class _Rows:
    """The rows that are still in, and the ledger of those that went."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.rows = np.arange(frame.height)
        self.steps: list[Step] = []

    def current(self) -> pl.DataFrame:
        """The rows that are still in."""
        return self.frame[self.rows]

    def drop(self, step: str, reasons: Mapping[Reason, npt.NDArray[np.bool_]]) -> None:
        """Close a step: each mask says which of the current rows go for that reason."""
        gone = np.zeros(len(self.rows), bool)
        counts = {}
        for reason, mask in reasons.items():
            if count := int((mask & ~gone).sum()):
                counts[reason.value] = count
            gone |= mask
        self.steps.append(Step(step, len(self.rows), int((~gone).sum()), counts))
        self.rows = self.rows[~gone]


def select_rows(
    recipe: MixRecipe,
    corpora: Sequence[Corpus],
    *,
    exams: Mapping[str, Sequence[ExamItem]] | None = None,
    accepted: Iterable[str] = (),
    held: Sequence[Corpus] = (),
    progress: Callable[[str], None] = lambda message: None,
) -> Selection:
    """Decide about every row of the corpora.

    Args:
        recipe: The recipe.
        corpora: Built corpora; of two rows of one id the earlier corpus' counts.
        exams: Exam name -> its items.
        accepted: Sources whose rows come in though they may not be redistributed.
        held: Corpora whose rows are at hand already: what they hold is dropped as a duplicate.
        progress: Told one line per step.

    Raises:
        UsageError: An accepted source is unknown, or two corpora have two sources of one name.
    """
    known = _known(corpora)
    frame = pl.concat([_with_beginnings(corpus) for corpus in corpora])
    names = [name for name in frame["source"].unique().sort() if name not in recipe.exclude]
    parts = list(recipe.parts) or [Part(source=name, quota=recipe.quota) for name in names]
    warnings = _missing(frame, parts)
    part_of = _parts_of(frame, parts)
    if not recipe.parts:
        titles = frame.select(pl.format("{}/{}", "source", "subset").fill_null("")).to_series()
        part_of = np.where(titles.is_in(recipe.exclude).to_numpy(), -1, part_of)
    kept = _Rows(frame)
    if len(corpora) > 1:
        _drop_repeated(kept)
    undecided = _undecided(corpora, known)
    unwanted, refused = _unwanted(kept.current(), recipe, undecided)
    kept.drop(
        "select",
        {Reason.NOT_A_TARGET: (part_of[kept.rows] < 0) | unwanted, Reason.LICENSE: refused},
    )
    _leave_out_exams(kept, recipe, known, warnings)
    left = set(kept.current()["source"].unique())
    entries = ((n, e) for one in corpora for n, e in one.manifest.sources.items() if n in left)
    warnings += filter(None, dict.fromkeys(split_warning(*entry) for entry in entries))
    gate = _check_licenses(kept, list(accepted), undecided, known, warnings)
    faults = _drop_faulty(kept, recipe)
    progress(f"looking for duplicates among {len(kept.rows):,} rows")
    duplicates = _drop_duplicates(kept, recipe, held)
    items = sum(map(len, (exams or {}).values()))
    progress(f"comparing {len(kept.rows):,} rows with {items:,} exam items")
    contamination = _drop_contaminated(kept, recipe, exams or {}, warnings)
    copies = _draw(kept, recipe, parts, part_of, warnings)
    clusters = duplicates.clusters
    if recipe.validation and recipe.deduplicate != "near":
        clusters = find_duplicates(kept.current(), threshold=recipe.threshold).clusters
    validation = np.zeros(frame.height, bool)
    validation[kept.rows] = split_validation(
        kept.current(), clusters, recipe.seed, recipe.validation
    )
    table = _count_parts(parts, part_of[kept.rows], warnings)
    ids = kept.current()["id"]
    masks = {"train": ~validation, "validation": validation}
    details = {
        "rows": {"distinct": len(kept.rows), "repeats": int(copies.sum()) - len(kept.rows)},
        "splits": {split: int(copies[mask].sum()) for split, mask in masks.items()},
        "parts": table,
        "arithmetic": list(recipe.arithmetic),
        "duplicates": {
            "dropped": duplicates.dropped.height,
            "another_question": int((duplicates.dropped["question_jaccard"] < 1).sum()),
            "crowded": duplicates.crowded,
            "held_elsewhere": duplicates.dropped["kept_id"].str.starts_with("held:").sum(),
            "clusters": duplicates.clusters["cluster"].n_unique(),
            "text": "question (input, or instruction where that is blank), line break, output",
            "threshold": recipe.threshold,
        },
        "contamination": _verdicts(contamination, exams or {}, ids),
        **faults,
        "drop": recipe.drop,
        "licence_gate": gate,
        "accepted_licences": gate["accepted"],
        "publishable": gate["publishable"],
        "warnings": warnings,
    }
    return Selection(
        copies, validation, kept.steps, table, warnings, duplicates.dropped, duplicates.clusters,
        contamination, details,
    )  # fmt: skip


def _with_beginnings(corpus: Corpus) -> pl.DataFrame:
    """The columns that decisions need, and what the conversation of a row begins with, or null."""
    tables = []
    for table in corpus.iter_tables(columns=[*COLUMNS, "meta"]):
        rows = pl.DataFrame(table)
        longer = rows["meta"].str.contains('"turns":', literal=True)
        told = rows.filter(longer).select("input", "meta").rows()
        firsts = iter([next(iter(split_turns(*row)), None) for row in told])
        begins = [next(firsts) if is_longer else None for is_longer in longer]
        tables.append(rows.drop("meta").with_columns(begins=pl.Series(begins, dtype=pl.String)))
    frame = pl.concat(tables or [pl.DataFrame(corpus.to_arrow(columns=COLUMNS))])
    if not tables:
        return frame.with_columns(begins=pl.lit(None, pl.String))
    # where a source has conversations, a row without turns before it is the beginning of one
    talks = frame.filter(pl.col("begins").is_not_null())["source"].unique()
    own = pl.when(pl.col("source").is_in(talks.implode())).then(pl.col("instruction"))
    return frame.with_columns(begins=pl.coalesce("begins", own))


def _drop_repeated(kept: _Rows) -> None:
    """Leave out rows whose id an earlier corpus has: the same row, or another text under its id."""
    texts = pl.struct("instruction", "input", "output")
    first = pl.col("id").is_first_distinct()
    again, other = kept.frame.select(~first, other=texts != texts.first().over("id")).to_numpy().T
    kept.drop("corpora", {Reason.CONFLICT: again & other, Reason.DUPLICATE: again & ~other})


def _missing(frame: pl.DataFrame, parts: Sequence[Part]) -> list[str]:
    present = set(frame.select("source", "subset").unique().rows())
    sources = {source for source, _ in present}
    return [
        f"the corpus has no rows of {part.title}, which the recipe names"
        for part in parts
        if (part.source not in sources)
        or (part.subset is not None and (part.source, part.subset) not in present)
    ]


def _parts_of(frame: pl.DataFrame, parts: Sequence[Part]) -> Integers:
    """The part of each row: that of its subset, else that of its source, else -1."""
    number = pl.lit(-1)
    for subset_parts in (False, True):
        for index, part in enumerate(parts):
            if (part.subset is not None) is subset_parts:
                matches = pl.col("source") == part.source
                if part.subset is not None:
                    matches &= pl.col("subset").eq_missing(pl.lit(part.subset))
                number = pl.when(matches).then(index).otherwise(number)
    found: Integers = frame.select(number.cast(pl.Int64).alias("part"))["part"].to_numpy()
    return found if len(found) == frame.height else np.full(frame.height, -1)


def _unwanted(
    frame: pl.DataFrame, recipe: MixRecipe, undecided: Collection[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The rows of other tasks, and those under other licences, than the recipe wants."""
    nothing = np.zeros(frame.height, bool)
    tasks = ~frame["task"].is_in(recipe.tasks).to_numpy() if recipe.tasks else nothing
    refused = nothing
    if recipe.licences:
        refused = ~frame["license"].is_in(recipe.licences).to_numpy()
    if recipe.commercial:
        free = [k for k, v in LICENSES.items() if v.redistribute == "yes" and not v.non_commercial]
        settled = frame["license"].is_in(free) & ~frame["source"].is_in(list(undecided))
        refused = refused | ~settled.to_numpy()
    return tasks, refused


def refuse_empty(selection: Selection) -> None:
    """Refuse a mix of no rows, unless all of its rows are held elsewhere: that is an answer.

    Raises:
        CheckError: Nothing is left; the steps that dropped rows are named.
    """
    if selection.copies.any() or selection.details["duplicates"]["held_elsewhere"]:
        return
    lost = [
        f"{step.name}: " + ", ".join(f"{reason} {rows:,}" for reason, rows in step.rejected.items())
        for step in selection.steps
        if step.rejected
    ]
    why = ("--accept-licence", "the corpus has no rows of")
    told = [text for text in selection.warnings if any(words in text for words in why)]
    raise CheckError(
        f"no row is left ({'; '.join(lost) or 'the corpus has none'})",
        fix=told[0] if told else "name other parts, or a corpus that has rows of them",
    )


def _leave_out_exams(
    kept: _Rows, recipe: MixRecipe, known: Mapping[str, Source], warnings: list[str]
) -> None:
    sources = kept.current()["source"]
    exams = [name for name in sources.unique().sort() if name in known and known[name].exam]
    named = {part.source for part in recipe.parts}
    left_out = [name for name in exams if name not in recipe.exam_sources]
    for name in exams:
        if name not in left_out:
            told = "do not score a checkpoint of this mix on it"
        elif name in named:
            told = "left out; name it in exam_sources"
        else:
            continue
        warnings.append(f"{name} is an exam elsewhere: {told}")
    kept.drop("exams", {Reason.NOT_A_TARGET: sources.is_in(left_out).to_numpy()})


def _known(corpora: Sequence[Corpus]) -> Mapping[str, Source]:
    """The sources of the house and of the corpora, which have to say one thing of each.

    Raises:
        UsageError: Two corpora have a source of their own under one name, and it is not the same:
            whether its rows are an exam's, or may be published, would be told of the wrong ones.
    """
    own: dict[str, dict[str, Any]] = {}
    stands: dict[str, Corpus] = {}
    for corpus in corpora:
        for name, told in corpus.manifest.own_sources.items():
            if own.setdefault(name, told) != told:
                raise UsageError(
                    f"the corpora have two sources of the name {name!r}",
                    where=f"{stands[name].folder} and {corpus.folder}",
                    fix="give one of them another name in its TOML file and build it again, or "
                    "build both from one file",
                )
            stands.setdefault(name, corpus)
    return with_own(own)


def _undecided(corpora: Sequence[Corpus], known: Mapping[str, Source]) -> set[str]:
    """The sources whose licence is disputed, and for some rows of which nobody answers."""
    found: set[str] = set()
    for corpus in corpora:
        for table in corpus.iter_tables(columns=["source", "license", "meta"]):
            found |= {source for source, _ in refused_rows(table.select, known)}
    return {name for name in found if name in known and known[name].disputed}


def _check_licenses(
    kept: _Rows,
    accepted: list[str],
    undecided: Collection[str],
    sources: Mapping[str, Source],
    warnings: list[str],
) -> dict[str, Any]:

    frame = kept.current()
    known = {*sources, *kept.frame["source"].unique()}
    if unknown := sorted(set(accepted) - known):
        raise UsageError(
            f"--accept-licence names an unknown source: {', '.join(unknown)}",
            fix=f"one of {', '.join(sorted(known))}",
        )
    free = [key for key, license in LICENSES.items() if license.redistribute == "yes"]
    bound = ~frame["license"].is_in(free)
    refused = (bound & ~frame["source"].is_in(accepted)).to_numpy()

    def count(mask: Any) -> dict[str, int]:
        counts = frame.filter(pl.Series(mask)).group_by("source").len().sort("source")
        return dict(counts.rows())

    taken, dropped = count(bound.to_numpy() & ~refused), count(refused)
    for source, rows in dropped.items():
        warnings.append(
            f"{source}: {rows:,} rows may not be redistributed and are left out; for local use: "
            f"--accept-licence {source}"
        )
    kept.drop("licence", {Reason.LICENSE: refused})
    disputed = sorted({*kept.current()["source"].unique()} & {*undecided})
    for name in disputed:
        warnings.append(
            f"{name}: its licence is disputed ({sources[name].disputed}): the mix may be published "
            f"only where [vouch.{name}] in meadow.toml decides it, before the build"
        )
    return {
        "accepted": sorted(set(accepted)),
        "restricted_rows": taken,
        "left_out": dropped,
        "disputed": disputed,
        "publishable": not taken and not disputed,
    }


def _drop_faulty(kept: _Rows, recipe: MixRecipe) -> dict[str, Any]:
    """Leave out the rows with known errors, where the recipe names errata; how many, by erratum."""
    faults = row_faults(read_errata(recipe.errata))
    if not faults:
        return {}
    columns = kept.current().select("instruction", "input", "output").iter_rows()
    found = [row_fault(text or instruction, out, faults) for instruction, text, out in columns]
    kept.drop("errata", {Reason.ERRATUM: np.array([fault is not None for fault in found], bool)})
    counts = Counter(faults[fault] for fault in found if fault is not None)
    return {"errata": {"known": len(faults), "rows": dict(sorted(counts.items()))}}


def _drop_duplicates(kept: _Rows, recipe: MixRecipe, held: Sequence[Corpus]) -> Duplicates:

    if held and recipe.deduplicate == "none":
        raise UsageError(
            "rows held elsewhere are told by deduplication, and the recipe asks for none",
            fix="--deduplicate exact, or without --keep-from",
        )
    frame = kept.current().drop("begins")  # what is held elsewhere has no such column
    wanted = recipe.deduplicate != "none"
    others = [pl.DataFrame(corpus.to_arrow(columns=COLUMNS)) for corpus in held]
    found = find_duplicates(
        frame if wanted else frame.clear(),
        threshold=recipe.threshold,
        near=recipe.deduplicate == "near",
        held=pl.concat(others).unique("id", maintain_order=True) if others else None,
    )
    masks = {}
    for reason, kind in ((Reason.DUPLICATE, "exact"), (Reason.NEAR_DUPLICATE, "near")):
        ids = found.dropped.filter(found.dropped["kind"] == kind)["dropped_id"]
        masks[reason] = frame["id"].is_in(ids.implode()).to_numpy()
    kept.drop("duplicates", masks)
    return found


def _drop_contaminated(
    kept: _Rows,
    recipe: MixRecipe,
    exams: Mapping[str, Sequence[ExamItem]],
    warnings: list[str],
) -> pl.DataFrame:
    from meadow.exams.contamination import find_contamination, rows_to_drop
    from meadow.exams.semantic import with_reworded

    if not exams and recipe.drop != "none":
        warnings.append("no exam was given: nothing was decontaminated (--exam NAME=PATH)")
    if not exams and recipe.semantic:
        warnings.append("no exam was given: no rewording was looked for (--exam NAME=PATH)")
    items = [item for own in exams.values() for item in own]
    found = find_contamination(kept.current(), items)
    if recipe.semantic and items:
        found = with_reworded(
            found, kept.current(), items, recipe.semantic, recipe.semantic_threshold
        )
    gone = kept.current()["id"].is_in(rows_to_drop(found, recipe.drop).implode())
    kept.drop("contamination", {Reason.CONTAMINATED: gone.to_numpy()})
    return found


def _verdicts(
    contamination: pl.DataFrame, exams: Mapping[str, Sequence[ExamItem]], ids: pl.Series
) -> dict[str, Any]:
    """What was found before anything was dropped, and what is still in the mix."""
    from meadow.exams.contamination import summarise
    from meadow.exams.trial import recall

    items = [item for group in exams.values() for item in group]
    found = summarise(contamination, items)
    inside = contamination.filter(contamination["row_id"].is_in(ids.implode()))
    for exam, entry in summarise(inside, items).items():
        found[exam]["remaining"] = {"items_found": entry["items_found"], "rows": entry["rows"]}
        found[exam]["files"] = getattr(exams.get(exam), "files", [])
        found[exam]["recall"] = recall(exams[exam]) if exam in exams else {}
    return found


def draw(seed: int, purpose: str, identity: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}\x1f{purpose}\x1f{identity}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _draw(
    kept: _Rows,
    recipe: MixRecipe,
    parts: Sequence[Part],
    part_of: Integers,
    warnings: list[str],
) -> Integers:
    """Apply quotas and weights; returns the copies of every row of the corpus."""
    frame = kept.current()
    copies = np.ones(len(kept.rows), np.int64)
    mine = part_of[kept.rows]
    for index, part in enumerate(parts):
        rows = np.flatnonzero(mine == index)
        if part.quota is not None and len(rows) > part.quota:
            ids = frame["id"][rows].to_list()
            shown = frame["output"][rows].str.starts_with(THINKING[0]).to_list()
            later = [recipe.format == "reasoning" and not reasoned for reasoned in shown]
            order = sorted(
                range(len(rows)),
                key=lambda i: (later[i], draw(recipe.seed, "quota", ids[i]), ids[i]),
            )
            copies[rows[order[part.quota :]]] = 0
            rows = rows[order[: part.quota]]
        if part.weight == 1 and not part.labels:
            continue
        labels = frame["output"][rows].to_list()
        for label in part.labels:
            if label not in set(labels):
                warnings.append(f"{part.title}: no row has the label {label!r}")
        for row, identity, label in zip(rows, frame["id"][rows].to_list(), labels, strict=True):
            weight = part.weight * part.labels.get(label, 1.0)
            whole = int(weight)
            copies[row] = whole + (draw(recipe.seed, "weight", identity) < weight - whole)
    result = np.zeros(kept.frame.height, np.int64)
    result[kept.rows] = copies
    kept.drop("sample", {Reason.OVER_QUOTA: copies == 0})
    return result


def split_validation(
    frame: pl.DataFrame, clusters: pl.DataFrame, seed: int, share: float
) -> npt.NDArray[np.bool_]:
    """Which rows go to validation, by hash: whole clusters of duplicates and whole conversations.

    A conversation gives a row for each answer, with the turns before it: parted, one row would tell
    the other's answer.

    Args:
        frame: The rows' id, and what their conversation begins with (`begins`, or null).
        clusters: cluster, id: rows that must not be parted.
        seed: The recipe's seed.
        share: The share of rows that goes to validation.
    """
    if share == 0 or not frame.height:
        return np.zeros(frame.height, bool)
    rows = frame.select("id", "begins").join(
        clusters.select("id", "cluster"), on="id", how="left", maintain_order="left"
    )
    # duplicates that stand in a conversation go where it goes
    met = rows.drop_nulls().group_by("cluster").agg(pl.col("begins").min().alias("with"))
    rows = rows.join(met, on="cluster", how="left", maintain_order="left").with_columns(
        group=pl.coalesce("with", "cluster", "begins", "id")
    )
    sizes = rows.select(pl.len().over("group"))["len"].to_numpy()
    most = max(1.0, LARGE_CLUSTER * share * frame.height)
    chosen = np.array([draw(seed, "validation", group) < share for group in rows["group"]])
    result: npt.NDArray[np.bool_] = chosen & (sizes <= most)
    return result


def _count_parts(
    parts: Sequence[Part], part_of: Integers, warnings: list[str]
) -> list[dict[str, Any]]:
    """Found against expected, part by part; a miss is a warning."""
    counts = np.bincount(part_of, minlength=len(parts)).tolist()
    table = []
    for part, found in zip(parts, counts, strict=True):
        met = part.met(found)
        if met is False:
            warnings.append(
                f"{part.title}: expected {part.expected:,} rows (tolerance {part.tolerance:.0%}), "
                f"found {found:,}"
            )
        table.append(
            {
                "part": part.title,
                "found": found,
                "expected": part.expected,
                "published_2023": part.published_2023,
                "met": met,
                "note": part.note,
            }
        )
    return table
