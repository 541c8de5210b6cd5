"""A canary token through every failure of the Hub: printed nowhere, written nowhere, told nobody.

The token goes to the Hub that HF_ENDPOINT names, and to no host that the Hub redirects to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.budget import note, sample
from support.canary import PASSWORD, OtherHost, Watch, is_leak, other_host
from support.corpora import build
from support.hub.server import Fault, LoopbackHub, running

FOREVER = 10**6
NAME = "meadow/canary"
EVERY = {"times": FOREVER}
FAULTS: dict[str, dict[str, Any]] = {
    "401": {"status": 401, **EVERY},
    "cut": {"kind": "cut", **EVERY},
    "302": {"status": 302, **EVERY},
}
LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}


@dataclass
class Place:
    """A Hub with one published corpus, a user, and a host that must not learn the token."""

    hub: LoopbackHub
    watch: Watch
    other: OtherHost
    corpus: Path
    count: int = 0

    def commands(self) -> dict[str, list[str | Path]]:
        self.count += 1
        out = self.watch.folder / f"pulled-{self.count}"
        return {
            "publish": ["publish", self.corpus, f"meadow/new{self.count}@v1.0.0"],
            "pull": ["pull", f"{NAME}@main", "--out", out],
            "verify": ["verify", f"{NAME}@main", "--content"],
            "published": ["fetch", "pubmed_causal", "--origin", "published", "--raw", out],
            "plan": ["publish", self.corpus, NAME, "--dry-run"],
        }

    def fail(
        self, command: str, kind: str, at: int = 1, *options: str, must: bool = True, **more: str
    ) -> int:
        """One command with faults from request `at` on; returns how many requests it made.

        `must`: whether it has to fail: the last requests of some commands are not needed.
        """
        given = dict(FAULTS[kind])
        if kind == "302":
            given["headers"] = {"Location": f"{self.other.url}/elsewhere"}
        self.hub.reset_log()
        self.hub.faults[:] = [Fault(at=at, **given)]
        argv = ["-m", "meadow", *options, *self.commands()[command], "--json"]
        before = len(self.watch.leaks)
        try:
            self.watch.run(*argv, fails=True if must else None, **more)
        finally:
            self.hub.faults.clear()
        case = f"{command} with {kind} at {at}"
        assert self.watch.leaks[before:] == [], case
        if self.other.told():
            note("canary_leaks", len(self.other.told()))
        assert self.other.told() == [], case
        return self.hub.number


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("canary")
    with running(folder / "hub") as hub, other_host() as other:
        watch = Watch(folder / "home", {"HF_ENDPOINT": hub.base})
        corpus = build(watch.folder / "corpus", ["pubmed_causal"])
        watch.meadow("publish", corpus, NAME, fails=False)
        assert watch.leaks == []
        made = Place(hub, watch, other, corpus)
        yield made
        stored = [p for p in (folder / "hub").rglob("*") if p.is_file()]
        assert stored
        assert not [p for p in stored if is_leak(p.read_bytes())], "the token was uploaded"


@pytest.mark.parametrize(
    ("command", "kind"),
    [("publish", "401"), ("publish", "302"), ("publish", "cut"), ("pull", "302"),
     ("published", "302")],
)  # fmt: skip
def test_a_failing_hub_learns_and_leaves_nothing(place: Place, command: str, kind: str) -> None:
    place.fail(command, kind, 1, "--debug", **LOUD)


def test_a_redirect_in_the_middle_takes_no_token_along(place: Place) -> None:
    """The content of a file is what the Hub sends its clients elsewhere for."""
    for at in (3, 6):
        place.fail("pull", "302", at)


def test_a_password_in_the_address_of_the_hub(place: Place) -> None:
    """HF_ENDPOINT may hold one; what is printed and kept does not."""
    with_password = place.hub.base.replace("://", f"://user:{PASSWORD}@")
    place.hub.faults[:] = [Fault(at=1, **FAULTS["401"])]
    for options in ([], ["--debug"]):
        place.watch.meadow(
            *options, "pull", f"{NAME}@main", "--out", place.watch.folder / "x",
            HF_ENDPOINT=with_password,
        )  # fmt: skip
    place.hub.faults.clear()
    assert place.watch.leaks == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", ["publish", "pull", "verify", "published", "plan"])
def test_a_fault_at_every_request_leaves_nothing(place: Place, command: str) -> None:
    """Request k fails in one of three ways (and every later one), with and without --debug."""
    kinds = list(FAULTS)
    at = made = 1
    while made >= at:
        options = ["--debug"] if at % 2 else []
        made = place.fail(command, kinds[at % len(kinds)], at, *options, must=False, **LOUD)
        at += sample()
