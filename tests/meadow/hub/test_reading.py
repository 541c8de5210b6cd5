"""Pull, verify, open and fetch from a Hub: whole or not at all, and every difference is named."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.corpora import build
from support.hub.server import TOKEN, Fault, LoopbackHub, running
from support.hub.session import Loop, Session

from meadow.corpus.manifest import NAME, read_manifest
from meadow.errors import ExitCode
from meadow.fetch.lockfile import read_lock
from meadow.quality.check import check_corpus

REPOSITORY = "meadow/read"


@dataclass(frozen=True, slots=True)
class World:
    """A Hub with two publications, and a process that reads."""

    hub: LoopbackHub
    reader: Loop
    first: Path
    second: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with running(folder / "hub") as hub:
        publisher = Loop(Session(hub, folder / "publisher"))
        first = build(folder / "first", ["medqa", "mmmlu", "pubmed_causal"])
        second = build(folder / "second", ["medqa", "wikidoc"])
        for corpus, tag in ((first, "v1.0.0"), (second, "v2.0.0")):
            assert publisher.publish(corpus, REPOSITORY, tag, public=True)["made_commit"]
        reader = Loop(Session(hub, folder / "reader", token=None))
        yield World(hub, reader, first, second)
        assert TOKEN not in publisher.close() + reader.close()
        assert hub.unknown == []


def published(corpus: Path) -> list[str]:
    """What the Hub holds of a corpus, besides the manifest."""
    return [name for name in read_manifest(corpus).named() if not name.startswith("quarantine/")]


def same(folder: Path, corpus: Path) -> bool:
    """Whether a pulled folder is the published one, and clean."""
    pulled, local = read_manifest(folder), read_manifest(corpus)
    assert (pulled.splits(), pulled.sources) == (local.splits(), local.sources)
    return check_corpus(folder) == []


def test_pull_completes_updates_and_fetches_nothing_twice(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "pulled"
    done = world.reader.ask(do="pull", name=f"{REPOSITORY}@v1.0.0", folder=str(folder))
    assert done["fetched"] == len(published(world.first))
    assert same(folder, world.first)
    (folder / "data/medqa/train-00000-of-00001.parquet").write_bytes(b"PAR1")
    done = world.reader.ask(do="pull", name=f"{REPOSITORY}@v1.0.0", folder=str(folder))
    assert done["fetched"] == 1
    assert same(folder, world.first)
    done = world.reader.ask(do="pull", name=f"{REPOSITORY}@v2.0.0", folder=str(folder))
    assert same(folder, world.second)
    assert not list(folder.glob("data/mmmlu/*")), "what the new version lacks is gone"
    receipt = json.loads((folder / "pull.json").read_text())
    assert (receipt["revision"], receipt["commit"]) == ("v2.0.0", done["commit"])


def test_pull_leaves_other_folders_alone(world: World, tmp_path: Path) -> None:
    folder = shutil.copytree(world.second, tmp_path / "mine")
    before = (folder / NAME).read_bytes()
    done = world.reader.ask(do="pull", name=f"{REPOSITORY}@v1.0.0", folder=str(folder))
    assert done["code"] == ExitCode.USAGE
    assert (folder / NAME).read_bytes() == before


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("500", marks=pytest.mark.slow),
        "cut",
        pytest.param("dead", marks=pytest.mark.slow),
    ],
)
def test_a_fault_at_every_third_request_of_a_pull(world: World, tmp_path: Path, kind: str) -> None:
    for at in range(1, 20, 3):
        folder = tmp_path / f"{kind}-{at}"
        shutil.rmtree(world.reader.home / "huggingface", ignore_errors=True)
        world.hub.reset_log()
        fault = Fault(at=at, kind="status" if kind == "500" else "cut")
        fault.times = 10**6 if kind == "dead" else 1
        world.hub.faults[:] = [fault]
        task = {"do": "pull", "name": f"{REPOSITORY}@v1.0.0", "folder": str(folder)}
        outcome = world.reader.ask(**task)
        world.hub.faults.clear()
        if "fault" in outcome:
            assert outcome["kind"] == "NetworkError", outcome
            assert not (folder / NAME).exists(), "no manifest, no corpus"
            outcome = world.reader.ask(**task)
        assert "fault" not in outcome, outcome
        assert same(folder, world.first)


def test_what_is_not_there_is_said(world: World, tmp_path: Path) -> None:
    for name in ("meadow/nothing@v1.0.0", f"{REPOSITORY}@v9.9.9"):
        done = world.reader.ask(do="pull", name=name, folder=str(tmp_path / "x"))
        assert (done["code"], done["kind"]) == (ExitCode.FAILED, "NetworkError")
    done = world.reader.ask(do="open", name="not a name")
    assert done["code"] == ExitCode.USAGE


def test_open_pulls_once_into_the_cache(world: World) -> None:
    first = world.reader.ask(do="open", name=f"hf://{REPOSITORY}@v1.0.0")
    assert same(Path(first["folder"]), world.first)
    world.hub.reset_log()
    assert world.reader.ask(do="open", name=f"hf://datasets/{REPOSITORY}@v1.0.0") == first
    assert len(world.hub.log) == 1, "only the tag was looked up"
    world.hub.reset_log()
    commit = Path(first["folder"]).name
    assert world.reader.ask(do="open", name=f"{REPOSITORY}@{commit}") == first
    assert world.hub.log == [], "a commit in the cache needs no Hub"


def test_verify_finds_every_difference(world: World) -> None:
    clean = world.reader.ask(do="verify", name=f"{REPOSITORY}@v2.0.0", content=True)
    assert clean["findings"] == []
    assert clean["files"] == len(published(world.second))
    repository = world.hub.repository(REPOSITORY)
    head, storage = repository.head, world.hub.storage
    shard = "data/medqa/train-00000-of-00001.parquet"
    other = storage.blob(head.tree["data/wikidoc/train-00000-of-00001.parquet"].sha256)
    card = storage.read(head, "README.md").decode()
    count = next(line for line in card.splitlines() if "num_examples:" in line)
    wrong = count.partition(":")[0] + ": 9"
    cases: dict[str, dict[str, Any]] = {
        "missing_file": {shard: None},
        "changed_file": {shard: storage.pointer(storage.put(other.read_bytes()))},
        "unnamed_file": {"data/medqa/train-00007-of-00008.parquet": head.tree[shard]},
        "no_card": {"README.md": None},
        "card": {"README.md": storage.regular(card.replace(count, wrong).encode())},
        "unreadable_shard": {shard: storage.pointer(storage.put(b"PAR1 nothing PAR1"))},
    }
    for kind, changes in cases.items():
        tree = {k: v for k, v in (head.tree | changes).items() if v is not None}
        made = storage.commit(repository, "broken", tree, kind, "", "tester")
        found = world.reader.ask(do="verify", name=f"{REPOSITORY}@{made.id}")
        assert kind in {item["kind"] for item in found["findings"]}, (kind, found)
        pulled = world.reader.ask(
            do="pull", name=f"{REPOSITORY}@{made.id}", folder=str(world.reader.home / kind)
        )
        if kind != "unnamed_file":
            assert pulled["kind"] == "CheckError", (kind, pulled)
    tree = {path: entry for path, entry in head.tree.items() if path != NAME}
    made = storage.commit(repository, "broken", tree, "no manifest", "", "tester")
    found = world.reader.ask(do="verify", name=f"{REPOSITORY}@{made.id}")
    assert found["kind"] == "NetworkError"


def test_a_manifest_that_leaves_its_folder_is_refused(world: World, tmp_path: Path) -> None:
    repository = world.hub.repository(REPOSITORY)
    storage = world.hub.storage
    document = json.loads(storage.read(repository.head, NAME))
    document["files"][0]["path"] = "../../outside"
    data = json.dumps(document).encode()
    tree = repository.head.tree | {
        NAME: storage.regular(data),
        "../../outside": storage.regular(b"x"),
    }
    made = storage.commit(repository, "hostile", tree, "hostile", "", "tester")
    folder = tmp_path / "a" / "b"
    done = world.reader.ask(do="pull", name=f"{REPOSITORY}@{made.id}", folder=str(folder))
    assert done["kind"] == "FileError"
    assert not (tmp_path / "outside").exists()
    assert not (folder / NAME).exists()


# -- raw files of sources that lie on the Hub ------------------------------------------------------

DATA = b"instruction,input,output\n" * 4000


@pytest.fixture(scope="module")
def raw_repository(world: World) -> str:
    """A repository like those of the 2023 release; returns its commit."""
    made = world.hub.storage.create("dataset", "meadow/raw", private=False, author="tester")
    tree = made.head.tree | {
        "medical meadow.json": world.hub.storage.regular(DATA),
        "data/rows.parquet": world.hub.storage.pointer(world.hub.storage.put(DATA)),
    }
    return world.hub.storage.commit(made, "main", tree, "data", "", "tester").id


@pytest.mark.parametrize("path", ["medical meadow.json", "data/rows.parquet"])
def test_hub_files_are_fetched_at_their_revision(
    world: World, raw_repository: str, tmp_path: Path, path: str
) -> None:
    url = f"hf://datasets/meadow/raw@{raw_repository}/{path}"
    task = {"do": "fetch", "folder": str(tmp_path), "file": {"name": "rows", "url": url}}
    world.hub.reset_log()
    # A single 500 on a GET fails the client; the fetch tries again.
    world.hub.faults[:] = [Fault(method="GET", path="/resolve/")]
    done = world.reader.ask(**task)
    assert world.hub.faults[0].times == 0
    world.hub.faults.clear()
    assert done["state"] == "fetched"
    assert (tmp_path / "raw/toy/rows").read_bytes() == DATA
    assert sorted(p.name for p in (tmp_path / "raw/toy").iterdir()) == [".meadow.lock", "rows"]
    entry = read_lock(tmp_path / "sources.lock.toml")["toy/rows"]
    assert entry.sha256 == hashlib.sha256(DATA).hexdigest()
    assert entry.revision == raw_repository
    assert world.reader.ask(**task)["state"] == "at hand"


def test_a_branch_is_held_to_the_commit_of_the_first_fetch(
    world: World, raw_repository: str, tmp_path: Path
) -> None:
    file = {"name": "rows", "url": "hf://datasets/meadow/raw@main/data/rows.parquet"}
    task = {"do": "fetch", "folder": str(tmp_path), "file": file}
    assert world.reader.ask(**task)["state"] == "fetched"
    (tmp_path / "raw/toy/rows").unlink()
    repository = world.hub.repository("meadow/raw")
    before = repository.head
    changed = world.hub.storage.pointer(world.hub.storage.put(DATA + b"more\n"))
    tree = before.tree | {"data/rows.parquet": changed}
    world.hub.storage.commit(repository, "main", tree, "changed", "", "tester")
    assert world.reader.ask(**task)["state"] == "fetched"
    assert (tmp_path / "raw/toy/rows").read_bytes() == DATA

    pinned = file | {"sha256": hashlib.sha256(DATA).hexdigest()}
    fresh = tmp_path / "fresh"
    done = world.reader.ask(do="fetch", folder=str(fresh), file=pinned)
    assert done["code"] == ExitCode.UPSTREAM_CHANGED
    assert [p.name for p in (fresh / "raw/toy").glob("rows*")] == ["rows.bad"]
    repository.branches["main"] = before.id


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("hf://datasets/meadow/raw@main/no.json", ExitCode.FAILED, "no such file"),
        ("hf://datasets/meadow/raw@v7/data/rows.parquet", ExitCode.FAILED, "no such revision"),
        ("hf://datasets/meadow/none@main/x", ExitCode.FAILED, "no such data set"),
        ("hf://datasets/meadow/raw@main/../x", ExitCode.USAGE, "does not name a file"),
        ("hf://meadow/raw/x", ExitCode.USAGE, "does not name a file"),
    ],
)
def test_hub_files_that_are_not_there(
    world: World, raw_repository: str, tmp_path: Path, url: str, code: int, message: str
) -> None:
    done = world.reader.ask(do="fetch", folder=str(tmp_path), file={"name": "x", "url": url})
    assert done["code"] == code
    assert message in done["fault"]


def test_a_hub_file_above_the_cap_is_refused(
    world: World, raw_repository: str, tmp_path: Path
) -> None:
    url = f"hf://datasets/meadow/raw@{raw_repository}/data/rows.parquet"
    file = {"name": "x", "url": url, "max_size": 1000}
    world.hub.reset_log()
    done = world.reader.ask(do="fetch", folder=str(tmp_path), file=file)
    assert "more than the cap" in done["fault"]
    assert [entry.method for entry in world.hub.log] == ["HEAD"]
