"""A fault at request k of a publication, for every k: the old commit or the new one, no mixture."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.budget import note, sample
from support.corpora import build, invented_questions, write_medqa
from support.hub.server import TOKEN, Fault, LoopbackHub, running
from support.hub.session import Loop, Session

from meadow.corpus.manifest import parse_manifest, read_manifest
from meadow.hub.files import published_files

FOREVER = 10**6
IMPATIENT = {
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "5ms",
    "HF_XET_CLIENT_RETRY_MAX_DURATION": "2s",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3",
}
"""hf-xet waits for minutes by default; its waits cannot be cut short from Python."""
KINDS: dict[str, dict[str, Any]] = {
    "500": {"kind": "status", "status": 500},
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "412": {"kind": "status", "status": 412},
    "cut": {"kind": "cut"},
    "lost": {"kind": "lost"},
    "dead": {"kind": "cut", "times": FOREVER},
}


class Trial:
    """A repository with an old publication, and new ones that are all different."""

    def __init__(self, hub: LoopbackHub, loop: Loop, folder: Path) -> None:
        self.hub, self.loop, self.folder = hub, loop, folder
        self.count = 0
        loop.publish(self.corpus(), "meadow/template", "v1.0.0")
        self.template = hub.repository("meadow/template")

    def corpus(self) -> Path:
        """A small corpus that no other trial has, so that all of it has to be sent."""
        self.count += 1
        raw = self.folder / f"raw-{self.count}"
        write_medqa(raw, invented_questions(12, seed=self.count))
        return build(self.folder / f"corpus-{self.count}", ["medqa"], raw=raw)

    def __call__(self, kind: str, at: int) -> int:
        """Publish with a fault at request `at`, then without; returns the requests of the first."""
        hub, name = self.hub, f"meadow/trial-{self.count}"
        repository = copy.deepcopy(self.template)
        repository.id, repository.tags = name, {}
        hub.storage.repositories["dataset", name] = repository
        corpus = self.corpus()
        old = repository.head

        hub.reset_log()
        hub.faults[:] = [Fault(at=at, **KINDS[kind])]
        outcome = self.loop.publish(corpus, name)
        requests = hub.number
        hub.faults.clear()
        note("hub_points")
        case = f"{kind} at {at}: {outcome}"
        commits = len(repository.commits) - len(self.template.commits)
        assert commits in {0, 1}, case
        if commits == 0:
            assert repository.head is old, case
            assert "fault" in outcome, case
        else:
            assert repository.head.parent == old.id, case
            self._is_whole(corpus, repository.head.tree)
        if "fault" in outcome:
            assert outcome["kind"] in {"NetworkError", "HeadMovedError"}, case
        assert set(repository.tags.values()) <= {repository.head.id}, case

        again = self.loop.publish(corpus, name)
        assert "fault" not in again, f"{case}, then {again}"
        assert len(repository.commits) == len(self.template.commits) + 1, case
        assert repository.tags == {"v2.0.0": repository.head.id}, case
        self._is_whole(corpus, repository.head.tree)
        return requests

    def _is_whole(self, corpus: Path, tree: dict[str, Any]) -> None:
        hub = self.hub
        manifest = parse_manifest(hub.storage.blob(tree["MANIFEST.json"].sha256).read_bytes(), "")
        assert manifest.splits() == read_manifest(corpus).splits()
        for path, (size, sha256) in published_files(manifest).items():
            assert (tree[path].size, tree[path].sha256) == (size, sha256)


@pytest.fixture(
    params=[pytest.param(False, id="lfs"), pytest.param(True, id="xet", marks=pytest.mark.slow)]
)
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trial]:
    with running(tmp_path / "hub", xet=request.param) as hub:
        loop = Loop(Session(hub, tmp_path / "home", xet=request.param, more=IMPATIENT))
        yield Trial(hub, loop, tmp_path)
        logged = loop.close()
        assert TOKEN not in logged
        for path in tmp_path.rglob("*"):
            if path.is_file() and "hub" not in path.relative_to(tmp_path).parts[:1]:
                assert TOKEN.encode() not in path.read_bytes(), f"the token is in {path}"
        assert hub.unknown == []


def test_faults_around_the_commit(trial: Trial) -> None:
    """The requests that matter most, found by name: upload, commit, first look after it, tag."""
    trial("500", FOREVER)
    log = [f"{entry.method} {entry.path}" for entry in trial.hub.log]
    commit = next(n for n, line in enumerate(log, 1) if "/commit/main" in line)
    upload = next(n for n, line in enumerate(log, 1) if "/lfs/put/" in line or "/xorbs/" in line)
    for kind, at in [
        ("lost", commit), ("412", commit), ("dead", commit), ("500", upload),
        ("dead", upload), ("lost", commit + 1),
    ]:  # fmt: skip
        trial(kind, at)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_every_request(trial: Trial, kind: str) -> None:
    total = trial(kind, FOREVER)
    for at in range(1, total + 1, sample()):
        trial(kind, at)
    print(f"\n{kind}: {total} requests, a fault at each {sample()}th, no mixture, all completed")


def test_somebody_else_commits_meanwhile(trial: Trial) -> None:
    """The head moves between the look and the commit: 412, a clear stop, nothing is covered."""
    hub = trial.hub
    name = "meadow/template"
    repository = hub.repository(name)
    corpus = trial.corpus()
    commits = len(repository.commits)
    seen = hub.access.repository

    def racing(request: Any, *, write: bool = False) -> Any:
        found = seen(request, write=write)
        if "/preupload/" in request.url.path and len(repository.commits) == commits:
            tree = repository.head.tree | {"note.txt": hub.storage.regular(b"theirs")}
            hub.storage.commit(repository, "main", tree, "theirs", "", "somebody")
        return found

    hub.access.repository = racing  # type: ignore[method-assign]
    outcome = trial.loop.publish(corpus, name)
    assert outcome["kind"] == "HeadMovedError"
    assert "publish again" in outcome["fault"]
    assert repository.head.title == "theirs"
    again = trial.loop.publish(corpus, name)
    assert again["made_commit"]
    assert "note.txt" in repository.head.tree, "a file that is not ours stays"
