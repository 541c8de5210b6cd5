"""Publish, pull, verify, open and fetch in one process: a task in, the outcome out.

One JSON object a line on stdin and stdout. Waits are cut short, so that faults cost no time.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any


def perform(task: dict[str, Any]) -> dict[str, Any]:
    from meadow.hub.pull import pull, pull_to_cache
    from meadow.hub.verify import verify
    from meadow.net.hub import parse_reference

    match task.pop("do"):
        case "publish":
            return publish(**task)
        case "pull":
            pulled = pull(parse_reference(task["name"]), Path(task["folder"]))
            return {"commit": pulled.commit, "fetched": pulled.fetched}
        case "verify":
            found = verify(parse_reference(task["name"]), content=task.get("content", False))
            return {"files": found.files, "findings": [asdict(item) for item in found.findings]}
        case "open":
            return {"folder": str(pull_to_cache(task["name"]))}
        case "fetch":
            return fetch(**task)
    raise ValueError(task)


def publish(folder: str, repository: str, tag: str | None, **options: Any) -> dict[str, Any]:
    """`options` are what a `Publisher` takes."""
    from meadow.hub.publish import Publisher

    name = f"{repository}@{tag}" if tag else repository
    done = Publisher(**options).publish(Path(folder), name)
    outcome: dict[str, Any] = {"commit": done.commit, "made_commit": done.made_commit}
    if done.space is not None:
        outcome["space"] = {
            "commit": done.space.commit,
            "made_commit": done.space.made_commit,
            "changed": list(done.space.plan.changed),
        }
    return outcome


def fetch(folder: str, file: dict[str, Any]) -> dict[str, Any]:
    from meadow.fetch.fetch import Fetcher
    from meadow.source import File, Origin, Source

    origin = Origin((File(**file),), read=lambda *_: iter(()), convert=lambda *_: iter(()))
    source = Source("toy", "Toy", "https://example.org", "Nobody", "mit", False, upstream=origin)
    fetcher = Fetcher(Path(folder) / "raw", Path(folder) / "sources.lock.toml")
    (item,) = fetcher.fetch(fetcher.plan(source))
    return item.to_json()


def main() -> None:
    real_sleep = time.sleep
    time.sleep = lambda seconds: real_sleep(min(seconds, 0.002))

    # after the line above: meadow's clock takes the sleep that it finds when it is defined
    from meadow.errors import MeadowError

    for line in sys.stdin:
        try:
            outcome = perform(json.loads(line))
        except MeadowError as fault:
            kind, code = type(fault).__name__, int(fault.exit_code)
            outcome = {"fault": str(fault), "kind": kind, "code": code}
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
