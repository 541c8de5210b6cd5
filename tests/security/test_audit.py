"""The dependencies: pinned without exception, and held against the database of known weaknesses."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_THE_BUILD = re.compile(r"nvidia-|cuda-|triton$")
"""What a build of torch for GPUs brings along; which of them depends on the machine."""


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    """Name -> version of constraints.txt."""
    found: dict[str, str] = {}
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, separator, version = line.partition("==")
            assert separator, line
            assert canonicalize_name(name) not in found, f"{name} stands twice"
            found[canonicalize_name(name)] = version
    return found


def requirements(root: Path) -> list[Requirement]:
    """Everything that pyproject.toml asks for, in any extra."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for part in (project["dependencies"], *extras) for text in part]


def test_every_requirement_is_pinned_to_a_version_that_it_allows(
    root: Path, pins: dict[str, str]
) -> None:
    wanted = requirements(root)
    assert len(wanted) > 40
    for requirement in wanted:
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_all_that_they_pull_in_is_pinned_too(root: Path, pins: dict[str, str]) -> None:
    """The closure over what is installed: no release of a stranger comes in by itself."""
    waiting = [(item.name, item.extras) for item in requirements(root)]
    seen: set[tuple[str, frozenset[str]]] = set()
    loose = set()
    while waiting:
        name, extras = waiting.pop()
        key = (canonicalize_name(name), frozenset(extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform, or of an extra that is not installed
        if key[0] not in pins and not OF_THE_BUILD.match(key[0]):
            loose.add(key[0])
        for text in found.requires or ():
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras)):
                waiting.append((needed.name, needed.extras))
    assert len(seen) > 100
    assert not loose - {"setuptools", "pip", "wheel"}


@pytest.mark.slow
def test_no_pinned_version_has_a_known_weakness(root: Path, tmp_path: Path) -> None:
    """Asks the database; skipped where it cannot be reached or knows none of the names."""
    pytest.importorskip("pip_audit", reason="pip-audit is not installed: make setup")
    report = tmp_path / "audit.json"
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", root / "constraints.txt", "--no-deps",
         "--disable-pip", "--progress-spinner", "off", "--timeout", "15", "--format", "json",
         "--output", report],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if not report.is_file():
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"the database of weaknesses cannot be reached: {said[:200]}")
    entries = json.loads(report.read_text())["dependencies"]
    answered = [entry for entry in entries if "skip_reason" not in entry]
    if not answered:
        pytest.skip(f"the database answers for none of the {len(entries)} pinned versions")
    weak = {
        f"{entry['name']} {entry['version']}": [found["id"] for found in entry["vulns"]]
        for entry in answered
        if entry["vulns"]
    }
    print(f"\n{len(answered)} of {len(entries)} pinned versions were looked up")
    assert weak == {}
