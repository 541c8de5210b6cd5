"""The warm parents, the stages that they run, and the tally of points that a run ends with."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_served import ServedStages
from support.fault_shim import WarmParent, compile_shim, restore, snapshot
from support.fault_stage import Stage
from support.faulty_server import faulty_server
from support.hub.server import running

from meadow.chat.scripted import scripted_chat
from meadow.corpus.manifest import read_manifest
from meadow.samples import FOLDER

TALLY = "faults"
SERVED = {"rephrase", "fetch", "pull", "repull"}
SAMPLES = {"mmmlu": "mmmlu", "pubmed_causal": "pubmed_causal/pubmed_causal_language_use.csv"}


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmParent]:
    """The parent of every command; the test skips without gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("the fault shim is compiled with gcc, which is not installed")
    folder = tmp_path_factory.mktemp("warm")
    parent = WarmParent(compile_shim(folder), folder)
    yield parent
    parent.close()


class Stages:
    """Makes the stages when they are asked for, and each only once.

    An old version is a build of half of the rows that also has a report, which the build of all
    rows has to take away.
    """

    def __init__(self, warm: WarmParent, folder: Path) -> None:
        self.warm = warm
        self.folder = folder
        self._made: dict[str, Stage] = {}
        self.raw = folder / "raw"
        shutil.copytree(FOLDER / "mmmlu", self.raw / "mmmlu")
        shutil.copytree(FOLDER / "pubmed_causal", self.raw / "pubmed_causal")
        self.half = folder / "half"
        shutil.copytree(self.raw, self.half)
        table = self.half / SAMPLES["pubmed_causal"]
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        table.write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")

    def __getitem__(self, name: str) -> Stage:
        if name not in self._made:
            self._made[name] = getattr(self, f"_{name}")()
        return self._made[name]

    def build(self, raw: Path, out: Path) -> tuple[object, ...]:
        """The command that builds the two samples."""
        files = [
            word for name, path in SAMPLES.items() for word in ("--file", f"{name}={raw / path}")
        ]
        return ("build", *files, "--out", out)

    def corpus(self, name: str) -> Path:
        """A finished corpus of `raw` or `half`."""
        out = self.folder / f"corpus-{name}"
        if not out.exists():
            self.good(self.build(self.folder / name, out))
        return out

    def good(self, argv: tuple[object, ...]) -> None:
        """Run a command that has to succeed."""
        ended = self.warm.run(*argv)
        assert ended.code == 0, ended.text

    def stage(self, name: str, argv: tuple[object, ...], out: Path, before: Path | None) -> Stage:
        """Run the command undisturbed, and keep what it leaves."""
        restore(out, before)
        self.good(argv)
        old = read_manifest(before).named() if before is not None else {}
        return Stage(
            name,
            self.warm,
            argv,
            out,
            before,
            corpus=out,
            old=old,
            new=read_manifest(out).named(),
            after=snapshot(out),
        )

    def kept(self, name: str, folder: Path) -> Path:
        """A copy of a folder as it is now."""
        copy = self.folder / f"before-{name}"
        restore(copy, folder)
        return copy

    def _build(self) -> Stage:
        out = self.folder / "build"
        return self.stage("build", self.build(self.raw, out), out, None)

    def _rebuild(self) -> Stage:
        out = self.folder / "rebuild"
        self.good(self.build(self.half, out))
        self.good(("report", out))
        return self.stage("rebuild", self.build(self.raw, out), out, self.kept("rebuild", out))

    def _grow(self) -> Stage:
        """A source is added to a folder that has another, which stays."""
        out = self.folder / "grow"
        one, other = (self.build(self.raw, out)[i : i + 2] for i in (1, 3))
        self.good(("build", *one, "--out", out))
        return self.stage("grow", ("build", *other, "--out", out), out, self.kept("grow", out))

    def mix(self, corpus: Path, out: Path) -> tuple[object, ...]:
        """The command that mixes a corpus by the demo recipe."""
        return ("mix", "demo", "--corpus", corpus, "--out", out)

    def _mix(self) -> Stage:
        out = self.folder / "mix"
        return self.stage("mix", self.mix(self.corpus("raw"), out), out, None)

    def _remix(self) -> Stage:
        out = self.folder / "remix"
        self.good(self.mix(self.corpus("half"), out))
        self.good(("report", out))
        before = self.kept("remix", out)
        return self.stage("remix", self.mix(self.corpus("raw"), out), out, before)

    def _card(self) -> Stage:
        out = self.folder / "card"
        restore(out, self.corpus("raw"))
        age_documents(out)
        return self.stage("card", ("card", out), out, self.kept("card", out))

    def _report(self) -> Stage:
        out = self.folder / "report"
        restore(out, self.corpus("raw"))
        self.good(("report", out))
        age_documents(out)
        return self.stage("report", ("report", out), out, self.kept("report", out))


def age_documents(folder: Path) -> None:
    """Make the documents be those of an earlier version of ours, and the manifest agree."""
    from dataclasses import replace

    from meadow.corpus.manifest import NamedFile

    manifest = read_manifest(folder)
    files = []
    for item in manifest.files:
        path = folder / item.path
        path.write_bytes(path.read_bytes() + b"\n")
        files.append(NamedFile.of(path, item.path))
    replace(manifest, files=tuple(files)).write(folder)


@pytest.fixture(scope="session")
def stages(warm: WarmParent, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """The local stages, by name."""
    return Stages(warm, tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStages]:
    """The stages that talk to a server on loopback, by name."""
    if shutil.which("gcc") is None:
        pytest.skip("the fault shim is compiled with gcc, which is not installed")
    folder = tmp_path_factory.mktemp("served")
    with running(folder / "hub") as hub, scripted_chat() as chat, faulty_server() as files:
        made = ServedStages(hub, chat, files, folder / "work")
        yield made
        made.warm.close()


@pytest.fixture
def stage(name: str, request: pytest.FixtureRequest) -> Stage:
    """The stage that the test's `name` says."""
    made: Stage = request.getfixturevalue("served" if name in SERVED else "stages")[name]
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points were tried, wherever they ran."""
    tally: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == TALLY:
                    tally.update(value)
    if tally:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.items()))
        terminalreporter.write_line(f"faults: {counts}")
