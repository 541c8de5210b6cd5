"""The wheel in an empty environment: only `meadow` and what it depends on, and no checkout."""

import json
import os
import re
import subprocess
import sys
import urllib.request
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

AWAY = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(root)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; its dependencies, and no other, are linked into it."""
    folder = tmp_path_factory.mktemp("away")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    (site,) = (folder / "env" / "lib").glob("*/site-packages")
    described = zipfile.ZipFile(wheel).read(f"{wheel.name.partition('-py3')[0]}.dist-info/METADATA")
    needed = re.findall(r"^Requires-Dist: (.+)$", described.decode(), re.MULTILINE)
    for name in _closure(needed):
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if not (site / top).exists():
                (site / top).symlink_to(str(found.locate_file(top)))
    return folder


def _closure(requirements: list[str]) -> set[str]:
    """The names of everything that has to be installed for these requirements."""
    found: set[str] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = wanted.name.lower()
        if name not in found:
            found.add(name)
            todo += [
                (Requirement(text), each)
                for text in metadata.requires(name) or ()
                for each in ("", *wanted.extras)
            ]
    return found


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A command of the environment, run outside of the checkout."""
    return subprocess.run(
        [folder / "env" / "bin" / "meadow", *map(str, words)],
        capture_output=True, text=True, cwd=folder, env=AWAY, check=False,
    )  # fmt: skip


def test_the_wheel_ships_meadow_alone_and_all_of_its_data(wheel: Path, root: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"meadow", names[-1].split("/")[0]}
    listed = subprocess.run(
        ["git", "ls-files", "meadow", "data_cards"],
        check=True, capture_output=True, text=True, cwd=root,
    ).stdout.split()  # fmt: skip
    wanted = {name if name.startswith("meadow/") else f"meadow/{name}" for name in listed}
    present = {name for name in wanted if (root / name).is_file() or "data_cards" in name}
    assert present - set(names) == set()
    assert not any("__pycache__" in name for name in names)


def test_the_wheel_builds_mixes_checks_reports_and_browses(folder: Path) -> None:
    python = folder / "env" / "bin" / "python"
    absent = ["pipelines", "torch"]
    code = (
        f"import meadow, importlib.util as u; print(meadow.__file__, *map(u.find_spec, {absent}))"
    )
    found = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd=folder, env=AWAY
    ).stdout.split()
    assert found[0].startswith(str(folder))
    assert found[1:] == ["None"] * 2
    ran = run(folder, "demo", "--data", "--out", "demo")
    assert ran.returncode == 0, ran.stderr
    samples = Path(found[0]).parent / "samples"
    ran = run(folder, "build", "--recipe", "demo", "--raw", samples, "--out", "corpus")
    assert ran.returncode in (0, 3), ran.stderr  # the samples hold broken rows on purpose
    exam = f"usmle_self_assessment={samples / 'exam'}"
    built = json.loads((folder / "corpus" / "MANIFEST.json").read_text())["sources"]
    every = [word for name in built for word in ("--accept-licence", name)]
    for words in (
        ("mix", "demo", "--corpus", "corpus", "--exam", exam, *every, "--out", "mix"),
        ("check", "mix"),
        ("report", "mix", "--corpus", "corpus"),
        ("show", "mix", "-n", "1"),
    ):
        ran = run(folder, *words)
        assert ran.returncode == 0, ran.stderr
    assert (folder / "mix" / "report" / "report.html").is_file()
    browse = [folder / "env" / "bin" / "meadow", "browse", "mix", "--no-open", "--json"]
    with subprocess.Popen(
        browse, stdout=subprocess.PIPE, text=True, cwd=folder, env=AWAY
    ) as server:
        assert server.stdout is not None
        document = "".join(iter(server.stdout.readline, "}\n")) + "}"
        with urllib.request.urlopen(json.loads(document)["address"]) as page:
            assert b"<html" in page.read()
        server.terminate()


def test_what_is_only_in_a_checkout_is_said(folder: Path) -> None:
    for words in (("train", "tiny"), ("demo", "--out", "whole")):
        ran = run(folder, *words)
        assert ran.returncode == 1
        assert "checkout" in ran.stderr
