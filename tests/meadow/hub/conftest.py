"""Hubs, sessions and corpora for the tests of `meadow.hub`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.corpora import build
from support.hub.server import TOKEN, LoopbackHub, running
from support.hub.session import Loop, Session

from meadow.samples import sampled_sources
from meadow.sources import SOURCES


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The publishable part of the demo corpus, disputed licences by decision. Copy it to change."""
    names = [name for name in sampled_sources() if SOURCES[name].publishable in ("yes", "disputed")]
    return build(tmp_path_factory.mktemp("samples") / "corpus", names)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub with LFS storage; a request that it does not know fails the test."""
    with running(tmp_path / "hub") as served:
        yield served
        assert served.unknown == []


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackHub, Loop]]:
    """A Hub with LFS storage, and one process that publishes to it."""
    folder = tmp_path_factory.mktemp("loop")
    with running(folder / "hub") as served:
        publisher = Loop(Session(served, folder / "home"))
        yield served, publisher
        assert TOKEN not in publisher.close()
        assert served.unknown == []


@pytest.fixture
def session(hub: LoopbackHub, tmp_path: Path) -> Session:
    return Session(hub, tmp_path / "home")
