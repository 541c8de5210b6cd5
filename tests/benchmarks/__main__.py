"""`make bench`: run one benchmark or all of them; the last line of the output is one JSON object.

Each result also goes into docs/benchmarks.json and docs/benchmarks.md, in the place of its own
former one. All of them run one after the other, each in a process of its own; then the last line
holds every ratio under "<benchmark>: <what>". Where a target is missed the command says which, and
fails. `--record` measures what takes too long for every run, one benchmark at a time, in the
background of a day: a million rows, a peer that needs ten minutes.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.results import DOCS, flat, keep, lines, load, verdicts, write


def main() -> None:
    """Run the benchmarks that the command line names."""
    names = sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--size-mb", type=int)
    parser.add_argument("--record", action="store_true", help="what takes too long for every run")
    parser.add_argument("--render", action="store_true", help="only write benchmarks.md again")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where results are kept")
    arguments = parser.parse_args()
    if arguments.render:
        write(load(arguments.docs), arguments.docs)
        return
    if len(arguments.name) == 1:
        module = importlib.import_module(f"benchmarks.bench_{arguments.name[0]}")
        if arguments.record and not hasattr(module, "record"):
            parser.error(f"{arguments.name[0]} has nothing that is recorded")
        found = module.record() if arguments.record else module.main(arguments.size_mb)
        # who has not what it needs leaves the page as it is
        result = (
            keep(found, arguments.docs, recorded=arguments.record) if found["ratios"] else found
        )
        print("\n".join(lines(arguments.name[0], result)))
    elif arguments.record:
        parser.error("--record takes one benchmark")
    else:
        options = ["--docs", str(arguments.docs)]
        if arguments.size_mb:
            options += ["--size-mb", str(arguments.size_mb)]
        result = run_all(arguments.name or names, options)
    print(json.dumps(result), flush=True)
    missed = [what for what, _, _, met in verdicts(result) if met is False]
    if missed or result.get("failed"):
        parts = {"missed": missed, "failed": result.get("failed", [])}
        sys.exit("; ".join(f"{how}: {', '.join(what)}" for how, what in parts.items() if what))


def run_all(names: list[str], options: list[str]) -> dict[str, Any]:
    """Each benchmark in its own process; all ratios, targets and limits together.

    One that fails is named under "failed", and the others still run.
    """
    together: dict[str, Any] = {"bench": "all"}
    together |= {part: {} for part in ("ratios", "targets", "limits", "not_run")}
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "benchmarks", name, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            line = ""
            for line in child.stdout:
                print(line, end="", flush=True)
        print(f"== {name} took {time.monotonic() - started:.0f} s", flush=True)
        try:
            result = json.loads(line)  # there also where a target was missed
        except ValueError:
            failed.append(name)
            continue
        for part, values in flat(result).items():
            together[part] |= {f"{name}: {what}": value for what, value in values.items()}
    print("== all\n" + "\n".join(lines("", together)), flush=True)
    return {**together, "failed": failed} if failed else together


if __name__ == "__main__":
    main()
