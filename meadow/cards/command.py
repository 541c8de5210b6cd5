"""The command that makes a folder again, with every setting of its manifest that changes a byte."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from meadow.corpus.manifest import NAME, Manifest
from meadow.text.markdown import fenced, plain_cell


def regenerate(manifest: Manifest) -> str:
    """The command; RAW, CORPUS, DIR and the names of files stand for the reader's own paths.

    A corpus of two origins that no recipe names is built in two steps, a line each.
    """
    if manifest.stage == "mix":
        commands = [_mix(manifest)]
    else:
        commands = [_build(manifest, names) for names in _steps(manifest.settings)]
    lines = [" ".join(["meadow", *words, "--out", "DIR"]) for words in commands]
    return "\n".join([*lines, *_worked(manifest.settings)])


def _worked(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a model did to the rows after the build; each command writes a folder of its own."""
    folder = "DIR"
    for kind, ending in (("rephrase", "rephrased"), ("reason", "reasoned")):
        for job in settings.get(kind, ()):
            words = ["meadow", kind, job["source"], "--corpus", folder, "--model", job["model"]]
            words += ["--tries", str(job["tries"])] if kind == "reason" else []
            words += [w for name in job.get("exams", ()) for w in ("--exam", f"{name}=FILES")]
            folder = f"{folder}-{ending}"
            yield " ".join(map(_word, [*words, "--cache", "ANSWERS"]))


def conditions(manifest: Manifest) -> list[str]:
    """What the command needs besides files: sentences, and a recipe of the maker's own."""
    settings = manifest.settings
    found = []
    if manifest.stage == "mix":
        count = int(settings.get("corpora", 1))
        what = f"{count} corpora, in their order" if count > 1 else "the corpus"
        found.append(f"CORPUS stands for {what}: MANIFEST.json has the hashes of the shards.")
    if manifest.stage == "build" and (settings.get("rephrase") or settings.get("reason")):
        found.append(
            "ANSWERS stands for the file with the maker's answers: a model that is asked again can "
            "answer otherwise, and then the rows that it worked on are others."
        )
    if settings.get("excluded_ids"):
        found.append(
            f"Rows taken down were left out: {settings.get('excluded', 'some')} ids in "
            "`exclude_ids.txt` beside `meadow.toml`, a list with the SHA-256 "
            f"{plain_cell(settings['excluded_ids'])}."
        )
    if vouched := settings.get("vouched"):
        tables = [["", f"[vouch.{name}]", *_pairs(vouch)] for name, vouch in vouched.items()]
        found.append(
            "`meadow.toml` says who answers for licences:\n\n"
            + fenced("\n".join(line for table in tables for line in table).strip(), "toml")
        )
    if sources := _in_manifest(manifest):
        named = ", ".join(sorted(sources))
        found.append(f"{NAME} is this folder's: it says how the raw rows of {named} are read.")
    found += [
        f"The code of {name} is in the package {plain_cell(str(told['package']))}."
        for name, told in manifest.own_sources.items()
        if "package" in told
    ]
    if own := dict(settings.get("errata") or {}).get("own"):
        found.append(f"ERRATA stands for errata of the maker's own ({len(own)} faults).")
    if model := settings.get("semantic"):
        found.append(
            f"MODEL stands for the embedding model {plain_cell(model['model'])}, whose weights "
            f"have the SHA-256 {plain_cell(model['sha256'])}."
        )
    if settings.get("held"):
        count = len(settings["held"])
        found.append(f"HELD stands for what was held already ({count} folders), in their order.")
    if settings.get("own_recipe"):
        found.append(
            f"{plain_cell(_recipe(settings))} is the maker's own recipe:\n\n"
            + fenced(_toml(settings, manifest.stage), "toml")
        )
    return found


def _in_manifest(manifest: Manifest) -> set[str]:
    """The sources of which the manifest says all: those of TOML files that are not the house's."""
    return {name for name, told in manifest.own_sources.items() if "package" not in told}


def _steps(settings: Mapping[str, Any]) -> list[list[str]]:
    """The sources that one command builds: all, or where there is no recipe those of one origin."""
    names = list(settings.get("sources", ()))
    origins = dict(settings.get("origins", {}))
    if settings.get("recipe"):
        return [names]
    steps: dict[str, list[str]] = {}
    for name in names:
        steps.setdefault(origins.get(name, ""), []).append(name)
    return list(steps.values()) or [names]


def _build(manifest: Manifest, sources: list[str]) -> Iterator[str]:
    settings = manifest.settings
    options = settings.get("options", {})
    files = [
        name
        for name in map(str, manifest.details.get("files", ()))
        if re.split("[:=]", name)[0] in sources
    ]
    named = {re.split("[:=]", name)[0] for name in files}
    sought = [name for name in sources if name not in named]
    yield "build"
    if _in_manifest(manifest) & set(sources):
        yield from ("--source", NAME)
    if settings.get("recipe"):
        yield from ("--recipe", _word(_recipe(settings)))
    if sought:  # beside a recipe too: it may have more sources than were built
        yield from ("--only", _word(",".join(sources)))
    for name in files:
        yield from ("--file", _word(name))
    if sought or not files:
        yield from ("--raw", "RAW")
    origins = {origin for name, origin in settings.get("origins", {}).items() if name in sources}
    if len(origins) == 1:
        yield from ("--origin", _word(origins.pop()))
    yield from ("--style", _word(options.get("style", "meadow")))
    if options.get("answers", "all") != "all":
        yield from ("--answers", _word(options["answers"]))
    if options.get("images", "refuse") != "refuse":
        yield from ("--images", _word(options["images"]))
    if settings.get("limit"):
        yield from ("--limit", str(settings["limit"]))
    yield from _errata(settings)


def _errata(settings: Mapping[str, Any]) -> Iterator[str]:
    if errata := settings.get("errata"):
        yield from ("--errata", "ERRATA" if errata["own"] else "known")


def _recipe(settings: Mapping[str, Any]) -> str:
    name = str(settings.get("recipe") or "MIX")
    return f"{name}.toml" if settings.get("own_recipe") else name


def _mix(manifest: Manifest) -> Iterator[str]:
    from meadow.config import toml_value  # with all of pydantic, which a build does without

    settings = manifest.settings
    yield from ("mix", _word(_recipe(settings)))
    yield from ["--corpus", "CORPUS"] * int(settings.get("corpora", 1))
    record = manifest.details.get("contamination") or {}
    for exam in settings.get("exams", ()):
        for item in dict(record.get(exam, {})).get("files", ()) or [{"name": "PATH"}]:
            yield from ("--exam", _word(f"{exam}={item['name']}"))
            if item.get("answer_is"):
                yield from ("--answer-is", _word(f"{exam}={item['answer_is']}"))
    for source in settings.get("accepted_licences", ()):
        yield from ("--accept-licence", _word(source))
    for _ in settings.get("held", ()):
        yield from ("--keep-from", "HELD")
    yield from _errata(settings)
    if model := settings.get("semantic"):
        yield from ("--semantic", "MODEL", "--semantic-threshold", str(model["threshold"]))
    asked = settings.get("mix", {})
    for key in ("drop", "deduplicate", "threshold", "seed", "validation", "format", "order"):
        if key in asked:
            yield from (f"--{key}", _word(str(asked[key])))
    for key, value in dict(settings.get("changed", {})).items():
        yield from ("--set", _word(f"{key}={toml_value(value)}"))


def _word(text: Any) -> str:
    """A word of a shell command, on one line."""
    return shlex.quote(" ".join(str(text).split()))


def _toml(settings: Mapping[str, Any], stage: str) -> str:
    """A recipe as the TOML that it was read from says it; defaults stand in it too."""
    if stage != "mix":
        options = dict(settings.get("options", {}))
        told = {key: settings[key] for key in ("sources", "origins") if key in settings}
        told |= {key: options[key] for key in ("style", "answers", "note_types") if key in options}
        return "\n".join(["[build]", *_pairs(told)])
    recipe = settings.get("mix", {})
    lines = ["[mix]"]
    lines += _pairs({key: value for key, value in recipe.items() if key != "parts"})
    for part in recipe.get("parts", ()):
        lines += ["", "[[mix.parts]]"]
        lines += _pairs(part)
    return "\n".join(lines)


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    """Keys and values, a line each; TOML has no null, and what is not set is not said."""
    from meadow.config import toml_key, toml_value

    for key, value in values.items():
        if value is not None:
            yield f"{toml_key(key)} = {toml_value(value)}"
