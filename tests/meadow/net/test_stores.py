"""Raw files and corpora in stores: memory, a folder, a loopback web server and a loopback S3."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pytest_httpserver import HTTPServer
from support.command import run_meadow

from meadow.api import open_corpus
from meadow.corpus.manifest import NAME, read_manifest
from meadow.corpus.stored import JOURNAL, copy_corpus, pull_corpus
from meadow.errors import (
    CheckError,
    FileError,
    MeadowError,
    NetworkError,
    UpstreamChangedError,
    UsageError,
)
from meadow.net.stores import Store, fetch, list_files, open_store
from meadow.samples import FOLDER

ONLY = ("--only", "medqa,mmmlu,pubmed_causal")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / ".cache" / "medical-meadow" / "remote"


@pytest.fixture(params=["memory", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty place."""
    if request.param == "file":
        yield f"file://{tmp_path / 'store'}"
        return
    system = fsspec.filesystem("memory")
    yield "memory://store"
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus."""
    out = tmp_path_factory.mktemp("corpus") / "out"
    assert run_meadow("build", "--raw", FOLDER, *ONLY, "--out", out).code in (0, 3)
    return out


def contents(store: Store) -> dict[str, str]:
    """Every stored file by its hash."""
    return {
        path.removeprefix(store.path).strip("/"): hashlib.sha256(
            store.system.cat_file(path)
        ).hexdigest()
        for path in store.system.find(store.path)
    }


def local(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".meadow.lock"
    }


def put_samples(address: str) -> Store:
    """The raw files of three sources, in a store."""
    store = open_store(address)
    for name in ("medqa", "mmmlu", "pubmed_causal"):
        for path in (FOLDER / name).rglob("*"):
            if path.is_file():
                store.write(path.relative_to(FOLDER).as_posix(), path.read_bytes())
    return store


def test_a_build_from_store_to_store_gives_the_bytes_of_a_local_one(
    address: str, corpus: Path
) -> None:
    put_samples(f"{address}/raw")
    words = ("build", "--raw", f"{address}/raw", *ONLY, "--out", f"{address}/out", "--json")
    ran = run_meadow(*words)
    assert ran.code in (0, 3), ran.err
    assert json.loads(ran.out) == read_manifest(corpus).to_json()
    out = open_store(f"{address}/out")
    assert contents(out) == local(corpus)
    again = run_meadow(*words)
    assert again.out == ran.out
    assert "copied 0 files" in again.err
    opened = open_corpus(f"{address}/out", verify=True)
    assert opened.to_arrow().equals(open_corpus(corpus).to_arrow())


def test_named_files_of_a_store(address: str, tmp_path: Path) -> None:
    file = next(path for path in (FOLDER / "medqa").iterdir() if path.suffix == ".jsonl")
    open_store(address).write(file.name, file.read_bytes())
    for place, out in ((f"{address}/{file.name}", "a"), (file, "b")):
        ran = run_meadow("build", "--file", f"medqa={place}", "--out", tmp_path / out)
        assert ran.code in (0, 3), ran.err
    assert local(tmp_path / "a") == local(tmp_path / "b")


def test_a_dry_run_fetches_nothing(address: str, cache: Path) -> None:
    put_samples(f"{address}/raw")
    ran = run_meadow(
        "build", "--raw", f"{address}/raw", *ONLY, "--out", f"{address}/out", "--dry-run", "--json"
    )
    assert ran.code == 0, ran.err
    assert sum(json.loads(ran.out)["would_fetch"].values()) > 0
    assert not cache.exists()
    assert open_store(address).describe(open_store(f"{address}/out").path) is None


def test_a_changed_file_is_fetched_again_and_a_gone_one_goes(address: str) -> None:
    store = put_samples(f"{address}/raw")
    said: list[str] = []
    folder = fetch(store.address, report=said.append)
    first = len(said)
    assert first > 2
    names = sorted(said)[0]
    assert "sha256" in names
    fetch(store.address, report=said.append)
    assert len(said) == first
    name = next(iter(local(folder)))
    time.sleep(0.01)
    store.write(name, b"other")
    fetch(store.address, report=said.append)
    assert len(said) == first + 1
    assert (folder / name).read_bytes() == b"other"
    store.remove(name)
    fetch(store.address)
    assert not (folder / name).exists()


def test_a_file_that_changes_while_it_is_copied_is_not_used(
    address: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"{address}/raw")
    store.write("a.jsonl", b"old")
    blocks = Store.blocks

    def changing(self: Store, path: str) -> Iterator[bytes]:
        yield from blocks(self, path)
        time.sleep(0.01)
        store.write("a.jsonl", b"new")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "blocks", changing)
        with pytest.raises(UpstreamChangedError, match="changed while"):
            fetch(store.address)
    assert not list(cache.rglob("a.jsonl"))
    assert (fetch(store.address) / "a.jsonl").read_bytes() == b"new"


class Interrupted(Exception):
    """Stands for a machine that ends."""


@pytest.mark.parametrize("after", range(6))
def test_an_interrupted_copy_commits_nothing_and_continues(
    after: int, address: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"{address}/out")
    kind = type(store.system)
    put = kind.put_file
    sent: list[str] = []

    def cut(self: Any, source: str, target: str, *rest: Any, **more: Any) -> Any:
        if len(sent) == after:
            raise Interrupted
        sent.append(target)
        return put(self, source, target, *rest, **more)

    monkeypatch.setattr(kind, "put_file", cut)
    with pytest.raises(NetworkError, match="Interrupted"):
        copy_corpus(corpus, store.address)
    monkeypatch.setattr(kind, "put_file", put)
    assert store.read(NAME) is None
    with pytest.raises(FileError):
        pull_corpus(store.address)
    files, _ = copy_corpus(corpus, store.address)
    assert files == len(read_manifest(corpus).named()) - after
    assert contents(store) == local(corpus)


def test_a_file_that_was_damaged_on_its_way_is_not_committed(
    address: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"{address}/out")
    kind = type(store.system)

    def damage(self: Any, source: str, target: str, *rest: Any, **more: Any) -> None:
        data = bytearray(Path(source).read_bytes())
        data[len(data) // 2] ^= 1
        self.pipe_file(target, bytes(data))

    with monkeypatch.context() as patch:
        patch.setattr(kind, "put_file", damage)
        with pytest.raises(CheckError, match="other bytes than were sent"):
            copy_corpus(corpus, store.address)
    assert store.read(NAME) is None
    copy_corpus(corpus, store.address)
    assert JOURNAL not in contents(store)


def test_a_damaged_stored_corpus_is_not_opened(address: str, corpus: Path) -> None:
    store = open_store(f"{address}/out")
    copy_corpus(corpus, store.address)
    shard = next(read_manifest(corpus).shards())
    store.write(shard.path, bytes(shard.bytes))
    with pytest.raises(CheckError):
        open_corpus(store.address)


def test_another_corpus_or_other_files_are_not_overwritten(address: str) -> None:
    open_store(f"{address}/mine").write("thesis.txt", b"years of work")
    ran = run_meadow("build", "--raw", FOLDER, *ONLY, "--out", f"{address}/mine")
    assert ran.code == 2
    for limit, code in ((10, (0, 3)), (11, (2,))):
        words = ("build", "--raw", FOLDER, *ONLY, "--limit", limit, "--out", f"{address}/out")
        assert run_meadow(*words).code in code


def test_an_update_replaces_files_and_leaves_no_others(
    address: str, corpus: Path, tmp_path: Path
) -> None:
    store = open_store(f"{address}/out")
    older = tmp_path / "older"
    assert run_meadow("build", "--raw", FOLDER, "--only", "medqa,alpaca", "--out", older).code in (
        0,
        3,
    )
    copy_corpus(older, store.address)
    copy_corpus(corpus, store.address)
    assert contents(store) == local(corpus)


@pytest.mark.parametrize(
    "text",
    ["ftp://host/x", "zip://a::s3://b", "s3://", "s3://key:secret@bucket/x", "file:///a/../b",
     "http://example.org/raw.jsonl"],
)  # fmt: skip
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises((UsageError, NetworkError), match="address") as caught:
        open_store(text)
    assert "secret@" not in str(caught.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MeadowError) as caught:
        open_store("gs://bucket/raw")
    assert "pip install gcsfs" in str(caught.value)


def test_nothing_at_an_address(address: str) -> None:
    ran = run_meadow("build", "--file", f"medqa={address}/none.jsonl", "--out", "out")
    assert ran.code == 1
    assert "nothing at this address" in ran.err


def test_a_host_without_an_address_is_not_an_empty_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(NetworkError, match="name cannot be resolved") as caught:
        list_files("https://files.example.org/a.zip")
    assert caught.value.where == "https://files.example.org/a.zip"


def test_a_file_from_a_web_server(httpserver: HTTPServer, tmp_path: Path) -> None:
    file = next(path for path in (FOLDER / "medqa").iterdir() if path.suffix == ".jsonl")
    data = file.read_bytes()
    httpserver.expect_request(f"/{file.name}").respond_with_data(
        data, headers={"ETag": '"one"'}, content_type="application/octet-stream"
    )
    path = fetch(httpserver.url_for(f"/{file.name}"))
    assert (path.name, path.read_bytes()) == (file.name, data)
    with pytest.raises(MeadowError):
        fetch(httpserver.url_for("/none.jsonl"))


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a loopback S3 server."""
    for name in ("s3fs", "moto", "flask"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install s3fs 'moto[server]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret-value")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    finally:
        server.kill()
        server.wait(timeout=10)


def test_a_build_from_s3_to_s3(s3: str, corpus: Path, cache: Path) -> None:
    put_samples(f"{s3}/raw")
    words = ("build", "--raw", f"{s3}/raw", *ONLY, "--out", f"{s3}/out")
    ran = run_meadow(*words)
    assert ran.code in (0, 3), ran.err
    assert contents(open_store(f"{s3}/out")) == local(corpus)
    shutil.rmtree(cache)
    again = run_meadow(*words)
    assert "copied 0 files" in again.err, again.err
    assert open_corpus(f"{s3}/out", verify=True).rows() == open_corpus(corpus).rows()
    denied = run_meadow("build", "--raw", "s3://other/raw", *ONLY, "--out", "out")
    assert denied.code == 1
    assert "testing-secret-value" not in denied.err
