"""The one policy for whatever asks a server: how often, how long, and when not to try again.

Downloads, the Hub, crawls, rephrasing and scored servers share it. Clock, sleep and jitter are
values of the policy, so that a test of six tries takes no time.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from meadow.errors import NetworkError

Result = TypeVar("Result")

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may turn into a good one."""
PROGRESS_BYTES = 64 * 1024
"""New bytes that count as progress: a server that gives less before each cut wears out."""
UNRESOLVED_TRIES = 2
"""Tries of a host whose name has no address: a slip of the resolver, but no outage, passes."""
AGAIN_LATER = "run the same command again later"


class TryAgain(Exception):
    """This try failed in a way that another one may not.

    Args:
        why: What happened, for the message should there be no other try.
        retry_after: Seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, why: str, *, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after


def broken(error: Exception) -> TryAgain:
    """Another try for a connection that broke, with what its library calls it, and why it did."""
    again = TryAgain(f"{type(error).__name__}: {error}".rstrip(": "))
    again.__cause__ = error
    return again


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it, each once: a chain of causes can be a circle."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or link.__context__


def is_unresolved(error: BaseException) -> bool:
    """Whether an error, or one behind it, says that a host's name has no address."""
    return any(isinstance(link, socket.gaierror) for link in causes(error))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a request or a transfer may take.

    Args:
        tries: Tries in a row without progress.
        first_wait: Seconds before the second try; doubled each time, half of it at random.
        longest_wait: The cap of that wait in seconds.
        longest_retry_after: The longest wait that a server may ask for, in seconds.
        deadline: Seconds for one file altogether; None: as long as it moves.
        slow_rate: Bytes per second below which a connection counts as stuck.
        slow_window: Seconds over which that rate is measured.
        silence: Seconds without a byte before a connection counts as dead.
        now: The time in seconds, from any start.
        sleep: Waits for that many seconds.
        jitter: A number from 0 to 1; spreads the tries of many clients. Never touches data.
    """

    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 300.0
    deadline: float | None = None
    slow_rate: float = 1024.0
    slow_window: float = 60.0
    silence: float = 30.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def call(self, where: str, action: Callable[[], Result], *, fix: str = AGAIN_LATER) -> Result:
        """Run `action`, and again while it raises `TryAgain`.

        Args:
            where: What is asked, for messages; without credentials.
            action: One request.
            fix: What to do when the tries are used up, for the message.

        Raises:
            NetworkError: The tries or the time are used up.
        """
        retries = Retries(where, self, fix)
        while True:
            try:
                return action()
            except TryAgain as again:
                retries.failed(again)

    async def call_async(
        self, where: str, action: Callable[[], Awaitable[Result]], *, fix: str = AGAIN_LATER
    ) -> Result:
        """`call` on an event loop."""
        import asyncio

        retries = Retries(where, self, fix)
        while True:
            try:
                return await action()
            except TryAgain as again:
                wait = retries.wait_after(again)
            await asyncio.sleep(wait)
            retries.check_deadline()


@dataclass(slots=True)
class Retries:
    """The tries of one transfer, as they are used up.

    Args:
        where: What is asked, for messages; without credentials.
        policy: The limits.
        fix: What to do when the tries are used up, for the message.
    """

    where: str
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    fix: str = AGAIN_LATER
    failures: int = 0
    farthest: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.policy.now()

    def advance(self, offset: int) -> None:
        """Bytes up to `offset` have arrived; enough new ones, and the count starts again."""
        if offset >= self.farthest + PROGRESS_BYTES:
            self.farthest = offset
            self.failures = 0

    def check_deadline(self) -> None:
        """Raise a `NetworkError` when the time for the whole file is over."""
        deadline = self.policy.deadline
        if deadline is not None and self.policy.now() - self.started > deadline:
            raise NetworkError(
                f"not finished within {deadline:g} seconds",
                where=self.where,
                fix="run the same command again to continue, or raise --deadline",
            )

    def failed(self, again: TryAgain) -> None:
        """Wait before the next try, or raise a `NetworkError` when there is none left."""
        self.policy.sleep(self.wait_after(again))
        self.check_deadline()

    def wait_after(self, again: TryAgain) -> float:
        """Count a failure: the seconds to wait for, or a `NetworkError` when no try is left."""
        self.failures += 1
        policy = self.policy
        if is_unresolved(again) and self.failures >= UNRESOLVED_TRIES:
            raise NetworkError(
                f"the host's name cannot be resolved ({again.why})",
                where=self.where,
                fix="look at the network and at the address, then run the same command again",
            )
        if self.failures >= policy.tries:
            raise NetworkError(
                f"{again.why}; given up after {self.failures} tries",
                where=self.where,
                fix=self.fix + ("; what has arrived is kept" if self.farthest else ""),
            )
        asked = again.retry_after or 0.0
        if asked > policy.longest_retry_after:
            raise NetworkError(
                f"{again.why}; the server asks to wait for {asked:.0f} seconds",
                where=self.where,
                fix="run the same command again after that time",
            )
        wait = min(policy.first_wait * 2.0 ** (self.failures - 1), policy.longest_wait)
        # Half of the wait at random: clients that a server threw out together do not come back so.
        wait = max(wait * (0.5 + 0.5 * policy.jitter()), asked)
        if policy.deadline is not None:
            # A little beyond the deadline, so that the check after the wait sees that it is over.
            left = self.started + policy.deadline - policy.now() + 0.001
            wait = min(wait, max(left, 0.0))
        return wait


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
