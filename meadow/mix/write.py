"""Write a mix: its shards, its ledgers, its card, and last of all its manifest.

Rows are streamed from the corpus in their order there, so that an addition upstream stays local.
A run that was killed is simply run again, and gives the same bytes; a folder that already holds
exactly this mix is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meadow.atomic import locked
from meadow.cards.documents import render_documents
from meadow.corpus.commit import claim, clear_staging, commit_folder, holds, open_staging
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import NAME, Manifest, NamedFile, hash_json, library_versions
from meadow.corpus.shards import write_parquet, write_shards
from meadow.exams.contamination import FILE_NAME as CONTAMINATION
from meadow.exams.errata import described, read_errata, row_faults
from meadow.exams.items import ExamItem
from meadow.exams.semantic import fingerprint
from meadow.mix.recipe import MixRecipe
from meadow.mix.select import Selection, select_rows
from meadow.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

SLICE_ROWS = 8192
DUPLICATES = "duplicates.parquet"
CLUSTERS = "clusters.parquet"
SPLITS = ("train", "validation")


def mix_settings(
    recipe: MixRecipe,
    exams: Mapping[str, Sequence[ExamItem]],
    accepted: Sequence[str],
    held: Sequence[Corpus] = (),
) -> dict[str, Any]:
    """What identifies a mix folder: recipe, exams, accepted licences, what is held elsewhere."""
    return {
        "recipe": recipe.name,
        "mix": recipe.model_dump(mode="json", exclude={"errata", "semantic", "semantic_threshold"}),
        "exams": sorted(exams),
        "accepted_licences": sorted(set(accepted)),
        **({"own_recipe": True} if recipe.is_own else {}),
        **(
            {"held": [[[s.path, s.sha256] for s in one.manifest.shards()] for one in held]}
            if held
            else {}
        ),
        # by what they hold, not by where they lie
        **(
            {"errata": described(row_faults(errata))}
            if (errata := read_errata(recipe.errata))
            else {}
        ),
        **(
            {"semantic": fingerprint(recipe.semantic) | {"threshold": recipe.semantic_threshold}}
            if recipe.semantic
            else {}
        ),
    }


def mix_key(
    settings: Mapping[str, Any], corpus: Corpus, exams: Mapping[str, Sequence[ExamItem]]
) -> str:
    """A hash of everything that the bytes of a mix depend on."""
    items = {name: [[i.item_id, i.answer] for i in exams[name]] for name in sorted(exams)}
    return hash_json(
        {
            "settings": settings,
            "corpus": [[shard.path, shard.sha256] for shard in corpus.manifest.shards()],
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
    corpus: Corpus,
    out: Path,
    exams: Mapping[str, Sequence[ExamItem]],
    accepted: Sequence[str] = (),
    held: Sequence[Corpus] = (),
    *,
    progress: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Select rows and write them, or leave a folder alone that holds exactly this mix.

    Args:
        recipe: What to take.
        corpus: What to take it from.
        out: The folder of the mix.
        exams: Name -> items that every row is compared with.
        accepted: Sources that are taken though they may not be redistributed.
        held: Corpora whose rows are at hand already.
        progress: Told one line per step.
    """
    settings = mix_settings(recipe, exams, accepted, held)
    key = mix_key(settings, corpus, exams)
    found = unchanged_mix(out, settings, key)
    if found is not None:
        clear_staging(out)
        progress(f"unchanged: {out} holds this mix already")
        return found
    selection = select_rows(
        recipe, corpus, exams=exams, accepted=accepted, held=held, progress=progress
    )
    return write_mix(selection, recipe, corpus, out, settings, key, report=progress)


def write_mix(
    selection: Selection,
    recipe: MixRecipe,
    corpus: Corpus,
    out: Path,
    settings: dict[str, Any],
    key: str,
    report: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Write the selected rows and what is known of them; the manifest comes last.

    Args:
        selection: Which rows, how often, in which split.
        recipe: The recipe.
        corpus: The corpus that the selection was made of.
        out: The folder of the mix.
        settings: As `mix_settings` gives them.
        key: As `mix_key` gives it.
        report: Told whether the mix was written or was there.

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
                _rows(corpus, selection, split, recipe),
                staging,
                recipe.name,
                split,
                mix_schema(recipe),
            )
            for split in SPLITS
        }
        files = [_ledger(staging, name, table) for name, table in _ledgers(selection)]
        names = _source_names(selection)
        manifest = Manifest(
            stage="mix",
            config_hash=hash_json(settings),
            settings=settings,
            sources={n: e for n, e in corpus.manifest.sources.items() if n in names},
            configs={recipe.name: shards},
            steps=tuple(selection.steps),
            files=tuple(files),
            details={**_contact(corpus), **selection.details, "key": key},
            versions=library_versions(),
        )
        staged = {name: staging / name for name in manifest.named()}
        documents = render_documents(manifest, staged.__getitem__)
        final = commit_folder(out, manifest, staged, documents)
        report(f"wrote {out / NAME}")
        return final


def _contact(corpus: Corpus) -> dict[str, Any]:
    contact = corpus.manifest.details.get("contact")
    return {"contact": contact} if contact else {}


def _source_names(selection: Selection) -> set[str]:
    return {str(part["part"]).partition("/")[0] for part in selection.parts if part["found"]}


def mix_schema(recipe: MixRecipe) -> pa.Schema:
    """The columns of a mix: those of a record, and `messages` where the recipe asks for them."""
    schema = arrow_schema()
    if recipe.format != "messages":
        return schema
    import pyarrow as pa

    return schema.append(pa.field("messages", _messages_type()))


def _rows(
    corpus: Corpus, selection: Selection, split: str, recipe: MixRecipe
) -> Iterator[pa.Table]:
    """The rows of one split, slice by slice, in the order of the corpus."""
    wanted = np.where(selection.validation == (split == "validation"), selection.copies, 0)
    start = 0
    for table in corpus.iter_tables():
        copies = wanted[start : start + table.num_rows]
        start += table.num_rows
        rows = np.repeat(np.arange(table.num_rows), copies)
        for begin in range(0, len(rows), SLICE_ROWS):
            part = table.take(rows[begin : begin + SLICE_ROWS]).select(arrow_schema().names)
            yield with_messages(part) if recipe.format == "messages" else part


def with_messages(table: pa.Table) -> pa.Table:
    """Add the chat form: the instruction and, after a blank line, the input; then the output."""
    import pyarrow as pa

    columns = [table[name].to_pylist() for name in ("instruction", "input", "output")]
    messages = [
        [
            {"role": "user", "content": f"{instruction}\n\n{text}" if text else instruction},
            {"role": "assistant", "content": output},
        ]
        for instruction, text, output in zip(*columns, strict=True)
    ]
    return table.append_column("messages", pa.array(messages, _messages_type()))


def _messages_type() -> pa.DataType:
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.list_(pa.field("element", message))


def _ledgers(selection: Selection) -> Iterator[tuple[str, pa.Table]]:
    yield CONTAMINATION, selection.contamination.to_arrow()
    yield DUPLICATES, selection.duplicates.to_arrow()
    yield CLUSTERS, selection.clusters.to_arrow()


def _ledger(folder: Path, name: str, table: pa.Table) -> NamedFile:
    """Write a ledger with plain string columns, which every reader knows."""
    import pyarrow as pa

    kept = (pa.float64(), pa.bool_())
    fields = [(f.name, f.type if f.type in kept else pa.string()) for f in table.schema]
    write_parquet(table.cast(pa.schema(fields)), folder / name)
    return NamedFile.of(folder / name, name)
