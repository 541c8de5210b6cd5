"""croissant.json: the folder in MLCommons' metadata format, with the fields of responsible AI.

Written by hand from the manifest (no clock, no network), so that the same folder gives the same
bytes; a test validates it with mlcroissant and reads rows through it. Format: Croissant 1.0 and its
RAI 1.0 vocabulary.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from meadow.cards.header import Locate, columns_of
from meadow.cards.provenance import PAIRS, SourceRows, languages
from meadow.corpus.manifest import Manifest
from meadow.schema import SCHEMA_VERSION

NAME = "croissant.json"
PAPER = "https://arxiv.org/abs/2304.08247"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_COLUMNS = {
    "id": "Stable id: a hash of source and upstream id, or of the upstream content.",
    "instruction": "What to do.",
    "input": "What the instruction is about; may be empty.",
    "output": "The answer.",
    "source": "The source's name.",
    "subset": "A part of the source.",
    "task": "What the record asks of a model.",
    "license": "The licence of the answer.",
    "url": "Where the original stands.",
    "authors": "Who is to be named.",
    "source_id": "The upstream id.",
    "rephrased_by": "The model that rewrote the text.",
    "meta": "A JSON object with sorted keys: labels, options, scores, repairs.",
    "messages": "The row as a conversation.",
}
_TURN = {"role": "user or assistant.", "content": "What was said."}
_AUTHOR = {"name": "Name.", "url": "Profile.", "role": "Role, such as question or answer."}


def render_croissant(manifest: Manifest, locate: Locate, sources: list[SourceRows]) -> str:
    """croissant.json for a corpus or mix.

    Args:
        manifest: What the folder holds.
        locate: Where a file of the manifest lies (it may still be staged).
        sources: Its rows by source, as `rows_by_source` counts them.
    """
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": _name(manifest),
        "description": _description(manifest, sources),
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "license": _licenses(sources),
        "url": PAPER,
        "version": f"{SCHEMA_VERSION}.0.0",
        "keywords": ["medical", "clinical", "instruction tuning", "question answering"],
        **({"inLanguage": found} if (found := languages(sources)) else {}),
        "isLiveDataset": False,
        "citeAs": _citations(sources),
        "creator": {"@type": "Organization", "name": "The Medical Meadow developers"},
        **_responsible(manifest, sources),
        "distribution": _distribution(manifest),
        "recordSet": [
            _record_set(config, split, columns_of(manifest, locate))
            for config, splits in manifest.splits().items()
            for split in splits
            if config != PAIRS
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _name(manifest: Manifest) -> str:
    names = (
        "-".join(name for name in manifest.splits() if name != PAIRS)
        if manifest.stage == "mix"
        else "corpus"
    )
    return f"medical-meadow-{names}"


def _description(manifest: Manifest, sources: list[SourceRows]) -> str:
    rows = sum(source.rows for source in sources)
    what = "Mixed by recipe" if manifest.stage == "mix" else "Regenerated from the raw files"
    listed = "; ".join(f"{source.title}: {source.rows:,} rows" for source in sources)
    return (
        f"{rows:,} medical instruction examples with provenance and licence per row. {what}. "
        f"{listed}. Not medical advice."
    )


def _licenses(sources: list[SourceRows]) -> list[str]:
    from meadow.licenses import LICENSES

    keys = dict.fromkeys(key for source in sources for key in source.licenses)
    found = [LICENSES[key].url or LICENSES[key].name for key in keys if key in LICENSES]
    return found or ["see the column license"]


def _citations(sources: list[SourceRows]) -> str:
    own = (
        "Han et al., MedAlpaca: An Open-Source Collection of Medical Conversational AI Models and "
        f"Training Data, 2023, {PAPER}"
    )
    return " | ".join([own, *dict.fromkeys(s.citation for s in sources if s.citation)])


def _responsible(manifest: Manifest, sources: list[SourceRows]) -> dict[str, Any]:
    """The RAI fields; every count is the manifest's or measured from the rows."""
    rewritten = {name: n for source in sources for name, n in source.rewritten.items()}
    repairs: Counter[str] = sum((source.repairs for source in sources), Counter())
    kinds: Counter[str] = sum((Counter(source.scrubbed) for source in sources), Counter())
    scrubbed = ", ".join(f"{kind} in {n:,} rows" for kind, n in sorted(kinds.items()))
    if manifest.stage == "mix":
        lost = sum(sum(step.rejected.values()) for step in manifest.steps)
        why = f"{lost:,} rows of the corpus are left out, by step and reason in MANIFEST.json"
    else:
        lost = sum(sum(entry.rejected.values()) for entry in manifest.sources.values())
        why = (
            f"{lost:,} candidate rows are left out, each with a reason in MANIFEST.json and its "
            "text in quarantine/"
        )
    return {
        "rai:dataCollection": "Converted from the published files of each source: "
        + "; ".join(f"{source.title} ({source.homepage})" for source in sources),
        "rai:dataCollectionType": ["Secondary Data Analysis", "Document analysis"],
        "rai:dataCollectionRawData": "Raw files are named with their SHA-256 in MANIFEST.json.",
        "rai:dataCollectionMissingData": f"{why}; nothing is imputed.",
        "rai:dataPreprocessingProtocol": [
            "converted by code in this project; what was repaired in a row is named in its meta",
            *(f"{name}: {n:,} rows" for name, n in sorted(repairs.items())),
            *(
                f"{step.name}: {step.rows_in:,} to {step.rows_out:,} rows"
                for step in manifest.steps
            ),
        ],
        "rai:machineAnnotationTools": [f"{name}: {n:,} rows" for name, n in rewritten.items()]
        or ["none: no row was rewritten by a model"],
        "rai:dataAnnotationProtocol": "Labels and answers are those of the sources; what a "
        "converter writes (instructions, stock headings) is code in this project.",
        "rai:dataUseCases": [
            "instruction tuning of language models for research",
            "study of data quality, duplicates and contamination",
        ],
        "rai:dataLimitations": [
            "not medical advice, and not checked by clinicians row by row",
            "answers carry the age and the errors of their sources",
            f"languages, as measured: {', '.join(languages(sources)) or 'too little text to tell'}",
        ],
        "rai:dataBiases": [
            "exam questions and flashcards follow the curriculum of the United States",
            "forum answers over-represent what its users ask",
        ],
        "rai:dataSocialImpact": "Models trained on it can state wrong medical facts fluently; they "
        "must not replace professional judgement.",
        "rai:personalSensitiveInformation": "Placeholders for personal "
        f"data: {scrubbed or 'none'}. "
        "Names may remain. Authors stand in a column where the licence asks for them.",
        "rai:dataReleaseMaintenancePlan": "Regenerated by recipe; versions are immutable tags; a "
        "takedown is an entry of exclude_ids.txt, applied at the next build.",
    }


def _distribution(manifest: Manifest) -> list[dict[str, Any]]:
    """Every shard with its hash, and per split the set of its shards."""
    found: list[dict[str, Any]] = []
    for config, splits in manifest.splits().items():
        for split, shards in splits.items():
            found += [
                {
                    "@type": "cr:FileObject",
                    "@id": shard.path,
                    "name": shard.path.rsplit("/", 1)[-1],
                    "contentUrl": shard.path,
                    "contentSize": f"{shard.bytes} B",
                    "encodingFormat": "application/x-parquet",
                    "sha256": shard.sha256,
                }
                for shard in shards
            ]
            found.append(
                {
                    "@type": "cr:FileSet",
                    "@id": f"{config}-{split}-shards",
                    "name": f"{config}-{split}-shards",
                    "encodingFormat": "application/x-parquet",
                    "includes": f"data/{config}/{split}-*.parquet",
                }
            )
    return found


def _record_set(config: str, split: str, columns: list[str]) -> dict[str, Any]:
    name = f"{config}-{split}"
    files = {"fileSet": {"@id": f"{name}-shards"}}

    def field(column: str) -> dict[str, Any]:
        described: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": column,
            "description": _COLUMNS[column],
        }
        parts = {"authors": _AUTHOR, "messages": _TURN}.get(column)
        if parts is None:
            return described | {
                "dataType": "sc:Text",
                "source": {**files, "extract": {"column": column}},
            }
        return described | {
            "repeated": True,
            "subField": [
                {
                    "@type": "cr:Field",
                    "@id": f"{name}/{column}/{part}",
                    "name": part,
                    "description": text,
                    "dataType": "sc:Text",
                    "source": {
                        **files,
                        "extract": {"column": column},
                        "transform": {"jsonPath": part},
                    },
                }
                for part, text in parts.items()
            ],
        }

    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Rows of {config}, split {split}.",
        "key": {"@id": f"{name}/id"},
        "field": [field(column) for column in columns],
    }
