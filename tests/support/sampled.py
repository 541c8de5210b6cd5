"""Where CPU time goes, by module: samples of the stack, each weighed by the time since the last.

A deterministic profiler slows Python down and C not at all, and so blames small functions; a sample
now and then changes nothing. The time of threads inside of C libraries counts to the module that
called them.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")
_INTERVAL = 0.004


def sampled(work: Callable[[], Result], package: str = "meadow") -> tuple[Result, dict[str, float]]:
    """Run `work` in the main thread; its result, and CPU seconds by module of `package`.

    A sample counts to the innermost module of the package on the stack. Those with less than 1.5 %
    are put together as "other", which stands last.
    """
    spent: Counter[str] = Counter()
    names: dict[str, str] = {}
    root = Path(str(import_module(package).__file__)).parent
    last = time.process_time()

    def module_of(frame: FrameType | None) -> str:
        while frame:
            path = frame.f_code.co_filename
            if path not in names:
                inside = Path(path).is_relative_to(root)
                names[path] = (
                    ".".join(Path(path).relative_to(root).with_suffix("").parts) if inside else ""
                )
            if names[path]:
                return names[path]
            frame = frame.f_back
        return "other"

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.process_time()
        spent[module_of(frame)] += now - last
        last = now

    before = signal.signal(signal.SIGPROF, take)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
    try:
        result = work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    total = sum(spent.values())
    large = {name: value for name, value in spent.most_common() if value >= 0.015 * total}
    large.pop("other", None)
    rest = total - sum(large.values())
    return result, {**large, "other": rest} if rest > 0 else large
