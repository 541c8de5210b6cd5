"""What a run needs of whatever computes: a local model or a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evaluation.questions import Unit
from evaluation.trie import Score


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn."""

    max_new_tokens: int = 128  # the limit of a response
    temperature: float = 0.0  # 0 for the most probable token each time
    top_k: int = 0  # 0 for no limit
    top_p: float = 1.0  # 1 for no limit
    seed: int = 0  # of the draw; the same seed gives the same response
    stop: tuple[str, ...] = ()  # texts that end a response


@dataclass(frozen=True, slots=True)
class Response:
    """A generated text."""

    text: str  # what follows the prompt
    at_limit: bool  # whether it stopped at the token limit


@dataclass(slots=True)
class Batches:
    """The work of one kind, cut in a way that depends on the whole exam only."""

    units: Sequence[Unit]
    members: Sequence[tuple[int, ...]]  # indices into `units`, per batch
    state: Any = field(default=None, repr=False)  # what the backend keeps for them


class Backend(Protocol):
    """Scores continuations and generates responses."""

    limit: int | None
    """Longest input in tokens; None where it is not known."""
    together: int
    """Questions that are generated together; fixed, so that padding is the same in every run."""
    tokenizer: Any
    """Frames chat prompts; None where none is at hand."""
    chat: bool
    """Whether whoever answers frames the prompt, and so knows where its turn ends."""

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
        """A response per prompt; all sampled alike but for the seed."""
