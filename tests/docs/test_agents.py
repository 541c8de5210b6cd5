"""AGENTS.md shows the house as it is: every room, every module that lies flat, every floor."""

import re
import tomllib
from pathlib import Path


def test_the_tree_names_every_room_and_module(root: Path) -> None:
    tree = (root / "AGENTS.md").read_text(encoding="utf-8").split("```")[1]
    house = root / "meadow"
    rooms = {path.name + "/" for path in house.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.name for path in house.glob("*.py")} - {"__main__.py"}
    inside = tree.partition("\npipelines/")[0].partition("meadow/ ")[2]
    assert set(re.findall(r"^  (\w+/) ", inside, re.MULTILINE)) == rooms
    assert set(re.findall(r"(\w+\.py) ", inside)) == modules
    for name in re.findall(r"^(\w+/) ", tree, re.MULTILINE):
        assert (root / name).is_dir(), name


def test_the_floors_are_those_of_the_contract(root: Path) -> None:
    text = (root / "AGENTS.md").read_text(encoding="utf-8")
    drawn = re.search(r"^    (cli > .+?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert drawn is not None
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = contracts["contracts"][1]["layers"][1:]
    words = [set(re.findall(r"\w+", floor)) for floor in drawn[1].split(">")]
    assert words == [set(re.findall(r"\w+", floor)) for floor in floors]


def test_every_path_that_it_sends_to_is_there(root: Path) -> None:
    text = (root / "AGENTS.md").read_text(encoding="utf-8").replace("```", "")
    for path in re.findall(r"`((?:meadow|tests|training|data_cards|docs)/[\w./*-]+)`", text):
        if "foo" not in path:
            assert list(root.glob(path.rstrip("/"))), path
