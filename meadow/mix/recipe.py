"""Recipes as data: what is built, and what is mixed out of it.

A recipe is one TOML file with a `[build]` table (sources, origins, style), a `[mix]` table (parts,
quotas, weights, gates), or both. The files in recipes/ are known by their name; any other file is
given by its path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, PrivateAttr, field_validator, model_validator

from meadow.config import Settings, did_you_mean, parse_settings, read_settings
from meadow.errors import FileError, UsageError
from meadow.exams.overlap import SEMANTIC_THRESHOLD
from meadow.licenses import LICENSES
from meadow.schema import Style, Task
from meadow.source import OriginName

RECIPES = Path(__file__).parent / "recipes"

Format = Literal["instruction", "messages", "reasoning"]
"""Columns of a row: the record's; with chat messages; with the reasoning of its output as well."""
OPTIONS = frozenset({
    "seed", "validation", "format", "order", "deduplicate", "threshold", "drop", "errata",
    "semantic", "semantic_threshold",
})  # fmt: skip
"""The keys of a mix that `meadow mix` has an option for; the others are given with --set."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Expectation(Settings):
    """How many rows there ought to be; a miss is reported, never filled.

    Args:
        rows: The expected number.
        tolerance: The share by which the found number may differ.
    """

    rows: int = Field(ge=0)
    tolerance: float = Field(default=0.02, ge=0, le=1)

    def met(self, found: int) -> bool:
        """Whether the found number lies within the tolerance."""
        return abs(found - self.rows) <= self.tolerance * self.rows


class _Named(Settings):
    """A table of a recipe file, which knows the file."""

    _file: Path = PrivateAttr(default=Path())

    @property
    def name(self) -> str:
        """The recipe's name: that of its file, and the config of a mix."""
        return self._file.stem

    @property
    def is_own(self) -> bool:
        """Whether it is no recipe of the project, of whatever name."""
        return self._file.parent != RECIPES


class BuildRecipe(_Named):
    """What `meadow build --recipe` builds.

    Args:
        sources: The sources' names, in order.
        origin: Where the rows come from, unless `origins` says otherwise.
        origins: Source -> origin, for the sources that differ.
        style: Which instruction texts are used.
        answers: Which answers of a question are taken (stack_exchange).
        note_types: Note type -> fields of its question and its answer (anki).
        expectations: Source -> how many records the build ought to give.
    """

    sources: tuple[str, ...] = Field(min_length=1)
    origin: OriginName = OriginName.UPSTREAM
    origins: dict[str, OriginName] = Field(default={})
    style: Style = Style.MEADOW
    answers: Literal["all", "top", "accepted"] = "all"
    note_types: dict[str, tuple[str, ...]] = Field(default={})
    expectations: dict[str, Expectation] = Field(default={})

    @property
    def wishes(self) -> dict[str, tuple[int, float]]:
        """Source -> how many candidate rows there ought to be, and the tolerance."""
        return {name: (want.rows, want.tolerance) for name, want in self.expectations.items()}

    def origin_of(self, source: str) -> OriginName:
        """The origin that a source is built from."""
        return self.origins.get(source, self.origin)

    @model_validator(mode="after")
    def _known_sources(self) -> BuildRecipe:
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("a source is named twice")
        for table in ("origins", "expectations"):
            for source in getattr(self, table):
                if source not in self.sources:
                    raise ValueError(f"{table} names {source!r}, which is not among the sources")
        return self


class Part(Settings):
    """The rows of one source, or of one subset of it, and how many of them are taken.

    Args:
        source: The source's name.
        subset: Only the rows of that subset; a part without subset takes what no other part names.
        quota: At most that many rows, drawn by hash.
        weight: How often a row stands in the mix: 2 repeats each row, 0.5 draws half of them.
        labels: Output text -> weight, for classification sources; multiplies `weight`.
        expected: How many rows there ought to be after all steps, without repeats.
        tolerance: The share by which the found number may differ.
        published_2023: The number that the 2023 README prints, where it lists this part.
        note: Why a number is what it is; printed with the counts.
    """

    source: str
    subset: str | None = None
    quota: int | None = Field(default=None, ge=0)
    weight: float = Field(default=1.0, ge=0, le=100)
    labels: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(default={})
    expected: int | None = Field(default=None, ge=0)
    tolerance: float = Field(default=0.02, ge=0, le=1)
    published_2023: int | None = Field(default=None, ge=0)
    note: str = ""

    @property
    def title(self) -> str:
        """`source` or `source/subset`."""
        return self.source if self.subset is None else f"{self.source}/{self.subset}"

    def met(self, found: int) -> bool | None:
        """Whether the found number is the expected one; None where nothing is expected."""
        if self.expected is None:
            return None
        return Expectation(rows=self.expected, tolerance=self.tolerance).met(found)


class MixRecipe(_Named):
    """What `meadow mix` makes of a corpus.

    Args:
        description: One or two sentences; printed, and written to the manifest.
        parts: What is taken; empty: every source of the corpus that is not an exam.
        seed: The seed of every draw.
        validation: The share of rows that goes to the split validation, cluster by cluster.
        format: Rows of instruction, input and output; with chat `messages` beside them; or with
            those and, where the output shows one, its `reasoning`.
        order: Rows shuffled by a hash of seed and id, or source by source as in the corpus.
        deduplicate: Nothing, equal rows, or near duplicates too.
        threshold: The Jaccard similarity from which two rows are near duplicates.
        drop: What decontamination removes: nothing, rows with an exam's stem, or only those with
            its answer too; the report comes in any case.
        errata: Whose faulty questions are dropped: `known`, or files beside the known ones.
        semantic: A folder with an embedding model, to look for reworded exam items too; or nothing.
        semantic_threshold: The cosine similarity from which a row is a rewording.
        exam_sources: Sources that are exams elsewhere and are taken all the same.
        quota: At most that many rows of each source, where `parts` is empty, drawn by hash; of
            format "reasoning" those with a reasoning first.
        exclude: Sources, or subsets as source/subset, that are left out where `parts` is empty.
        commercial: Only rows whose licence is settled and allows commercial use.
        licences: Only rows under one of these licences; empty: under any.
        tasks: Only rows of one of these tasks; empty: of any.
        arithmetic: Remarks on the expected numbers, printed below the table.
    """

    description: str = ""
    parts: tuple[Part, ...] = ()
    seed: int = 2023
    validation: float = Field(default=0.01, ge=0, lt=1)
    format: Format = "instruction"
    order: Literal["shuffled", "source"] = "shuffled"
    deduplicate: Literal["none", "exact", "near"] = "near"
    threshold: float = Field(default=0.7, gt=0, le=1)
    drop: Literal["none", "stem", "stem+answer"] = "none"
    errata: tuple[str, ...] = ()
    semantic: str = ""
    semantic_threshold: float = Field(default=SEMANTIC_THRESHOLD, gt=0, le=1)
    exam_sources: tuple[str, ...] = ()
    quota: int | None = Field(default=None, ge=0)
    exclude: tuple[str, ...] = ()
    commercial: bool = False
    licences: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    arithmetic: tuple[str, ...] = ()

    _changed: dict[str, Any] = PrivateAttr(default={})

    @property
    def changes(self) -> dict[str, Any]:
        """The keys that are not as in the recipe's file and that no option of their own gives."""
        return self._changed

    @model_validator(mode="after")
    def _parts_once(self) -> MixRecipe:
        titles = [part.title for part in self.parts]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"parts name {', '.join(twice)} twice")
        return self

    @field_validator("licences")
    @classmethod
    def _known_licences(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in LICENSES:
                hint = did_you_mean(name, LICENSES) or f"one of {', '.join(LICENSES)}"
                raise ValueError(f"unknown licence {name!r}: {hint.rstrip()}")
        return names


class Recipe(Settings):
    """One recipe file."""

    title: str = ""
    build: BuildRecipe | None = None
    mix: MixRecipe | None = None


def recipe_names() -> list[str]:
    """The recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by its name or its path.

    Raises:
        UsageError: There is no such recipe, or a key or value in it is wrong.
        FileError: The file cannot be read.
    """
    path = _find(name_or_path)
    recipe = read_settings(path, Recipe)
    for table in (recipe.build, recipe.mix):
        if table is not None:
            table._file = path
    return recipe


def load_build_recipe(name_or_path: str | Path) -> BuildRecipe:
    """The `[build]` table of a recipe; see `load_recipe`."""
    return load_recipe(name_or_path).build or _refuse_without("build", name_or_path)


def load_mix_recipe(name_or_path: str | Path) -> MixRecipe:
    """The `[mix]` table of a recipe; see `load_recipe`."""
    return load_recipe(name_or_path).mix or _refuse_without("mix", name_or_path)


def _refuse_without(table: str, name_or_path: str | Path) -> NoReturn:
    having = [name for name in recipe_names() if getattr(load_recipe(name), table) is not None]
    raise UsageError(
        f"this recipe has no [{table}] table",
        where=str(name_or_path),
        fix=f"{table} with one that has: " + ", ".join(having),
    )


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if (RECIPES / f"{text}.toml").is_file() and "/" not in text:
        return RECIPES / f"{text}.toml"
    path = Path(text)
    if path.is_file():
        return path
    if path.suffix == ".toml" or "/" in text:
        raise FileError("there is no such recipe file", where=text, fix="check the path")
    names = recipe_names()
    raise UsageError(
        f"unknown recipe {text!r}",
        fix=f"{did_you_mean(text, names)}one of {', '.join(names)}, or the path of a .toml file",
    )


def changed(recipe: MixRecipe, **values: Any) -> MixRecipe:
    """A mix recipe with the values of the command line that were given (not None).

    Raises:
        UsageError: A value is not what the recipe's key takes.
    """
    given = {name: value for name, value in values.items() if value is not None}
    result = parse_settings(recipe.model_dump() | given, MixRecipe, where="", fix="mend the option")
    result._file = recipe._file
    told = result.model_dump(mode="json", include=given.keys() - OPTIONS, exclude_unset=True)
    result._changed = recipe._changed | told
    return result
