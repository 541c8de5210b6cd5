"""Write a mix: its shards, its ledgers, its card, and last of all its manifest.

Rows stand shuffled, by a hash of seed and id, so that the first thousand of them are of all sources
and a trainer that reads in order sees no runs of one; or, with order "source", as in the corpus.
They are streamed either way. A run that was killed is simply run again, and gives the same bytes; a
folder that already holds exactly this mix is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from meadow.atomic import hash_json, locked, naming
from meadow.cards.documents import render_documents
from meadow.corpus.commit import claim, clear_staging, commit_folder, holds, open_staging
from meadow.corpus.folder import CONTAMINATION, DUPLICATES, Corpus
from meadow.corpus.manifest import (
    NAME,
    Manifest,
    NamedFile,
    SourceEntry,
    library_versions,
)
from meadow.corpus.shards import write_parquet, write_shards
from meadow.exams.errata import described, read_errata, row_faults
from meadow.exams.items import ExamItem
from meadow.exams.semantic import fingerprint
from meadow.mix.recipe import Format, MixRecipe
from meadow.mix.select import Integers, Selection, draw, refuse_empty, select_rows
from meadow.schema import arrow_schema, messages_of, split_reasoning

SLICE_ROWS = 8192
SHUFFLED_ROWS = 32_768
"""About how many rows are held at once to be shuffled."""
CLUSTERS = "clusters.parquet"
SPLITS = ("train", "validation")


def mix_settings(
    recipe: MixRecipe,
    exams: Mapping[str, Sequence[ExamItem]],
    accepted: Sequence[str],
    held: Sequence[Corpus] = (),
    corpora: Sequence[Corpus] = (),
) -> dict[str, Any]:
    """What identifies a mix folder: recipe, exams, accepted licences, what is held elsewhere.

    Where rows are taken from is no part of it, so that a corpus can grow below its mix; only how
    many corpora there are, which the command that mixes them again has to know.
    """
    settings: dict[str, Any] = {
        "recipe": recipe.name,
        "mix": recipe.model_dump(mode="json", exclude={"errata", "semantic", "semantic_threshold"}),
        "exams": sorted(exams),
        "accepted_licences": sorted(set(accepted)),
    }
    if recipe.is_own:  # it is printed whole, with what was changed in it
        settings["own_recipe"] = True
    elif recipe.changes:
        settings["changed"] = recipe.changes
    if len(corpora) > 1:
        settings["corpora"] = len(corpora)
    if held:
        settings["held"] = [_shards_of(corpus) for corpus in held]
    # files and models by what they hold, not by where they lie
    if errata := read_errata(recipe.errata):
        settings["errata"] = described(row_faults(errata))
    if recipe.semantic:
        model = fingerprint(recipe.semantic)
        settings["semantic"] = model | {"threshold": recipe.semantic_threshold}
    return settings


def _shards_of(corpus: Corpus) -> list[list[str]]:
    """Which rows a corpus has: the paths and hashes of its shards."""
    return [[shard.path, shard.sha256] for shard in corpus.manifest.shards()]


def mix_key(
    settings: Mapping[str, Any],
    corpora: Sequence[Corpus],
    exams: Mapping[str, Sequence[ExamItem]],
) -> str:
    """A hash of everything that the bytes of a mix depend on."""
    items = {name: [[i.item_id, i.answer] for i in exams[name]] for name in sorted(exams)}
    return hash_json(
        {
            "settings": settings,
            "corpora": [_shards_of(corpus) for corpus in corpora],
            "exams": hash_json(items),
            "versions": library_versions(),
        }
    )


def unchanged_mix(out: Path, settings: Mapping[str, Any], key: str) -> Manifest | None:
    """The manifest of a folder that holds exactly this mix, every file whole; else None.

    Raises:
        UsageError: The folder holds something else.
    """
    found = claim(out, "mix", hash_json(settings))
    whole = (
        found is not None
        and found.details.get("key") == key
        and all(holds(out / name, sha256) for name, (_, sha256) in found.named().items())
    )
    return found if whole else None


def mix_corpus(
    recipe: MixRecipe,
    corpora: Sequence[Corpus],
    out: Path,
    exams: Mapping[str, Sequence[ExamItem]],
    accepted: Sequence[str] = (),
    held: Sequence[Corpus] = (),
    *,
    progress: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Select rows and write them, or leave a folder alone that holds exactly this mix.

    The arguments are those of `select_rows`; `out` is the folder of the mix.
    """
    settings = mix_settings(recipe, exams, accepted, held, corpora)
    key = mix_key(settings, corpora, exams)
    found = unchanged_mix(out, settings, key)
    if found is not None:
        clear_staging(out)
        progress(f"unchanged: {out} holds this mix already")
        return found
    selection = select_rows(
        recipe, corpora, exams=exams, accepted=accepted, held=held, progress=progress
    )
    refuse_empty(selection)
    return write_mix(selection, recipe, corpora, out, settings, key, report=progress)


def write_mix(
    selection: Selection,
    recipe: MixRecipe,
    corpora: Sequence[Corpus],
    out: Path,
    settings: dict[str, Any],
    key: str,
    report: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Write what was selected of the corpora, and what is known of it; the manifest comes last.

    `settings` and `key` are those of `mix_settings` and `mix_key`.

    Raises:
        LockedError: Another run holds the folder.
    """
    with locked(out):
        found = unchanged_mix(out, settings, key)  # refuses a folder that is not ours
        if found is not None:
            report(f"unchanged: {out} holds this mix already")  # another run was quicker
            return found
        staging = open_staging(out, hash_json(settings))
        shards = {
            split: write_shards(
                _rows(corpora, selection, split, recipe, staging),
                staging,
                recipe.name,
                split,
                mix_schema(recipe),
            )
            for split in SPLITS
            # a split of no rows is none: `datasets` cannot load an empty file
            if split == "train" or selection.details["splits"][split]
        }
        titles = [str(part["part"]) for part in selection.parts if part["found"]]
        sources = _sources(corpora, {title.partition("/")[0] for title in titles})
        manifest = Manifest(
            stage="mix",
            config_hash=hash_json(settings),
            settings=settings,
            sources=sources,
            configs={recipe.name: shards},
            steps=tuple(selection.steps),
            files=tuple(_ledgers(selection, staging)),
            details={**_told(corpora, sources), **selection.details, "key": key},
            versions=library_versions(),
        )
        staged = {name: staging / name for name in manifest.named()}
        documents = render_documents(manifest, staged.__getitem__)
        final = commit_folder(out, manifest, staged, documents)
        report(f"wrote {out / NAME}")
        return final


def _told(corpora: Sequence[Corpus], sources: Iterable[str]) -> dict[str, Any]:
    """What the builds tell of that goes with their rows: whom to ask, what a model did to them."""
    contacts = (corpus.manifest.details.get("contact") for corpus in corpora)
    contact = next(filter(None, contacts), None)
    found: dict[str, Any] = {"contact": contact} if contact else {}
    for kind in ("rephrase", "reason"):
        for corpus in reversed(corpora):
            told = corpus.manifest.details.get(kind, {})
            if mine := {name: told[name] for name in sources if name in told}:
                found[kind] = found.get(kind, {}) | mine
    return found


def _sources(corpora: Sequence[Corpus], names: set[str]) -> dict[str, SourceEntry]:
    """What the builds say of the sources of a mix; of one that several have, what all say."""
    found: dict[str, SourceEntry] = {}
    for corpus in corpora:
        for name, entry in corpus.manifest.sources.items():
            if name in names:
                found[name] = found[name].with_entry(entry) if name in found else entry
    return found


def mix_schema(recipe: MixRecipe) -> pa.Schema:
    """The columns of a mix: those of a record, and those that the recipe asks for besides."""
    return with_derived(arrow_schema().empty_table(), recipe.format).schema


def _rows(
    corpora: Sequence[Corpus], selection: Selection, split: str, recipe: MixRecipe, staging: Path
) -> Iterator[pa.Table]:
    """The rows of one split, slice by slice, in the order that the recipe asks for."""
    wanted = np.where(selection.validation == (split == "validation"), selection.copies, 0)
    rows = _selected(corpora, wanted)
    if recipe.order == "shuffled":
        rows = _shuffled(rows, int(wanted.sum()), recipe.seed, staging / "shuffled")
    for table, _ in rows:
        yield with_derived(table, recipe.format)


def _selected(corpora: Sequence[Corpus], wanted: Integers) -> Iterator[tuple[pa.Table, Integers]]:
    """Slices of rows in the order of the corpora, repeats together; each row's number of copy."""
    start = 0
    for table in chain.from_iterable(corpus.iter_tables() for corpus in corpora):
        copies = wanted[start : start + table.num_rows]
        start += table.num_rows
        rows = np.repeat(np.arange(table.num_rows), copies)
        numbers = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
        for begin in range(0, len(rows), SLICE_ROWS):
            part = slice(begin, begin + SLICE_ROWS)
            yield table.take(rows[part]).select(arrow_schema().names), numbers[part]


def _shuffled(
    slices: Iterable[tuple[pa.Table, Integers]], count: int, seed: int, folder: Path
) -> Iterator[tuple[pa.Table, Integers]]:
    """The rows in the order of a hash of (seed, id, number of copy).

    They are dealt to files, each for a stretch of the hash's range, and a file is then sorted in
    memory: rows of any number are read and written once more, from beginning to end. The folder of
    the files is empty again after the last slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{n}.arrow" for n in range(max(1, -(-count // SHUFFLED_ROWS)))]
    with naming(folder), ExitStack() as files:
        schema = arrow_schema().append(pa.field("_place", pa.float64()))
        sinks = [files.enter_context(pa.OSFile(str(path), "wb")) for path in paths]
        writers = [files.enter_context(pa.ipc.new_file(sink, schema)) for sink in sinks]
        for table, numbers in slices:
            ids = table["id"].to_pylist()
            places = np.array(
                [draw(seed, "order", f"{i}/{n}") for i, n in zip(ids, numbers, strict=True)]
            )
            dealt = table.append_column("_place", pa.array(places))
            owners = (places * len(paths)).astype(np.int64)
            for owner in np.unique(owners):
                writers[owner].write_table(dealt.filter(pa.array(owners == owner)))
    for path in paths:
        with naming(path), pa.OSFile(str(path), "rb") as file:
            table = pa.ipc.open_file(file).read_all().combine_chunks()
        path.unlink()
        order = np.argsort(table["_place"].to_numpy(), kind="stable")
        rows = table.drop_columns("_place")
        for begin in range(0, len(order), SLICE_ROWS):
            part = order[begin : begin + SLICE_ROWS]
            yield rows.take(part), part


def with_derived(table: pa.Table, form: Format) -> pa.Table:
    """Add the chat form of every row and the reasoning that its output shows, as far as wanted."""
    if form == "instruction":
        return table
    columns = [table[name].to_pylist() for name in ("instruction", "input", "output", "meta")]
    messages = [messages_of(*row) for row in zip(*columns, strict=True)]
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    kind = pa.list_(pa.field("element", message))
    table = table.append_column("messages", pa.array(messages, kind))
    if form == "messages":
        return table
    thoughts = [split_reasoning(output)[0] for output in columns[2]]
    return table.append_column("reasoning", pa.array(thoughts, pa.string()))


def _ledgers(selection: Selection, folder: Path) -> Iterator[NamedFile]:
    """Write the ledgers, with plain string columns, which every reader knows."""
    kept = (pa.float64(), pa.bool_())
    for name, frame in (
        (CONTAMINATION, selection.contamination),
        (DUPLICATES, selection.duplicates),
        (CLUSTERS, selection.clusters),
    ):
        table = frame.to_arrow()
        fields = [(f.name, f.type if f.type in kept else pa.string()) for f in table.schema]
        write_parquet(table.cast(pa.schema(fields)), folder / name)
        yield NamedFile.of(folder / name, name)
