"""What a run needs of whatever computes (a local model, a server), and who shares the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from evaluation.questions import Unit
from evaluation.trie import Score


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn.

    Args:
        max_new_tokens: The limit of a response.
        temperature: 0 for the most probable token each time.
        top_k: 0 for no limit.
        top_p: 1 for no limit.
        seed: Of the draw; the same seed gives the same response.
        stop: Texts that end a response.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """A generated text.

    Args:
        text: What follows the prompt.
        at_limit: Whether it stopped at the token limit.
    """

    text: str
    at_limit: bool


@dataclass(slots=True)
class Batches:
    """The work of one kind, cut in a way that depends on the whole exam only.

    Args:
        units: All of them.
        members: Indices into `units`, per batch.
        state: What the backend keeps for them.
    """

    units: Sequence[Unit]
    members: Sequence[tuple[int, ...]]
    state: Any = field(default=None, repr=False)


class Backend(Protocol):
    """Scores continuations and generates responses."""

    limit: int | None
    """Longest input in tokens; None where it is not known."""

    def describe(self) -> dict[str, Any]:
        """What identifies the model, for run.json and the run's key."""

    def work(self) -> dict[str, Any]:
        """What was computed, for run.json; no part of the run's key."""

    def count(self, text: str) -> int:
        """Tokens of a text; 0 where no tokenizer is at hand."""

    def plan(self, units: Sequence[Unit], *, cut_left: bool) -> Batches:
        """Cut the work into batches."""

    def score(self, batches: Batches, index: int) -> list[list[list[Score]]]:
        """Per member of a batch, per part, a score per continuation."""

    def generate(self, prompts: Sequence[str], samplings: Sequence[Sampling]) -> list[Response]:
        """A response per prompt; each with its own sampling (and seed)."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among all of a run, as torchrun and accelerate launch say it.

    Args:
        rank: Its number.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls) -> World:
        """From RANK and WORLD_SIZE."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def owns(self, index: int) -> bool:
        """Whether a batch is this process's: whole batches go round, so shapes stay the same."""
        return index % self.size == self.rank

    def wait(self) -> None:
        """Until every process is here."""
        if self.size == 1:
            return
        from torch import distributed

        if not distributed.is_initialized():
            # the slowest process decides; the default of half an hour would end a long run
            distributed.init_process_group("gloo", timeout=timedelta(days=30))
        distributed.barrier()

    def leave(self) -> None:
        """End the group that `wait` began."""
        if self.size == 1:
            return
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()
