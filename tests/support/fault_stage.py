"""What a fault test knows of a command: how to run it, what it may leave, what it has to leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fault_shim import Ended, Mode, Point, WarmParent, restore, snapshot

from meadow.corpus.manifest import NAME, read_manifest
from meadow.quality.check import check_corpus

TORN = {"missing_file", "changed_file"}
Facts = dict[str, tuple[int, str]]


def no_doubt() -> list[str]:
    """Nothing to look at beside the manifest."""
    return []


def nothing() -> None:
    """Nothing else has to be put back."""


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
    doubt: Callable[[], list[str]] = no_doubt
    begin: Callable[[], None] = nothing
    once: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Put the folder back."""
        restore(self.out, self.before)
        self.begin()

    def run(self) -> Ended:
        """Run undisturbed."""
        return self.warm.start([{"argv": self.argv, **self.more}])[0]

    def fault(self, mode: Mode, at: int) -> Ended:
        """Run with a fault at a point."""
        return self.warm.faulty(self.argv, self.out, at, mode, self.more)

    def record(self) -> tuple[Ended, list[Point]]:
        """Run undisturbed from the beginning, and list the points."""
        self.reset()
        return self.warm.record(self.argv, self.out, self.more)

    def torn(self) -> list[str]:
        """What a reader would meet: a manifest of the old or the new version, whole, or none."""
        found = self.doubt()
        if self.corpus is None or not (self.corpus / NAME).exists():
            return found
        named = read_manifest(self.corpus).named()
        found += [f"{f.kind} {f.where}" for f in check_corpus(self.corpus) if f.kind in TORN]
        # while documents are replaced the manifest does not name them; all rows are there
        documents = {name for name in self.old if not name.startswith(("data/", "quarantine/"))}
        waiting = self.old.keys() - named.keys() <= documents
        waiting = waiting and named.items() <= self.old.items()
        if not (named in (self.old, self.new) or (self.old and waiting)):
            found.append("the manifest is neither the old nor the new one")
        return found
