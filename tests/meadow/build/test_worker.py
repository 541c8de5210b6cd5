"""The key of a finished source, what its bytes depend on; and raw files that change meanwhile."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meadow.build import worker
from meadow.build.worker import MOST_PIECES, PIECE, SourceTask, build_source, task_key
from meadow.corpus.manifest import library_versions
from meadow.errors import UpstreamChangedError
from meadow.source import Input, Options, OriginName
from meadow.sources import SOURCES, cord19


def key(name: str) -> str:
    task = SourceTask(name, OriginName.UPSTREAM, (), Options(), None, frozenset(), {}, Path("x"))
    return task_key(task, [])


def test_a_new_version_of_a_source_builds_it_alone_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: key(name) for name in ("cord19", "alpaca")}
    changed = replace(SOURCES["cord19"], version=SOURCES["cord19"].version + 1)
    monkeypatch.setattr(cord19, "SOURCE", changed)
    assert key("cord19") != before["cord19"]
    assert key("alpaca") == before["alpaca"]


def test_the_versions_are_those_that_bytes_depend_on() -> None:
    found = set(library_versions())
    parsers = {"python", "pyarrow", "polars", "turbohtml", "lxml", "beautifulsoup4", "py3langid"}
    assert parsers | {"medical-meadow", "py7zr"} == found


def imported(code: str, *arguments: Path) -> list[str]:
    """The sources and the large libraries that a program imports."""
    told = (
        "; import sys; large = {'pandas', 'pydantic', 'datasets', 'torch', 'transformers'}; "
        "print(*sorted(m for m in sys.modules if m.startswith('meadow.sources.') or m in large))"
    )
    command = [sys.executable, "-c", code + told, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_a_build_imports_the_sources_that_it_reads(tmp_path: Path) -> None:
    code = (
        "import sys, meadow; from meadow.samples import FOLDER; "
        "meadow.build(['cord19'], raw=FOLDER, out=sys.argv[1])"
    )
    read = ["meadow.sources.cord19", "meadow.sources.published"]
    assert imported(code, tmp_path / "c") == [*read, "pydantic"]  # which reads settings


def test_a_worker_imports_no_large_library() -> None:
    assert imported("from meadow.build.worker import prepare; prepare()") == []


def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **known: str) -> tuple[SourceTask, Path]:
    """A source of a few pieces, and its raw file."""
    monkeypatch.setattr(worker, "LARGE", 1)
    monkeypatch.setattr(worker, "PIECE", 200)
    raw = tmp_path / "raw.csv"
    rows = [f"Aspirin number {n:02} helps the heart,{n % 4}" for n in range(20)]
    raw.write_text("\n".join(["sentence,label", *rows, ""]))
    task = SourceTask(
        *("pubmed_causal", OriginName.UPSTREAM, (Input(raw, "raw"),), Options(), None),
        *(frozenset(), known, tmp_path / "out"),
    )
    return task, raw


def test_a_raw_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, raw = cut(tmp_path, monkeypatch)

    def apply(function, tasks):
        yield from map(function, tasks)
        if function is worker._make_part:
            raw.write_text(raw.read_text().replace("heart", "brain"))

    for beside in (True, False):
        with pytest.raises(UpstreamChangedError, match="changed while it was read"):
            build_source(task, apply, beside=beside)
    assert build_source(task, beside=True) == build_source(task)


def test_a_file_of_another_hash_is_told_before_what_is_wrong_with_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, raw = cut(tmp_path, monkeypatch, raw="0" * 64)
    raw.write_text(raw.read_text() + '"a quotation mark that opens')
    for beside in (True, False):
        with pytest.raises(UpstreamChangedError, match="the checksum differs"):
            build_source(task, beside=beside)


def test_parts_of_another_file_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of one of the same name, size and time either."""
    task, raw = cut(tmp_path, monkeypatch)
    whole = build_source(replace(task, staging=tmp_path / "whole"))

    def apply(function, tasks):
        yield from map(function, tasks)
        if function is worker._make_part:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_source(task, apply, beside=True)
    was, text = raw.stat(), raw.read_text()
    raw.write_text(text.replace("heart", "brain"))
    os.utime(raw, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert build_source(task).shards != whole.shards
    raw.write_text(text)
    assert build_source(task, beside=True) == whole


def test_pieces_are_no_more_than_a_process_may_have_files_open(tmp_path: Path) -> None:
    for size, piece in ((60_000_000, PIECE), (400 * 10**9, 10**9)):
        with (tmp_path / "raw").open("wb") as file:
            file.truncate(size)
        item = Input(tmp_path / "raw", "raw")
        task = SourceTask(
            *("cord19", OriginName.UPSTREAM, (item,), Options(), None, frozenset(), {}, tmp_path)
        )
        assert task.piece == piece
        assert task.size / task.piece <= MOST_PIECES
