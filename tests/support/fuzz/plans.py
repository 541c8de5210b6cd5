"""What a night of fuzzing takes: every kind, with its count and the figure that it counts for."""

from __future__ import annotations

from support.fuzz.engine import Plan

PLANS = (
    # readers
    Plan("posts", 4_000, "xml"),
    Plan("documents", 4_000, "xml"),
    Plan("wiki_export", 2_000, "xml"),
    Plan("wikitext", 4_000, "wikitext"),
    Plan("wiki_pages", 2_000, "wiki_pages"),
    Plan("delimited", 10_000, "csv"),
    Plan("json_lines", 1_000, "jsonl", rows=20),
    Plan("json_array", 3_000, "json_array"),
    Plan("sources", 6_000, "sources"),
    Plan("published", 3_000, "sources"),
    Plan("builds", 500, "builds"),
    # archives and databases
    Plan("zips", 2_000, "zip"),
    Plan("tars", 2_000, "tar"),
    Plan("packed", 3_000, "packed"),
    Plan("sevenzips", 1_000, "sevenzip"),
    Plan("decks", 1_000, "sqlite"),
    Plan("databases", 1_000, "sqlite"),
    Plan("shards", 3_000, "parquet"),
    Plan("parquets", 2_000, "parquet"),
    # texts
    Plan("texts", 10_000, "texts"),
    Plan("records", 10_000, "records"),
    Plan("html_pages", 8_000, "html"),
    Plan("html_mutants", 12_000, "html"),
    # what is rendered, and somebody else's corpus
    Plan("cards", 10_000, "cards"),
    Plan("reports", 10_000, "reports"),
    Plan("manifests", 3_000, "manifests"),
    Plan("corpora", 1_000, "corpora"),
)
SHARE = 250
"""The default run takes one of so many inputs, and at least two of a kind."""
