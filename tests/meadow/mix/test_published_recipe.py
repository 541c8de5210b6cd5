"""A recipe of origin `published`, from a loopback Hub to a mix of the right size."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support.hub.server import running
from support.hub.session import Session

from meadow.api import open_corpus
from meadow.sources import SOURCES

SIZES = {"anki": 33_955, "wikidoc": 10_000, "wikidoc_patient_information": 5_942}
RECIPE = """
title = "What the 2023 release holds of the paper's collection, without Stack Exchange"

[build]
sources = ["anki", "wikidoc", "wikidoc_patient_information"]
origin = "published"
style = "2023"

[mix]
deduplicate = "none"
validation = 0.0
"""


def published_rows(source: str, count: int) -> list[dict[str, str]]:
    """Invented rows of the release's shape; no two alike."""
    draw = random.Random(source)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(3000)]
    return [
        {
            "instruction": "Answer this question truthfully",
            "input": f"What is {' '.join(draw.choices(words, k=4))} {number}?",
            "output": f"It is {' '.join(draw.choices(words, k=draw.randint(8, 30)))}.",
        }
        for number in range(count)
    ]


@pytest.mark.slow
def test_a_published_recipe_reaches_its_counts(tmp_path: Path) -> None:
    parts = "".join(
        f'\n[[mix.parts]]\nsource = "{name}"\nexpected = {rows}\ntolerance = 0.0\n'
        for name, rows in SIZES.items()
    )
    recipe = tmp_path / "published.toml"
    recipe.write_text(RECIPE + parts)
    with running(tmp_path / "hub") as hub:
        for name, rows in SIZES.items():
            origin = SOURCES[name].published
            assert origin is not None
            address = str(origin.files[0].url).removeprefix("hf://datasets/")
            repository_id, _, path = address.partition("@")
            data = json.dumps(published_rows(name, rows)).encode()
            storage = hub.storage
            repository = storage.create("dataset", repository_id, private=False, author="x")
            tree = {path.partition("/")[2]: storage.regular(data)}
            storage.commit(repository, "main", tree, "data", "", "x")
        session = Session(hub, tmp_path / "home")
        raw, corpus, out = tmp_path / "raw", tmp_path / "corpus", tmp_path / "mix"
        session.meadow(
            "fetch", *SIZES, "--origin", "published", "--raw", raw, "--lock", tmp_path / "lock.toml"
        )
        session.meadow("build", "--recipe", recipe, "--raw", raw, "--out", corpus)
        accepted = [text for name in SIZES for text in ("--accept-licence", name)]
        done = session.meadow("mix", recipe, "--corpus", corpus, "--out", out, *accepted)
    made = open_corpus(out, verify=True)
    assert {part["part"]: part["found"] for part in made.manifest.details["parts"]} == SIZES
    assert all(part["met"] for part in made.manifest.details["parts"])
    assert made.rows() == sum(SIZES.values()) == 49_897
    assert "MISSED" not in done.stderr
    assert set(made.manifest.sources) == set(SIZES)
    assert {entry.origin for entry in made.manifest.sources.values()} == {"published"}
