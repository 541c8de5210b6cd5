"""Patience with servers: how often, how long and when not to try again.

Clock, sleep and jitter are values, so that a test of six tries takes no time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from meadow.errors import NetworkError

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may turn into a good one."""
PROGRESS_BYTES = 64 * 1024
"""New bytes that count as progress: a server that gives less before each cut wears out."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, the wait and the dice."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    """A number from 0 to 1; spreads the tries of many clients. Never touches data."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transfer may take.

    Args:
        tries: Tries in a row without progress.
        first_wait: Seconds before the second try; doubled each time, half of it at random.
        longest_wait: The cap of that wait in seconds.
        longest_retry_after: The longest wait that a server may ask for, in seconds.
        deadline: Seconds for one file altogether; None: as long as it moves.
        slow_rate: Bytes per second below which a connection counts as stuck.
        slow_window: Seconds over which that rate is measured.
        silence: Seconds without a byte before a connection counts as dead.
    """

    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 300.0
    deadline: float | None = None
    slow_rate: float = 1024.0
    slow_window: float = 60.0
    silence: float = 30.0


@dataclass(slots=True)
class Attempts:
    """The tries of one transfer.

    Args:
        where: The address without credentials, for messages.
        patience: The limits.
        clock: The time.
    """

    where: str
    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=Clock)
    failures: int = 0
    farthest: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock.now()

    def advance(self, offset: int) -> None:
        """Bytes up to `offset` have arrived; enough new ones, and the count starts again."""
        if offset >= self.farthest + PROGRESS_BYTES:
            self.farthest = offset
            self.failures = 0

    def check_deadline(self) -> None:
        """Raise a `NetworkError` when the time for the whole file is over."""
        deadline = self.patience.deadline
        if deadline is not None and self.clock.now() - self.started > deadline:
            raise NetworkError(
                f"not finished within {deadline:g} seconds",
                where=self.where,
                fix="run the same command again to continue, or raise --deadline",
            )

    def failed(self, why: str, *, retry_after: float | None = None) -> None:
        """Wait before the next try, or raise a `NetworkError` when there is none left."""
        self.failures += 1
        patience = self.patience
        if self.failures >= patience.tries:
            raise NetworkError(
                f"{why}; given up after {self.failures} tries",
                where=self.where,
                fix="run the same command again later; what has arrived is kept",
            )
        wait = min(patience.first_wait * 2 ** (self.failures - 1), patience.longest_wait)
        wait *= 0.5 + 0.5 * self.clock.jitter()
        if retry_after is not None:
            if retry_after > patience.longest_retry_after:
                raise NetworkError(
                    f"{why}; the server asks to wait for {retry_after:.0f} seconds",
                    where=self.where,
                    fix="run the same command again after that time",
                )
            wait = max(wait, retry_after)
        remaining = self._remaining()
        if remaining is not None and wait > remaining:
            wait = max(remaining, 0.0)
        self.clock.sleep(wait)
        self.check_deadline()

    def _remaining(self) -> float | None:
        if self.patience.deadline is None:
            return None
        # A little beyond the deadline, so that the check after the wait sees that it is over.
        return self.started + self.patience.deadline - self.clock.now() + 0.001


def parse_retry_after(value: str | None) -> float | None:
    """The header Retry-After in seconds: a number or a date (RFC 9110, 10.2.3); None if neither."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
