"""croissant.json: mlcroissant finds no error and reads the rows through it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from support.corpora import (
    hostile_records,
    plain_records,
    source_entry,
    write_build,
    write_mix,
)

from meadow.cards.croissant import NAME, render_croissant
from meadow.cards.rows import rows_by_source
from meadow.corpus.manifest import Step, read_manifest
from meadow.schema import COLUMNS


@pytest.fixture(scope="module")
def mlcroissant() -> Any:
    """The reference reader of the format, which brings pandas and scipy along."""
    return pytest.importorskip("mlcroissant")


logging.getLogger("absl").setLevel(logging.ERROR)


def write(folder: Path) -> dict[str, Any]:
    """Render the file into the folder."""
    manifest = read_manifest(folder)
    counted = rows_by_source(manifest, lambda path: folder / path)
    text = render_croissant(manifest, lambda path: folder / path, counted)
    (folder / NAME).write_text(text, encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build with one source in three shards, and hostile text in every field of another."""
    entries = {
        "medqa": source_entry(tmp_path, "medqa", plain_records(70, "medqa"), {"duplicate": 4}, 3),
        "forum": source_entry(tmp_path, "forum", hostile_records()),
    }
    return write_build(tmp_path, entries)


def test_no_error_and_the_rows_come_back(build: Path, mlcroissant: Any) -> None:
    document = write(build)
    dataset = mlcroissant.Dataset(str(build / NAME))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors, issues.report()
    unknown = ("datePublished", "/version")  # before a publication
    assert [t for t in issues.warnings if not any(name in str(t) for name in unknown)] == []
    rows = list(dataset.records("medqa-train"))
    wanted = plain_records(70, "medqa")
    assert [row["medqa-train/id"].decode() for row in rows] == [record.id for record in wanted]
    assert [row["medqa-train/output"].decode() for row in rows] == [r.output for r in wanted]
    author = rows[3]["medqa-train/authors"][0]
    assert author["medqa-train/authors/name"].decode() == wanted[3].authors[0].name
    hostile = list(dataset.records("forum-train"))
    assert [row["forum-train/input"].decode() for row in hostile] == [
        record.input for record in hostile_records()
    ]
    assert document["name"] == "medical-meadow-corpus"


def test_every_shard_stands_there_with_its_hash(build: Path) -> None:
    document = write(build)
    manifest = read_manifest(build)
    files = {
        item["contentUrl"]: (item["contentSize"], item["sha256"])
        for item in document["distribution"]
        if item["@type"] == "cr:FileObject"
    }
    assert files == {s.path: (f"{s.bytes} B", s.sha256) for s in manifest.shards()}
    for record_set in document["recordSet"]:
        assert [field["name"] for field in record_set["field"]] == list(COLUMNS)


def test_responsible_ai_fields_tell_the_counts(build: Path) -> None:
    document = write(build)
    named = {name for name in document if name.startswith("rai:")}
    assert len(named) >= 12
    assert "4 candidate rows are left out" in document["rai:dataCollectionMissingData"]
    rewritten = document["rai:machineAnnotationTools"]
    assert len(rewritten) == len({record.rephrased_by for record in hostile_records()})
    assert all(document[name] for name in named)


def test_the_same_folder_gives_the_same_bytes(build: Path) -> None:
    assert write(build) == write(build)


def test_a_mix_with_a_sidecar(tmp_path: Path, mlcroissant: Any) -> None:
    folder = write_mix(
        tmp_path,
        plain_records(40)[:-8],
        plain_records(40)[-8:],
        config="clean",
        steps=[Step("deduplicate", 45, 40, {"near_duplicate": 5})],
        pairs=plain_records(3),
    )
    document = write(folder)
    dataset = mlcroissant.Dataset(str(folder / NAME))
    assert not dataset.metadata.ctx.issues.errors
    assert [item["name"] for item in document["recordSet"]] == ["clean-train", "clean-validation"]
    assert len(list(dataset.records("clean-validation"))) == 8
    assert "5 rows of the corpus" in document["rai:dataCollectionMissingData"]
    assert "deduplicate: 45 to 40 rows" in document["rai:dataPreprocessingProtocol"]
