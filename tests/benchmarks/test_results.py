"""What `make bench` keeps: one part is replaced, the others stay; the table says what is met."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from benchmarks import __main__ as program
from benchmarks import missed
from benchmarks.results import keep, machine, render, verdicts, versions

RESULT = {
    "bench": "posts",
    "ratios": {"one process": 12.0, "two processes": 9.5, "CPU": 3.0, "over wc": 5.0},
    "targets": {"one process": 10, "two processes": 15},
    "limits": {"over wc": 4},
    "input_text": "Posts.xml of 300 MB.",
    "measured": {"peer": {"wall_s": 80.0, "rows_per_s": 1e4}, "ours": {"wall_s": 5.0}},
}


def test_verdicts_know_the_least_and_the_most() -> None:
    assert verdicts(RESULT) == [
        ("one process", 12.0, "≥ 10", True),
        ("two processes", 9.5, "≥ 15", False),
        ("CPU", 3.0, "", None),
        ("over wc", 5.0, "≤ 4", False),
    ]


def test_one_part_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    keep({**RESULT, "bench": "cord19"}, tmp_path)
    keep(RESULT, tmp_path)
    first = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    keep({**RESULT, "ratios": {"one process": 20.0}}, tmp_path)
    second = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    assert list(second["benchmarks"]) == ["cord19", "posts"]
    assert second["benchmarks"]["cord19"] == first["benchmarks"]["cord19"]
    assert second["benchmarks"]["posts"]["ratios"] == {"one process": 20.0}
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert text == render(second)
    assert "| posts | one process | 20 | ≥ 10 | yes |" in text
    assert "| cord19 | two processes | 9.5 | ≥ 15 | **no** |" in text


def test_the_page_has_tables_and_facts(tmp_path: Path) -> None:
    keep(RESULT, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| peer | 80.00 | 10,000 |" in text
    assert "| ours | 5.00 |  |" in text
    assert f"{os.cpu_count()} cores" in text
    assert f"python {versions()['python']}, pyarrow " in text
    assert re.search(r"\d{4}-\d\d-\d\d", text)


def test_what_is_recorded_stays_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"bench": "posts", "ratios": {"peak GiB": 7.0}, "limits": {"peak GiB": 6}}
    part = keep(many, tmp_path, recorded=True)
    assert verdicts(part) == [("peak GiB (recorded)", 7.0, "≤ 6", False)]
    part = keep({**RESULT, "not_run": {"on a GPU": "no GPU"}}, tmp_path)
    assert [row[0] for row in verdicts(part)][-2:] == ["over wc", "peak GiB (recorded)"]
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| posts | on a GPU | not run: no GPU | | |" in text
    assert "- **posts, peak GiB (recorded)**: 7, where ≤ 6 is wished. " in text
    monkeypatch.setattr("benchmarks.bench_posts.record", lambda: many, raising=False)
    monkeypatch.setattr("sys.argv", ["bench", "posts", "--record", "--docs", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"missed: two processes, over wc, peak GiB .recorded."):
        program.main()


def test_what_is_missed_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed, "NOTES", {"posts": "Parsing.", "posts: over wc": "It counts."})
    keep(RESULT, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "- **posts, two processes**: 9.5, where ≥ 15 is wished. Parsing." in text
    assert "- **posts, over wc**: 5, where ≤ 4 is wished. It counts." in text
    assert "one process**" not in text


def test_facts_do_not_name_the_machine() -> None:
    facts = machine()
    assert facts["cores"] == os.cpu_count()
    assert facts["memory_gib"] > 0
    assert os.uname().nodename not in json.dumps(facts)


def test_several_benchmarks_end_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(folder.parent)]))
    last = program.run_all(["setup"], ["--docs", str(tmp_path)])
    assert last["bench"] == "all"
    assert "setup: distributions" in last["ratios"]
    kept = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    assert list(kept["benchmarks"]) == ["setup"]


def test_the_repository_page_is_what_the_figures_render_to() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    document = json.loads((docs / "benchmarks.json").read_text(encoding="utf-8"))
    assert (docs / "benchmarks.md").read_text(encoding="utf-8") == render(document)


def test_a_benchmark_fails_where_a_target_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = dict(RESULT)
    monkeypatch.setattr("benchmarks.bench_posts.main", lambda size_mb: result)
    monkeypatch.setattr("sys.argv", ["bench", "posts", "--docs", str(tmp_path)])
    with pytest.raises(SystemExit, match="missed: two processes, over wc"):
        program.main()
    printed = capsys.readouterr().out.splitlines()
    assert "| posts | two processes | 9.5 | ≥ 15 | **no** |" in printed
    assert json.loads(printed[-1]).items() >= result.items()
    # of several, each in a process of its own, the last line has all and the command fails alike
    together = {"bench": "all", "ratios": {"posts: one process": 9.0}, "failed": ["help"]}
    together |= {"targets": {"posts: one process": 10}, "limits": {}}
    monkeypatch.setattr(program, "run_all", lambda names, options: together)
    monkeypatch.setattr("sys.argv", ["bench", "--docs", str(tmp_path)])
    with pytest.raises(SystemExit, match="missed: posts: one process; failed: help"):
        program.main()
    result["ratios"] = {"one process": 12.0}
    monkeypatch.setattr("sys.argv", ["bench", "posts", "--docs", str(tmp_path)])
    program.main()
