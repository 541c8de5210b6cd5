"""The large raw files: the same bytes each time, and what the real readers make of them."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.raw_files import METADATA_COLUMNS, write_metadata, write_posts

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


def test_posts_look_like_a_dump(posts: Path) -> None:
    data = posts.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf<?xml")
    rows = rows_of(posts)
    assert data.count(b"<row ") == data.count(b"/>\r\n") == len(rows)
    assert [int(row["Id"]) for row in rows] == list(range(1, len(rows) + 1))
    questions = {row["Id"] for row in rows if row["PostTypeId"] == "1"}
    answers = [row for row in rows if row["PostTypeId"] == "2"]
    assert all(row["ParentId"] in questions for row in answers)
    assert len({row["Title"] for row in rows if "Title" in row}) == len(questions)
    # the shares counted in the real dumps: 29 % questions, 63 % answers, 36 % of these voted for
    assert len(questions) / len(rows) == pytest.approx(0.29, abs=0.03)
    assert len(answers) / len(rows) == pytest.approx(0.64, abs=0.03)
    voted = sum(int(row["Score"]) >= 5 for row in answers)
    assert voted / len(answers) == pytest.approx(0.364, abs=0.04)
    mean = sum(len(row["Body"]) for row in answers) / len(answers)
    assert mean == pytest.approx(1340, rel=0.15)


def test_bodies_hold_what_real_ones_hold(posts: Path) -> None:
    bodies = [row["Body"] for row in rows_of(posts)]
    for mark in ("<a href=", "<ul>", "<ol>", "<blockquote>", "<pre><code>", "<img ", "&amp;"):
        share = sum(mark in body for body in bodies) / len(bodies)
        assert 0.01 < share < 0.7, mark
    beyond = sum(not body.isascii() for body in bodies) / len(bodies)
    assert 0.03 < beyond < 0.2


def test_posts_build_without_a_reject(posts: Path, tmp_path: Path) -> None:
    inputs = {"stack_exchange": [Input(posts, "Posts.xml", "site")]}
    build_corpus(BuildSettings(sources=("stack_exchange",)), inputs, tmp_path / "out")
    entry = open_corpus(tmp_path / "out").manifest.sources["stack_exchange"]
    voted = sum(row["PostTypeId"] == "2" and int(row["Score"]) >= 5 for row in rows_of(posts))
    assert entry.rows_in == entry.rows_out == voted > 300


def test_metadata_reads_back(metadata: Path) -> None:
    with metadata.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert list(rows[0]) == METADATA_COLUMNS.split(",")
    assert len(METADATA_COLUMNS.split(",")) == 19
    assert all(None not in row and None not in row.values() for row in rows)
    empty = sum(not row["abstract"] for row in rows) / len(rows)
    assert empty == pytest.approx(0.22, abs=0.04)
    repeated = 1 - len({row["cord_uid"] for row in rows}) / len(rows)
    assert repeated == pytest.approx(0.08, abs=0.03)
    lengths = [len(row["abstract"]) for row in rows if row["abstract"]]
    assert sum(lengths) / len(lengths) == pytest.approx(1590, rel=0.15)
    assert any("\n" in row["abstract"] for row in rows)
    assert any('"' in row["abstract"] for row in rows)


def test_metadata_builds(metadata: Path, tmp_path: Path) -> None:
    inputs = {"cord19": [Input(metadata, "metadata.csv")]}
    build_corpus(BuildSettings(sources=("cord19",)), inputs, tmp_path / "out")
    entry = open_corpus(tmp_path / "out").manifest.sources["cord19"]
    assert entry.rows_out > 1000
    assert set(entry.rejected) == {"duplicate", "empty_input"}
