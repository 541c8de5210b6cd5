"""SIGINT and SIGTERM at many moments of a run: a clean end, and the same bytes later."""

from __future__ import annotations

import hashlib
import signal
import time
from collections import Counter
from collections.abc import Callable

from support.budget import note
from support.fault_shim import Ended
from support.fault_stage import Stage

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def moment(seed: str, longest: float) -> float:
    """A delay that looks random and is the same in every run."""
    drawn = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    return drawn / 2**32 * longest


def interrupt(stage: Stage, number: int, seconds: float) -> tuple[Ended, list[str]]:
    """Send a signal after a moment; what went wrong then, or in the run after it."""
    chosen = signal.SIGTERM if number % 2 else signal.SIGINT
    stage.reset()
    after = moment(f"{stage.name} {number}", seconds)
    run = {"argv": stage.argv, "signal": int(chosen), "after": after, **stage.more}
    ended = stage.warm.start([run])[0]
    wrong = []
    if ended.code not in {0, CODES[chosen]}:
        wrong.append(f"ends with {ended.code} after signal {chosen}: {ended.text[-400:]}")
    if "Traceback" in ended.text or "Exception ignored" in ended.text:
        wrong.append(f"a traceback: {ended.text[-800:]}")
    if ended.code == 0 and stage.read(stage.out) != stage.after:
        wrong.append("ends with 0 before it is finished")
    wrong += [f"torn: {what}" for what in stage.torn()]
    again = stage.run()
    if again.code or stage.read(stage.out) != stage.after:
        wrong.append(f"the next run ends with {again.code}, and other bytes")
    return ended, [f"{number} after {after:.3f} s: {text}" for text in wrong]


def interrupt_often(stage: Stage, count: int, record: Callable[[str, object], None]) -> None:
    """Send a signal at so many moments of a run."""
    times = []
    for _ in range(3):
        stage.reset()
        begun = time.monotonic()
        assert stage.run().code == 0
        times.append(time.monotonic() - begun)
    seconds = min(times)
    wrong: list[str] = []
    codes: Counter[int] = Counter()
    for number in range(count):
        ended, found = interrupt(stage, number, seconds)
        codes[ended.code] += 1
        wrong += found
    record("faults", {f"{stage.name}/signal": count})
    note("signals", count)
    note("torn", sum(": torn: " in line for line in wrong))
    note("not_identical", sum("other bytes" in line for line in wrong))
    note("uncaught", sum("a traceback" in line for line in wrong))
    assert not wrong, "\n".join(wrong)
    assert codes[143] + codes[130] >= count // 5, f"hardly any signal came in time: {codes}"
