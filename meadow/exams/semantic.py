"""Reworded exam items, by a model of sentence embeddings: a level of its own, off by default.

Words say what was copied; a question told in other words shares none of them. Here the question of
every row, and question and answer together, are compared with the stem of every item, and with stem
and right answer, by the cosine of their embeddings. What an embedding calls alike may be two
questions about one disease: the level `semantic` is a hint for a reader, weaker than every other
level but `options` in what it proves. The threshold comes from a measured curve (docs/benchmarks).

The model is a local folder: of sentence-transformers, or of model2vec. Weights are safetensors, and
no code of the folder runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from meadow.atomic import sha256_file
from meadow.errors import FileError, RefusedError, UsageError
from meadow.exams.contamination import COLUMNS
from meadow.exams.overlap import SEMANTIC_THRESHOLD, Level
from meadow.models.loading import quiet
from meadow.models.weights import check_model

if TYPE_CHECKING:
    from meadow.exams.items import ExamItem

BATCH = 4096
"""Rows whose embeddings are held at a time."""

Vectors = npt.NDArray[np.float32]


def load_encoder(folder: str | Path) -> Any:
    """The embedding model of a folder, on the CPU or the device that torch finds.

    Raises:
        FileError: There is no model in the folder.
        RefusedError: The folder names code of its own, or its weights are no safetensors.
        UsageError: The extra `semantic` is not installed.
    """
    place, listing = Path(folder), Path(folder) / "modules.json"
    try:
        modules = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
        kinds = {str(module["type"]): str(module["path"]) for module in modules}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FileError(f"not a list of modules: {error}", where=str(listing)) from error
    if foreign := [kind for kind in kinds if not kind.startswith("sentence_transformers.")]:
        raise RefusedError(
            f"the model names code that is not sentence-transformers': {foreign[0]}",
            where=str(listing),
            fix="choose a model whose modules are the library's own",
        )
    for part in {place, *(place / path for path in kinds.values())}:
        if part.is_dir():  # a part without weights may have no folder
            check_model(str(part))
    fingerprint(place)
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        quiet()
    except ImportError as error:
        raise UsageError(
            "the semantic level needs sentence-transformers",
            fix="pip install 'medical-meadow[semantic]'",
        ) from error
    try:
        if kinds:
            return SentenceTransformer(
                str(place), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        vectors = load_file(place / "model.safetensors")["embeddings"]
        words = Tokenizer.from_file(str(place / "tokenizer.json"))
        return SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=vectors)])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FileError(f"no embedding model could be read: {error}", where=str(place)) from error


def fingerprint(folder: str | Path) -> dict[str, str]:
    """The name of a model's folder, and a hash of its weights.

    Raises:
        FileError: There are no weights in the folder.
    """
    place = Path(folder)
    found = sorted(place.rglob("*.safetensors"))
    if not found:
        raise FileError(
            "no embedding model in the folder",
            where=str(place),
            fix="name a sentence-transformers or model2vec folder of this machine",
        )
    return {"model": place.name, "sha256": sha256_file(found[0])}


def with_reworded(
    contamination: pl.DataFrame,
    frame: pl.DataFrame,
    items: Sequence[ExamItem],
    folder: str | Path,
    threshold: float = SEMANTIC_THRESHOLD,
) -> pl.DataFrame:
    """`find_contamination`'s table with the rewordings beside what it found.

    Returns:
        The same columns; a rewording has the level `semantic` and its cosine as the score. Pairs
        that have a level already keep it.
    """
    pairs = reworded(frame, items, load_encoder(folder), threshold)
    rows = [
        (items[i].exam, items[i].item_id, row_id, Level.SEMANTIC.value, score, 0.0, "semantic")
        for i, row_id, score in pairs
    ]
    found = pl.DataFrame(rows, schema=contamination.schema, orient="row")
    known = contamination.filter(pl.col("level") != Level.NONE.value)
    new = found.join(known, on=["exam", "item_id", "row_id"], how="anti")
    weaker = contamination.filter(pl.col("level") == Level.NONE.value)
    weaker = weaker.join(new, on=["exam", "item_id"], how="anti")
    return pl.concat([known, new, weaker]).select(COLUMNS).sort("exam", "item_id", "row_id")


def reworded(
    frame: pl.DataFrame, items: Sequence[ExamItem], encoder: Any, threshold: float
) -> list[tuple[int, str, float]]:
    """Item (its place), row id and cosine of every pair that is alike.

    The cosine is that of the questions, or of questions and answers, whichever is higher; the
    encoder is whatever has sentence-transformers' `encode`.
    """
    stems, solved = embedded_items(items, encoder)
    found = []
    for ids, questions, both in embedded(frame, encoder):
        alike = np.maximum(questions @ stems.T, both @ solved.T)
        for row, item in zip(*np.nonzero(alike >= threshold), strict=True):
            found.append((int(item), ids[row], round(float(alike[row, item]), 4)))
    return found


def embedded_items(items: Sequence[ExamItem], encoder: Any) -> tuple[Vectors, Vectors]:
    """Unit vectors of the stems, and of the stems with their right answers."""
    return (
        _embed(encoder, [item.question for item in items]),
        _embed(encoder, [f"{item.question}\n{item.answer_text}" for item in items]),
    )


def embedded(frame: pl.DataFrame, encoder: Any) -> Iterator[tuple[list[str], Vectors, Vectors]]:
    """Batch by batch: ids, and unit vectors of the questions, and of questions and answers."""
    asked = pl.when(pl.col("input").str.strip_chars() != "").then("input").otherwise("instruction")
    for start in range(0, frame.height, BATCH):
        part = frame[start : start + BATCH].select("id", "output", asked.alias("question"))
        questions = part["question"].to_list()
        both = [f"{q}\n{a}" for q, a in zip(questions, part["output"], strict=True)]
        yield part["id"].to_list(), _embed(encoder, questions), _embed(encoder, both)


def _embed(encoder: Any, texts: list[str]) -> Vectors:
    """Unit vectors; each different text is encoded once."""
    unique = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    vectors = encoder.encode(
        list(unique), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
    )
    result: Vectors = np.asarray(vectors, np.float32)[[unique[text] for text in texts]]
    return result
