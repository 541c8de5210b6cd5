"""The large raw files: the same bytes each time, and what the real readers make of them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.raw_files import write_metadata, write_posts

from meadow.api import open_corpus
from meadow.build.build import BuildSettings, build_corpus
from meadow.source import Input


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("posts") / "Posts.xml"
    made = write_posts(path, 3)
    assert made.bytes == path.stat().st_size
    return path


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metadata") / "metadata.csv"
    made = write_metadata(path, 3)
    assert made.bytes == path.stat().st_size
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    return [dict(row.attrib) for row in ElementTree.parse(path).getroot()]


def test_the_same_seed_gives_the_same_bytes(posts: Path, metadata: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for write, path in ((write_posts, posts), (write_metadata, metadata)):
        write(again, 3)
        assert again.read_bytes() == path.read_bytes()
        write(again, 3, seed=1)
        assert again.read_bytes() != path.read_bytes()


def test_a_size_is_met_to_a_row(posts: Path, metadata: Path) -> None:
    for path in (posts, metadata):
        assert 3_000_000 <= path.stat().st_size < 3_030_000


def test_posts_hold_what_a_dump_holds(posts: Path) -> None:
    rows = rows_of(posts)
    assert posts.read_bytes().startswith(b"\xef\xbb\xbf<?xml")
    questions = {row["Id"] for row in rows if row["PostTypeId"] == "1"}
    assert all(row["ParentId"] in questions for row in rows if row["PostTypeId"] == "2")
    bodies = "".join(row["Body"] for row in rows)
    for mark in ("<a href=", "<ul>", "<ol>", "<blockquote>", "<pre><code>", "<img ", "&amp;"):
        assert mark in bodies


def test_posts_build_without_a_reject(posts: Path, tmp_path: Path) -> None:
    inputs = {"stack_exchange": [Input(posts, "Posts.xml", "site")]}
    build_corpus(BuildSettings(sources=("stack_exchange",)), inputs, tmp_path / "out")
    entry = open_corpus(tmp_path / "out").manifest.sources["stack_exchange"]
    voted = sum(row["PostTypeId"] == "2" and int(row["Score"]) >= 5 for row in rows_of(posts))
    assert entry.rows_in == entry.rows_out == voted > 300


def test_metadata_builds(metadata: Path, tmp_path: Path) -> None:
    inputs = {"cord19": [Input(metadata, "metadata.csv")]}
    build_corpus(BuildSettings(sources=("cord19",)), inputs, tmp_path / "out")
    entry = open_corpus(tmp_path / "out").manifest.sources["cord19"]
    assert entry.rows_out > 1000
    assert set(entry.rejected) == {"duplicate", "empty_input"}
