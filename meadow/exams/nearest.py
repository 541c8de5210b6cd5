"""The rows of a mix that are nearest to an exam item: an index of their words, built once and kept.

Rows are known by their words and by their runs of four words, the units in which contamination is
measured (`meadow.exams.overlap`), of instruction, input and output together. Of each the index has
32 bits of its hash beside the number of a row, as one 64-bit number, and the sorted numbers of a
stretch of rows are one file: a question costs a few binary searches, whatever the mix holds. Words
are weighted by their rarity, those of any case's beginning not at all, and rows by their length
(BM25, Robertson and Zaragoza 2009, with each word counted once). What comes out is read, and held
against the item word by word as `find_contamination` does it: an equality of 32 bits that is none
costs a look and no truth.

With an embedding model (`meadow.exams.semantic`) the vectors of all rows are kept beside it.

An index lies in the cache under the hash of the shards' hashes: of a mix that changes another one
is made. Its description is written last; what is damaged or of another version is made again. The
last few that were used stay, older ones go.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from meadow.atomic import hash_json, locked, replacing, write_json
from meadow.corpus.folder import Corpus
from meadow.errors import FileError
from meadow.exams.contamination import FIELDS, words_of
from meadow.exams.index import ItemTable
from meadow.exams.overlap import (
    RUN_WORDS,
    SEMANTIC_THRESHOLD,
    STORY,
    Level,
    Stem,
    Verdict,
    judge,
)
from meadow.exams.semantic import embedded, embedded_items, fingerprint, load_encoder
from meadow.text.ngrams import (
    Hashes,
    Integers,
    Ragged,
    chunks,
    mixed,
    ngram_hashes,
    word_hashes,
    word_lists,
)

if TYPE_CHECKING:
    from meadow.exams.items import ExamItem

CACHE = Path("~/.cache/medical-meadow/nearest")
KEPT = 8
"""Indexes that stay: of a large mix one has 100 MB and more, and it is made again in seconds."""
DESCRIPTION = "index.json"
FORMAT = 1
SEGMENT = 16_000_000
"""Pairs of hash and row that are sorted at once, 8 bytes each."""
COMMON = 50
"""Rows that may share a word in any case; a word in a tenth of all rows tells nothing."""
DEPTH = 16
"""Rows that are read and judged for each one that is wanted, by words and by runs: a mix may hold a
row several times."""
SHOWN_WORDS = 8
AT_ONCE = 16_384
"""Rows whose vectors are compared at once."""
LENGTHS = "lengths.npy"
_HALF = np.uint64(32)
_ROW = np.uint64(0xFFFFFFFF)
_PROBE = ["a", "patient", "ferritin", "éclampsie"]
"""Words whose hashes tell whether an index was made with the hash function of today's polars."""

Floats = npt.NDArray[np.float64]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Near:
    """A row that is near to an item.

    Args:
        row: The row itself.
        words: The share of the words of question and right answer that it has, by rarity.
        shared: The rarest of them.
        cosine: How alike a model of embeddings calls the two; None where none was asked.
        verdict: What the row holds of the item, as `meadow.exams.overlap` judges.
    """

    row: dict[str, Any]
    words: float
    shared: tuple[str, ...]
    cosine: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RowIndex:
    """An index, opened.

    Args:
        corpus: Whose rows it knows, by their numbers in the order of its shards.
        folder: Where it lies.
        segments: Sorted pairs of hash and row, each of a stretch of rows.
        lengths: Words of each row.
    """

    corpus: Corpus
    folder: Path
    segments: tuple[Hashes, ...]
    lengths: Integers

    def nearest(
        self,
        item: ExamItem,
        exam: Sequence[ExamItem],
        count: int,
        *,
        known: Mapping[str, str] = MappingProxyType({}),
        encoder: Path | None = None,
        progress: Progress = lambda line: None,
    ) -> list[Near]:
        """The rows that are nearest to an item: what holds more of it first, then by words.

        Args:
            item: The item.
            exam: The items of its exam, it among them: what many of them say tells nothing.
            count: How many rows; with an encoder, as many again that are near by meaning.
            known: Row id -> level, of rows that a ledger names: they are looked at in any case.
            encoder: The folder of an embedding model.
            progress: Told what takes time.

        Raises:
            FileError: The index is damaged.
        """
        (asked,) = word_lists(pl.Series([f"{item.question} {item.answer_text}"])).to_list()
        words = [word for word in dict.fromkeys(asked) if word not in STORY]
        weights, by_words = self._scores(_word_keys(word_hashes(pl.Series(words, dtype=pl.String))))
        _, by_runs = self._scores(np.unique(_run_keys(word_hashes(pl.Series([item.question])))))
        ratio = self.lengths / max(1.0, float(self.lengths.sum()) / max(1, len(self.lengths)))
        by_words *= 2.2 / (1.3 + 0.9 * ratio)  # k1 = 1.2, b = 0.75
        cosines = None if encoder is None else self._cosines(item, encoder, progress)
        numbers = set()
        for scores in (by_words, by_runs, *([] if cosines is None else [cosines])):
            numbers |= _highest(scores, DEPTH * count)
        order = sorted(numbers)
        frame = self.corpus.rows_at(order)
        others = self.corpus.rows_of(sorted(known.keys() - set(frame["id"])))
        frame = pl.concat([frame, others.drop_nulls("source")], how="diagonal")
        ids = [one.item_id for one in exam]
        stem = ItemTable.of(list(exam)).stem(ids.index(item.item_id))
        telling = dict(zip(words, weights.tolist(), strict=True))
        fields = words_of(frame, list(range(frame.height)))
        found: dict[str, tuple[Level, float, Near]] = {}  # a mix may hold a row several times
        for place, row in enumerate(frame.to_dicts()):
            number = order[place] if place < len(order) else None
            cosine = None if cosines is None or number is None else float(cosines[number])
            near = _look(row, fields[place], stem, telling, cosine, known.get(row["id"]))
            score = 0.0 if number is None else float(by_words[number])
            found[row["id"]] = (near.verdict.level, score, near)
        ranked = sorted(found.values(), key=lambda each: each[:2], reverse=True)
        chosen = [near for *_, near in ranked]
        alike = sorted(chosen[count:], key=lambda near: near.cosine or 0.0, reverse=True)
        return chosen[:count] + ([] if encoder is None else alike[:count])

    def _scores(self, keys: Hashes) -> tuple[Floats, Floats]:
        """The weight of each key by its rarity, and of every row the sum of those that it has.

        Args:
            keys: Each once.
        """
        rows = len(self.lengths)
        low = keys << _HALF
        spans = [
            (np.searchsorted(pairs, low), np.searchsorted(pairs, low | _ROW, side="right"))
            for pairs in self.segments
        ]
        counts = np.sum([end - start for start, end in spans], axis=0)
        weights = np.log1p(rows / np.maximum(counts, 1))
        weights[counts > max(COMMON, rows // 10)] = 0.0
        scores = np.zeros(rows)
        for pairs, (start, end) in zip(self.segments, spans, strict=True):
            for n in np.flatnonzero((weights > 0) & (end > start)).tolist():
                owners = (pairs[start[n] : end[n]] & _ROW).astype(np.int64)
                if owners.max() >= rows:
                    raise _damaged(self.folder)
                scores[owners] += weights[n]  # a key names a row once
        return weights, scores

    def _cosines(self, item: ExamItem, place: Path, progress: Progress) -> Floats:
        """How alike the questions, or questions and answers, of all rows are to the item's."""
        known, encoder = fingerprint(place), load_encoder(place)
        stem, solved = embedded_items([item], encoder)
        path = self.folder / f"vectors-{known['sha256'][:16]}.npy"
        shape = (len(self.lengths), 2, stem.shape[1])
        vectors = _mapped(path, shape)
        if vectors is None:
            progress(f"embedding {shape[0]:,} rows with {known['model']}, once")
            with locked(self.folder), replacing(path) as temporary:
                vectors = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
                start = 0
                for table in self.corpus.iter_tables(columns=["id", *FIELDS]):
                    for _, questions, both in embedded(pl.DataFrame(table), encoder):
                        end = start + len(questions)
                        vectors[start:end, 0], vectors[start:end, 1] = questions, both
                        start = end
                vectors.flush()
        found = np.zeros(shape[0])
        for start in range(0, shape[0], AT_ONCE):
            part = np.asarray(vectors[start : start + AT_ONCE], np.float32)
            alike = np.maximum(part[:, 0] @ stem[0], part[:, 1] @ solved[0])
            found[start : start + AT_ONCE] = alike
        return found


def _look(
    row: dict[str, Any],
    fields: list[list[str]],
    stem: Stem,
    telling: Mapping[str, float],
    cosine: float | None,
    known: str | None,
) -> Near:
    """How near one row is, and what it holds: by its words, by its meaning, or as a ledger says."""
    verdict = judge(stem, fields)
    alike = cosine is not None and cosine >= SEMANTIC_THRESHOLD
    told = max(Level.SEMANTIC if alike else Level.NONE, Level(known or Level.NONE))
    if told > verdict.level:
        verdict = verdict._replace(level=told)
    there = {word for field in fields for word in field if telling.get(word)}
    share = sum(telling[word] for word in there) / (sum(telling.values()) or 1.0)
    rarest = sorted(there, key=lambda word: (-telling[word], word))
    return Near(row, share, tuple(rarest[:SHOWN_WORDS]), cosine, verdict)


def _highest(scores: Floats, count: int) -> set[int]:
    """The numbers of the rows with the highest scores, of those that have any."""
    some = np.flatnonzero(scores > 0)
    if len(some) > count:
        some = some[np.argpartition(-scores[some], count)[:count]]
    return set(some.tolist())


def index_folder(corpus: Corpus, cache: Path | None = None) -> Path:
    """Where the index of a corpus lies, or is going to: named by what its rows are."""
    rows = hash_json([[shard.path, shard.sha256] for shard in corpus.shards()])
    return (cache or CACHE).expanduser() / rows[:32]


def open_index(
    corpus: Corpus, cache: Path | None = None, *, progress: Progress = lambda line: None
) -> RowIndex:
    """Open the index of a corpus, made first where there is none or none that can be used.

    Args:
        corpus: Its shards are held to their hashes before an index is made of them.
        cache: The folder of all indexes.
        progress: Told what takes time.

    Raises:
        CheckError, FileError: A shard is not what the manifest says.
        LockedError: Another run is making the index.
    """
    folder = index_folder(corpus, cache)
    found = _opened(corpus, folder)
    if found is not None:
        with contextlib.suppress(OSError):  # of a cache that may only be read
            os.utime(folder / DESCRIPTION)
    else:
        if (folder / DESCRIPTION).is_file():
            progress(f"the index in {folder} is damaged or of another version: it is made again")
        progress(f"indexing the words of {len(corpus):,} rows, once: {folder}")
        corpus.verify()
        with locked(folder):
            _write(corpus, folder)
        _forget(folder.parent)
        found = _opened(corpus, folder)
    if found is None:
        raise _damaged(folder)
    return found


def _forget(cache: Path) -> None:
    """Remove the indexes beyond the last `KEPT` that were used; who has one open still reads it."""
    there = sorted(cache.glob(f"*/{DESCRIPTION}"), key=lambda path: path.stat().st_mtime_ns)
    for description in there[:-KEPT]:
        shutil.rmtree(description.parent, ignore_errors=True)


def is_indexed(corpus: Corpus, cache: Path | None = None) -> bool:
    """Whether a corpus has an index that can be used."""
    return _opened(corpus, index_folder(corpus, cache)) is not None


def _opened(corpus: Corpus, folder: Path) -> RowIndex | None:
    """The index of a folder; None where there is none that is whole and of today's hashes."""
    try:
        told = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if (told["format"], told["rows"], told["probe"]) != (FORMAT, len(corpus), _probe()):
            return None
        segments = [_mapped(folder / name, (size,)) for name, size in told["segments"].items()]
        lengths = _mapped(folder / LENGTHS, (len(corpus),))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if lengths is None or any(pairs is None for pairs in segments):
        return None
    return RowIndex(corpus, folder, tuple(segments), np.asarray(lengths))


def _mapped(path: Path, shape: tuple[int, ...]) -> Any:
    """An array of the disk; None where there is none of that shape."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape else None


def _write(corpus: Corpus, folder: Path) -> None:
    """Make the index under the folder's lock; its description comes last."""
    (folder / DESCRIPTION).unlink(missing_ok=True)
    segments: dict[str, int] = {}
    held, lengths, row = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], 0

    def close() -> None:
        pairs = np.unique(np.concatenate(held))
        name = f"pairs-{len(segments):05d}.npy"
        _save(folder / name, pairs)
        segments[name] = len(pairs)
        del held[1:]

    for table in corpus.iter_tables(columns=list(FIELDS)):
        for words in _words(pl.DataFrame(table)):
            runs = ngram_hashes(words, RUN_WORDS)
            for values, keys in ((words, _word_keys(words)), (runs, _run_keys(words))):
                held.append((keys << _HALF) | (values.rows() + row).astype(np.uint64))
            lengths.append(words.lengths)
            row += len(words.lengths)
            if sum(map(len, held)) >= SEGMENT:
                close()
    close()
    _save(folder / LENGTHS, np.concatenate(lengths))
    told = {"format": FORMAT, "rows": row, "probe": _probe(), "segments": segments}
    write_json(folder / DESCRIPTION, told)


def _words(frame: pl.DataFrame) -> Iterator[Ragged]:
    """Chunk by chunk the hashes of the words of whole rows."""
    texts = frame.select(pl.concat_str(*FIELDS, separator=" ")).to_series()
    for start, stop in chunks(texts.str.len_bytes().to_numpy().astype(np.int64)):
        yield word_hashes(texts[start:stop])


def _word_keys(words: Ragged) -> Hashes:
    return mixed(words.values) >> _HALF


def _run_keys(words: Ragged) -> Hashes:
    return ngram_hashes(words, RUN_WORDS).values >> _HALF


def _probe() -> list[int]:

    found: list[int] = _word_keys(word_hashes(pl.Series(_PROBE))).tolist()
    return found


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _damaged(folder: Path) -> FileError:
    return FileError("the index of the rows is damaged", where=str(folder), fix="remove the folder")
