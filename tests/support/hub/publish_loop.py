"""Publish again and again in one process: `{"folder", "repository", "tag"}` in, the outcome out.

Further keys are what a `Publisher` takes: "space", "public", "gated", "card", "create_pr".

One JSON object a line on stdin and stdout. Waits are cut short, so that faults cost no time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    real_sleep = time.sleep
    time.sleep = lambda seconds: real_sleep(min(seconds, 0.002))

    from meadow.errors import MeadowError
    from meadow.hub.publish import Publisher

    for line in sys.stdin:
        task = json.loads(line)
        outcome: dict[str, object]
        try:
            folder, repository, tag = (task.pop(key) for key in ("folder", "repository", "tag"))
            name = f"{repository}@{tag}" if tag else repository
            done = Publisher(**task).publish(Path(folder), name)
            outcome = {"commit": done.commit, "made_commit": done.made_commit}
            if done.space is not None:
                outcome["space"] = {
                    "commit": done.space.commit,
                    "made_commit": done.space.made_commit,
                    "changed": list(done.space.plan.changed),
                }
        except MeadowError as fault:
            outcome = {
                "fault": str(fault),
                "kind": type(fault).__name__,
                "code": int(fault.exit_code),
            }
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
