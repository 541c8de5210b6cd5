"""Publish the demo corpus and read it back with everything that users have, over LFS and Xet."""

import json
import re
import shutil
from pathlib import Path

import pytest
from support.command import in_a_terminal
from support.corpora import build, invented_questions, write_medqa
from support.hub import clients
from support.hub.server import running
from support.hub.session import Session

from meadow.api import open_corpus
from meadow.atomic import sha256_file
from meadow.corpus.manifest import read_manifest

CLIENTS = Path(clients.__file__)


@pytest.mark.parametrize(
    "xet",
    [pytest.param(False, id="lfs", marks=pytest.mark.slow), pytest.param(True, id="xet")],
)
def test_round_trip(samples: Path, tmp_path: Path, xet: bool) -> None:
    corpus = shutil.copytree(samples, tmp_path / "corpus")
    local = open_corpus(corpus)
    with running(tmp_path / "hub", xet=xet) as hub:
        session = Session(hub, tmp_path / "home", xet=xet)
        plan = json.loads(
            session.meadow("publish", corpus, "meadow/demo", "--dry-run", "--json").stdout
        )
        assert not hub.storage.repositories
        assert not (corpus / "publish.json").exists()
        assert plan["files"] == len(plan["changed"])

        session.meadow("publish", corpus, "meadow/demo@v1.0.0")
        repository = hub.repository("meadow/demo")
        published = repository.head
        assert repository.tags == {"v1.0.0": published.id}
        assert len(repository.commits) == 2, "the empty repository and one commit"
        receipt = json.loads((corpus / "publish.json").read_text())
        assert (receipt["commit"], receipt["tag"]) == (published.id, "v1.0.0")
        assert not any(path.startswith("quarantine/") for path in published.tree)
        used_xet = any(entry.path.startswith("/cas/") for entry in hub.log)
        assert used_xet == xet

        found = session.python(CLIENTS, corpus, "meadow/demo", "v1.0.0")
        assert found.pop("configs") == sorted(["all", *local.configs])
        assert found.pop("info") == "Medical Meadow"
        assert [name for name, same in found.items() if same is not True] == []

        session.hf(
            "download", "meadow/demo", "--repo-type", "dataset", "--revision", "v1.0.0",
            "--local-dir", tmp_path / "downloaded",
        )  # fmt: skip
        for shard in local.shards():
            assert sha256_file(tmp_path / "downloaded" / shard.path) == shard.sha256

        again = session.meadow("publish", corpus, "meadow/demo@v1.0.0")
        assert "no commit was made" in again.stderr
        assert len(repository.commits) == 2
        session.meadow("publish", corpus, "meadow/demo@v1.0.1")
        traced = session.meadow("trace", local[0]["id"], corpus)
        assert re.findall(r"published as (.*)", traced.stdout) == [
            "meadow/demo@v1.0.1", "meadow/demo@v1.0.0",
        ]  # fmt: skip

        verified = session.meadow("verify", "meadow/demo@v1.0.0", "--content")
        assert "no finding" in verified.stderr
        session.meadow("pull", "meadow/demo@v1.0.0", "--out", tmp_path / "pulled")
        session.meadow("check", tmp_path / "pulled")
        pulled = read_manifest(tmp_path / "pulled")
        assert (pulled.splits(), pulled.own_details) == (local.manifest.splits(), {})
        assert pulled.published is not None
        assert pulled.published.address == "meadow/demo@v1.0.0"
        assert hub.unknown == []


@pytest.mark.slow
def test_only_new_chunks_of_a_grown_corpus_are_sent(tmp_path: Path) -> None:
    questions = invented_questions(24_000, seed=1)
    place = len(questions) * 3 // 10
    grown = questions[:place] + invented_questions(500, seed=2) + questions[place:]
    with running(tmp_path / "hub", xet=True) as hub:
        session = Session(hub, tmp_path / "home", xet=True)
        sizes, sent = [], []
        for name, rows in (("old", questions), ("new", grown)):
            write_medqa(tmp_path / name, rows)
            corpus = build(tmp_path / f"corpus-{name}", ["medqa"], raw=tmp_path / name)
            before = hub.xet.new_bytes
            session.meadow("publish", corpus, "meadow/grown")
            sizes.append(sum(shard.bytes for shard in open_corpus(corpus).shards()))
            sent.append(hub.xet.new_bytes - before)
        loaded = hub.repository("meadow/grown").head.tree
        assert len(hub.repository("meadow/grown").commits) == 3
        assert hub.unknown == []
    print(
        f"\n24,000 rows: {sizes[0]:,} bytes, {sent[0]:,} sent; "
        f"500 rows inserted: {sizes[1]:,} bytes, {sent[1]:,} sent ({sent[1] / sizes[1]:.1%})"
    )
    assert sha256_file(corpus / "data/medqa/train-00000-of-00001.parquet") in {
        entry.sha256 for entry in loaded.values()
    }
    assert sent[1] < sizes[1] / 2


def test_a_terminal_sees_the_bytes_go_and_a_pipe_does_not(
    samples: Path, session: Session, tmp_path: Path
) -> None:
    corpus = shutil.copytree(samples, tmp_path / "corpus")
    code, drawn = in_a_terminal("publish", corpus, "meadow/demo@v1.0.0", **session.environment)
    assert code == 0, drawn
    assert re.search(r"parquet: 100%\|.*B/s\]", drawn)
    assert "%|" not in session.meadow("publish", corpus, "meadow/other@v1.0.0").stderr
