"""Build or mix a published folder again from one's own inputs, and hold the bytes together.

The settings are those of the published manifest; raw files, corpora and exams are the reader's own.
What is compared is every shard, by path, rows and SHA-256: a folder's documents name its address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.atomic import hash_json
from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import Place, find_inputs, named_inputs, named_places
from meadow.config import Config, parse_settings
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest, Shard, library_versions
from meadow.corpus.names import normal_name
from meadow.errors import UsageError
from meadow.exams.items import ExamItem
from meadow.mix.recipe import RECIPES, MixRecipe
from meadow.mix.write import mix_corpus
from meadow.quality.check import Finding
from meadow.schema import Style
from meadow.source import Input, Options, OriginName
from meadow.sources import with_own

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The folder that was made again, of which inputs (name -> SHA-256).

    Findings are shards that are other bytes, and why they may be; none where all are the same.
    """

    manifest: Manifest
    inputs: dict[str, str]
    findings: tuple[Finding, ...]


def rebuild(
    published: Manifest,
    folder: Path,
    *,
    config: Config,
    raw: Path | None = None,
    files: Mapping[str, Place | Sequence[Place]] | None = None,
    corpora: Sequence[Corpus] = (),
    exams: Mapping[str, Sequence[ExamItem]] | None = None,
    workers: int | None = None,
    progress: Progress = lambda line: None,
) -> Rebuilt:
    """Make a published folder again below `folder` and compare.

    Raw files, files and workers are those of a build, corpora (in their order) and exams those of a
    mix; `config` knows this machine's raw files, and the ids that were taken down.

    Raises:
        UsageError: It was made with something that is not at hand.
        FileError: A raw file is missing.
    """
    _refuse_what_is_not_at_hand(published, config, corpora, exams or {})
    if published.stage == "mix":
        recipe = _recipe(published.settings)
        accepted = list(published.settings.get("accepted_licences", ()))
        made = mix_corpus(recipe, corpora, folder, exams or {}, accepted, progress=progress)
        # corpora of one source have shards of one path: the number of the corpus tells them apart
        inputs = {
            f"{number}/{shard.path}" if len(corpora) > 1 else shard.path: shard.sha256
            for number, corpus in enumerate(corpora, 1)
            for shard in corpus.manifest.shards()
        }
    else:
        settings = _settings(published.settings, config, published.own_sources)
        given = _inputs(settings, raw or config.raw_folder(), files or {})
        made = build_corpus(settings, given, folder, workers=workers, progress=progress).manifest
        inputs = {i.path: i.sha256 for entry in made.sources.values() for i in entry.inputs}
    return Rebuilt(made, inputs, tuple(_compare(published, made)))


def _refuse_what_is_not_at_hand(
    published: Manifest,
    config: Config,
    corpora: Sequence[Corpus],
    exams: Mapping[str, Sequence[ExamItem]],
) -> None:
    settings = published.settings
    if published.stage == "mix":
        count, names = int(settings.get("corpora", 1)), sorted(settings.get("exams", ()))
        for what, is_at_hand, fix in (
            (f"a mix of {count} corpora", len(corpora) == count, "name them with --corpus"),
            (
                f"mixed beside the exams {', '.join(names) or 'none'}",
                sorted(exams) == names,
                "name them with --exam NAME=PATH",
            ),
            ("mixed with rows held elsewhere", not settings.get("held"), "use the card's command"),
            ("mixed with errata", not settings.get("errata"), "use the card's command"),
            ("mixed with a model", not settings.get("semantic"), "use the card's command"),
        ):
            if not is_at_hand:
                raise UsageError(f"it was {what}, which is not at hand", fix=fix)
        return
    excluded = _excluded(config)
    mine = hash_json(sorted(excluded)) if excluded else None
    if settings.get("excluded_ids") != mine:
        raise UsageError(
            f"it was built without {settings.get('excluded', 0):,} ids that were taken down, and "
            f"the list here has {len(excluded):,}",
            fix="put the list of the publisher beside meadow.toml, as exclude_ids.txt",
        )
    if settings.get("errata"):
        raise UsageError("it was built with errata", fix="use the card's command")
    if published.stage == "build" and (settings.get("rephrase") or settings.get("reason")):
        raise UsageError(
            "a model worked on its rows, and no build gives what it answered",
            fix="use the card's commands, with the maker's file of answers",
        )


def _excluded(config: Config) -> frozenset[str]:
    return frozenset(map(normal_name, config.excluded_ids()))


def _settings(
    settings: Mapping[str, Any], config: Config, own: Mapping[str, Mapping[str, Any]]
) -> BuildSettings:
    told = dict(settings["options"])
    return BuildSettings(
        sources=tuple(settings["sources"]),
        options=Options(**told | {"style": Style(told["style"])}),
        origins={name: OriginName(origin) for name, origin in settings["origins"].items()},
        limit=settings.get("limit"),
        exclude=_excluded(config),
        recipe=settings.get("recipe"),
        own_recipe=bool(settings.get("own_recipe")),
        vouched=settings.get("vouched", {}),
        own=own,
    )


def _inputs(
    settings: BuildSettings, raw: Path, files: Mapping[str, Place | Sequence[Place]]
) -> dict[str, Sequence[Input]]:
    named = list(named_places(files))
    by_hand = {place.source for place in named}
    known = with_own(settings.own)
    return {
        name: named_inputs(named, known[name])
        if name in by_hand
        else find_inputs(known[name], known[name].origin(settings.origins[name]), raw)
        for name in settings.sources
    }


def _recipe(settings: Mapping[str, Any]) -> MixRecipe:
    recipe = parse_settings(settings["mix"], MixRecipe, where="the published manifest")
    name = f"{settings['recipe']}.toml"
    recipe._file = Path(name) if settings.get("own_recipe") else RECIPES / name
    return recipe


def _compare(published: Manifest, made: Manifest) -> Iterator[Finding]:
    """Shards that are not the same, by path; where there are any, why that may be."""
    wanted, found = ({s.path: s for s in one.shards()} for one in (published, made))
    differ = False
    for path in sorted(wanted.keys() | found.keys()):
        one, other = wanted.get(path), found.get(path)
        if one is None or other is None or one.sha256 != other.sha256:
            differ = True
            yield Finding("other_bytes", path, f"{_told(one)}, here {_told(other)}")
    if differ and made.versions != published.versions:
        here = library_versions()
        versions = ", ".join(
            f"{name} {version} (here {here.get(name, 'none')})"
            for name, version in published.versions.items()
            if here.get(name) != version
        )
        yield Finding("other_versions", "the machine", f"it was made with {versions}")
    if differ and published.stage != "mix":
        bytes_here = {item.sha256 for entry in made.sources.values() for item in entry.inputs}
        for name, entry in published.sources.items():
            for item in entry.inputs:
                if item.sha256 not in bytes_here:
                    what = f"no raw file here has its bytes (sha256 {item.sha256[:16]})"
                    yield Finding("other_input", f"{name}: {item.path}", what)


def _told(shard: Shard | None) -> str:
    return "not there" if shard is None else f"{shard.rows:,} rows, sha256 {shard.sha256[:16]}"
