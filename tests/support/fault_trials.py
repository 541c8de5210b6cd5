"""A fault or a signal and the run after it: what went wrong, and the figures for the budget."""

from __future__ import annotations

import hashlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable

from support.budget import note
from support.fault_shim import Ended, Mode, Point
from support.fault_stages import Stage

MODES = (Mode.KILL, Mode.FULL, Mode.FAIL)
Choice = Callable[[list[int], list[Point]], list[int]]


def points_for(mode: Mode, points: list[Point]) -> list[int]:
    """The numbers of the points at which a mode means something."""
    return [n for n, point in enumerate(points, 1) if mode is not Mode.FULL or point.grows]


def spread(numbers: list[int], points: list[Point], count: int, shift: int) -> list[int]:
    """Evenly spread points; of many writes to one file only the first and the last count."""
    chosen = []
    for number in numbers:
        here = points[number - 1]
        neighbours = (points[number - 2] if number > 1 else None, points[number : number + 1])
        repeated = neighbours[0] == here and neighbours[1] == [here]
        if not (here.call in {"write", "pwrite"} and repeated):
            chosen.append(number)
    step = max(1, len(chosen) // count)
    return chosen[shift % step :: step][:count]


def first_of(call: str, ending: str) -> Choice:
    """The first point of this kind: how the place of a defect is kept when numbers change."""

    def choose(numbers: list[int], points: list[Point]) -> list[int]:
        found = (n for n in numbers if points[n - 1].call == call)
        return [next(n for n in found if points[n - 1].path.endswith(ending))]

    return choose


def trial(stage: Stage, mode: Mode, at: int) -> tuple[list[str], Counter[str]]:
    """One fault and the run after it: what went wrong, and what to count."""
    stage.reset()
    ended = stage.fault(mode, at)
    torn = stage.torn()
    wrong = ending(mode, ended)
    again = stage.run()
    finished = stage.once and again.code == 2  # and it is held to the same bytes below
    if again.code != 0 and not finished:
        wrong.append(f"the next run ends with {again.code}: {again.text[-600:]}")
    left = stage.read(stage.out) if stage.out.exists() else {}
    differing = sorted(
        name for name in left.keys() | stage.after if left.get(name) != stage.after.get(name)
    )
    if differing:
        wrong.append(f"not identical after the next run: {differing}")
    uncaught = [e for e in (ended, again) if "Traceback" in e.text]
    tally = Counter({f"{stage.name}/{mode.name.lower()}": 1})
    tally["torn"] += bool(torn)
    tally["not_identical"] += bool(differing or (again.code and not finished))
    tally["uncaught"] += bool(uncaught)
    tally["tolerated"] += mode is not Mode.KILL and ended.code == 0
    return torn + wrong, tally


def ending(mode: Mode, ended: Ended) -> list[str]:
    """How the disturbed run has to end: killed, or with a message that helps."""
    if mode is Mode.KILL:
        return [] if ended.code == 137 else [f"was not killed: {ended.code}: {ended.text[-300:]}"]
    if "Traceback" in ended.text or "Exception ignored" in ended.text:
        return [f"a traceback: {ended.text[-300:]}"]
    if ended.code == 0:
        return []
    message = ended.text[ended.text.find("error: ") :]
    wrong = [] if ended.code == 1 else [f"ends with {ended.code}: {message}"]
    if not message.startswith("error: ") or "where: /" not in message or "fix: " not in message:
        wrong.append(f"the message does not help: {message!r}")
    if mode is Mode.FULL and "full" not in message:
        wrong.append(f"the message does not say that the disk is full: {message!r}")
    return wrong


def run_points(
    stage: Stage, mode: Mode, choose: Choice, record: Callable[[str, object], None], *, noted: bool
) -> None:
    """Try the chosen points of a stage; the figures go to the budget.

    Args:
        stage: What is disturbed.
        mode: How.
        choose: Takes the numbers at which the mode means something, and all points.
        record: pytest's `record_property`.
        noted: Whether the points count in the budget; those of the quick sample are counted with
            all others.
    """
    points = stage.record()
    tally: Counter[str] = Counter()
    wrong = {}
    tried = choose(points_for(mode, points), points)
    for at in tried:
        found, counted = trial(stage, mode, at)
        tally += counted
        if found:
            point = points[at - 1]
            wrong[f"{at} {point.call} {point.path}"] = found
    if noted:
        note("fault_points", len(tried))
        note(f"fault_points.{stage.name}.{mode.name.lower()}", len(tried))
    for figure in ("torn", "not_identical", "uncaught"):
        note(figure, tally[figure])
    record("faults", dict(tally))
    listed = "\n".join(f"{name}: {'; '.join(found)}" for name, found in wrong.items())
    assert not wrong, f"{len(wrong)} of {len(tried)} points:\n{listed}"


def check_order(
    points: list[Point], published: set[str], last: str = "", journals: Iterable[str] = ()
) -> set[str]:
    """Power loss: after its last write a file is synced, then renamed, then its folder synced.

    Args:
        points: Of an undisturbed run.
        published: Paths of the files and folders that readers see.
        last: Of them the one that may only come when all others are on disk; "" where none is.
        journals: Files that grow in place; they are on disk before anything published is renamed.

    Returns:
        What was published.
    """
    dirty: set[str] = set()
    loose: set[str] = set()
    arrived = set()
    for point in points:
        if point.call in {"write", "pwrite", "writev"}:
            # safetensors renames its temporary file by a system call that the shim does not see
            if not point.path.rpartition("/")[2].startswith(".tmp"):
                dirty.add(point.path)
        elif point.call == "unlink":
            dirty.discard(point.path)
        elif point.call == "fsync":
            dirty.discard(point.path)
            loose = {path for path in loose if path.rpartition("/")[0] != point.path}
        elif point.call == "rename":
            moved = {path for path in dirty if f"{path}/".startswith(f"{point.other}/")}
            if point.path in published:
                late = moved | (dirty & set(journals))
                assert not late, f"{point.path} has its name before these are on disk: {late}"
            dirty -= moved
            dirty |= {point.path + path.removeprefix(point.other) for path in moved}
            if last and point.path == last:
                late = loose & published
                assert not late, f"the commit comes before these names are on disk: {late}"
            loose.add(point.path)
            arrived.add(point.path)
        elif point.call == "open" and point.path in published:
            raise AssertionError(f"written in place: {point.path}")
    assert not loose & published, f"renamed, but the folder was not synced: {loose & published}"
    return arrived


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
    ended = stage.run(signal=int(chosen), after=after)
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
