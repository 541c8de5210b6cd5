"""Stages that talk to a server, against servers on loopback: rephrase, fetch and pull."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import random
import shutil
import sqlite3
import tarfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.corpora import build
from support.fault_shim import WarmParent, compile_shim, restore, snapshot
from support.fault_stage import Stage
from support.faulty_server import FaultyServer, Reply, part_of
from support.hub.server import LoopbackHub
from support.hub.session import Session

from meadow.chat.scripted import MODEL, ScriptedChat
from meadow.corpus.manifest import read_manifest
from meadow.fetch.lockfile import NAME as LOCK
from meadow.fetch.lockfile import read_lock

MODULES = ("httpx", "httpx2", "huggingface_hub.hf_api")
CARDS = 6
REPOSITORY = "meadow/faults"


def lines_of_csv(count: int) -> bytes:
    """A table of random numbers, the same in every run."""
    dice = random.Random(count)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([number, dice.random(), dice.random()] for number in range(count))
    return text.getvalue().encode()


def archive(member: str, data: bytes) -> bytes:
    """A tar.gz that holds other things too."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in (("release/changelog", b"x" * 5000), (member, data)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


class ServedStages:
    """Makes each stage once, when it is asked for."""

    def __init__(
        self, hub: LoopbackHub, chat: ScriptedChat, files: FaultyServer, folder: Path
    ) -> None:
        self.chat, self.files, self.folder = chat, files, folder
        self.session = Session(hub, folder / "home")
        (folder / "warm").mkdir(parents=True)
        library = compile_shim(folder / "warm")
        self.warm = WarmParent(
            library, folder / "warm", modules=MODULES, more=self.session.environment
        )
        self._made: dict[str, Stage] = {}

    def __getitem__(self, name: str) -> Stage:
        if name not in self._made:
            self._made[name] = self.finished(getattr(self, f"_{name}")())
        return self._made[name]

    def finished(self, stage: Stage) -> Stage:
        """Run it undisturbed, and keep what it leaves."""
        stage.reset()
        ended = stage.run()
        assert ended.code == 0, ended.text
        new = read_manifest(stage.corpus).named() if stage.corpus else {}
        return replace(stage, after=stage.read(stage.out), new=new)

    # -- rephrase ---------------------------------------------------------------------------------

    def _rephrase(self) -> Stage:
        corpus = build(self.folder / "cards", ["anki"])
        out = self.folder / "rephrase"
        argv = (
            "rephrase", "anki", "--corpus", corpus, "--out", out / "corpus",
            "--cache", out / "cache" / "answers.sqlite", "--model", MODEL,
            "--base-url", self.chat.base_url, "--concurrency", 1, "--limit", CARDS,
        )  # fmt: skip
        return Stage(
            "rephrase",
            self.warm,
            argv,
            out,
            corpus=out / "corpus",
            read=self.read_rephrased,
            doubt=lambda: self.doubtful_cache(out),
            begin=self.chat.requests.clear,
        )

    def read_rephrased(self, out: Path) -> Mapping[str, str]:
        """The corpus by its hashes, the cache by its answers, and how often was asked."""
        found = snapshot(out / "corpus")
        with closing(sqlite3.connect(out / "cache" / "answers.sqlite")) as database:
            rows = database.execute("SELECT * FROM answers ORDER BY key").fetchall()
        found["answers"] = hashlib.sha256(repr(rows).encode()).hexdigest()
        asked = len(self.chat.requests)
        # an answer that came when the run was killed is not in the cache, and is asked for again
        found["asked"] = "once" if CARDS <= asked <= CARDS + 1 else f"{asked} times"
        return found

    def doubtful_cache(self, out: Path) -> list[str]:
        """What SQLite finds in a copy of the cache: looking at it would repair it."""
        if not (out / "cache").exists():
            return []
        copy = self.folder / "copied-cache"
        restore(copy, out / "cache")
        with closing(sqlite3.connect(copy / "answers.sqlite")) as database:
            found = database.execute("PRAGMA integrity_check").fetchall()
        shutil.rmtree(copy)
        return [] if found == [("ok",)] else [f"the cache is damaged: {found}"]

    # -- fetch ------------------------------------------------------------------------------------

    def _fetch(self) -> Stage:
        large, small = lines_of_csv(9000), lines_of_csv(300)
        member = lines_of_csv(4000)
        packed = archive("release/metadata.csv", member)
        for path, data in (("/a.csv", large), ("/b.csv", small), ("/c.tar.gz", packed)):
            self.files.route(path, honest(data))
        address = f"http://127.0.0.1:{self.files.port}"
        described = [
            {"name": "a.csv", "url": f"{address}/a.csv"},
            {"name": "b.csv", "url": f"{address}/b.csv", "sha256": digest(small)},
            {"name": "c.csv", "url": f"{address}/c.tar.gz", "member": "release/metadata.csv"},
        ]
        wanted = {"a.csv": digest(large), "b.csv": digest(small), "c.csv": digest(member)}
        out = self.folder / "fetch"
        return Stage(
            "fetch",
            self.warm,
            ("fetch", "invented", "--raw", out / "raw", "--lock", out / "lock" / LOCK),
            out,
            doubt=lambda: doubtful_files(out, wanted),
            more={"sources": {"invented": described}},
        )

    # -- pull -------------------------------------------------------------------------------------

    def published(self) -> None:
        """Two versions of a data set on the Hub."""
        if (self.folder / "first").exists():
            return
        build(self.folder / "first", ["pubmed_causal", "medqa"])
        build(self.folder / "second", ["mmmlu", "medqa"])
        for name, tag in (("first", "v1.0.0"), ("second", "v2.0.0")):
            self.session.meadow("publish", self.folder / name, f"{REPOSITORY}@{tag}")

    def pulling(self, name: str, before: Path | None) -> Stage:
        """`meadow pull` of the second version."""
        out = self.folder / name
        return Stage(
            name,
            self.warm,
            ("pull", f"{REPOSITORY}@v2.0.0", "--out", out),
            out,
            before,
            corpus=out,
            old=read_manifest(before).named() if before else {},
        )

    def _pull(self) -> Stage:
        self.published()
        return self.pulling("pull", None)

    def _repull(self) -> Stage:
        self.published()
        before = self.folder / "pulled-first"
        ended = self.warm.run("pull", f"{REPOSITORY}@v1.0.0", "--out", before)
        assert ended.code == 0, ended.text
        return self.pulling("repull", before)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def honest(data: bytes) -> Any:
    """A handler that serves a file, and ranges of it."""

    def answer(request: Any, count: int) -> Reply:
        return part_of(data, request)

    return answer


def doubtful_files(out: Path, wanted: Mapping[str, str]) -> list[str]:
    """Files that have their name but not their bytes, or no entry in the lock file."""
    entries = read_lock(out / "lock" / LOCK)
    found = []
    for name, sha256 in wanted.items():
        path = out / "raw" / "invented" / name
        entry = entries.get(f"invented/{name}")
        if entry and entry.sha256 != sha256:
            found.append(f"{name} is recorded wrongly")
        if path.exists():
            if digest(path.read_bytes()) != sha256:
                found.append(f"{name} is torn")
            if entry is None:
                found.append(f"{name} is not recorded")
    return found
