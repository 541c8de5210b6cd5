"""Rows beside their raw text: what stands upstream is what they say, or the difference is named.

Each row is traced to its place in the raw files, by its upstream id or, where upstream has none, by
its words, and its texts are compared with those that `raw_words` finds there, token by token and
in order. A difference is explained by a repair that the row went through, by a rule that its source
declares (`RawTexts`), or it is a finding. So is a row that cannot be traced. What could not be read
a second time is said by name and counts as not checked.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file
from meadow.corpus.flags import TEXTS
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import SourceEntry
from meadow.errors import FileError, UsageError
from meadow.quality.check import Finding
from meadow.quality.raw_words import (
    UNREAD,
    html_words,
    read_items,
    tokens,
    told_apart,
    wiki_sections,
)
from meadow.readers.archives import damage_is_an_error
from meadow.schema import Style
from meadow.source import NoSecondReader, OriginName, RawTexts
from meadow.sources import with_own

_RAREST = 8
"""Tokens by which a row without an upstream id is looked for."""
_A_NAME = r"(?:[^\W\d_]+ ){1,6}"
"""A doctor's name as tokens, title and all."""
_MARKUP = r"\w+: [^→]*[<>][^→]* → "
"""What the cleaner's `removed_markup` does, whatever the source."""


@dataclass(slots=True)
class Comparison:
    """What the second reading of one source found.

    Args:
        rows: Rows that were asked about.
        rewritten: Rows that a model worked on: their words are its own and are not compared.
        compared: Those that were traced and compared.
        columns: Column -> rows whose text of that column was compared.
        explained: Repair or rule -> differences that it explains.
        not_checked: Why rows were not checked; "" where all were.
        findings: Differences without an explanation, and rows without a raw text.
    """

    rows: int = 0
    rewritten: int = 0
    compared: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    not_checked: str = ""
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Row:
    """A row that waits for its raw text, and the best that was found."""

    id: str
    texts: dict[str, list[str]]
    meta: dict[str, Any]
    key: str | None
    place: str = ""
    raw: dict[str, list[str]] = field(default_factory=dict)
    distance: float = float("inf")

    def offer(self, place: str, raw: dict[str, list[str]]) -> None:
        """Take a raw text if it is nearer than the one at hand."""
        apart = 0
        for name, words in raw.items():
            if words != self.texts[name]:
                ours, theirs = Counter(self.texts[name]), Counter(words)
                apart += 1 + (ours - theirs).total() + (theirs - ours).total()
        if apart < self.distance:
            self.place, self.raw, self.distance = place, raw, apart


def compare_with_raw(
    corpus: Corpus, folder: Path, *, most: int | None = None
) -> dict[str, Comparison]:
    """Source -> what a second reading of its raw files found.

    Args:
        corpus: A built corpus.
        folder: Where the raw files lie; they are known by their hashes, whatever their names.
        most: Rows of each source, the smallest by a hash of their ids; None for all.

    Raises:
        UsageError: The folder is no build.
    """
    if corpus.manifest.stage != "build":
        raise UsageError(
            f"a folder of stage {corpus.manifest.stage} has no raw files of its own",
            where=str(corpus.folder),
            fix="give the build that it was made of",
        )
    return {
        name: _compare_source(corpus, name, entry, folder, most)
        for name, entry in corpus.manifest.sources.items()
    }


def _compare_source(
    corpus: Corpus, name: str, entry: SourceEntry, folder: Path, most: int | None
) -> Comparison:
    found = Comparison(rows=entry.rows_out)
    told: RawTexts | str = "the source is not known here"
    known = with_own(corpus.manifest.own_sources)
    if name in known:
        told = known[name].origin(OriginName(entry.origin)).raw_texts
    if corpus.manifest.settings.get("options", {}).get("style") != Style.MEADOW:
        told = "rows of style 2023 keep the strings of 2023"
    if isinstance(told, str):
        found.not_checked = told
        return found
    files: list[tuple[Path, str]] = []
    for item in entry.inputs:
        path = _raw_file(folder, name, item.path, item.bytes, item.sha256)
        if path is None:
            found.not_checked = f"no raw file {item.path} of {item.sha256[:12]} below {folder}"
            found.findings.append(Finding("raw_missing", name, found.not_checked))
            return found
        files.append((path, item.path))
    chosen = _smallest(corpus, name, most) if most is not None else None
    found.rows = len(chosen) if chosen is not None else found.rows
    columns = ["id", *TEXTS, "source_id", "rephrased_by", "meta"]
    for table in corpus.iter_tables(name, columns=columns):
        asked = [row for row in table.to_pylist() if chosen is None or row["id"] in chosen]
        rows = [
            _Row(
                row["id"],
                {column: tokens(row[column] or "", marked=bool(told.markup)) for column in TEXTS},
                json.loads(row["meta"]),
                told.key(row["source_id"]) if row["source_id"] is not None else None,
            )
            for row in asked
            if row["rephrased_by"] is None
        ]
        found.rewritten += len(asked) - len(rows)
        try:
            with damage_is_an_error(folder, f"a raw file of {name}"):
                _trace(rows, files, told)
        except NoSecondReader as error:
            found.not_checked = str(error)
        except (ValueError, FileError, sqlite3.Error) as error:
            found.findings.append(Finding("raw_unreadable", name, str(error)))
        for row in rows:
            _judge(row, told, found)
    return found


def _smallest(corpus: Corpus, name: str, most: int) -> set[str]:
    tables = corpus.iter_tables(name, columns=["id"])
    ids = [row_id for table in tables for row_id in table["id"].to_pylist()]
    return set(sorted(ids, key=lambda each: hashlib.sha256(each.encode()).digest())[:most])


def _raw_file(folder: Path, source: str, label: str, size: int, sha256: str) -> Path | None:
    """The raw file with that hash: where its label says, else anywhere below the folder."""
    likely = (folder / source / label, folder / label)
    for path in (*likely, *(path for path in sorted(folder.rglob("*")) if path not in likely)):
        if path.is_file() and path.stat().st_size == size and sha256_file(path) == sha256:
            return path
    return None


def _trace(rows: Sequence[_Row], files: Iterable[tuple[Path, str]], told: RawTexts) -> None:
    """Offer every raw text to the rows that may be made of it."""
    by_key: dict[str, list[_Row]] = {}
    by_token: dict[str, list[int]] = {}
    common = Counter(token for row in rows for words in row.texts.values() for token in set(words))
    for number, row in enumerate(rows):
        if row.key is not None:
            by_key.setdefault(row.key, []).append(row)
            continue
        words = dict.fromkeys(token for words in row.texts.values() for token in words)
        for token in sorted(words, key=lambda each: (common[each], each))[:_RAREST]:
            by_token.setdefault(token, []).append(number)
    for path, label in files:
        for place, key, texts in _raw_texts(path, label, told, by_key):
            raw: dict[str, list[str]] = {}
            if key is None or key in by_key:
                reading = html_words if told.markup else str
                raw = {
                    column: tokens(reading(text), marked=bool(told.markup))
                    for column, text in texts.items()
                }
            if key is not None:
                for row in by_key.get(key, ()):
                    row.offer(place, raw)
                continue
            shared = {token for words in raw.values() for token in words}
            votes = Counter(number for token in shared for number in by_token.get(token, ()))
            enough = min(max(votes.values(), default=0), _RAREST - 2)
            for number, count in votes.items():
                if count >= enough:
                    rows[number].offer(place, raw)


def _raw_texts(
    path: Path, label: str, told: RawTexts, wanted: Mapping[str, Any]
) -> Iterator[tuple[str, str | None, Mapping[str, str]]]:
    """The place, the key and the texts of every row that a raw file may become."""
    parents: dict[str, Any] = {}
    if told.parent:
        child, own = told.parent
        needed = {
            item[child]
            for _, item in read_items(path, label, told)
            if item.get(child) and item.get(own) in wanted
        }
        parents = {
            item[own]: item for _, item in read_items(path, label, told) if item.get(own) in needed
        }
    for number, (name, item) in enumerate(read_items(path, label, told), 1):
        if told.parent:
            if item.get(told.parent[0]) not in parents:
                continue
            item = {**item, "parent": parents[item[told.parent[0]]]}
        try:
            for key, texts in _sections(told.texts(item, name), told.markup):
                yield f"{name}, item {number}" + (f", {key}" if key else ""), key, texts
        except (KeyError, TypeError, AttributeError, IndexError):
            continue  # no row can come of it; one that did would not be traced


def _sections(
    rows: Iterable[tuple[str | None, Mapping[str, str]]], markup: str
) -> Iterator[tuple[str | None, Mapping[str, str]]]:
    """The rows; of those in wikitext each section as HTML, under the key that its anchor makes."""
    if markup != "wikitext":
        yield from rows
        return
    for key, texts in rows:
        for column, text in texts.items():
            seen: Counter[str] = Counter()
            for heading, html in wiki_sections(text):
                anchor = heading.replace(" ", "_")
                seen[anchor.casefold()] += 1
                count = seen[anchor.casefold()]
                anchor += f"_{count}" if heading and count > 1 else ""
                yield f"{key}#{anchor}" if anchor else key, {column: html}


def _judge(row: _Row, told: RawTexts, found: Comparison) -> None:
    """Count what is explained, and name what is not."""
    size = sum(map(len, row.texts.values()))
    if not row.raw or (row.key is None and row.distance > size):
        if not found.not_checked:
            found.findings.append(Finding("untraced_row", row.id, "no raw text is like it"))
        return
    found.compared += 1
    for column, raw in row.raw.items():
        found.columns[column] += 1
        for lost, added, where in _differences(raw, row.texts[column]):
            missing, numbers = told_apart(lost)
            if lost and not missing and not added:
                continue  # only numbers of a template that has its own difference
            change = f"{where[0]}{' '.join(missing)} → {' '.join(added)}{where[1]}"
            shape = f"{column}: {change}"
            name = _explanation(shape, row.meta.get("repairs", ()), told)
            shown = re.findall(r"\d+", " ".join(added).replace("× 10 ", ""))
            if UNREAD in missing and not numbers.issuperset(shown):
                name = ""  # a number that its template does not have
            if not name and any(where[:2]) and _is_courtesy(missing, added, row.meta):
                name = "removed_courtesy"
            if name:
                found.explained[name] += 1
                continue
            detail = f"{row.place}: {column}: missing {' '.join(missing)[:200]!r}, added "
            detail += f"{' '.join(added)[:200]!r}, {where[2]}"
            found.findings.append(Finding("not_as_raw", row.id, detail))


def _is_courtesy(missing: list[str], added: list[str], meta: Mapping[str, Any]) -> bool:
    """Whether all that is missing is noted as a courtesy, but for how the next word is written.

    A name stands as a placeholder in its note: letters in that very place are the name.
    """
    noted = [tokens(text) for texts in meta.get("removed", {}).values() for text in texts]
    said = " ".join(missing) + " "
    for words in noted:
        if "NAME" in words:
            written = (_A_NAME if word == "NAME" else re.escape(word) + " " for word in words)
            said = re.sub(rf"(?<!\S){''.join(written)}", "", said, count=1)
    left = Counter(said.split()) - Counter(chain(*noted))
    return bool(noted) and [*map(str.casefold, left.elements())] == [*map(str.casefold, added)]


def _differences(
    raw: list[str], words: list[str]
) -> Iterator[tuple[list[str], list[str], tuple[str, str, str]]]:
    """(missing, added, (beginning, end, what stands around)) for each place where they differ."""
    if raw == words:
        return
    # what is the same at either end needs no matcher, which is quadratic
    start = _in_common(raw, words)
    end = _in_common(reversed(raw[start:]), reversed(words[start:]))
    inner = raw[start : len(raw) - end], words[start : len(words) - end]
    for kind, i, j, k, m in SequenceMatcher(None, *inner, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        first, last = start + i, start + j
        while k == m and first > 0 and raw[first - 1] == raw[last - 1]:
            first, last = first - 1, last - 1  # of a repetition the first one is gone
        around = f"between {' '.join(raw[max(0, first - 5) : first])!r} and "
        around += f"{' '.join(raw[last : last + 5])!r}"
        edges = "|" if first == 0 else "", "|" if last == len(raw) else ""
        yield raw[first:last], inner[1][k:m], (*edges, around)


def _in_common(one: Iterable[str], other: Iterable[str]) -> int:
    """How many tokens from the beginning are the same."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _explanation(shape: str, repairs: Sequence[str], told: RawTexts) -> str:
    """The repair or rule that a difference is the work of; "" for none."""
    for repair in repairs:
        pattern = told.repairs.get(repair, _MARKUP if repair == "removed_markup" else "")
        if repair.startswith("scrubbed_"):
            kinds = [each.removeprefix("scrubbed_").replace("_", " ").upper() for each in repairs]
            pattern = rf"\w+: (?:\S* ){{1,41}}→ (?:(?:{'|'.join(kinds)}) ?)+"
        if pattern and _matches(pattern, shape):
            return repair
    for rule, pattern in told.rules.items():
        if _matches(pattern, shape):
            return rule
    return ""


def _matches(pattern: str, shape: str) -> bool:
    """Whether a change is of that shape; a pattern without "|" asks for no edge of the text."""
    return any(re.fullmatch(pattern, each) for each in (shape, shape.replace("|", "")))
