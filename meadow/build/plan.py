"""What a build is: which sources, from which raw files, with which options.

Raw files are named one by one, or found below the raw folder; an address in the place of a path is
copied to this machine first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from meadow.build.build import BuildSettings
from meadow.build.own import own_documents
from meadow.config import Config, did_you_mean
from meadow.corpus.manifest import Manifest
from meadow.corpus.names import normal_name
from meadow.errors import FileError, UsageError
from meadow.net.stores import fetch, is_remote
from meadow.readers.json_rows import starts_with_2023_row
from meadow.schema import Style
from meadow.source import File, Input, Options, Origin, OriginName, Source
from meadow.sources import SOURCES, kept_of, with_own

Place = str | Path
"""A path, or an address of a store."""
Answers = Literal["all", "top", "accepted"]
Images = Literal["refuse", "keep"]
Progress = Callable[[str], None]


class Outline(Protocol):
    """What a plan takes from a recipe; `meadow.mix.recipe.BuildRecipe` is one."""

    @property
    def name(self) -> str:
        """The recipe's name."""

    @property
    def is_own(self) -> bool:
        """Whether it is no recipe of the project."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources' names."""

    @property
    def style(self) -> Style:
        """Which instruction texts are used."""

    @property
    def answers(self) -> Answers:
        """Which answers of a question are taken."""

    @property
    def note_types(self) -> Mapping[str, tuple[str, ...]]:
        """Note type -> fields of its question and its answer."""

    @property
    def wishes(self) -> Mapping[str, tuple[int, float]]:
        """Source -> how many candidate rows there ought to be, and the tolerance."""

    def origin_of(self, source: str) -> OriginName:
        """The origin that a source is built from."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build does, before anything is written.

    Args:
        settings: What the corpus is made of.
        inputs: Source -> its raw files.
        expected: Source -> label -> known SHA-256 of an input.
        expectations: Source -> candidate rows that there ought to be, and the tolerance.
        contact: The address for takedown requests.
    """

    settings: BuildSettings
    inputs: Mapping[str, Sequence[Input]]
    expected: Mapping[str, Mapping[str, str]]
    expectations: Mapping[str, tuple[int, float]]
    contact: str

    def misses(self, manifest: Manifest) -> Iterator[str]:
        """The expectations that the build missed, loudly."""
        for name, (rows, tolerance) in self.expectations.items():
            entry = manifest.sources.get(name)
            if entry is not None and abs(entry.rows_in - rows) > tolerance * rows:
                yield f"{name}: expected {rows:,} candidate rows, found {entry.rows_in:,}"


def plan_build(
    sources: Iterable[str] = (),
    *,
    files: Mapping[str, Place | Sequence[Place]] | None = None,
    raw: Place | None = None,
    outline: Outline | None = None,
    origin: str | None = None,
    style: str | None = None,
    answers: Answers | None = None,
    images: Images | None = None,
    limit: int | None = None,
    errata: Sequence[Place] = (),
    available: bool = False,
    own: Sequence[Place] = (),
    config: Config | None = None,
    locked: Mapping[str, str] | None = None,
    progress: Progress = lambda line: None,
) -> BuildPlan:
    """Resolve what is asked for into settings and inputs; what lies at an address is fetched.

    The arguments are those of `meadow.build`, and: `outline`, a recipe, beside which what is given
    goes first; `locked`, label -> SHA-256 as recorded when the file was fetched. An `origin` of
    None is detected for named files; meadow.toml can name more sources of one's own.

    Raises:
        UsageError: A source, an option or a recipe is wrong.
        FileError: A raw file is missing.
    """
    config = config or Config()
    named = list(named_places(files or {}))
    by_hand = list(dict.fromkeys(item.source for item in named))
    given = own_documents(own)
    documents = own_documents(config.source_files()) | given
    known = with_own(documents)
    names = list(dict.fromkeys(sources)) or by_hand or list(outline.sources if outline else given)
    check_sources([*by_hand, *names], known)
    for name in given.keys() - set(names):
        progress(f"note: {name} is known, and not built: name it with --only or --file")
    sought = [name for name in names if name not in by_hand]
    if named and sought:
        progress(f"note: looked for in the raw folder: {', '.join(sorted(sought))}")
    at_hand = [_at_hand(item, progress) for item in named]
    folder = config.raw_folder(_raw_at_hand(raw, config, sought, progress))
    inputs: dict[str, Sequence[Input]] = {}
    origins: dict[str, OriginName] = {}
    expected: dict[str, dict[str, str]] = {}
    expectations: dict[str, tuple[int, float]] = {}
    missing: dict[str, FileError] = {}
    for name in names:
        source = known[name]
        if name not in sought:
            found = named_inputs(at_hand, source)
            origins[name] = OriginName(origin) if origin else detect_origin(found, source)
            source.origin(origins[name])
            inputs[name] = found
            continue
        default = OriginName.UPSTREAM if source.upstream else OriginName.PUBLISHED
        if outline is not None:
            default = outline.origin_of(name)
        origins[name] = OriginName(origin) if origin else default
        chosen = source.origin(origins[name])
        try:
            inputs[name] = find_inputs(source, chosen, folder)
        except FileError as error:
            missing[name] = error
            continue
        labels = {item.label for item in inputs[name]}
        recorded = {label: sha256 for label, sha256 in (locked or {}).items() if label in labels}
        expected[name] = expected_hashes(source, chosen, inputs[name]) | recorded
        if limit is None and chosen.expected_rows is not None:
            expectations[name] = (chosen.expected_rows, 0.0)
        if limit is None and outline is not None and name in outline.wishes:
            expectations[name] = outline.wishes[name]
    if missing and not (available and inputs):
        raise FileError(
            "raw files are missing:\n" + "\n".join(map(str, missing.values())),
            fix="" if available else f"or leave out {', '.join(missing)} with --available",
        )
    for name, fault in missing.items():
        progress(f"{name}: left out, its raw files are missing ({fault.where})")
        del origins[name]
    names = list(inputs)
    options = Options(
        style=Style(style or (outline.style if outline else Style.MEADOW)),
        answers=answers or (outline.answers if outline else "all"),
        images=images or "refuse",
        note_types=dict(outline.note_types) if outline else {},
    )
    faults: Iterable[str] = ()
    if errata and list(errata) != ["off"]:  # which needs no room of exams
        from meadow.exams.errata import read_errata, row_faults

        faults = row_faults(read_errata(errata))
    settings = BuildSettings(
        sources=tuple(names),
        options=options,
        origins=origins,
        limit=limit,
        exclude=frozenset(map(normal_name, config.excluded_ids())),
        errata=frozenset(faults),
        recipe=outline.name if outline else None,
        own_recipe=bool(outline and outline.is_own),
        vouched=_vouched(config, names, known),
        own={name: told for name in names if (told := documents.get(name) or kept_of(name))},
        files=tuple(
            ":".join([source, subset, role][: 3 if role != "data" else 2 if subset else 1])
            + f"={Path(str(place)).name}"
            for source, subset, role, place in named
        ),
    )
    return BuildPlan(settings, inputs, expected, expectations, config.contact)


def _vouched(
    config: Config, names: Iterable[str], known: Mapping[str, Source]
) -> dict[str, dict[str, str]]:
    """Who answers for the licences of these sources.

    Raises:
        UsageError: A licence is stated, and nobody can answer for another one.
    """
    check_sources(config.vouch, known)
    for name in config.vouch:
        if not known[name].may_be_vouched:
            raise UsageError(
                f"[vouch.{name}]: the licence of {name} is stated, and is not for you to say",
                where=str(config.folder / "meadow.toml"),
                fix=f"take [vouch.{name}] out",
            )
    found = {name: config.vouch[name] for name in names if name in config.vouch}
    return {name: each.model_dump(mode="json", exclude_none=True) for name, each in found.items()}


class NamedPlace(NamedTuple):
    """A raw file, or a folder of them, that was named: by `--file`, or in `files`."""

    source: str
    subset: str
    role: str
    place: Place


def raw_inputs(
    source: str, files: Mapping[str, Place | Sequence[Place]], folder: Path
) -> tuple[Input, ...]:
    """The raw upstream files of one source: those that `files` names, else those in the folder."""
    known = SOURCES[source]
    if named := list(named_places(files)):
        return named_inputs(named, known)
    return find_inputs(known, known.origin(OriginName.UPSTREAM), folder)


def named_places(files: Mapping[str, Place | Sequence[Place]]) -> Iterator[NamedPlace]:
    """`SOURCE[:SUBSET[:ROLE]]` -> paths, one by one, in the order given.

    Raises:
        UsageError: A name is not of that form.
    """
    for name, given in files.items():
        source, subset, role, *more = (*name.split(":"), *("", "")[: 2 - name.count(":")])
        for place in [given] if isinstance(given, str | Path) else given:
            if more or not str(place) or not all(name.split(":")):
                raise UsageError(
                    f"--file {f'{name}={place}'!r} is not SOURCE[:SUBSET[:ROLE]]=PATH",
                    fix="for example --file medqa=train.jsonl, or "
                    "--file stack_exchange:biology:users=Users.xml",
                )
            yield NamedPlace(source, subset, role or "data", place)


def _at_hand(item: NamedPlace, progress: Progress) -> NamedPlace:
    """The file or folder on this machine; one at an address is copied into the cache."""
    place = str(item.place)
    return item._replace(place=fetch(place, report=progress)) if is_remote(place) else item


def _raw_at_hand(
    raw: Place | None, config: Config, sought: list[str], progress: Progress
) -> Path | None:
    """The raw folder that was asked for; of one at an address, what the build looks for."""
    if raw is None and is_remote(config.raw):
        raw = config.raw
    if raw is not None and is_remote(str(raw)):
        return fetch(str(raw), parts=sorted(sought), report=progress)
    return Path(raw) if raw is not None else None


def check_sources(names: Iterable[str], known: Mapping[str, Source]) -> None:
    """Check that there are sources of these names.

    Raises:
        UsageError: One is unknown; the message gives the nearest.
    """
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(
                f"unknown source {name!r}",
                fix=f"{hint}`meadow sources` lists all of them; --source FILE.toml adds one",
            )


def named_inputs(named: Iterable[NamedPlace], source: Source) -> tuple[Input, ...]:
    """The inputs of a source among the places that were named, in their order.

    A folder stands for the files below it that have the endings that the source expects. Of files
    with one label the second is `2/LABEL`.

    Raises:
        FileError: A path does not exist, or a folder holds no such file.
    """
    found: list[Input] = []
    seen: Counter[str] = Counter()
    for name, subset, role, place in named:
        if name != source.name:
            continue
        path = Path(place)
        if not path.exists():
            raise FileError(
                f"{source.name}: the file does not exist",
                where=str(path),
                fix="check the path given with --file",
            )
        folder = path if path.is_dir() else path.parent
        paths = _files_below(path, source) if path.is_dir() else [path]
        member = _member(paths, source)
        for each in paths:
            label = "/".join(filter(None, (subset, each.relative_to(folder).as_posix())))
            seen[label] += 1
            unique = label if seen[label] == 1 else f"{seen[label]}/{label}"
            found.append(Input(each, unique, subset, role, member))
    return tuple(found)


def _member(paths: list[Path], source: Source) -> str | None:
    """The archive member that the source names; it counts only where the file is an archive."""
    if source.upstream is None:
        return None
    members = {file.member for file in source.upstream.files if file.member}
    return next(iter(members)) if len(members) == 1 and len(paths) == 1 else None


def _files_below(folder: Path, source: Source) -> list[Path]:
    endings = {
        Path(name).suffix
        for origin in (source.upstream, source.published)
        if origin is not None
        for file in origin.files
        for name in (file.name, *file.also)
    }
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.suffix in endings or "" in endings)
    )
    if not paths:
        raise FileError(
            f"{source.name}: the folder holds no file ending in {', '.join(sorted(endings))}",
            where=str(folder),
            fix="name the files one by one with --file",
        )
    return paths


def detect_origin(inputs: Iterable[Input], source: Source) -> OriginName:
    """The origin that named files are of, from their first bytes.

    Raises:
        UsageError: Files of two origins were named together.
    """
    published = {
        source.upstream is None
        or (source.published is not None and starts_with_2023_row(item.path))
        for item in inputs
    }
    if len(published) > 1:
        raise UsageError(
            f"{source.name}: the files are of two origins", fix="build them into two folders"
        )
    return OriginName.PUBLISHED if published.pop() else OriginName.UPSTREAM


def find_inputs(source: Source, origin: Origin, raw: Path) -> tuple[Input, ...]:
    """The files of a source below `raw/<source>/`, in the order in which the origin lists them.

    Raises:
        FileError: A needed file is missing; the message lists the expected names.
    """
    folder = raw / source.name
    found: list[Input] = []
    missing = False
    for file in origin.files:
        paths = _matches(folder, file)
        missing |= not paths and not file.optional
        for path in paths:
            label = f"{source.name}/{path.relative_to(folder).as_posix()}"
            found.append(Input(path, label, file.subset, file.role, file.member))
    if missing or not found:
        any_of = all(file.optional for file in origin.files)  # one is needed, whichever
        names = "\n".join(
            f"    {source.name}/{file.name}{_how(file, optional=file.optional and not any_of)}"
            for file in origin.files
        )
        raise FileError(
            f"{source.name}: raw files are missing",
            where=str(folder),
            fix=f"`meadow fetch {source.name}`, or put there, or name with --file:\n{names}",
        )
    return tuple(found)


def _matches(folder: Path, file: File) -> list[Path]:
    named = (sorted(filter(Path.is_file, folder.glob(n))) for n in (file.name, *file.also))
    return next(filter(None, named), [])


def _how(file: File, *, optional: bool) -> str:
    also = f" (or {', '.join(file.also)})" if file.also else ""
    hand = f": {file.by_hand}" if file.by_hand else ""
    return f"{also}{' (optional)' if optional else ''}{hand}"


def expected_hashes(source: Source, origin: Origin, inputs: Iterable[Input]) -> dict[str, str]:
    """Label -> SHA-256 for the inputs whose hash the source states."""
    known = {
        f"{source.name}/{file.name}": file.sha256
        for file in origin.files
        if file.sha256 is not None
    }
    return {item.label: known[item.label] for item in inputs if item.label in known}
