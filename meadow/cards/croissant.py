"""croissant.json: the folder in MLCommons' metadata format, with provenance and terms.

Written by hand from the manifest and the rows (no clock, no network), so that the same folder gives
the same bytes; a test validates it with mlcroissant and reads rows through it. Format: Croissant
1.1 (January 2026) and its RAI 1.0 vocabulary; PROV-O for where rows come from, ODRL for what each
licence allows. What only a publication knows (address, version, date, publisher) stands there from
then on, and nothing in its place before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from meadow.cards.command import regenerate
from meadow.cards.header import COLUMN_TEXTS, columns_of, pretty_name
from meadow.cards.rows import PAIRS, Locate, SourceRows, languages
from meadow.corpus.manifest import Manifest, Shard
from meadow.licenses import LICENSES, License
from meadow.source import OriginName

NAME = "croissant.json"
PARQUET = "application/x-parquet"
_TERMS = {
    name: f"cr:{name}"
    for name in (
        "annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty",
        "excludes", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
        "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path",
        "readLines", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
        "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value",
    )
}  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "cc": "https://creativecommons.org/ns#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **_TERMS,
}
_TURN = {"role": "user or assistant.", "content": "What was said."}
_AUTHOR = {"name": "Name.", "url": "Profile.", "role": "Role, such as question or answer."}


def render_croissant(manifest: Manifest, locate: Locate, sources: list[SourceRows]) -> str:
    """croissant.json for a corpus or mix, of whose rows `rows_by_source` gives the sources."""
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": _name(manifest),
        "description": _description(manifest, sources),
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "license": _licenses(sources),
        **_published(manifest),
        "keywords": ["medical", "clinical", "instruction tuning", "question answering"],
        **({"inLanguage": found} if (found := languages(sources)) else {}),
        "isLiveDataset": False,
        "citeAs": " | ".join(_citations(manifest, sources)),
        **_provenance(manifest, sources),
        "usageInfo": _usage(sources),
        **_responsible(manifest, sources),
        "distribution": _distribution(manifest),
        "recordSet": [
            _record_set(config, split, columns_of(manifest, locate))
            for config, split, _ in _splits(manifest)
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


def _citations(manifest: Manifest, sources: list[SourceRows]) -> Iterator[str]:
    """The data set itself, where it has an address, and what it was made from."""
    if there := manifest.published:
        yield f"{there.owner}, {pretty_name(manifest)}, {there.revision}, {there.date}, {there.url}"
    yield from dict.fromkeys(source.citation for source in sources if source.citation)


def _published(manifest: Manifest) -> dict[str, Any]:
    """Address, version, date and publisher, once they are known."""
    there = manifest.published
    if there is None:
        return {}
    owner = {"@type": "Organization", "name": there.owner, "url": f"{there.endpoint}/{there.owner}"}
    version = {"version": there.revision.removeprefix("v")} if there.is_tagged else {}
    return {
        "url": there.url,
        **version,
        "datePublished": there.date,
        "creator": owner,
        "publisher": owner,
    }


def _licenses(sources: list[SourceRows]) -> list[str]:
    keys = dict.fromkeys(key for source in sources for key in source.licenses)
    found = [LICENSES[key].url or LICENSES[key].name for key in keys if key in LICENSES]
    return list(dict.fromkeys(found)) or ["see the column license"]


def _provenance(manifest: Manifest, sources: list[SourceRows]) -> dict[str, Any]:
    """PROV-O: what the rows were derived from, by what activity, with what software."""
    software = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    made = [(regenerate(manifest), software)]
    for name, rows in _rewritten(sources).items():
        made.append((f"rewritten or reasoned about by a language model: {rows:,} rows", name))
    there = manifest.published
    return {
        "prov:wasDerivedFrom": [_entity(source, manifest) for source in sources],
        "prov:wasGeneratedBy": [
            _prov("Activity", what) | {"prov:wasAssociatedWith": _prov("SoftwareAgent", by)}
            for what, by in made
        ],
        **({"prov:wasAttributedTo": _prov("Agent", there.owner)} if there else {}),
    }


def _prov(kind: str, label: str) -> dict[str, Any]:
    return {"@type": f"prov:{kind}", "prov:label": label}


def _entity(source: SourceRows, manifest: Manifest) -> dict[str, Any]:
    """A source as an entity: who made it of what, under which licences, from which raw files."""
    known, entry = source.provenance, manifest.sources.get(source.name)
    generated = list(known.generated)
    if entry is not None and entry.origin == OriginName.PUBLISHED:
        generated += known.published_generated
    places = list(dict.fromkeys(filter(None, (source.homepage, known.github, known.arxiv))))
    keys = [key for key, _ in source.licenses.most_common()]
    told = {
        "sameAs": places[1:],
        "license": [LICENSES[key].url for key in keys if key in LICENSES and LICENSES[key].url],
        "prov:wasAttributedTo": [
            *(_prov("Agent", name) for name in known.creators),
            *(_prov("SoftwareAgent", name) for name in generated),
        ],
        "prov:wasDerivedFrom": [
            _prov("Entity", name) for name in (*known.text_sources, *known.derived)
        ],
        "prov:hadMember": [
            _prov("Entity", item.path) | {"sha256": item.sha256}
            for item in (entry.inputs if entry is not None else ())
        ],
    }
    counted = ", ".join(f"{key} {source.licenses[key]:,}" for key in keys)
    return {
        **_prov("Entity", source.title),
        **({"url": places[0]} if places else {}),
        "description": f"{source.rows:,} rows: {counted}. {source.license_note}".strip(),
        **{name: values for name, values in told.items() if values},
    }


def _usage(sources: list[SourceRows]) -> list[dict[str, Any]]:
    """ODRL: what the licence of rows permits, asks for and forbids, one offer for each."""
    rows: Counter[str] = sum((source.licenses for source in sources), Counter())
    return [_offer(LICENSES[key], count) for key, count in rows.most_common() if key in LICENSES]


def _offer(license: License, rows: int) -> dict[str, Any]:
    asked = {"cc:Attribution": license.attribution, "cc:ShareAlike": license.share_alike}
    duties = [{"odrl:action": {"@id": name}} for name, asks in asked.items() if asks]
    permitted = {
        "@type": "odrl:Permission",
        "odrl:action": [{"@id": "odrl:distribute"}, {"@id": "odrl:derive"}],
        **({"odrl:duty": duties} if duties else {}),
    }
    forbids = {
        "odrl:distribute": license.redistribute == "no",
        "cc:CommercialUse": license.non_commercial,
    }
    unknown = ": whether they may be passed on is not stated"
    told = {
        "name": license.name,
        "url": license.url,
        "description": f"{rows:,} rows have `{license.key}` in the column license"
        f"{unknown * (license.redistribute == 'unknown')}.",
        "odrl:permission": permitted if license.redistribute == "yes" else None,
        "odrl:prohibition": [{"odrl:action": {"@id": n}} for n, holds in forbids.items() if holds],
    }
    return {"@type": ["CreativeWork", "odrl:Offer"]} | {k: v for k, v in told.items() if v}


def _rewritten(sources: list[SourceRows]) -> Counter[str]:
    return sum((source.rewritten for source in sources), Counter())


def _responsible(manifest: Manifest, sources: list[SourceRows]) -> dict[str, Any]:
    """The RAI fields; every count is the manifest's or measured from the rows."""
    repairs: Counter[str] = sum((source.repairs for source in sources), Counter())
    kinds: Counter[str] = sum((Counter(source.scrubbed) for source in sources), Counter())
    scrubbed = ", ".join(f"{kind} in {n:,} rows" for kind, n in sorted(kinds.items()))
    total = max(1, sum(source.rows for source in sources))
    if manifest.stage == "mix":
        lost = sum(sum(step.rejected.values()) for step in manifest.steps)
        why = f"{lost:,} rows of the corpus are left out, by step and reason in MANIFEST.json"
    else:
        lost = sum(sum(entry.rejected.values()) for entry in manifest.sources.values())
        why = f"{lost:,} candidate rows are left out, each with a reason counted in MANIFEST.json"
    return {
        "rai:dataCollection": "Converted from the published files of each source: "
        + "; ".join(f"{source.title} ({source.homepage})" for source in sources),
        "rai:dataCollectionType": ["Secondary Data Analysis"],
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
        "rai:machineAnnotationTools": [
            f"{name}: {n:,} rows" for name, n in _rewritten(sources).items()
        ]
        or ["none: no row names a model that wrote any of it"],
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
            f"{source.rows / total:.1%} of the rows are of {source.title}"
            for source in sorted(sources, key=lambda source: -source.rows)
        ]
        or ["no rows"],
        "rai:dataSocialImpact": "Models trained on it can state wrong medical facts fluently; they "
        "must not replace professional judgement.",
        "rai:personalSensitiveInformation": "Placeholders for personal "
        f"data: {scrubbed or 'none'}. "
        "Names may remain. Authors stand in a column where the licence asks for them.",
        "rai:dataReleaseMaintenancePlan": "Regenerated by recipe; a takedown is an entry of "
        "exclude_ids.txt, applied at the next build.",
    }


def _distribution(manifest: Manifest) -> list[dict[str, Any]]:
    """Every shard with its hash, and per split the set of its shards."""
    found: list[dict[str, Any]] = []
    for config, split, shards in _splits(manifest):
        found += [
            {
                "@type": "cr:FileObject",
                "@id": shard.path,
                "name": shard.path.rsplit("/", 1)[-1],
                "contentUrl": shard.path,
                "contentSize": f"{shard.bytes} B",
                "encodingFormat": PARQUET,
                "sha256": shard.sha256,
            }
            for shard in shards
        ]
        name = f"{config}-{split}-shards"
        found.append(
            {
                "@type": "cr:FileSet",
                "@id": name,
                "name": name,
                "encodingFormat": PARQUET,
                "includes": f"data/{config}/{split}-*.parquet",
            }
        )
    return found


def _splits(manifest: Manifest) -> Iterator[tuple[str, str, tuple[Shard, ...]]]:
    for config, splits in manifest.splits().items():
        for split, shards in splits.items():
            yield config, split, shards


def _record_set(config: str, split: str, columns: list[str]) -> dict[str, Any]:
    name = f"{config}-{split}"
    files = {"fileSet": {"@id": f"{name}-shards"}}

    def field(column: str) -> dict[str, Any]:
        source = {**files, "extract": {"column": column}}
        parts = {"authors": _AUTHOR, "messages": _TURN}.get(column)
        if parts is None:
            return _field(f"{name}/{column}", COLUMN_TEXTS[column]) | _text(source)
        return _field(f"{name}/{column}", COLUMN_TEXTS[column]) | {
            "repeated": True,
            "subField": [
                _field(f"{name}/{column}/{part}", text)
                | _text({**source, "transform": {"jsonPath": part}})
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


def _field(identity: str, text: str) -> dict[str, Any]:
    name = identity.rpartition("/")[2]
    return {"@type": "cr:Field", "@id": identity, "name": name, "description": text}


def _text(source: dict[str, Any]) -> dict[str, Any]:
    return {"dataType": "sc:Text", "source": source}
