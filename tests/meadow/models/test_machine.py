"""Libraries, hardware and the process group, as every run writes them down."""

from __future__ import annotations

import json
import platform

from meadow.models.machine import ProcessGroup, hardware, versions


def test_a_library_that_is_not_here_is_left_out() -> None:
    found = versions(["pyarrow", "no-such-library"])
    assert list(found) == ["python", "pyarrow"]
    assert found["python"] == platform.python_version()


def test_hardware_is_json_and_says_what_bits_depend_on() -> None:
    found = json.loads(json.dumps(hardware()))
    assert {"processor", "cpu_capability", "threads", "gpus"} <= set(found)
    assert found["threads"] >= 1


def test_every_batch_has_one_owner(monkeypatch) -> None:
    groups = [ProcessGroup(rank, 3) for rank in range(3)]
    for index in range(10):
        assert sum(group.owns(index) for group in groups) == 1
    assert [group.first for group in groups] == [True, False, False]
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ProcessGroup.from_environment() == ProcessGroup(2, 4)


def test_one_process_waits_for_nobody() -> None:
    ProcessGroup().wait()
    ProcessGroup().leave()
