"""The image audit and its command."""

from __future__ import annotations

import json

from click.testing import CliRunner
from support.usmle import COUNTS, write_usmle

from evaluation.cli import evaluate
from evaluation.images import audit, lines


def test_the_lists_give_92_110_122(tmp_path) -> None:
    document = audit([write_usmle(tmp_path, COUNTS, {})])
    for counts in document["counts"].values():
        assert list(counts.values()) == [92, 110, 122]
    assert document["manifests"]["by_number"] == document["manifests"]["readme"]
    assert document["manifests"]["by_number"] != document["manifests"]["by_index"]
    assert document["readme_2023"] == {"step1": 92, "step2": 110, "step3": 122}


def test_two_missing_numbers_give_124_or_122_and_the_items_that_differ(tmp_path) -> None:
    folder = write_usmle(tmp_path, COUNTS, {"step3": {102, 118}})
    result = CliRunner().invoke(evaluate, ["audit-images", "--file", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [document["counts"][name]["step3"] for name in ("by_number", "by_index", "readme")] == [
        124, 122, 122]  # fmt: skip
    differing = document["differing"]
    assert differing
    for row in differing:
        assert len({bool(reason) for reason in row["reasons"].values()}) == 2
    text = "\n".join(lines(document))
    assert "124" in text
    for row in differing:
        assert f"{row['step']} no. {row['number']} (index {row['index']})" in text
    stand_ins = [row for row in document["items"] if "stands in" in str(row["reasons"]["readme"])]
    assert len(stand_ins) == 2
