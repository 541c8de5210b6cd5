"""Run many inputs of one kind in a child process that cannot take the tests down with it.

The child has a cap on memory and, for each input, on processor time. It writes down which input it
is at, so that one that ends the process (a crash in C, an endless loop, too much memory) is known;
the run goes on behind it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.budget import note, sample
from support.fuzz.mutate import mutant

ROOT = Path(__file__).resolve().parents[3]
CPU_SECONDS = 20
"""What one input may take at most, on a machine however slow."""
MEMORY = 3 * 1024**3
"""Address space that the inputs may take on top of what the loaded libraries have."""
RESTARTS = 25


class SilentDifferenceError(AssertionError):
    """Damaged input was accepted and gives something else than the original."""


@dataclass
class Failure:
    """An input that ended in something other than rows, rejects or an expected error."""

    name: str
    how: str
    silent: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.how}"


@dataclass
class Outcome:
    """What became of the inputs."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self, kind: str) -> str:
        """One line for people."""
        worst = ", ".join(f"{name} {seconds:.2f} s" for seconds, name in self.slowest[:2])
        counted = ", ".join(f"{name} {n:,}" for name, n in self.outcomes.most_common())
        return (
            f"{kind}: {self.inputs:,} inputs in {self.seconds:.0f} s, {len(self.failures)} "
            f"failures ({counted}; slowest {worst})"
        )


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        name: What it is called in the folder of inputs that once failed.
        make: The input of a number, from a generator that its name and number seed.
        check: Raises where the input ends in something unexpected; else what became of it, in a
            folder of the kind's own.
        count: Inputs of a whole night.
        figure: The figure of the budget that they count for.
        rows: Rows (lines, say) in one input, where the figure counts these.
        prepare: What the folder needs.
    """

    name: str
    make: Callable[[random.Random, int], bytes]
    check: Callable[[bytes, Path], str]
    count: int = 0
    figure: str = ""
    rows: int = 1
    prepare: Callable[[Path], object] | None = None

    def names(self, share: int) -> list[str]:
        """The names of every share-th input of a night, at least two."""
        return [f"{self.name}:#{index}" for index in range(max(2, self.count // share))]

    def read(self, name: str) -> bytes:
        """The input `#number`, or that of a file."""
        if name.startswith("#"):
            return self.make(random.Random(f"{self.name} {name[1:]}"), int(name[1:]))
        return Path(name).read_bytes()


def mutants(
    seeds: Sequence[bytes] | Callable[[], Sequence[bytes]],
    tokens: Sequence[bytes],
    *,
    most: int = 5,
    binary: bool = False,
) -> Callable[[random.Random, int], bytes]:
    """A kind's `make`: mutants of its seeds; of a binary format every fourth is one of a text."""

    def make(chance: random.Random, index: int) -> bytes:
        seed = chance.choice(seeds() if callable(seeds) else seeds)
        return mutant(chance, seed, tokens, most=most, binary=binary and index % 4 != 0)

    return make


def fuzz(kind: Kind) -> None:
    """Check a night's inputs of a kind, all or every MEADOW_SAMPLE-th part of them.

    Raises:
        AssertionError: An input failed; the message says how to see it again.
    """
    outcome = run(kind.names(sample()))
    print(outcome.summary(kind.name))
    note(f"fuzz_inputs.{kind.figure}", outcome.inputs * kind.rows)
    note("uncaught", sum(not failure.silent for failure in outcome.failures))
    note("silent_differences", sum(failure.silent for failure in outcome.failures))
    report(outcome)


def report(outcome: Outcome) -> None:
    """Fail with every input that failed."""
    shown = "\n".join(str(failure)[:1500] for failure in outcome.failures[:10])
    how = "see one again: PYTHONPATH=tests python -m support.fuzz check KIND '#N'"
    assert not outcome.failures, f"{len(outcome.failures)} inputs failed; {how}\n{shown}"


def run(names: Sequence[str]) -> Outcome:
    """Check inputs by name, `kind:#index` or `kind:path`, and go on behind a crash."""
    outcome = Outcome()
    began = time.monotonic()
    rest = list(names)
    with tempfile.TemporaryDirectory(prefix="meadow-fuzz-") as folder:
        for _ in range(RESTARTS):
            if not rest:
                break
            rest = _run_child(rest, Path(folder), outcome)
        if rest:
            outcome.failures.append(Failure(rest[0], f"given up, {len(rest)} inputs left"))
    outcome.slowest.sort(reverse=True)
    outcome.seconds = time.monotonic() - began
    return outcome


def _run_child(names: list[str], folder: Path, outcome: Outcome) -> list[str]:
    """One child process; the names that it did not come to."""
    listed, told = folder / "names.json", folder / "told.jsonl"
    listed.write_text(json.dumps(names))
    told.unlink(missing_ok=True)
    paths = [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    one_thread = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "support.fuzz", "child", str(listed), str(told)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **one_thread},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    for line in lines:
        found = json.loads(line)
        outcome.inputs += 1
        outcome.outcomes[found["outcome"]] += 1
        outcome.slowest = sorted([*outcome.slowest, (found["seconds"], found["name"])])[-5:]
        if found["outcome"] in {"uncaught", "silent"}:
            silent = found["outcome"] == "silent"
            outcome.failures.append(Failure(found["name"], found["how"], silent))
    if ended.returncode == 0 and len(lines) == len(names):
        return []
    error = ended.stderr.decode("utf-8", "replace")[-1500:]
    at = names[min(len(lines), len(names) - 1)]
    how = f"the process ended with {ended.returncode} (-24: over {CPU_SECONDS} s)\n{error}"
    outcome.failures.append(Failure(at, how))
    outcome.inputs += 1
    outcome.outcomes["uncaught"] += 1
    return names[len(lines) + 1 :]


def child(listed: Path, told: Path) -> None:
    """Check the listed inputs in this process, and tell of each."""
    names: list[str] = json.loads(listed.read_text())
    scratch = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="meadow-fuzz-", dir=scratch) as base,
        told.open("a", encoding="utf-8", buffering=1) as file,
    ):
        from support.fuzz.kinds import KINDS

        for kind in dict.fromkeys(name.partition(":")[0] for name in names):
            prepare(KINDS[kind], Path(base) / kind)
        _cap_memory()
        for name in names:
            kind, _, place = name.partition(":")
            _cap_time()
            data = KINDS[kind].read(place)
            began = time.process_time()
            outcome, how = check(KINDS[kind], data, Path(base) / kind)
            seconds = round(time.process_time() - began, 3)
            found = {"name": name, "outcome": outcome, "seconds": seconds, "how": how}
            file.write(json.dumps(found) + "\n")


def prepare(kind: Kind, folder: Path) -> None:
    """Make the folder that a kind works in, and what it needs there."""
    folder.mkdir()
    if kind.prepare is not None:
        kind.prepare(folder)


def check(kind: Kind, data: bytes, folder: Path) -> tuple[str, str]:
    """What became of one input, and the traceback where it failed."""
    from meadow.errors import MeadowError

    try:
        return kind.check(data, folder), ""
    except MeadowError as error:
        str(error).encode("utf-8", "surrogatepass")
        return "refused", ""
    except SilentDifferenceError as error:
        return "silent", str(error)[:2000]
    except Exception:
        return "uncaught", traceback.format_exc()[-2500:]


def _cap_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _cap_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime) + CPU_SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
