"""The commands that fault tests disturb: how each is run, what it may leave, what it has to leave.

A folder of stages makes each once, when it is asked for. `LocalStages` needs nothing but the
samples, `ServedStages` servers on loopback, `ModelStages` a LLaMA of a few thousand weights.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from support.corpora import build, record, write_corpus
from support.fault_shim import Ended, Mode, Point, WarmParent, restore, snapshot
from support.faulty_server import FaultyServer, Reply, Request, part_of
from support.hub.server import LoopbackHub
from support.hub.session import Session

from meadow.chat.scripted import MODEL, ScriptedChat
from meadow.corpus.manifest import NAME, NamedFile, read_manifest
from meadow.fetch.lockfile import NAME as LOCK
from meadow.fetch.lockfile import read_lock
from meadow.quality.check import check_corpus
from meadow.samples import FOLDER

Facts = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Stage:
    """One command on one folder.

    Args:
        name: For the names of tests.
        warm: The process that it is a fork of.
        argv: The command line.
        out: The folder in which it is disturbed, and which is put back before every run.
        before: A copy of the folder as it is before; None where it is absent.
        corpus: The folder whose manifest is the commit; None where no manifest is.
        old: What the manifest named before: path -> (bytes, sha256).
        new: What it names afterwards.
        read: What has to be identical: by default the hash of every file.
        after: What `read` finds after an undisturbed run.
        doubt: What else a reader would meet that is torn.
        begin: Called when the folder is put back.
        once: Whether a finished folder is refused by a second run.
        more: Further keys of a run; see fault_parent.py.
    """

    name: str
    warm: WarmParent
    argv: tuple[object, ...]
    out: Path
    before: Path | None = None
    corpus: Path | None = None
    old: Facts = field(default_factory=dict)
    new: Facts = field(default_factory=dict)
    read: Callable[[Path], Mapping[str, str]] = snapshot
    after: Mapping[str, str] = field(default_factory=dict)
    doubt: Callable[[Path], list[str]] = lambda out: []
    begin: Callable[[], object] = lambda: None
    once: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Put the folder back."""
        restore(self.out, self.before)
        self.begin()

    def run(self, **more: object) -> Ended:
        """Run undisturbed, but for further keys of the run."""
        return self.warm.start([{"argv": self.argv, **self.more, **more}])[0]

    def fault(self, mode: Mode, at: int, log: Path | None = None) -> Ended:
        """Run with a fault at a change of the folder."""
        return self.run(folder=str(self.out.resolve()), at=at, mode=int(mode), log=log and str(log))

    def record(self) -> list[Point]:
        """Run undisturbed from the beginning, and list the points."""
        self.reset()
        log = self.warm.folder / "points.tsv"
        ended = self.fault(Mode.RECORD, 0, log)
        assert ended.code == 0, ended.text
        rows = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
        return [Point(call, grows == "1", path, other) for call, grows, path, other in rows]

    def torn(self) -> list[str]:
        """What a reader would meet: a manifest of the old or the new version, whole, or none."""
        found = self.doubt(self.out)
        if self.corpus is None or not (self.corpus / NAME).exists():
            return found
        named = read_manifest(self.corpus).named()
        torn = {"missing_file", "changed_file"}
        found += [f"{f.kind} {f.where}" for f in check_corpus(self.corpus) if f.kind in torn]
        # while documents are replaced the manifest does not name them; all rows are there
        documents = {name for name in self.old if not name.startswith(("data/", "quarantine/"))}
        waiting = self.old.keys() - named.keys() <= documents
        waiting = waiting and named.items() <= self.old.items()
        if not (named in (self.old, self.new) or (self.old and waiting)):
            found.append("the manifest is neither the old nor the new one")
        return found


class Stages:
    """Makes each stage once: the method `_NAME` says what it is."""

    def __init__(
        self, folder: Path, modules: Sequence[str] = (), more: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.warm = WarmParent(folder / "warm", modules, more or {})
        self._made: dict[str, Stage] = {}

    def __getitem__(self, name: str) -> Stage:
        if name not in self._made:
            stage: Stage = getattr(self, f"_{name}")()
            stage.reset()
            ended = stage.run()
            assert ended.code == 0, ended.text
            named = [
                read_manifest(folder).named() if stage.corpus and folder else {}
                for folder in (stage.before, stage.corpus)
            ]
            after = stage.read(stage.out)
            self._made[name] = replace(stage, old=named[0], new=named[1], after=after)
        return self._made[name]

    def stage(self, name: str, *argv: object, **more: Any) -> Stage:
        """A command on the folder of that name."""
        return Stage(name, self.warm, argv, **{"out": self.folder / name, **more})

    def on_corpus(self, name: str, *argv: object, changed: bool = False) -> Stage:
        """A command that makes a corpus of the folder, or (`changed`) another of what it is now."""
        out = self.folder / name
        before = self.folder / f"before-{name}" if changed else None
        if before is not None:
            restore(before, out)
        return self.stage(name, *argv, corpus=out, before=before)

    def good(self, *argv: object) -> None:
        """Run a command that has to succeed."""
        ended = self.warm.run(*argv)
        assert ended.code == 0, ended.text


SAMPLES = {"mmmlu": "mmmlu", "pubmed_causal": "pubmed_causal/pubmed_causal_language_use.csv"}


class LocalStages(Stages):
    """Builds, mixes, cards and reports.

    An old version is a build of half of the rows that also has a report, which the build of all
    rows has to take away.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.raw, self.half = folder / "raw", folder / "half"
        for raw in (self.raw, self.half):
            for name in SAMPLES:
                shutil.copytree(FOLDER / name, raw / name)
        table = self.half / SAMPLES["pubmed_causal"]
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        table.write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")

    def build(self, raw: Path, name: str, *sources: str) -> tuple[object, ...]:
        """The command that builds the samples."""
        chosen = [f"{source}={raw / SAMPLES[source]}" for source in sources or SAMPLES]
        files = [word for file in chosen for word in ("--file", file)]
        return ("build", *files, "--out", self.folder / name)

    def mix(self, raw: Path, name: str) -> tuple[object, ...]:
        """The command that mixes a corpus of them by the demo recipe."""
        corpus = self.folder / f"corpus-{raw.name}"
        if not corpus.exists():
            self.good(*self.build(raw, corpus.name))
        return ("mix", "demo", "--corpus", corpus, "--out", self.folder / name)

    def _build(self) -> Stage:
        return self.on_corpus("build", *self.build(self.raw, "build"))

    def _rebuild(self) -> Stage:
        self.good(*self.build(self.half, "rebuild"))
        self.good("report", self.folder / "rebuild")
        return self.on_corpus("rebuild", *self.build(self.raw, "rebuild"), changed=True)

    def _grow(self) -> Stage:
        """A source is added to a folder that has another, which stays."""
        self.good(*self.build(self.raw, "grow", "mmmlu"))
        return self.on_corpus("grow", *self.build(self.raw, "grow", "pubmed_causal"), changed=True)

    def _mix(self) -> Stage:
        return self.on_corpus("mix", *self.mix(self.raw, "mix"))

    def _remix(self) -> Stage:
        self.good(*self.mix(self.half, "remix"))
        self.good("report", self.folder / "remix")
        return self.on_corpus("remix", *self.mix(self.raw, "remix"), changed=True)

    def _card(self) -> Stage:
        self.good(*self.build(self.raw, "card"))
        return self._aged("card")

    def _report(self) -> Stage:
        self.good(*self.build(self.raw, "report"))
        self.good("report", self.folder / "report")
        return self._aged("report")

    def _aged(self, name: str) -> Stage:
        """The command on a folder whose documents are those of an earlier version of ours."""
        folder = self.folder / name
        manifest = read_manifest(folder)
        for item in manifest.files:
            path = folder / item.path
            path.write_bytes(path.read_bytes() + b"\n")
        files = tuple(NamedFile.of(folder / item.path, item.path) for item in manifest.files)
        replace(manifest, files=files).write(folder)
        return self.on_corpus(name, name, folder, changed=True)


CARDS = 6
REPOSITORY = "meadow/faults"


class ServedStages(Stages):
    """Commands that talk to a server: rephrase, fetch and pull."""

    def __init__(
        self, hub: LoopbackHub, chat: ScriptedChat, files: FaultyServer, folder: Path
    ) -> None:
        self.chat, self.files = chat, files
        self.session = Session(hub, folder / "home")
        modules = ("httpx", "httpx2", "huggingface_hub.hf_api")
        super().__init__(folder, modules, self.session.environment)

    def _rephrase(self) -> Stage:
        out = self.folder / "rephrase"
        return self.stage(
            "rephrase",
            "rephrase", "anki", "--corpus", build(self.folder / "cards", ["anki"]),
            "--out", out / "corpus", "--cache", out / "cache" / "answers.sqlite",
            "--model", MODEL, "--base-url", self.chat.base_url, "--concurrency", 1,
            "--limit", CARDS,
            corpus=out / "corpus", read=self.read_rephrased, doubt=self.doubtful_cache,
            begin=self.chat.requests.clear,
        )  # fmt: skip

    def read_rephrased(self, out: Path) -> Mapping[str, str]:
        """The corpus by its hashes, the cache by its answers, and how often was asked."""
        found = snapshot(out / "corpus")
        with closing(sqlite3.connect(out / "cache" / "answers.sqlite")) as database:
            rows = database.execute("SELECT * FROM answers ORDER BY key").fetchall()
        found["answers"] = digest(repr(rows).encode())
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
        return [] if found == [("ok",)] else [f"the cache is damaged: {found}"]

    def _fetch(self) -> Stage:
        """A file, one of known bytes, and a member of an archive that holds other things too."""
        large, small, member = (lines_of_csv(count) for count in (9000, 300, 4000))
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            for name, data in (("changelog", b"x" * 5000), ("metadata.csv", member)):
                info = tarfile.TarInfo(f"release/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        packed = gzip.compress(plain.getvalue(), mtime=0)
        files: list[dict[str, str]] = [
            {"name": "a.csv", "url": self.served("/a.csv", large)},
            {"name": "b.csv", "url": self.served("/b.csv", small), "sha256": digest(small)},
            {"name": "c.csv", "url": self.served("/c.tar.gz", packed),
             "member": "release/metadata.csv"},
        ]  # fmt: skip
        wanted = {"a.csv": digest(large), "b.csv": digest(small), "c.csv": digest(member)}
        out = self.folder / "fetch"
        return self.stage(
            "fetch",
            *("fetch", "invented", "--raw", out / "raw", "--lock", out / "lock" / LOCK),
            doubt=lambda out: doubtful_files(out, wanted),
            more={"sources": {"invented": files}},
        )

    def served(self, path: str, data: bytes) -> str:
        """The address of a file, served honestly."""

        def answer(request: Request, count: int) -> Reply:
            return part_of(data, request)

        return self.files.route(path, answer)

    def pull(self, name: str, version: str) -> tuple[object, ...]:
        """The command that pulls one of two published versions."""
        for version_made, sources in (
            ("v1.0.0", ["pubmed_causal", "medqa"]),
            ("v2.0.0", ["mmmlu", "medqa"]),
        ):
            folder = self.folder / version_made
            if not folder.exists():
                self.session.meadow(
                    "publish", build(folder, sources), f"{REPOSITORY}@{version_made}"
                )
        return ("pull", f"{REPOSITORY}@{version}", "--out", self.folder / name)

    def _pull(self) -> Stage:
        return self.on_corpus("pull", *self.pull("pull", "v2.0.0"))

    def _repull(self) -> Stage:
        self.good(*self.pull("repull", "v1.0.0"))
        return self.on_corpus("repull", *self.pull("repull", "v2.0.0"), changed=True)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lines_of_csv(count: int) -> bytes:
    """A table of random numbers, the same in every run."""
    dice = random.Random(count)
    text = io.StringIO()
    rows = ([number, dice.random(), dice.random()] for number in range(count))
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


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


SMALL = {
    **{f"base.dimensions.{name}": value for name, value in (
        ("hidden_size", 16), ("intermediate_size", 32), ("num_hidden_layers", 1),
        ("num_attention_heads", 2), ("num_key_value_heads", 1), ("vocab_size", 300),
        ("max_position_embeddings", 512),
    )},
    "data.length": 128, "batch.examples": 4, "batch.row_tokens": 128, "schedule.max_steps": 4,
    "run.save_steps": 2, "run.keep_checkpoints": 1,
}  # fmt: skip
PRESENT = {
    # these say when they were made
    *("run_manifest.json", "README.md", "COMPLETE.json", "run.json"),
    # what resume state is good for is seen in the weights after the next run
    *("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"),
}
"""Files of which only their being there is compared."""


class ModelStages(Stages):
    """Training, export and evaluation."""

    def __init__(self, folder: Path) -> None:
        modules = (
            *("evaluation", "training", "peft", "safetensors.torch", "tokenizers", "torch"),
            *("transformers.models.llama.modeling_llama", "transformers.trainer"),
        )
        more = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
        super().__init__(folder, modules, more)
        write_corpus(folder / "mix", (record("alpha", n, f"answer {n * n}") for n in range(24)))

    def on_run(self, name: str, *argv: object, **more: object) -> Stage:
        return self.stage(name, *argv, read=read_run, doubt=doubtful_run, **more)

    def training(self, name: str, *more: str) -> tuple[object, ...]:
        """The command that trains a tiny model."""
        settings = [*(f"{key}={value}" for key, value in SMALL.items()), *more]
        words = [word for setting in settings for word in ("--set", setting)]
        mix, out = self.folder / "mix", self.folder / name
        return ("train", "tiny", "--mix", mix, "--out", out, *words)

    def _train(self) -> Stage:
        return self.on_run("train", *self.training("train"))

    def _export(self) -> Stage:
        self.good(*self.training("adapters", "method=lora", "lora.rank=2"))
        run, out = self.folder / "adapters", self.folder / "export"
        return self.on_run("export", "export", run, "--out", out / "merged", once=True)

    def _evaluate(self) -> Stage:
        self.good(*self.training("trained"))
        return self.on_run(
            "evaluate",
            "eval", "run", "--model", self.folder / "trained" / "model",
            "--exam", "usmle_self_assessment", "--file", FOLDER / "exam",
            "--modes", "letter,option", "--limit", 8, "--batch-tokens", 900,
            "--template", "short", "--out", self.folder / "evaluate",
        )  # fmt: skip


def read_run(out: Path) -> Mapping[str, str]:
    """Every file by its hash, but those that hold times or resume state by their name."""
    found = snapshot(out)
    for name in found:
        path = out / name
        if path.name in PRESENT:
            found[name] = "there"
        elif path.name.startswith("journal."):
            # what a batch cost is in seconds; what it found is the same
            lines = path.read_bytes().splitlines(True)
            found[name] = digest(b"".join(n for n in lines if b'"unit": "cost:' not in n))
    return found


def doubtful_run(out: Path) -> list[str]:
    """What cannot be read, and what says too early that it is done."""
    from safetensors.numpy import load_file

    def read_json(path: Path) -> object:
        return json.loads(path.read_text(encoding="utf-8"))

    readers: dict[str, Callable[[Path], object]] = {
        ".safetensors": load_file,
        ".json": read_json,
        ".parquet": pq.read_table,
    }
    found = []
    models = [folder for folder in (out / "model", out / "merged") if folder.exists()]
    for path in (path for folder in (out, *models) for path in sorted(folder.glob("*.*"))):
        try:
            readers.get(path.suffix, str)(path)
        except Exception as error:
            found.append(f"{path.name} is torn: {error}")
    for path in out.glob("journal.*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                json.loads(line)
            except ValueError:
                found.append(f"a torn line in the middle of {path.name}")
    found += [f"{m.name} has no weights" for m in models if not list(m.glob("*.safetensors"))]
    manifest = out / "run_manifest.json"
    trained = manifest.exists() and json.loads(manifest.read_text()).get("status") == "finished"
    if trained and not (out / "model" / "COMPLETE.json").exists():
        found.append("the run says that it is finished, and has no model")
    if (out / "run.json").exists() and not (out / "summary.json").exists():
        found.append("the run says that it is finished, and has no summary")
    return found
