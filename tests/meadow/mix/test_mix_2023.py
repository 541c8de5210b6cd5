"""The recipes of 2023 on synthetic corpora of the right sizes: every expected count is reached."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from support.corpora import write_tables

from meadow.api import open_corpus
from meadow.cli.mix import mix
from meadow.corpus.folder import Corpus
from meadow.schema import arrow_schema
from meadow.sources import SOURCES

UPSTREAM_ROWS = {
    "stack_exchange/academia": 45_000,
    "wikidoc": 67_704,
    "cord19": 60_000,
    "chatdoctor": 20_000,
    "openassistant": 9_300,
}
"""Parts of which upstream has more rows than the mix of 2023 takes."""
ACCEPTED = ("anki", "chatdoctor", "health_advice", "mediqa", "cord19")


def synthetic(folder: Path, sizes: dict[str, int]) -> Corpus:
    """A corpus with that many short rows per `source` or `source/subset`."""
    tables: dict[str, list[pa.Table]] = {}
    for title, rows in sizes.items():
        source, _, subset = title.partition("/")
        numbers = [str(number) for number in range(rows)]
        columns = {
            "id": [f"{title}-{number}" for number in numbers],
            "instruction": ["Answer the question."] * rows,
            "input": [f"question {number} of {title}" for number in numbers],
            "output": [f"answer {number}" for number in numbers],
            "source": [source] * rows,
            "subset": [subset or None] * rows,
            "task": ["open_qa"] * rows,
            "license": [SOURCES[source].license] * rows,
            "url": [f"https://example.org/{number}" for number in numbers],
            "authors": [[{"name": "A. Writer", "url": None, "role": "author"}]] * rows,
            "source_id": numbers,
            "rephrased_by": [None] * rows,
            "meta": ["{}"] * rows,
        }
        tables.setdefault(source, []).append(pa.table(columns, arrow_schema()))
    return write_tables(folder, {name: pa.concat_tables(group) for name, group in tables.items()})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "total", "readme"),
    [("paper-160k", 160_076, None), ("medalpaca-2023", 238_114, "229,438")],
)
def test_the_counts_of_2023_are_reached(
    tmp_path: Path, recipe: str, total: int, readme: str | None
) -> None:
    from meadow.mix.recipe import load_mix_recipe

    parts = load_mix_recipe(recipe).parts
    extra = UPSTREAM_ROWS if recipe == "medalpaca-2023" else {}
    sizes = {part.title: extra.get(part.title, part.expected or 0) for part in parts}
    synthetic(tmp_path / "corpus", sizes)
    arguments = [recipe, "--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "mix")]
    for source in ACCEPTED:
        arguments += ["--accept-licence", source]
    result = CliRunner().invoke(mix, arguments)
    assert result.exit_code == 0, result.output
    made = open_corpus(tmp_path / "mix", verify=True)
    assert made.rows() == total
    details = made.manifest.details
    assert all(part["met"] and part["found"] == part["expected"] for part in details["parts"])
    assert f"{total:,}" in result.stderr
    if readme:
        assert readme in result.stderr
    assert details["publishable"] is False
    assert "MISSED" not in result.stderr
    for line in result.stderr.splitlines():
        if line.strip().startswith(("sum", "part")) or "=" in line:
            print(line)
