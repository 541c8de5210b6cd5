"""The public summary of training content that Article 53(1)(d) of the EU's AI Act asks for.

What the rows and the manifest tell is counted; what only whoever puts a model on the market can say
comes from `[provider]` in meadow.toml, or stands there as not said. Of the Commission's template of
July 2025 the sections were taken from commentaries and from summaries that follow it: see
docs/adr/178-summary-of-training-content.md for what of it could not be read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meadow.cards.card import (
    answered_part,
    card_environment,
    languages_part,
    losses_part,
    markdown_table,
    privacy_part,
    takedown_part,
)
from meadow.cards.rows import Locate, SourceRows, rows_by_source, training_shards
from meadow.config import Provider
from meadow.corpus.manifest import Manifest, SourceEntry
from meadow.corpus.shards import read_rows
from meadow.errors import FileError
from meadow.licenses import LICENSES
from meadow.models.loading import RUN_MANIFEST
from meadow.source import OriginName
from meadow.text.markdown import Markdown, plain_cell

SUPPLIED = "user-supplied"
RANGES = (
    (1_000_000_000, "less than 1 billion tokens"),
    (10_000_000_000_000, "1 billion to 10 trillion tokens"),
)
LARGEST = "more than 10 trillion tokens"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run says of itself, where a summary is of a checkpoint.

    Args:
        base: The model that was trained further; "" where the weights were made here.
        tokens: Tokens of the rows that it was trained on, once through, with its own frame.
        steps: Optimizer steps that were made; of a run that is not finished, that are planned.
        epochs: Times through the rows.
        finished: Whether it was.
    """

    base: str
    tokens: int
    steps: int
    epochs: int
    finished: bool


def render_summary(
    manifest: Manifest, locate: Locate, provider: Provider, trained: Trained | None = None
) -> str:
    """The summary of a mix or build as Markdown, or of the checkpoint of a run on it."""
    counted = rows_by_source(manifest, locate)
    what = "mix" if manifest.stage == "mix" else "corpus"
    subject = f"the {what} that the model was trained on" if trained else f"a {what}"
    splits: Counter[str] = Counter()
    for config in manifest.splits().values():
        splits.update({name: sum(s.rows for s in shards) for name, shards in config.items()})
    rows = ", ".join(f"{name} {count:,}" for name, count in splits.items())
    text = card_environment().get_template("summary.md.j2").render(
        subject=f"{subject} (rows: {rows})",
        said=_said(provider),
        base=_base(provider, trained),
        size=_size(manifest, locate),
        content=plain_cell(_content(counted)),
        spoken=plain_cell(languages_part(counted)),
        trained=_training(trained),
        public=_public(counted, manifest.sources),
        crawled=_crawled(counted, manifest.sources),
        synthetic=_synthetic(counted, manifest.sources),
        other=_other(counted),
        losses=losses_part(manifest),
        privacy=privacy_part(counted),
        takedown=takedown_part(manifest),
        disputes="\n\n".join(answered_part(counted)),
        bill=markdown_table(
            ["licence", "redistribute", "rows", "tokens", "sources"],
            [
                [
                    _linked(line["name"], line["url"]),
                    line["redistribute"],
                    f"{line['rows']:,}",
                    f"{line['tokens']:,}" if line["tokens"] is not None else "not counted",
                    ", ".join(f"{name} {rows:,}" for name, rows in line["sources"].items()),
                ]
                for line in licence_bill(manifest, counted)
            ],
        ),
    )  # fmt: skip
    return text.rstrip() + "\n"


def licence_bill(manifest: Manifest, counted: list[SourceRows]) -> list[dict[str, Any]]:
    """Licence by licence: rows, tokens where they were counted, and the sources with their rows."""
    tokens = (manifest.details.get("tokens") or {}).get("sources")
    bill = []
    for key in sorted({key for source in counted for key in source.licenses}):
        known = LICENSES.get(key)
        sources = {s.name: s.licenses[key] for s in counted if s.licenses[key]}
        bill.append(
            {
                "licence": key,
                "name": known.name if known else key,
                "url": known.url if known else "",
                "redistribute": known.redistribute if known else "unknown",
                "rows": sum(sources.values()),
                "tokens": tokens and sum(int(tokens.get(name, {}).get(key, 0)) for name in sources),
                "sources": sources,
            }
        )
    return bill


def _said(provider: Provider) -> Callable[[str], str]:
    def said(key: str) -> str:
        value = str(getattr(provider, key))
        return plain_cell(value) if value else f"*not said: `provider.{key}` in meadow.toml*"

    return said


def _base(provider: Provider, trained: Trained | None) -> str:
    if trained is None:
        return _said(provider)("base")
    if not trained.base:
        return "none: its weights were made in this run"
    return (
        f"{plain_cell(trained.base)}; this summary has the content of the modification alone, and "
        "that of the model before it is its own provider's to summarise"
    )


def _training(trained: Trained | None) -> str:
    if trained is None:
        return ""
    done = "made" if trained.finished else "planned; the run is not finished"
    return (
        f"{trained.tokens:,} tokens of its own tokenizer, {trained.epochs} times through; "
        f"{trained.steps:,} steps {done}"
    )


def _size(manifest: Manifest, locate: Locate) -> str:
    if found := manifest.details.get("tokens"):
        tokens = sum(sum(own.values()) for own in found["sources"].values())
        words = next((words for most, words in RANGES if tokens < most), LARGEST)
        return f"{words} ({tokens:,} of {plain_cell(found['tokenizer'])})"
    size = 0
    for shard in training_shards(manifest):
        rows = read_rows(locate(shard.path), ["instruction", "input", "output"])
        size += sum(int(column.str.len_bytes().sum()) for column in rows.iter_columns())
    if size < RANGES[0][0]:
        return f"{RANGES[0][1]}: the texts have {size:,} bytes, and a token has one or more"
    return f"*not counted: the texts have {size:,} bytes; mix with `--tokenizer`*"


def _content(counted: list[SourceRows]) -> str:
    tasks: Counter[str] = sum((source.tasks for source in counted), Counter())
    kinds = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in tasks.most_common())
    texts = dict.fromkeys(text for source in counted for text in source.provenance.text_sources)
    return f"rows by task: {kinds or 'none'}; written as: {', '.join(texts) or 'not known'}"


def _linked(title: str, url: str) -> str:
    return Markdown(f"[{plain_cell(title)}]({url})") if url.startswith("https://") else title


def _is_crawled(source: SourceRows, entries: Mapping[str, SourceEntry]) -> bool:
    """Whether its rows come from a store of pages that `meadow fetch` crawled."""
    known, entry = source.known, entries.get(source.name)
    return bool(
        known is not None
        and known.crawl is not None
        and entry is not None
        and any(item.path.endswith("pages.jsonl") for item in entry.inputs)
    )


def _public(counted: list[SourceRows], entries: Mapping[str, SourceEntry]) -> str:
    total = max(1, sum(source.rows for source in counted))
    rows = [
        [
            _linked(source.title, source.homepage),
            f"{rows:,}",
            f"{rows / total:.1%}",
            ", ".join(key for key in sorted(source.licenses) if key != SUPPLIED),
            source.citation,
        ]
        for source in sorted(counted, key=lambda source: -source.rows)
        if (rows := source.rows - source.licenses[SUPPLIED])
        and not _is_crawled(source, entries)
        and source.homepage
    ]
    if not rows:
        return "None."
    return "Each is listed, whatever its share.\n\n" + markdown_table(
        ["data set", "rows", "share of all rows", "licences", "cite"], rows
    )


def _crawled(counted: list[SourceRows], entries: Mapping[str, SourceEntry]) -> str:
    rows = [
        [urlsplit(known.crawl.api).hostname or "", source.title, f"{source.rows:,}"]
        for source in counted
        if (known := source.known) and known.crawl and _is_crawled(source, entries)
    ]
    if not rows:
        return "None: no raw file of these rows is a store of crawled pages."
    return (
        "Their raw files are stores of pages as `meadow fetch` crawls them: from a wiki's "
        "interface for programs, one request at a time.\n\n"
        + markdown_table(["domain", "source", "rows"], rows)
    )


def _synthetic(counted: list[SourceRows], entries: Mapping[str, SourceEntry]) -> str:
    rows = []
    for source in counted:
        for model, count in sorted(source.rewritten.items()):
            rows.append([source.name, model, f"{count:,} rows rewritten or reasoned about"])
        entry = entries.get(source.name)
        generated = list(source.provenance.generated)
        if entry is not None and entry.origin == OriginName.PUBLISHED:
            generated += source.provenance.published_generated
        rows += [
            [source.name, m, "wrote part of the source before it came here"] for m in generated
        ]
    return markdown_table(["source", "model", "what it did"], rows) if rows else (
        "None: no row names a model that rewrote it, and no source says that one wrote it."
    )  # fmt: skip


def _other(counted: list[SourceRows]) -> str:
    rows = [
        [s.name, f"{s.licenses[SUPPLIED] or s.rows:,}", "supplied by the maker of the folder"]
        for s in counted
        if s.licenses[SUPPLIED] or not s.homepage
    ]
    return markdown_table(["source", "rows", "how"], rows) if rows else "None."


def read_run(folder: Path) -> tuple[Trained, str, list[tuple[str, str]]]:
    """What the run of a checkpoint says: of its training, where its mix lay, and which shards.

    Raises:
        FileError: run_manifest.json cannot be read, or is no run manifest.
    """
    path = folder / RUN_MANIFEST
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        base = str(run["base"]["name"])
        finished = run.get("status") == "finished"
        trained = Trained(
            base="" if base == "random" else base,
            tokens=int(run["data"]["tokens"]),
            steps=int(run["result"]["steps"] if finished else run["steps"]),
            epochs=int(run["recipe"]["schedule"]["epochs"]),
            finished=finished,
        )
        shards = [(str(shard["path"]), str(shard["sha256"])) for shard in run["mix"]["shards"]]
        return trained, str(run["mix"]["folder"]), shards
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{RUN_MANIFEST} is not a run manifest: {error!r}"[:300],
            where=str(path),
            fix="name a folder that `meadow train` wrote, or a mix",
        ) from error
