"""Recipes: every one of the project loads, and a wrong key is named with the nearest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from meadow.errors import ExitCode, FileError, UsageError
from meadow.licenses import LICENSES
from meadow.mix.recipe import (
    RECIPES,
    Expectation,
    changed,
    load_build_recipe,
    load_mix_recipe,
    load_recipe,
    recipe_names,
)
from meadow.schema import Style
from meadow.source import OriginName
from meadow.sources import SOURCES


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_names_known_sources(path: Path) -> None:
    recipe = load_recipe(path.stem)
    assert recipe.build or recipe.mix
    for name in recipe.build.sources if recipe.build else ():
        assert name in SOURCES
    for part in recipe.mix.parts if recipe.mix else ():
        assert part.source in SOURCES
    assert load_recipe(path) == recipe


def test_the_recipes_of_the_issue_are_there() -> None:
    assert {"paper-160k", "medalpaca-2023", "clean", "full", "demo", "meadow-2026"} <= set(
        recipe_names()
    )


def test_the_recipe_of_today_builds_what_it_can_take() -> None:
    recipe = load_recipe("meadow-2026")
    assert recipe.build is not None
    assert recipe.mix is not None
    free = {
        name
        for name, source in SOURCES.items()
        if source.publishable in ("yes", "per row")
        and not source.exam
        and not LICENSES[source.license].non_commercial
    }
    assert set(recipe.build.sources) == free
    assert (recipe.mix.commercial, recipe.mix.format) == (True, "reasoning")


def test_full_builds_every_source_but_the_baselines_and_pointers() -> None:
    recipe = load_build_recipe("full")
    # miriad: of papers of many licences, and larger than all the others together
    assert set(recipe.sources) == set(SOURCES) - {"alpaca", "miriad"}
    assert recipe.style is Style.MEADOW
    assert recipe.origin_of("medqa") is OriginName.UPSTREAM


def test_the_arithmetic_of_2023_holds() -> None:
    paper = load_mix_recipe("paper-160k")
    assert sum(part.expected or 0 for part in paper.parts) == 160_076
    mix = load_mix_recipe("medalpaca-2023")
    assert sum(part.published_2023 or 0 for part in mix.parts) == 229_438
    assert sum(part.expected or 0 for part in mix.parts) == 229_438 - 10_178 + 8_676 + 10_178
    assert mix.exam_sources == ("mmmlu",)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("[mix]\nvaldation = 0.1\n", "mix.valdation", "validation"),
        ("[mix]\n[[mix.parts]]\nsource = 'medqa'\nqouta = 3\n", "mix.parts.0.qouta", "quota"),
        ("[build]\nsources = ['medqa']\nstile = '2023'\n", "build.stile", "style"),
        ("[build]\nsources = ['x']\n[build.expectations.x]\nrow = 3\n",
         "build.expectations.x.row", "rows"),
        ("[mixx]\n", "mixx", "mix"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_with_file_and_nearest(
    tmp_path: Path, text: str, key: str, near: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert caught.value.exit_code is ExitCode.USAGE
    assert f"unknown key {key!r}" in caught.value.what
    assert caught.value.where == str(path)
    assert f"did you mean {near!r}" in caught.value.fix


@pytest.mark.parametrize(
    "text",
    [
        "[mix]\nvalidation = 'much'\n",
        "[mix]\ndrop = 'everything'\n",
        "[mix]\nformat = 'xml'\n",
        "[mix\n",
        "[build]\nsources = []\n",
        "[build]\nsources = ['medqa', 'medqa']\n",
        "[build]\nsources = ['medqa']\n[build.origins]\nanki = 'upstream'\n",
        "[mix]\n[[mix.parts]]\nsource = 'medqa'\n[[mix.parts]]\nsource = 'medqa'\n",
    ],
)
def test_a_wrong_value_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_recipe(write(tmp_path, text))


def test_unknown_recipes() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'cleen'") as caught:
        load_mix_recipe("cleen")
    assert "did you mean 'clean'" in caught.value.fix
    with pytest.raises(FileError):
        load_mix_recipe("nowhere/else.toml")
    with pytest.raises(UsageError, match="has no") as caught:
        load_build_recipe("clean")
    assert "full" in caught.value.fix


def test_a_file_and_changed_values(tmp_path: Path) -> None:
    recipe = load_mix_recipe(write(tmp_path, "[mix]\nseed = 7\n"))
    assert (recipe.name, recipe.seed) == ("mine", 7)
    other = changed(recipe, seed=8, drop=None, format="messages")
    assert (other.name, other.seed, other.drop, other.format) == ("mine", 8, "none", "messages")
    with pytest.raises(UsageError):
        changed(recipe, validation=3)
    once = changed(other, parts=[{"source": "medqa", "quota": 3}], seed=9)
    assert changed(once, exclude=("anki",)).changes == {
        "parts": [{"source": "medqa", "quota": 3}], "exclude": ["anki"],
    }  # fmt: skip


def test_expectations() -> None:
    assert Expectation(rows=100, tolerance=0.1).met(90)
    assert not Expectation(rows=100, tolerance=0.1).met(89)
    assert Expectation(rows=0).met(0)
