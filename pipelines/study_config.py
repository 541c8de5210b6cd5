"""A study as data: which files, which held-out items, which mixes, which arms, which comparisons.

Config is data: an unknown key is an error with the file, the key and the nearest known one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from meadow.config import Settings, read_settings
from meadow.errors import UsageError
from meadow.mix.recipe import MixRecipe, Part, load_mix_recipe
from meadow.schema import Style

STUDIES = Path(__file__).parent / "studies"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Question = Literal["RQ1", "RQ2", "RQ3", "RQ4", "sources"]
Level = Literal["verbatim", "edited", "reordered", "reworded"]
Twins = Literal["leave-one-out", "add-one-in"]
SUBSET = "touched"
"""The subset that the rows of touched items have."""
QUESTIONS: dict[Question, str] = {
    "RQ1": "Does fine-tuning beat the base?",
    "RQ2": "Does size matter?",
    "RQ3": "What do LoRA and 8-bit cost against full fine-tuning?",
    "RQ4": "Does better data help?",
    "sources": "What is each source worth?",
}


class HeldOutPart(Settings):
    """Rows of one source that become items."""

    source: str
    # items per label (classification): balanced, so that a majority guess gains nothing
    per_class: int = Field(default=0, ge=0)
    items: int = Field(default=0, ge=0)  # items in all (choice)
    # options of a choice item: the row's own answer and those of other held-out rows
    options: int = Field(default=4, ge=2, le=10)


class StudyExam(Settings):
    """What the arms are scored on: items cut from the corpus, or the files of an exam."""

    name: Name  # for files, one of the exams that `meadow eval run` knows
    mode: str = "text"  # the scoring mode whose accuracy is reported
    parts: tuple[HeldOutPart, ...] = ()  # what is cut from the corpus, by cluster
    files: tuple[str, ...] = ()  # paths below the raw folder
    # how many of the files' items are asked, drawn by hash; 0 asks all
    items: int = Field(default=0, ge=0)
    # only items of the files whose question has at most so many characters; 0: all
    longest: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_origin(self) -> StudyExam:
        if bool(self.parts) == bool(self.files):
            raise ValueError("an exam has either parts or files")
        return self


class Planted(Settings):
    """Rows of an exam's items that go into a mix, to see what contamination does."""

    exam: str  # an exam that is cut from the corpus
    share: float = Field(default=0.5, gt=0, le=1)  # of its items, drawn by hash
    times: int = Field(default=1, ge=1)  # how often each stands in the mix
    # for "reworded": phrase in lower case -> what stands in its place
    words: dict[str, str] = Field(default_factory=dict)


class Touch(Planted):
    """Planted rows of one mix, disguised at one level (see `pipelines.touched`)."""

    level: Level = "verbatim"


class StudyMix(Settings):
    """A mix of the study."""

    recipe: str = ""  # a mix recipe of the project by name, or `inline`
    inline: MixRecipe | None = None  # a mix recipe written here
    sources: tuple[str, ...] = ()  # only the recipe's parts of these sources; empty: all of them
    # the share of the rows of the corpus that stays in, drawn by hash
    keep: float = Field(default=1.0, gt=0, le=1)
    touch: Touch | None = None  # rows of held-out items that are put into it

    @model_validator(mode="after")
    def _one_recipe(self) -> StudyMix:
        if bool(self.recipe) == (self.inline is not None):
            raise ValueError("a mix has either recipe or inline")
        return self

    def mix_recipe(self, name: str, touched: Iterable[str] = ()) -> MixRecipe:
        """The recipe itself; one that is written or changed here gets the name of the mix.

        `touched` are the sources of the rows that are touched.
        """
        recipe = load_mix_recipe(self.recipe) if self.inline is None else self.inline
        changes: dict[str, Any] = {}
        if self.sources:
            parts = tuple(part for part in recipe.parts if part.source in self.sources)
            changes["parts"] = parts
        if self.touch is not None:
            planted = (Part(source=s, subset=SUBSET, weight=self.touch.times) for s in touched)
            # they are the point of the mix: decontamination reports them, and leaves them in
            changes |= {"parts": (*changes.get("parts", recipe.parts), *planted), "drop": "none"}
        if self.inline is None and not changes:
            return recipe
        named = recipe.model_copy(update=changes)
        named._file = Path(f"{name}.toml")
        return named


class LocalBase(Settings):
    """A base that no Hub has in the form that is needed: a folder which the user makes once."""

    folder: str  # where it is looked for
    variable: str = ""  # the environment variable that names another folder
    make: str  # how it is made; what the error says where it is missing

    def path(self) -> Path:
        """The folder on this machine."""
        return Path(os.environ.get(self.variable) or self.folder).expanduser()


class Arm(Settings):
    """One checkpoint of the study: a base, and what is done to it."""

    name: Name
    questions: tuple[Question, ...] = ()  # what it helps to answer
    # `raw:PATH` below the raw folder, `local:NAME` of the table `bases`, `arm:NAME`, `random`, or a
    # Hub repository; "" is the recipe's own
    base: str = ""
    mix: str = ""  # what it is trained on; "" evaluates the base as it is
    recipe: str = ""  # a training recipe by name; "" is the study's `training` table
    set: tuple[str, ...] = ()  # overrides of the recipe, as of `meadow train --set`
    exams: tuple[str, ...] = ()  # what it is scored on; empty: on all of them
    allow_contaminated: bool = False  # train although exam items are in the mix (an ablation)
    # what it takes on the hardware that `machine` names; for --dry-run
    seconds: int = Field(default=0, ge=0)

    def asked(self, exam: str) -> bool:
        """Whether it is scored on an exam."""
        return not self.exams or exam in self.exams


class Comparison(Settings):
    """A paired comparison that helps to answer a question: `b` against `a`."""

    question: Question  # which one
    # a, b: two arms
    a: str
    b: str
    exam: str  # what they are compared on
    about: str  # what would be so if `b` were better
    # the smallest difference of accuracies that would matter, as a share: equality within it is
    # tested too (TOST). 0: only the difference is
    margin: float = Field(default=0.0, ge=0, lt=1)
    source: str = ""  # which source the two differ in, where that is the question


class Contamination(Planted):
    """What contamination does: twins of an arm whose mixes hold rows of exam items, one a level."""

    arm: str  # the clean arm
    levels: tuple[Level, ...] = Field(default=get_args(Level), min_length=1)  # one twin each
    # overrides of the twins' recipe beside the arm's own, such as a later last step
    set: tuple[str, ...] = ()
    # what one twin takes on the hardware that `machine` names
    seconds: int = Field(default=0, ge=0)


class Worth(Settings):
    """What a source is worth: which arm gets twins by `--leave-one-out` and `--add-one-in`."""

    arm: str  # the arm whose mix is varied; its plan stays as it is elsewhere
    sources: tuple[str, ...] = ()  # which ones are varied; empty: all of its mix
    # for add-one-in: the sources that every twin has; empty: one source is all there is, and what
    # it is compared with is the base itself
    core: tuple[str, ...] = ()
    # overrides of the arm's recipe for it and its twins: where `max_steps` cuts the mix short, the
    # rows of the others would move up into the place of those left out
    set: tuple[str, ...] = ()
    # what one twin takes on the hardware that `machine` names
    seconds: int = Field(default=0, ge=0)


class Study(Settings):
    """A whole study."""

    title: str
    description: str = ""  # what it can and cannot show
    machine: str = ""  # the hardware that it was made for
    seed: int = 7  # of every draw
    template: str = "short"  # the prompt template of training and of cut items
    style: Style = Style.MEADOW  # the instruction style of the build
    concurrency: int = Field(default=1, ge=1)  # arms at a time, one thread each on a processor
    files: dict[str, tuple[str, ...]]  # `source` or `source:subset` -> paths below the raw folder
    # folders that the user makes, by the name that arms use
    bases: dict[Name, LocalBase] = Field(default_factory=dict)
    # exams, mixes, arms, comparisons, contamination, worth: the study
    exams: tuple[StudyExam, ...] = Field(min_length=1)
    mixes: dict[Name, StudyMix]
    arms: tuple[Arm, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    contamination: Contamination | None = None
    worth: Worth | None = None
    # the training recipe that the arms share
    training: dict[str, Any] = Field(default_factory=dict)
    paper: bool = True  # whether the paper's table stands beside ours

    @model_validator(mode="after")
    def _names_are_known(self) -> Study:
        arms = [arm.name for arm in self.arms]
        exams = {exam.name for exam in self.exams}
        if len(set(arms)) != len(arms):
            raise ValueError("two arms have one name")
        for place, arm in enumerate(self.arms):
            if strange := sorted(set(arm.exams) - exams):
                raise ValueError(f"arm {arm.name}: there is no exam {strange[0]!r}")
            if arm.mix and arm.mix not in self.mixes:
                raise ValueError(f"arm {arm.name}: there is no mix {arm.mix!r}")
            if arm.base.startswith("arm:") and arm.base[4:] not in arms[:place]:
                raise ValueError(f"arm {arm.name}: {arm.base} is not an earlier arm")
            if arm.base.startswith("local:") and arm.base[6:] not in self.bases:
                raise ValueError(f"arm {arm.name}: there is no base {arm.base[6:]!r} in bases")
        pairs = [(c.a, c.b, c.exam) for c in self.comparisons]
        if self.contamination is not None:
            pairs.append((self.contamination.arm, self.contamination.arm, self.contamination.exam))
        for a, b, exam in pairs:
            for name in (a, b):
                if name not in arms:
                    raise ValueError(f"a comparison names arm {name!r}, which is not there")
                if not self.arm(name).asked(exam):
                    raise ValueError(f"a comparison needs arm {name} scored on {exam}")
            if exam not in exams:
                raise ValueError(f"a comparison names exam {exam!r}, which is not there")
        cut = {exam.name for exam in self.exams if exam.parts}
        asked = [(f"mix {k}", mix.touch.exam) for k, mix in self.mixes.items() if mix.touch]
        if self.contamination is not None:
            asked.append(("contamination", self.contamination.exam))
        for who, exam in asked:
            if exam not in cut:
                raise ValueError(f"{who} touches exam {exam!r}, which is not cut from the corpus")
        trained = {arm.name for arm in self.arms if arm.mix}
        for table in (self.contamination, self.worth):
            if table is not None and table.arm not in trained:
                raise ValueError(f"no arm {table.arm!r} with a mix to make twins of")
        return self

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def with_contamination(study: Study) -> Study:
    """The study with the twins of its table `contamination`: an arm and a mix for each level."""
    asked = study.contamination
    if asked is None:
        return study
    clean = study.arm(asked.arm)
    mixes, arms = dict(study.mixes), list(study.arms)
    for level in asked.levels:
        touch = Touch(**asked.model_dump(include=set(Planted.model_fields)), level=level)
        name = f"{clean.mix}-{level}"
        mixes[name] = study.mixes[clean.mix].model_copy(update={"touch": touch})
        changes: dict[str, Any] = {"name": f"{clean.name}-{level}", "mix": name, "questions": ()}
        changes |= {"set": (*clean.set, *asked.set), "allow_contaminated": True}
        changes |= {"seconds": asked.seconds or clean.seconds, "exams": (asked.exam,)}
        arms.append(clean.model_copy(update=changes))
    return _checked(study, mixes=mixes, arms=arms)


def source_twins(study: Study, how: Twins) -> Study:
    """The part of a study that says what each source is worth: an arm and its twins, compared.

    Raises:
        UsageError: The study does not say of which arm, or the arm's mix has no such source.
    """
    from meadow.sources import SOURCES

    asked = study.worth
    if asked is None:
        raise UsageError(
            f"the study {study.title!r} does not say of which arm --{how} makes twins",
            fix='a table [worth] with arm = "NAME"',
        )
    arm = study.arm(asked.arm)
    arm = arm.model_copy(update={"set": (*arm.set, *asked.set), "questions": ("sources",)})
    mix = study.mixes[arm.mix]
    inside = list(dict.fromkeys(part.source for part in mix.mix_recipe(arm.mix).parts))
    if missing := [name for name in (*asked.sources, *asked.core) if name not in inside]:
        raise UsageError(
            f"the mix {arm.mix} names no part of {missing[0]}",
            fix=f"one of {', '.join(inside)}" if inside else "name its parts in the recipe",
        )
    sources = [name for name in asked.sources or inside if name not in asked.core]
    mixes, twins, comparisons = {arm.mix: mix}, [], []
    seconds = asked.seconds or arm.seconds

    def twin(name: str, kept: Iterable[str]) -> str:
        mixes[name] = mix.model_copy(update={"sources": tuple(kept)})
        changes = {"name": name, "mix": name, "seconds": seconds}
        twins.append(arm.model_copy(update=changes))
        return name

    if how == "leave-one-out":
        whole = arm
        pairs = [
            (one, twin(f"{arm.name}-without-{one}", [s for s in inside if s != one]), whole.name)
            for one in sources
        ]
    else:
        if asked.core:
            twin(f"{arm.name}-core", asked.core)
            whole = twins.pop()
        else:
            whole = arm.model_copy(update={"name": f"{arm.name}-untrained", "mix": ""})
        pairs = [
            (one, whole.name, twin(f"{arm.name}-with-{one}", (*asked.core, one))) for one in sources
        ]
        del mixes[arm.mix]
    for one, a, b in pairs:
        title = SOURCES[one].title if one in SOURCES else one
        comparisons += [
            Comparison(question="sources", a=a, b=b, exam=exam.name, about=title, source=one)
            for exam in study.exams
            if arm.asked(exam.name)
        ]
    return _checked(
        study,
        mixes=mixes,
        arms=[whole, *twins],
        comparisons=comparisons,
        title=f"{study.title}: {how}",
        description=f"The arm {arm.name} and its twins, which differ in one source each. "
        + study.description,
        contamination=None,
        worth=None,
    )


def _checked(study: Study, **changes: Any) -> Study:
    """The study with its twins, which have to be a study as well."""
    try:
        return Study.model_validate({**dict(study), **changes})
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(f"the twins of {study.title!r} are no study: {said}") from error


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
