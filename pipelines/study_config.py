"""A study as data: which files, which held-out items, which mixes, which arms, which comparisons.

Config is data: an unknown key is an error with the file, the key and the nearest known one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from meadow.config import Settings, read_settings
from meadow.errors import UsageError
from meadow.mix.recipe import MixRecipe, load_mix_recipe
from meadow.schema import Style

STUDIES = Path(__file__).parent / "studies"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Question = Literal["RQ1", "RQ2", "RQ3", "RQ4"]
QUESTIONS: dict[Question, str] = {
    "RQ1": "Does fine-tuning beat the base?",
    "RQ2": "Does size matter?",
    "RQ3": "What do LoRA and 8-bit cost against full fine-tuning?",
    "RQ4": "Does better data help?",
}


class HeldOutPart(Settings):
    """Rows of one source that become items.

    Args:
        source: The source.
        per_class: Items per label (classification): balanced, so that a majority guess gains
            nothing.
        items: Items in all (choice).
        options: Options of a choice item: the row's own answer and those of other held-out rows.
    """

    source: str
    per_class: int = Field(default=0, ge=0)
    items: int = Field(default=0, ge=0)
    options: int = Field(default=4, ge=2, le=10)


class StudyExam(Settings):
    """What the arms are scored on: items cut from the corpus, or the files of an exam.

    Args:
        name: For files, one of the exams that `meadow eval run` knows.
        mode: The scoring mode whose accuracy is reported.
        parts: What is cut from the corpus, by cluster.
        files: Paths below the raw folder.
    """

    name: Name
    mode: str = "text"
    parts: tuple[HeldOutPart, ...] = ()
    files: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_origin(self) -> StudyExam:
        if bool(self.parts) == bool(self.files):
            raise ValueError("an exam has either parts or files")
        return self


class StudyMix(Settings):
    """A mix of the study.

    Args:
        recipe: A mix recipe of the project by name, or `inline`.
        inline: A mix recipe written here.
        plant: The share of the held-out items that stays in (an ablation); 0 takes all out.
        keep: The share of the other rows that stays in, drawn by hash.
    """

    recipe: str = ""
    inline: MixRecipe | None = None
    plant: float = Field(default=0.0, ge=0, le=1)
    keep: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _one_recipe(self) -> StudyMix:
        if bool(self.recipe) == (self.inline is not None):
            raise ValueError("a mix has either recipe or inline")
        return self

    def mix_recipe(self, name: str) -> MixRecipe:
        """The recipe itself; one written here gets the name of the mix."""
        if self.inline is None:
            return load_mix_recipe(self.recipe)
        named = self.inline.model_copy()
        named._file = Path(f"{name}.toml")
        return named


class Arm(Settings):
    """One checkpoint of the study: a base, and what is done to it.

    Args:
        name: Unique.
        questions: What it helps to answer.
        base: `raw:PATH` below the raw folder, `arm:NAME`, `random`, or a Hub repository; "" is the
            recipe's own.
        mix: What it is trained on; "" evaluates the base as it is.
        recipe: A training recipe by name; "" is the study's `training` table.
        set: Overrides of the recipe, as of `meadow train --set`.
        allow_contaminated: Train although exam items are in the mix (an ablation).
        seconds: What it takes on the hardware that `machine` names; for --dry-run.
    """

    name: Name
    questions: tuple[Question, ...] = ()
    base: str = ""
    mix: str = ""
    recipe: str = ""
    set: tuple[str, ...] = ()
    allow_contaminated: bool = False
    seconds: int = Field(default=0, ge=0)


class Comparison(Settings):
    """A paired comparison that helps to answer a question: `b` against `a`."""

    question: Question
    a: str
    b: str
    exam: str
    about: str


class Ablation(Settings):
    """Planted items: the contaminated arm against a clean one, by stratum."""

    arm: str
    clean: str
    exam: str


class Study(Settings):
    """A whole study.

    Args:
        title: One line.
        description: What it can and cannot show.
        machine: The hardware that it was made for.
        seed: Of every draw.
        template: The prompt template of training and of cut items.
        style: The instruction style of the build.
        concurrency: Arms at a time, one thread each on a processor.
        files: `source` or `source:subset` -> paths below the raw folder.
        exams, mixes, arms, comparisons, ablation: The study.
        training: The training recipe that the arms share.
        paper: Whether the paper's table stands beside ours.
    """

    title: str
    description: str = ""
    machine: str = ""
    seed: int = 7
    template: str = "short"
    style: Style = Style.MEADOW
    concurrency: int = Field(default=1, ge=1)
    files: dict[str, tuple[str, ...]]
    exams: tuple[StudyExam, ...] = Field(min_length=1)
    mixes: dict[Name, StudyMix]
    arms: tuple[Arm, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    ablation: Ablation | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    paper: bool = True

    @model_validator(mode="after")
    def _names_are_known(self) -> Study:
        arms = [arm.name for arm in self.arms]
        exams = {exam.name for exam in self.exams}
        if len(set(arms)) != len(arms):
            raise ValueError("two arms have one name")
        for place, arm in enumerate(self.arms):
            if arm.mix and arm.mix not in self.mixes:
                raise ValueError(f"arm {arm.name}: there is no mix {arm.mix!r}")
            if arm.base.startswith("arm:") and arm.base[4:] not in arms[:place]:
                raise ValueError(f"arm {arm.name}: {arm.base} is not an earlier arm")
        pairs = [(c.a, c.b, c.exam) for c in self.comparisons]
        if self.ablation is not None:
            pairs.append((self.ablation.clean, self.ablation.arm, self.ablation.exam))
        for a, b, exam in pairs:
            for name in (a, b):
                if name not in arms:
                    raise ValueError(f"a comparison names arm {name!r}, which is not there")
            if exam not in exams:
                raise ValueError(f"a comparison names exam {exam!r}, which is not there")
        return self


def study_names() -> list[str]:
    """The studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def load_study(name_or_path: str | Path) -> Study:
    """Read a study by its name or its path.

    Raises:
        UsageError: There is no such study, or a key or value in it is wrong.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = STUDIES / f"{name_or_path}.toml"
    if not path.is_file():
        raise UsageError(
            f"there is no study {str(name_or_path)!r}",
            fix=f"one of {', '.join(study_names())}, or a TOML file",
        )
    return read_settings(path, Study)
