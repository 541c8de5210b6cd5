"""What there is to rewrite in a corpus.

Two kinds of rows are worth it: flashcards, whose two sides become a question and an answer, and
sections of a wiki whose heading has no rule, which become rows at all only so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from meadow.atomic import sha256_file
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import SourceEntry
from meadow.errors import FileError, UsageError
from meadow.rephrase.write import Item, entry_to_work_on
from meadow.schema import Fact, Reason, Record, Reject, Style, from_row
from meadow.source import Input, Options, Rewrite, Source
from meadow.sources import HOUSE, SOURCES, with_own
from meadow.text.clean import clean_record


def rewriting(source: str, known: Mapping[str, Source] = SOURCES) -> Rewrite:
    """How rows of a source are rewritten.

    Raises:
        UsageError: They are not.
    """
    found = known.get(source)
    if found is None or found.rewrite is None:
        names = ", ".join(name for name in sorted(HOUSE) if SOURCES[name].rewrite)
        fix = f"one of {names}; or say `rewrite` in its TOML file, and build it again"
        raise UsageError(f"nothing in {source!r} is rewritten", fix=fix)
    return found.rewrite


def collect_items(corpus: Corpus, source: str, inputs: Sequence[Input]) -> list[Item]:
    """What there is to rewrite in a corpus.

    Args:
        corpus: A build.
        source: One of its sources.
        inputs: For sections: the raw files that the build read; the quarantine keeps only the
            beginning of a text.

    Raises:
        UsageError: The corpus is no build, lacks the source, or is rewritten already.
        FileError: A raw file is not the one that was built from.
    """
    entry = entry_to_work_on(corpus, source, "rephrase")
    if rewriting(source, with_own(corpus.manifest.own_sources)).kind == "flashcard":
        return [flashcard_item(from_row(row)) for row in corpus.to_arrow(source).to_pylist()]
    return list(_heading_items(corpus, source, entry, inputs))


def flashcard_item(record: Record) -> Item:
    """A row of flashcards as an item."""
    return Item(record, {"front": record.input, "back": record.output})


def _heading_items(
    corpus: Corpus, source: str, entry: SourceEntry, inputs: Sequence[Input]
) -> Iterator[Item]:
    """Sections are read again: the quarantine says which, and the raw files hold their texts."""
    origin, record = SOURCES[source].upstream, rewriting(source).record
    if entry.origin != "upstream" or origin is None or record is None:
        return
    with (corpus.folder / entry.quarantine.path).open(encoding="utf-8") as file:
        rejects = [json.loads(line) for line in file]
    no_rule = Reason.NO_HEADING_RULE.value
    wanted = {reject["where"] for reject in rejects if reject["reason"] == no_rule}
    options = Options(style=Style(corpus.manifest.settings["options"]["style"]))
    for raw in origin.read(_same_inputs(source, entry, inputs), options):
        if isinstance(raw, Reject | Fact) or raw["_where"] not in wanted:
            continue
        # asked by its heading, as it stands
        made = clean_record(
            record(raw, str(raw["heading"]), options), SOURCES[source], options.style
        )
        if isinstance(made, Record):
            topic = str(json.loads(made.meta).get("topic", ""))
            values = {"topic": topic, "heading": made.input, "sentence": _sentence(made.output)}
            yield Item(made, values, str(raw["_where"]))


def _sentence(text: str, limit: int = 300) -> str:
    """The beginning of a text up to its first full stop."""
    line = next((line for line in text.split("\n") if line.strip()), "").strip()
    end = line.find(". ")
    return line[: end + 1 if 0 <= end < limit else limit]


def _same_inputs(source: str, entry: SourceEntry, inputs: Sequence[Input]) -> list[Input]:
    """The raw files of the build, in its order and under its names, wherever they lie today."""
    here = {sha256_file(item.path): item for item in inputs}
    for built in sorted(entry.inputs, key=lambda built: built.path):
        if built.sha256 not in here:
            raise FileError(
                f"the raw file that the corpus was built from is not there: {built.path}",
                fix=f"--raw DIR or --file {source}=PATH, with the same file as for the build",
            )
    return [replace(here[built.sha256], label=built.path) for built in entry.inputs]
