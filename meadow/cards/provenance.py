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
from dataclasses import dataclass, field
from typing import Any

from meadow.cards.header import Locate
from meadow.corpus.manifest import Manifest
from meadow.licenses import LICENSES

# What a folder holds of each source, measured from its shards.


PAIRS = "raw_pairs"


@dataclass(slots=True)
class SourceRows:
    """One source as the folder holds it.

    Args:
        name: The source's name.
        title: For people.
        homepage: Where it comes from.
        citation: Whom to cite.
        license_note: What the licence key cannot say.
        rows: How many.
        licenses: Licence key -> rows.
        tasks: Task -> rows.
        rewritten: Model -> rows that it rewrote.
    """

    name: str
    title: str
    homepage: str = ""
    citation: str = ""
    license_note: str = ""
    rows: int = 0
    licenses: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)


def rows_by_source(manifest: Manifest, locate: Locate) -> list[SourceRows]:
    """Every source that has rows in the folder, by name.

    Args:
        manifest: What the folder holds.
        locate: Where a file of the manifest lies.
    """
    import pyarrow.parquet as pq

    from meadow.sources import SOURCES

    columns = ["source", "license", "task", "rephrased_by"]
    counts: Counter[tuple[str, str, str, str | None]] = Counter()
    for config, splits in manifest.splits().items():
        if config == PAIRS:
            continue
        for shards in splits.values():
            for shard in shards:
                table = pq.read_table(locate(shard.path), columns=columns)
                grouped = table.group_by(columns).aggregate([([], "count_all")])
                for row in grouped.to_pylist():
                    key = (row["source"], row["license"], row["task"], row["rephrased_by"])
                    counts[key] += row["count_all"]
    found: dict[str, SourceRows] = {}
    for (name, license, task, model), rows in sorted(counts.items(), key=lambda p: str(p[0])):
        if name not in found:
            known = SOURCES.get(name)
            found[name] = (
                SourceRows(name, known.title, known.homepage, known.citation, known.license_note)
                if known
                else SourceRows(name, name)
            )
        entry = found[name]
        entry.rows += rows
        entry.licenses[license] += rows
        entry.tasks[task] += rows
        if model is not None:
            entry.rewritten[model] += rows
    return [found[name] for name in sorted(found)]


NAME = "provenance.json"
COLLECTION = "Medical Meadow"
COLLECTION_URL = "https://github.com/kbressem/medAlpaca"
_TASKS = {
    "open_qa": "Medical Question Answering",
    "multiple_choice": "Multiple Choice Question Answering",
    "classification": "Biomedical Text Classification",
    "summarization": "BioMedical Text Summarization",
    "dialogue": "Dialogue",
    "instruction": "Instruction Following",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What the rows cannot say of a source.

    Args:
        paper: The title of the paper to cite.
        text_sources: Where the words were first written.
        arxiv: The paper's address there.
        github: The repository of the data.
        published: The 2023 repository below medalpaca/ on the Hub.
        human: Whether people annotated the rows.
        derived: Data sets that it was made from.
        creators: Who made the source.
        note: What was wrong in the older entry, and what should be known.
    """

    paper: str
    text_sources: tuple[str, ...]
    arxiv: str = ""
    github: str = ""
    published: str = ""
    human: bool = False
    derived: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    note: str = ""


_MEDALPACA = (
    "MedAlpaca - An Open-Source Collection of Medical Conversational AI Models and Training Data"
)
_MEDALPACA_ARXIV = "https://arxiv.org/abs/2304.08247"
_WIKIDOC_NOTE = (
    "WikiDoc is share-alike; the tag cc of the 2023 repository states no licence, and CC BY 4.0 "
    "was read into it."
)
KNOWN: dict[str, Known] = {
    "anki": Known(
        _MEDALPACA, ("medical flashcard decks supplied by the user",), _MEDALPACA_ARXIV,
        published="medical_meadow_medical_flashcards",
        note="Shared decks state no licence; CC BY 4.0 was read into the tag cc.",
    ),
    "wikidoc": Known(
        _MEDALPACA, ("wikidoc.org",), _MEDALPACA_ARXIV, published="medical_meadow_wikidoc",
        note=f"{_WIKIDOC_NOTE} The 2023 headings were rewritten with GPT-3.5, which the older "
        "entry leaves out.",
    ),
    "wikidoc_patient_information": Known(
        _MEDALPACA, ("wikidoc.org",), _MEDALPACA_ARXIV,
        published="medical_meadow_wikidoc_patient_information",
        note=f"{_WIKIDOC_NOTE} The text comes from wikidoc.org, not from Anki.",
    ),
    "stack_exchange": Known(
        _MEDALPACA, ("stackexchange.com",), _MEDALPACA_ARXIV, human=True,
        creators=("Stack Exchange contributors",),
        note="CC BY-SA 2.5, 3.0 or 4.0 by the date of the post; authors and links stand in every "
        "row. Missing from the older collection.",
    ),
    "cord19": Known(
        "CORD-19: The COVID-19 Open Research Dataset",
        ("PubMed Central", "PubMed", "arxiv.org", "biorxiv.org", "medrxiv.org", "WHO"),
        "https://arxiv.org/abs/2004.10706", "https://github.com/allenai/cord19",
        "medical_meadow_cord19", derived=("CORD-19",),
        creators=("Allen Institute for AI",),
        note="The licence differs per paper and is kept per row; one licence for all is wrong.",
    ),
    "health_advice": Known(
        "Detecting Health Advice in Medical Research Literature", ("PubMed",),
        github="https://github.com/junwang4/detecting-health-advice",
        published="medical_meadow_health_advice", human=True,
        creators=("Syracuse University",),
        note="The older entry gives the paper and repository of the causal-language set instead.",
    ),
    "pubmed_causal": Known(
        "Detecting Causal Language Use in Science Findings", ("PubMed",),
        github="https://github.com/junwang4/causal-language-use-in-science",
        published="medical_meadow_pubmed_causal", human=True,
        creators=("Syracuse University",),
        note="The repository is GPL-3.0, which the older entry calls unspecified. The 2023 labels "
        "are shifted by one; these are upstream's.",
    ),
    "mmmlu": Known(
        "Measuring Massive Multitask Language Understanding",
        ("freely available practice questions",), "https://arxiv.org/abs/2009.03300",
        "https://github.com/hendrycks/test", "medical_meadow_mmmlu", derived=("MMLU",),
        creators=("UC Berkeley",),
        note="Test items elsewhere: kept out of default mixes.",
    ),
    "medqa": Known(
        "What Disease does this Patient Have? A Large-scale Open Domain Question Answering Dataset "
        "from Medical Exams",
        ("medical board examinations",), "https://arxiv.org/abs/2009.13081",
        "https://github.com/jind11/MedQA", "medical_meadow_medqa", derived=("MedQA",),
        note="MIT covers the repository; the item text comes from third parties.",
    ),
    "mediqa": Known(
        "Question-Driven Summarization of Answers to Consumer Health Questions",
        ("consumer health web pages",), published="medical_meadow_mediqa", human=True,
        derived=("MEDIQA-AnS",), creators=("U.S. National Library of Medicine",),
    ),
    "mediqa_qa": Known(
        "Overview of the MEDIQA 2019 Shared Task on Textual Inference, Question Entailment and "
        "Question Answering",
        ("consumer health web pages",), github="https://github.com/abachaa/MEDIQA2019", human=True,
        creators=("U.S. National Library of Medicine",),
    ),
    "medquad": Known(
        "A Question-Entailment Approach to Question Answering",
        ("websites of the U.S. National Institutes of Health",),
        "https://arxiv.org/abs/1901.08079", "https://github.com/abachaa/MedQuAD",
        creators=("U.S. National Library of Medicine",),
    ),
    "chatdoctor": Known(
        "ChatDoctor: A Medical Chat Model Fine-Tuned on LLaMA Using Medical Domain Knowledge",
        ("HealthCareMagic", "iCliniq", "text generated by ChatGPT"),
        "https://arxiv.org/abs/2303.14070", "https://github.com/Kent0n-Li/ChatDoctor",
        note="The file is Apache 2.0, the README forbids commercial and clinical use.",
    ),
    "openassistant": Known(
        "OpenAssistant Conversations - Democratizing Large Language Model Alignment",
        ("conversations written by volunteers",), "https://arxiv.org/abs/2304.07327",
        "https://github.com/LAION-AI/Open-Assistant", human=True, creators=("LAION",),
    ),
    "alpaca": Known(
        "Stanford Alpaca: An Instruction-following LLaMA Model", ("text-davinci-003",),
        github="https://github.com/tatsu-lab/stanford_alpaca",
        creators=("Stanford University",),
        note="Only for the Alpaca baselines; never in a publishable mix.",
    ),
}  # fmt: skip
# Models that wrote (part of) the rows before this project ever saw them.
_GENERATED = {
    "alpaca": ["OpenAI text-davinci-003"],
    "chatdoctor": ["OpenAI ChatGPT"],
}


def render_provenance(manifest: Manifest, locate: Locate) -> str:
    """provenance.json: one entry per source that has rows in the folder.

    Args:
        manifest: What the folder holds.
        locate: Where a file of the manifest lies (it may still be staged).
    """
    document = {}
    for source in rows_by_source(manifest, locate):
        entry = manifest.sources.get(source.name)
        document[identifier(source.name)] = _entry(source, entry.origin if entry else "")
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def identifier(source: str) -> str:
    """The "Unique Dataset Identifier" of a source."""
    return f"medical-meadow-{source.replace('_', '-')}"


def _entry(source: SourceRows, origin: str) -> dict[str, Any]:
    known = KNOWN.get(source.name, Known(source.title, ()))
    hub = f"https://huggingface.co/datasets/medalpaca/{known.published}" if known.published else ""
    generated = list(dict.fromkeys([*_GENERATED.get(source.name, ()), *source.rewritten]))
    if origin == "published" and source.name in {"anki", "wikidoc"}:
        generated.append("OpenAI GPT-3.5-turbo")
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
        "Paper Title": known.paper,
        "Dataset URL": source.homepage,
        "GitHub URL": known.github,
        "Hugging Face URL": hub,
        "Papers with Code URL": "",
        "ArXiv URL": known.arxiv,
        "Collection": COLLECTION,
        "Collection URL": COLLECTION_URL,
        "Languages": ["English"],
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
