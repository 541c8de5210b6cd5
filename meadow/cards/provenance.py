"""provenance.json: the folder's sources in the field names of the Data Provenance Initiative.

That collection has an entry for Medical Meadow whose licences and text sources are partly wrong:
CC BY 4.0 was read out of the bare tag "cc" (WikiDoc is share-alike, flashcards state nothing),
patient information is said to come from Anki, the health-advice set points to another paper and
repository, WikiDoc's headings count as written by people, and CORD-19 has one licence instead of
one per paper. Licences, tasks and rewriting below are measured from the rows; the rest is stated
per source with what was wrong before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meadow.cards.header import Locate
from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import read_rows
from meadow.licenses import LICENSES
from meadow.source import OriginName, Provenance
from meadow.text.language import language_of

PAIRS = "raw_pairs"
LOOKED_AT = 500
"""Rows of a shard whose language is measured."""
SCRUBBED = "scrubbed_"


@dataclass(slots=True)
class SourceRows:
    """One source as the folder holds it.

    Args:
        name: The source's name.
        title: For people.
        homepage: Where it comes from.
        citation: Whom to cite.
        license_note: What the licence key cannot say.
        provenance: What the rows cannot say.
        rows: How many.
        licenses: Licence key -> rows.
        tasks: Task -> rows.
        rewritten: Model -> rows that it rewrote.
        repairs: Repair -> rows whose `meta` names it.
        languages: Language -> rows, of those that were looked at and long enough to tell.
    """

    name: str
    title: str
    homepage: str = ""
    citation: str = ""
    license_note: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    rows: int = 0
    licenses: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    @property
    def scrubbed(self) -> dict[str, int]:
        """Kind of personal data -> rows in which a placeholder stands for it."""
        return {
            name.removeprefix(SCRUBBED): rows
            for name, rows in sorted(self.repairs.items())
            if name.startswith(SCRUBBED)
        }


def rows_by_source(manifest: Manifest, locate: Locate) -> list[SourceRows]:
    """Every source that has rows in the folder, by name.

    Args:
        manifest: What the folder holds.
        locate: Where a file of the manifest lies.
    """
    import polars as pl

    from meadow.sources import SOURCES

    columns = ["source", "license", "task", "rephrased_by"]
    counts: Counter[tuple[str, str, str, str | None]] = Counter()
    repairs: Counter[tuple[str, str]] = Counter()
    spoken: Counter[tuple[str, str]] = Counter()
    named = pl.col("meta").str.extract(r'"repairs":\[([^\]]*)\]').str.extract_all(r"\w+")
    for config, splits in manifest.splits().items():
        if config == PAIRS:
            continue
        for shards in splits.values():
            for shard in shards:
                frame = read_rows(locate(shard.path), [*columns, "meta"])
                for *key, rows in frame.group_by(columns).len().iter_rows():
                    counts[tuple(key)] += rows
                noted = frame.select("source", named).explode("meta").drop_nulls()
                for source, repair, rows in noted.group_by("source", "meta").len().iter_rows():
                    repairs[source, repair] += rows
                spoken += _languages(locate(shard.path))
    found: dict[str, SourceRows] = {}
    for (name, license, task, model), rows in sorted(counts.items(), key=lambda p: str(p[0])):
        if name not in found:
            found[name] = SourceRows(name, name)
            if known := SOURCES.get(name):
                found[name] = SourceRows(
                    name,
                    known.title,
                    known.homepage,
                    known.citation,
                    known.license_note,
                    known.provenance,
                )
        entry = found[name]
        entry.rows += rows
        entry.licenses[license] += rows
        entry.tasks[task] += rows
        if model is not None:
            entry.rewritten[model] += rows
    for (name, repair), rows in repairs.items():
        found[name].repairs[repair] = rows
    for (name, language), rows in spoken.items():
        found[name].languages[language] = rows
    return [found[name] for name in sorted(found)]


def _languages(shard: Path) -> Counter[tuple[str, str]]:
    """(source, language) -> rows, of about `LOOKED_AT` rows that stand evenly in a shard."""
    counts: Counter[tuple[str, str]] = Counter()
    short: dict[str, list[str]] = {}
    rows = read_rows(shard, ["source", "input", "output"])
    step = max(1, rows.height // LOOKED_AT)
    for source, given, answer in rows.gather_every(step).iter_rows():
        text = f"{answer[:1000]}\n{given[:1000]}"
        if language := language_of(text):
            counts[source, language] += 1
        else:
            short.setdefault(source, []).append(text)
    for source, texts in short.items():
        # rows of a few words tell together what none tells alone
        if not any(name == source for name, _ in counts) and (
            language := language_of("\n".join(texts))
        ):
            counts[source, language] = len(texts)
    return counts


def languages(sources: Iterable[SourceRows]) -> list[str]:
    """The languages of a folder, the most frequent first: those of one row in fifty and more."""
    counts: Counter[str] = sum((source.languages for source in sources), Counter())
    least = 0.02 * counts.total()
    return [name for name, rows in counts.most_common() if rows >= least]


NAME = "provenance.json"
COLLECTION = "Medical Meadow"
COLLECTION_URL = "https://github.com/kbressem/medAlpaca"
_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish"}
_TASKS = {
    "open_qa": "Medical Question Answering",
    "multiple_choice": "Multiple Choice Question Answering",
    "classification": "Biomedical Text Classification",
    "summarization": "BioMedical Text Summarization",
    "dialogue": "Dialogue",
    "instruction": "Instruction Following",
}


def render_provenance(manifest: Manifest, sources: Iterable[SourceRows]) -> str:
    """provenance.json: one entry per source that has rows in the folder.

    Args:
        manifest: What the folder holds.
        sources: Its rows by source, as `rows_by_source` counts them.
    """
    document = {}
    for source in sources:
        entry = manifest.sources.get(source.name)
        document[identifier(source.name)] = _entry(source, entry.origin if entry else "")
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def identifier(source: str) -> str:
    """The "Unique Dataset Identifier" of a source."""
    return f"medical-meadow-{source.replace('_', '-')}"


def _entry(source: SourceRows, origin: str) -> dict[str, Any]:
    known = source.provenance
    hub = f"https://huggingface.co/datasets/medalpaca/{known.published}" if known.published else ""
    generated = list(dict.fromkeys([*known.generated, *source.rewritten]))
    if origin == OriginName.PUBLISHED:
        generated += known.published_generated
    licenses = []
    for key, _ in sorted(source.licenses.items(), key=lambda pair: (-pair[1], pair[0])):
        license = LICENSES.get(key)
        stated = key not in {"unknown", "user-supplied"}
        licenses.append(
            {
                "License": (license.name if license else key) if stated else "Unspecified",
                "License URL": license.url if license and stated else "",
            }
        )
    notes = [text for text in (source.license_note, known.note) if text]
    counted = ", ".join(f"{key} {rows:,}" for key, rows in source.licenses.most_common())
    name = identifier(source.name)
    return {
        "Unique Dataset Identifier": name,
        "Dataset Name": source.title,
        "Paper Title": known.paper or source.title,
        "Dataset URL": source.homepage,
        "GitHub URL": known.github,
        "Hugging Face URL": hub,
        "Papers with Code URL": "",
        "ArXiv URL": known.arxiv,
        "Collection": COLLECTION,
        "Collection URL": COLLECTION_URL,
        "Languages": [_LANGUAGES.get(name, name) for name in languages([source])],
        "Task Categories": [_TASKS.get(task, task) for task in sorted(source.tasks)],
        "Text Sources": list(known.text_sources),
        "Model Generated": generated,
        "Format": ["Zero-shot"],
        "Human Annotation": "Yes" if known.human else "No",
        "Derived from Datasets": list(known.derived),
        "Creators": list(known.creators),
        "Licenses": licenses,
        "License Notes": " ".join([*notes, f"Rows by licence: {counted}."]),
        "License Verified By": "the column license of every row",
        "Dataset Filter IDs": [name],
    }
