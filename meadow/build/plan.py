"""Which raw files a build reads: named with --file, or found below the raw folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from meadow.config import did_you_mean
from meadow.errors import FileError, UsageError
from meadow.source import File, Input, Origin, OriginName, Source


@dataclass(frozen=True, slots=True)
class NamedInput:
    """One `--file SOURCE[:SUBSET[:ROLE]]=PATH`."""

    source: str
    subset: str
    role: str
    path: Path


def parse_file_option(text: str) -> NamedInput:
    """Read one value of --file.

    Raises:
        UsageError: It is not of that form.
    """
    name, equals, path = text.partition("=")
    parts = name.split(":")
    if not equals or not path or len(parts) > 3 or not all(parts):
        raise UsageError(
            f"--file {text!r} is not SOURCE[:SUBSET[:ROLE]]=PATH",
            fix="for example --file medqa=train.jsonl, or "
            "--file stack_exchange:biology:users=Users.xml",
        )
    return NamedInput(
        parts[0],
        parts[1] if len(parts) > 1 else "",
        parts[2] if len(parts) > 2 else "data",
        Path(path),
    )


def check_sources(names: Iterable[str], known: Mapping[str, Source]) -> None:
    """Hold names to the sources that there are.

    Raises:
        UsageError: One is unknown; the message gives the nearest.
    """
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(
                f"unknown source {name!r}", fix=f"{hint}`meadow sources` lists all of them"
            )


def named_inputs(named: Iterable[NamedInput], source: Source) -> tuple[Input, ...]:
    """The inputs of a source that were named one by one, in the order of the options.

    A folder stands for the files below it that have the endings that the source expects.

    Raises:
        FileError: A path does not exist, or a folder holds no such file.
        UsageError: Two files would have one label.
    """
    found: list[Input] = []
    for item in named:
        prefix = f"{item.subset}/" if item.subset else ""
        if item.path.is_dir():
            paths = _files_below(item.path, source)
            labels = [f"{prefix}{path.relative_to(item.path).as_posix()}" for path in paths]
        elif item.path.exists():
            paths, labels = [item.path], [f"{prefix}{item.path.name}"]
        else:
            raise FileError(
                f"{source.name}: the file does not exist",
                where=str(item.path),
                fix="check the path given with --file",
            )
        member = _member(paths, source)
        found.extend(
            Input(path, label, item.subset, item.role, member)
            for path, label in zip(paths, labels, strict=True)
        )
    seen: dict[str, int] = {}
    unique = []
    for entry in found:
        count = seen.get(entry.label, 0)
        seen[entry.label] = count + 1
        label = entry.label if not count else f"{count + 1}/{entry.label}"
        unique.append(Input(entry.path, label, entry.subset, entry.role, entry.member))
    return tuple(unique)


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
    names = {_origin_of(item, source) for item in inputs}
    if len(names) > 1:
        raise UsageError(
            f"{source.name}: the files are of two origins", fix="build them into two folders"
        )
    return names.pop()


def _origin_of(item: Input, source: Source) -> OriginName:
    published = source.published
    if published is not None and published.detect is not None and published.detect(item.path):
        return OriginName.PUBLISHED
    return OriginName.UPSTREAM if source.upstream is not None else OriginName.PUBLISHED


def find_inputs(source: Source, origin: Origin, raw: Path) -> tuple[Input, ...]:
    """The files of a source below `raw/<source>/`, in the order in which the origin lists them.

    Raises:
        FileError: A needed file is missing; the message lists the expected names.
    """
    folder = raw / source.name
    found: list[Input] = []
    missing: list[File] = []
    for file in origin.files:
        paths = _matches(folder, file)
        if not paths and not file.optional:
            missing.append(file)
        found.extend(
            Input(
                path,
                f"{source.name}/{path.relative_to(folder).as_posix()}",
                file.subset,
                file.role,
                file.member,
            )
            for path in paths
        )
    if missing or not found:
        names = "\n".join(f"    {source.name}/{file.name}{_how(file)}" for file in origin.files)
        raise FileError(
            f"{source.name}: raw files are missing",
            where=str(folder),
            fix=f"`meadow fetch {source.name}`, or put there, or name with --file:\n{names}",
        )
    return tuple(found)


def _matches(folder: Path, file: File) -> list[Path]:
    for name in (file.name, *file.also):
        paths = sorted(path for path in folder.glob(name) if path.is_file())
        if paths:
            return paths
    return []


def _how(file: File) -> str:
    also = f" (or {', '.join(file.also)})" if file.also else ""
    hand = f": {file.by_hand}" if file.by_hand else ""
    return f"{also}{' (optional)' if file.optional else ''}{hand}"


def expected_hashes(source: Source, origin: Origin, inputs: Iterable[Input]) -> dict[str, str]:
    """Label -> SHA-256 for the inputs whose hash the source states."""
    known = {
        f"{source.name}/{file.name}": file.sha256
        for file in origin.files
        if file.sha256 is not None
    }
    return {item.label: known[item.label] for item in inputs if item.label in known}
