"""Raw files in, a verified corpus folder out, which grows: sources are added or built again.

Each source is read, converted, cleaned and written to a staging folder inside the output folder;
its entry, with everything the manifest will say of it, is written there last. When all sources are
staged, the folder is committed (`meadow.corpus.commit`). A killed build continues where it was,
since a staged (or published) source whose key still holds is not built again. Sources of the folder
that are not asked for stay as they are; the staging folder has the old manifest too, so that a run
which was killed while the new one took its place still knows them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from meadow.atomic import hash_json, locked
from meadow.build.engine import LOCAL, Engine, open_engine, usable_cores
from meadow.build.worker import (
    ENTRY,
    LARGE,
    SourceTask,
    build_source,
    measure_inputs,
    prepare,
    task_key,
)
from meadow.cards.card import split_warning
from meadow.corpus.commit import STAGING, claim, commit_folder, holds, open_staging
from meadow.corpus.manifest import (
    NAME,
    Manifest,
    SourceEntry,
    library_versions,
    read_manifest,
)
from meadow.errors import FileError, UsageError
from meadow.schema import Reason
from meadow.source import Apply, Input, Options, OriginName, apply_here

T = TypeVar("T")
R = TypeVar("R")
MALFORMED_THRESHOLD = 0.01


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a corpus is made of.

    Args:
        sources: The sources' names.
        options: What the conversions are asked for.
        origins: Source -> origin.
        limit: Candidate rows per source; None for all.
        exclude: Ids taken down.
        errata: Faults that no row may have: question keys and rules.
        recipe: The name of the recipe, where one was used.
        own_recipe: Whether that is none of the project's.
        vouched: Source -> who answers for the licence of its rows, as meadow.toml says it.
        files: The raw files that were named, as `SOURCE[:SUBSET[:ROLE]]=NAME`.
        own: Source -> what its TOML file says, of those that are none of the house's.
    """

    sources: tuple[str, ...]
    options: Options = field(default_factory=Options)
    origins: Mapping[str, OriginName] = field(default_factory=dict)
    limit: int | None = None
    exclude: frozenset[str] = frozenset()
    errata: frozenset[str] = frozenset()
    recipe: str | None = None
    own_recipe: bool = False
    vouched: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "recipe": self.recipe,
            **({"own_recipe": True} if self.own_recipe else {}),
            "sources": sorted(self.sources),
            "origins": {name: str(self.origins[name]) for name in sorted(self.origins)},
            **self._shared(),
            "excluded_ids": hash_json(sorted(self.exclude)) if self.exclude else None,
            **({"excluded": len(self.exclude)} if self.exclude else {}),
            **({"vouched": {n: dict(v) for n, v in self.vouched.items()}} if self.vouched else {}),
        }

    def _shared(self) -> dict[str, Any]:
        errata = {}
        if self.errata:
            from meadow.exams.errata import described

            errata = {"errata": described(self.errata)}
        return {"options": asdict(self.options), "limit": self.limit, **errata}

    @property
    def identity(self) -> str:
        """The identity of the output folder: what every source in it was built with."""
        return hash_json(self._shared())

    def beside(self, published: Manifest) -> BuildSettings:
        """These settings and those of the sources that a folder has and that stay in it.

        Raises:
            UsageError: What stays was built without ids that are taken down now, or by other
                versions: the card could say neither of the folder.
        """
        old = published.settings
        stay = sorted(published.sources.keys() - set(self.sources))
        if not stay:
            return self
        differs = [
            what
            for what, same in (
                ("ids taken down", old.get("excluded_ids") == self.to_json()["excluded_ids"]),
                ("versions of libraries", published.versions == library_versions()),
            )
            if not same
        ]
        if differs:
            raise UsageError(
                f"the folder has sources that were built with other {' and '.join(differs)}",
                where=", ".join(stay),
                fix="name them too, so that they are built again: --only "
                + ",".join([*self.sources, *stay]),
            )
        # another recipe's name would say nothing of what stays, but for its note types
        named = (self.recipe, self.own_recipe)
        stays_named = bool(self.options.note_types) or named == (
            old.get("recipe"),
            bool(old.get("own_recipe")),
        )
        files = [str(name) for name in published.details.get("files", ())]
        origins = dict(old.get("origins", {}))
        return replace(
            self,
            sources=(*self.sources, *stay),
            origins={n: OriginName(origins[n]) for n in stay if n in origins} | dict(self.origins),
            recipe=self.recipe if stays_named else None,
            own_recipe=self.own_recipe and stays_named,
            vouched={n: old["vouched"][n] for n in stay if n in old.get("vouched", {})}
            | dict(self.vouched),
            files=(*(f for f in files if re.split("[:=]", f)[0] in stay), *self.files),
        )


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did: its manifest, and which sources were reused as they were."""

    manifest: Manifest
    reused: tuple[str, ...]


def over_threshold(manifest: Manifest) -> dict[str, str]:
    """The sources in which more than 1 % of the candidates were malformed -> the main reason."""
    return {
        name: _main_reason(entry)
        for name, entry in manifest.sources.items()
        if malformed_rows(entry) > MALFORMED_THRESHOLD * max(1, entry.rows_in)
    }


def _main_reason(entry: SourceEntry) -> str:
    """Why most candidates were rejected, malformed ones first: `bad_json 135 of 135`."""
    found = [(Reason(name).malformed, count, name) for name, count in entry.rejected.items()]
    _, count, name = max(found)
    return f"{name} {count:,} of {entry.rows_in:,}"


def malformed_rows(entry: SourceEntry) -> int:
    """How many candidates were rejected as malformed input."""
    return sum(n for reason, n in entry.rejected.items() if Reason(reason).malformed)


def build_corpus(
    settings: BuildSettings,
    inputs: Mapping[str, Sequence[Input]],
    out: Path,
    *,
    workers: int | None = None,
    engine: str = LOCAL,
    expected: Mapping[str, Mapping[str, str]] | None = None,
    contact: str = "",
    progress: Callable[[str], None] = lambda message: None,
) -> BuildResult:
    """Build the corpus that `settings` describe into `out`, or continue to.

    Args:
        settings: What to build.
        inputs: Source -> its raw files.
        out: The corpus folder: new, or of the same options; it keeps its other sources.
        workers: Processes; the bytes do not depend on it. None: as many as the cores that this
            process may use, where that is worth their start.
        engine: Where they run, as for `meadow.build.engine.open_engine`; nor on this.
        expected: Source -> label -> known SHA-256 of an input.
        contact: The address for takedown requests, for the card.
        progress: Told one line per source.

    Raises:
        UsageError: `out` holds something else.
        LockedError: Another run holds `out`.
        FileError, UpstreamChangedError: A raw file is not what it should be, or no row of any
            came out.
    """
    config_hash = settings.identity
    with locked(out), contextlib.ExitStack() as stack:
        published = claim(out, "build", config_hash)
        staging = open_staging(out, config_hash, resume=True)
        if published is None and (staging / NAME).exists():
            published = read_manifest(staging)
        whole = settings.beside(published) if published is not None else settings
        if published is not None and whole != settings:
            published.write(staging)
        tasks = [
            SourceTask(
                source=name,
                origin=settings.origins.get(name, OriginName.UPSTREAM),
                inputs=tuple(inputs[name]),
                options=settings.options,
                limit=settings.limit,
                exclude=settings.exclude,
                errata=settings.errata,
                vouched=settings.vouched.get(name),
                own=settings.own.get(name, {}),
                expected=(expected or {}).get(name, {}),
                staging=staging,
            )
            for name in sorted(settings.sources)
        ]
        stay = set(whole.sources) - set(settings.sources)
        done = (
            {n: entry for n, entry in published.sources.items() if n in stay} if published else {}
        )
        for name in sorted(done):
            progress(f"{name}: stays, {done[name].rows_out:,} rows")
        reused = []
        todo = []
        for task in tasks:
            entry = _reusable(task, published, out)
            if entry is None:
                todo.append(task)
            else:
                done[task.source] = entry
                reused.append(task.source)
                progress(f"{task.source}: unchanged, {entry.rows_out:,} rows")
        if workers is None:
            large = engine != LOCAL or sum(task.size for task in todo) >= LARGE
            workers = usable_cores() if large else 1
        cut = any(task.is_cut for task in todo)
        run = stack.enter_context(
            open_engine(workers, engine, progress, prepare=prepare if cut else None)
        )
        for task, entry in _built(todo, run, beside=workers > 1 or engine != LOCAL):
            done[task.source] = entry
            rejected = sum(entry.rejected.values())
            progress(
                f"{task.source}: in {entry.rows_in:,}, out {entry.rows_out:,}, "
                f"rejected {rejected:,}"
            )
        if not any(entry.rows_out for entry in done.values()):
            reasons = [f"{n} ({_main_reason(e)})" for n, e in done.items() if e.rejected]
            raise FileError(
                f"no row came out of: {', '.join(reasons or done)}",
                where=str(staging),
                fix="look at the rejects there, then repair or replace the raw files",
            )
        for task in tasks:
            entry = done[task.source]
            if warning := split_warning(task.source, entry):
                progress(f"warning: {warning}")
        sources = {name: done[name] for name in sorted(done)}
        tokens = published.details.get("tokens") if published else None
        before = {n: entry.shards for n, entry in published.sources.items()} if published else {}
        if tokens and before != {name: entry.shards for name, entry in sources.items()}:
            tokens = None
            progress("the rows are not those whose tokens were counted: "
                     f"meadow card {out} --tokenizer NAME=PATH counts them again")  # fmt: skip
        result = Manifest(
            stage="build",
            config_hash=config_hash,
            settings=whole.to_json(),
            sources=sources,
            details={
                **({"tokens": tokens} if tokens else {}),
                **({"contact": contact} if contact else {}),
                **({"files": list(whole.files)} if whole.files else {}),
            },
            versions=library_versions(),
        )
        apply = partial(_shared, run, [out]) if cut else apply_here
        return BuildResult(_publish(result, out, apply), tuple(reused))


def _built(
    tasks: Sequence[SourceTask], run: Engine, *, beside: bool
) -> Iterator[tuple[SourceTask, SourceEntry]]:
    """Every source with its entry: small ones as one task each, large ones piece by piece."""
    small = [task for task in tasks if not task.is_cut]
    yield from zip(small, run(build_source, small, _touches), strict=False)
    for task in tasks:
        if task.is_cut:
            apply = partial(_shared, run, _touches(task))
            yield task, build_source(task, apply, beside=beside)


def _shared(
    run: Engine, paths: Sequence[Path], function: Callable[[T], R], tasks: Sequence[T], /
) -> Iterator[R]:
    """Tasks of one source, which all read and write in the same places."""
    return run(function, tasks, lambda _: paths)


def _touches(task: SourceTask) -> list[Path]:
    return [task.staging, *(item.path for item in task.inputs)]


def _reusable(task: SourceTask, published: Manifest | None, out: Path) -> SourceEntry | None:
    """The entry of a finished source whose key still holds and whose files are all there."""
    candidates = []
    if published is not None and task.source in published.sources:
        candidates.append(published.sources[task.source])
    with contextlib.suppress(OSError, ValueError):
        text = (task.staging / task.source / ENTRY).read_text(encoding="utf-8")
        candidates.append(SourceEntry.from_json(text))
    if not candidates:
        return None
    key = task_key(task, measure_inputs(task))
    for entry in candidates:
        if entry.key == key and all(
            _place(out, task.source, item.path, item.sha256) for item in entry.files()
        ):
            return entry
    return None


def _place(out: Path, source: str, path: str, sha256: str) -> Path | None:
    """Where a finished file lies: in place already, or still staged."""
    places = (out / path, out / STAGING / source / path)
    return next((place for place in places if holds(place, sha256)), None)


def _placed(task: tuple[Path, str, str, str]) -> Path | None:
    return _place(*task)


def _publish(result: Manifest, out: Path, apply: Apply) -> Manifest:
    """Move staged files into place, with the documents that are rendered from them."""
    from meadow.cards.documents import render_documents

    files = [(name, item) for name, entry in result.sources.items() for item in entry.files()]
    tasks = [(out, name, item.path, item.sha256) for name, item in files]
    places = {}
    for (name, item), place in zip(files, apply(_placed, tasks), strict=True):
        if place is None:
            raise FileError(
                f"a file of {name} is missing or not what was written",
                where=item.path,
                fix=f"build {name} again: name it among the sources",
            )
        places[item.path] = place
    documents = render_documents(result, places.__getitem__, apply)
    return commit_folder(out, result, places, documents)
