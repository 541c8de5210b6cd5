"""provenance.json: the collection's field names, measured licences, the old errors put right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.page_corpora import plain_records, source_entry, write_build

from meadow.cards.provenance import identifier, render_provenance, rows_by_source
from meadow.corpus.manifest import read_manifest
from meadow.sources import SOURCES

FIELDS = {
    "Unique Dataset Identifier",
    "Dataset Name",
    "Paper Title",
    "Dataset URL",
    "GitHub URL",
    "Hugging Face URL",
    "Papers with Code URL",
    "ArXiv URL",
    "Collection",
    "Collection URL",
    "Languages",
    "Task Categories",
    "Text Sources",
    "Model Generated",
    "Format",
    "Human Annotation",
    "Derived from Datasets",
    "Creators",
    "Licenses",
    "License Notes",
    "License Verified By",
    "Dataset Filter IDs",
}


def render(folder: Path, *names: str) -> dict[str, Any]:
    """A corpus with rows of the named sources, as provenance.json."""
    entries = {name: source_entry(folder, name, plain_records(8, name)) for name in names}
    manifest = read_manifest(write_build(folder, entries))
    document: dict[str, Any] = json.loads(
        render_provenance(manifest, rows_by_source(manifest, lambda path: folder / path))
    )
    return document


def test_one_entry_per_source_with_every_field(tmp_path: Path) -> None:
    names = sorted(SOURCES)
    document = render(tmp_path, *names)
    assert list(document) == [identifier(name) for name in names]
    for name, entry in document.items():
        assert set(entry) == FIELDS
        assert entry["Unique Dataset Identifier"] == name
        assert entry["Paper Title"]
        assert entry["Text Sources"]


def test_licences_are_those_of_the_rows(tmp_path: Path) -> None:
    entry = render(tmp_path, "wikidoc")["medical-meadow-wikidoc"]
    assert [item["License"] for item in entry["Licenses"]] == ["Creative Commons BY-SA 4.0", "MIT"]
    assert "Rows by licence: cc-by-sa-4.0 6, mit 2." in entry["License Notes"]


def test_what_the_older_entry_had_wrong(tmp_path: Path) -> None:
    document = render(tmp_path, "wikidoc_patient_information", "health_advice", "pubmed_causal")
    patient = document["medical-meadow-wikidoc-patient-information"]
    assert patient["Text Sources"] == ["wikidoc.org"]
    advice = document["medical-meadow-health-advice"]
    assert advice["GitHub URL"].endswith("detecting-health-advice")
    assert advice["Paper Title"] != document["medical-meadow-pubmed-causal"]["Paper Title"]
