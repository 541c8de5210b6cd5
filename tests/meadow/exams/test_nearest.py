"""The rows nearest to an item: those of a plain scan, with what they hold, from an index kept."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.corpora import write_mix

from meadow.atomic import sha256_file
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Shard
from meadow.corpus.shards import read_parquet, write_parquet
from meadow.errors import CheckError, FileError
from meadow.exams import nearest
from meadow.exams.items import ExamItem, item_id
from meadow.exams.nearest import index_folder, is_indexed, open_index

Row = tuple[str, str, str, str]
STEM = (
    "A 54-year-old woman with ascites and jaundice has flapping of the outstretched hands after "
    "a meal of meat. Ammonia in her blood is high. Which of the following is the best treatment?"
)


def item(question: str = STEM, answer: str = "Lactulose") -> ExamItem:
    options = (("A", answer), ("B", "Heparin"), ("C", "Iron"))
    return ExamItem("exam", item_id(question, options), question, options, "A")


def others(count: int, seed: str = "rows") -> list[Row]:
    draw = random.Random(seed)

    def words(most: int) -> str:
        return " ".join(f"w{int(900 * draw.random() ** 3)}" for _ in range(most))

    return [
        ("alpha", "Answer the question.", words(draw.randint(3, 60)), words(draw.randint(1, 20)))
        for _ in range(count)
    ]


def planted() -> list[Row]:
    """Rows that are near: the item with its answer, edited, and one on the same matter."""
    edited = re.sub(r"\b(woman|meal|high)\b", "other", STEM)
    return [
        ("alpha", "Answer the question.", STEM, "A: Lactulose"),
        ("beta", "Answer the question.", edited, "Heparin"),
        ("beta", "What lowers ammonia in ascites?", "", "Lactulose, in flapping hands too."),
    ]


@pytest.fixture
def mix(tmp_path: Path) -> Corpus:
    rows = others(300)
    return Corpus.open(
        write_mix(tmp_path / "mix", [*rows[:150], *planted(), *rows[150:]], rows[:9])
    )


def test_the_nearest_rows_come_first_with_what_they_hold(mix: Corpus, tmp_path: Path) -> None:
    exam = [item(), item("What is iron for?", "Blood")]
    found = open_index(mix, tmp_path / "cache").nearest(exam[0], exam, 3)
    ids = mix.to_polars()["id"].to_list()
    assert [near.row["id"] for near in found] == ids[150:153]
    assert [near.verdict.level.value for near in found] == ["stem+answer", "stem", "none"]
    assert found[0].words == pytest.approx(1.0)
    assert found[0].words > found[1].words > found[2].words > 0
    assert {"ammonia", "ascites", "lactulose"} <= set(found[2].shared)
    assert "the" not in found[0].shared[:3]


def test_the_order_is_that_of_a_plain_scan(tmp_path: Path) -> None:
    rows = others(400)
    mix = Corpus.open(write_mix(tmp_path / "mix", rows))
    index = open_index(mix, tmp_path / "cache")
    texts = [re.findall(r"\w+", " ".join(row[1:])) for row in rows]
    counts = Counter(word for words in texts for word in set(words))
    mean = sum(map(len, texts)) / len(texts)
    ids = mix.to_polars()["id"].to_list()
    for number in (3, 77, 200):
        question = " ".join(texts[number][4:40])
        asked = item(question, "w1")
        weights = {
            word: math.log1p(len(rows) / counts[word])
            for word in set(re.findall(r"\w+", f"{question} w1"))
            if 0 < counts[word] <= 50
        }
        scores = [
            sum(weights.get(word, 0) for word in set(words)) / (1.3 + 0.9 * len(words) / mean)
            for words in texts
        ]
        want = sorted(range(len(rows)), key=lambda row: -scores[row])
        # rows that hold some of the item come first; words decide on the others
        found = index.nearest(asked, [asked], 8)
        by_words = [near.row["id"] for near in found if near.verdict.level.value == "none"]
        held = {near.row["id"] for near in found} - set(by_words)
        assert by_words == [ids[row] for row in want if ids[row] not in held][: len(by_words)]
        assert len(by_words) >= 5


def test_an_index_is_made_once_and_again_where_it_cannot_be_used(
    mix: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "SEGMENT", 4_000)  # several files
    monkeypatch.setattr("meadow.text.ngrams.CHUNK_ROWS", 50)
    said: list[str] = []
    cache = tmp_path / "cache"
    assert not is_indexed(mix, cache)
    first = open_index(mix, cache, progress=said.append).nearest(item(), [item()], 3)
    folder = index_folder(mix, cache)
    assert len(list(folder.glob("pairs-*.npy"))) > 2
    again = open_index(mix, cache, progress=said.append).nearest(item(), [item()], 3)
    assert (again, len(said)) == (first, 1)
    told = json.loads((folder / "index.json").read_text())
    for name, data in (
        ("pairs-00001.npy", b"\x93NUMPY"),
        ("lengths.npy", b""),
        ("index.json", b"{"),
        ("index.json", json.dumps(told | {"probe": [1]}).encode()),
    ):
        (folder / name).write_bytes(data)
        assert not is_indexed(mix, cache)
        said.clear()
        assert open_index(mix, cache, progress=said.append).nearest(item(), [item()], 3) == first
        assert "made again" in said[0]
    for path in folder.glob("pairs-*.npy"):
        np.save(path, np.load(path) | np.uint64(0xFFFFFF))
    with pytest.raises(FileError, match="index of the rows is damaged"):
        open_index(mix, cache).nearest(item(), [item()], 3)


def test_another_mix_has_another_index_and_a_damaged_one_none(mix: Corpus, tmp_path: Path) -> None:
    other = Corpus.open(write_mix(tmp_path / "other", planted()))
    assert index_folder(mix, tmp_path) != index_folder(other, tmp_path)
    shard = other.files()[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckError):
        open_index(other, tmp_path / "cache")
    assert not is_indexed(other, tmp_path / "cache")
    empty = Corpus.open(write_mix(tmp_path / "empty", []))
    assert open_index(empty, tmp_path / "cache").nearest(item(), [item()], 3) == []


def test_the_indexes_that_were_used_last_stay(
    mix: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "KEPT", 2)
    others = [Corpus.open(write_mix(tmp_path / f"{n}", planted()[:n])) for n in (1, 2)]
    cache = tmp_path / "cache"
    for corpus in (mix, others[0], mix, others[1]):
        open_index(corpus, cache)
    assert [is_indexed(corpus, cache) for corpus in (mix, *others)] == [True, False, True]


def test_a_row_that_is_there_twice_is_found_once_and_a_ledger_is_believed(tmp_path: Path) -> None:
    folder = write_mix(tmp_path / "mix", [*others(20), *planted()])
    path = next(folder.rglob("*.parquet"))
    once = read_parquet(path)
    write_parquet(pa.concat_tables([once, once]), path)
    name = path.relative_to(folder).as_posix()
    shard = Shard(path=name, rows=46, bytes=path.stat().st_size, sha256=sha256_file(path))
    replace(Corpus.open(folder).manifest, configs={"small": {"train": (shard,)}}).write(folder)
    index = open_index(Corpus.open(folder), tmp_path / "cache")
    ids = once["id"].to_pylist()
    found = index.nearest(item(), [item()], 2, known={ids[0]: "semantic", "gone": "stem"})
    assert [near.row["id"] for near in found] == ids[20:22]
    found = index.nearest(item(), [item()], 30, known={ids[0]: "semantic"})
    assert [near.row["id"] for near in found] == [ids[20], ids[21], ids[0], ids[22]]


@pytest.mark.parametrize("question", ["", "What is the most likely diagnosis?", "?"])
def test_a_question_that_says_nothing_has_no_near_row(question: str, tmp_path: Path) -> None:
    mix = Corpus.open(write_mix(tmp_path / "mix", planted()))
    asked = ExamItem("exam", "x", question, (), "")
    assert open_index(mix, tmp_path / "cache").nearest(asked, [asked], 3) == []
