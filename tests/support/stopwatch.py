"""CPU time held to a yardstick that runs beside it, so that a slow machine is no fault.

A hostile input must cost about what its length says: the tests put a figure in seconds on that, and
these are seconds of a reference machine, on which the yardstick takes `REFERENCE`. The yardstick
runs in the same process right after the work, so load and clock rate scale both.
"""

from __future__ import annotations

import hashlib
import re
import time

REFERENCE = 0.05
"""CPU seconds of the yardstick on the machine that the tests' figures were written on."""
_TEXT = "The patient takes 12 mg a day, and (rarely) 3.5 ml. " * 400
_WORD = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?")


def yardstick() -> float:
    """CPU seconds of a fixed piece of work: bytecode, regular expressions and C."""
    started = time.process_time()
    counts: dict[str, int] = {}
    for _ in range(48):
        for word in _WORD.findall(_TEXT):
            counts[word] = counts.get(word, 0) + len(word)
        hashlib.sha256(_TEXT.encode() * 20).digest()
    return time.process_time() - started


class Stopwatch:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self.started = time.process_time()

    def within(self, seconds: float) -> bool:
        """Whether this process has spent at most so many CPU seconds of the reference machine."""
        spent = time.process_time() - self.started
        # the yardstick is only asked where the figure alone does not settle it
        return spent < seconds or spent * REFERENCE < seconds * max(yardstick() for _ in range(3))
