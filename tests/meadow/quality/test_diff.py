"""Comparing corpora: by id, by content, by source; frozen columns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.corpora import record, write_corpus

from meadow.cli.corpus import diff
from meadow.corpus.manifest import NamedFile
from meadow.corpus.shards import write_parquet
from meadow.errors import ExitCode, UpstreamChangedError
from meadow.quality.diff import KINDS, changed_inputs, diff_corpora, schema_drift
from meadow.schema import arrow_schema


def test_added_removed_changed_renamed(tmp_path: Path) -> None:
    before = [record("medqa", n, f"answer {n}") for n in range(6)]
    after = [
        before[0],
        before[1].with_text(instruction="Other.", input=before[1].input, output="new"),
        before[2]._replace(license="cc0-1.0"),
        before[3]._replace(id="f" * 32),
        record("medqa", 77, "an added answer"),
        *[record("medquad", n, f"more {n}") for n in range(2)],
    ]
    old, new = write_corpus(tmp_path / "a", before), write_corpus(tmp_path / "b", after)
    found = diff_corpora(old, new)
    assert found.sources["medqa"] == {
        "added": 1, "removed": 2, "changed": 2, "renamed": 1, "unchanged": 1
    }  # fmt: skip
    assert found.sources["medquad"] == dict.fromkeys(KINDS, 0) | {"added": 2}
    assert found.columns == {"instruction": 1, "output": 1, "license": 1}
    changed = {row["id"]: row for row in found.examples["changed"]}
    assert changed[before[1].id]["output"] == {"old": "answer 1", "new": "new"}
    assert changed[before[2].id]["license"] == {"old": "mit", "new": "cc0-1.0"}
    assert found.examples["renamed"][0]["old_id"] == before[3].id


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(old=st.sets(st.integers(0, 12)), new=st.dictionaries(st.integers(0, 12), st.booleans()))
def test_every_row_has_one_kind(
    tmp_path_factory: pytest.TempPathFactory, old: set[int], new: dict[int, bool]
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    first = write_corpus(folder / "a", [record("medqa", n, f"answer {n}") for n in sorted(old)])
    rows = [record("medqa", n, f"answer {n}" + " x" * other) for n, other in sorted(new.items())]
    total = diff_corpora(first, write_corpus(folder / "b", rows)).total
    assert total["added"] == len(new.keys() - old)
    assert total["removed"] == len(old - new.keys())
    assert total["changed"] == sum(other for n, other in new.items() if n in old)
    assert total["unchanged"] == sum(not other for n, other in new.items() if n in old)
    assert total["renamed"] == 0


def test_a_missing_column_is_refused_with_the_difference(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a", [record("medqa", 1, "answer")])
    write_corpus(tmp_path / "b", [record("medqa", 1, "answer")])
    path = tmp_path / "b" / corpus.shards()[0].path
    write_parquet(corpus.to_arrow().drop_columns(["license"]), path)
    with pytest.raises(UpstreamChangedError, match="license is missing"):
        diff_corpora(corpus, replace(corpus, folder=tmp_path / "b"))


def test_schema_drift_names_types_and_ignores_new_columns() -> None:
    schema = arrow_schema()
    assert schema_drift(schema.append(pa.field("messages", pa.string()))) == []
    place = schema.get_field_index("url")
    assert schema_drift(schema.set(place, pa.field("url", pa.int64()))) == [
        "url is int64, not string"
    ]


def test_changed_inputs(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a", [record("medqa", 1, "answer")])
    entry = corpus.manifest.sources["medqa"]

    def with_inputs(**files: str) -> object:
        inputs = tuple(
            NamedFile(path=name, bytes=1, sha256=sha256) for name, sha256 in files.items()
        )
        return replace(corpus.manifest, sources={"medqa": replace(entry, inputs=inputs)})

    changes = changed_inputs(with_inputs(a="1", b="2"), with_inputs(b="3", c="4"))  # type: ignore[arg-type]
    assert changes == {"medqa": ["a: gone", "c: new", "b: other content"]}


def test_command_prints_json_and_freezes(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a", [record("medqa", n, f"answer {n}") for n in range(3)])
    write_corpus(tmp_path / "b", [record("medqa", n, f"answer {n}") for n in range(1, 4)])
    arguments = [str(tmp_path / "a"), str(tmp_path / "b")]
    result = CliRunner().invoke(diff, [*arguments, "--json"])
    assert result.exit_code == ExitCode.OK, result.output
    assert json.loads(result.stdout)["total"]["removed"] == 1
    text = CliRunner().invoke(diff, arguments)
    assert "added medqa" in text.stdout
    frozen = CliRunner().invoke(diff, [*arguments, "--freeze"])
    assert frozen.exit_code == ExitCode.UPSTREAM_CHANGED
    assert "1 removed" in frozen.stderr
