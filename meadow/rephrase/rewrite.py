"""`meadow rephrase`: rows put into other words, with the untouched originals beside them.

The original of every rewritten row stands in a sidecar, `data/raw_pairs/`, under the same id; it is
no config of the corpus, so that nobody trains on a row twice, and the card lists it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from meadow.chat.client import Answer, Asked
from meadow.chat.prompts import Prompt
from meadow.corpus.folder import Corpus
from meadow.corpus.shards import read_parquet, write_shards
from meadow.rephrase.checks import Rewrite, check_flashcard, check_heading, parse_rewrite
from meadow.rephrase.items import collect_items, rewriting
from meadow.rephrase.run import Asking, carry_out
from meadow.rephrase.write import Item, Work, as_tables
from meadow.schema import Record, Style
from meadow.source import Input
from meadow.source import Rewrite as How
from meadow.sources import with_own

RAW_PAIRS = "raw_pairs"
ORIGINAL = "original"


def rephrase_corpus(
    corpus: Corpus, source: str, inputs: Sequence[Input] = (), **asking: Any
) -> dict[str, Any]:
    """Rewrite the rows of one source into a new folder.

    Args:
        corpus: A built corpus.
        source: The source.
        inputs: Its raw files, where sections are read from them again.
        asking: The fields of `Asking`.

    Returns:
        As `carry_out`.

    Raises:
        UsageError: Nothing in the source is rewritten, or as `Asking.opened` and `collect_items`.
        RefusedError: Texts would leave this machine.
    """
    how, asked = rewriting(source, with_own(corpus.manifest.own_sources)), Asking(**asking)
    endpoint, meter, prompt = asked.opened(how.kind)
    items = collect_items(corpus, source, inputs)[: asked.limit]
    work = rewriting_work(source, asked.model, prompt, items, how)
    return carry_out(work, corpus, asked, endpoint, meter)


def rewriting_work(
    source: str, model: str, prompt: Prompt, items: Sequence[Item], how: How
) -> Work:
    """What a model is asked to do that puts rows into other words."""

    def settle(asked: Sequence[Asked[Rewrite]]) -> list[Asked[Any]]:
        """Of several items with one and the same rewrite the first keeps it, the others theirs."""
        seen: set[tuple[str, str]] = set()
        settled = list(asked)
        for place, (item, one) in enumerate(zip(items, asked, strict=True)):
            if one.value is not None:
                text = (one.value.question, one.value.answer or item.record.output)
                if text in seen:
                    settled[place] = replace(one, value=None, fault="duplicate")
                seen.add(text)
        return settled

    def read(item: Item, answer: Answer, request: Mapping[str, Any]) -> Rewrite:
        sent = str(request["messages"][-1]["content"])
        rewrite = parse_rewrite(prompt.kind, answer.text, answer.finish_reason, sent)
        check = check_flashcard if prompt.kind == "flashcard" else check_heading
        check(rewrite, **item.values)
        return rewrite

    return Work(
        "rephrase", source, model, prompt, items, read, partial(rewritten, how), _originals,
        beside=f"data/{RAW_PAIRS}/", settle=settle,
    )  # fmt: skip


def rewritten(how: How, record: Record, rewrite: Rewrite) -> Record:
    """The row with the rewritten texts; a section's text stays to the byte."""
    asked_with = how.instructions
    return record._replace(
        # a cloze or a prompt is a question now; one that was one keeps the words of its style
        instruction=record.instruction
        if record.instruction in asked_with.values()
        else asked_with[Style.MEADOW],
        input=rewrite.question,
        output=record.output if rewrite.answer is None else rewrite.answer,
    )


def original_shards(corpus: Corpus) -> list[dict[str, Any]]:
    """The shards of the sidecar with the rows from before they were rewritten."""
    sidecars = corpus.manifest.details.get("sidecars", {})
    found: list[dict[str, Any]] = sidecars.get(RAW_PAIRS, {}).get(ORIGINAL, [])
    return found


def _originals(
    corpus: Corpus, folder: Path, before: Sequence[Record], asked: Sequence[Asked[Any]]
) -> dict[str, Any]:
    earlier = (read_parquet(corpus.folder / shard["path"]) for shard in original_shards(corpus))
    shards = write_shards([*earlier, *as_tables(before)], folder, RAW_PAIRS, ORIGINAL)
    return {
        "sidecars": {RAW_PAIRS: {ORIGINAL: [shard.to_json() for shard in shards]}},
        "files": [shard.file for shard in shards],
    }
