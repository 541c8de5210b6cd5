"""Rewrite rows with a language model: cached, held to checks, and with the original kept.

Two kinds of rows are worth it: flashcards, whose two sides become a question and an answer, and
sections of a wiki whose heading has no rule, which become rows at all only so. A rewrite that fails
its checks is asked for once more; then the row keeps its deterministic text (a heading stays
rejected), and the reason is counted. What a run does depends on the answers alone, so that one that
was killed and continued ends with the same bytes as one that was not.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meadow.errors import UsageError
from meadow.rephrase.checks import (
    FaultError,
    Rewrite,
    check_flashcard,
    check_heading,
    parse_rewrite,
)
from meadow.rephrase.client import (
    Answer,
    BadAnswerError,
    Cache,
    Client,
    Endpoint,
    LimitReached,
    Meter,
    estimate_tokens,
    request_key,
)
from meadow.rephrase.prompts import Prompt
from meadow.schema import Record, Style, dump_meta
from meadow.source import Rewrite as SourceRewrite

ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be rewritten.

    Args:
        record: The row as it is: for a flashcard the one in the corpus, for a heading the one that
            the heading itself would be the question of.
        values: What the prompt is filled with.
        where: For a heading, where its reject stands in the quarantine.
    """

    record: Record
    values: Mapping[str, str]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: a rewrite, or why there is none.

    Args:
        item: What was to be rewritten.
        rewrite: What passed the checks.
        fault: Else why not: a `Fault`, or "max_requests", "budget", "refused_by_server",
            "duplicate".
        key: The hash of the request whose answer counted.
        answer: That answer.
    """

    item: Item
    rewrite: Rewrite | None = None
    fault: str = ""
    key: str = ""
    answer: Answer | None = None


@dataclass(slots=True)
class Estimate:
    """What a run would send, before it sends anything."""

    items: int = 0
    cached: int = 0
    requests: int = 0
    characters: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def to_json(self) -> dict[str, int]:
        """For `--json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def rewriting(source: str) -> SourceRewrite:
    """How rows of a source are rewritten.

    Raises:
        UsageError: They are not.
    """
    from meadow.sources import SOURCES

    known = SOURCES.get(source)
    if known is None or known.rewrite is None:
        names = ", ".join(name for name, each in SOURCES.items() if each.rewrite)
        raise UsageError(f"nothing in {source!r} is rewritten", fix=f"one of {names}")
    return known.rewrite


def flashcard_item(record: Record) -> Item:
    """A row of flashcards as an item."""
    return Item(record, {"front": record.input, "back": record.output})


def heading_item(record: Record, where: str) -> Item:
    """A section whose heading has no rule as an item; `record.input` is the heading."""
    topic = str(json.loads(record.meta).get("topic", ""))
    sentence = first_sentence(record.output)
    return Item(record, {"topic": topic, "heading": record.input, "sentence": sentence}, where)


def first_sentence(text: str, limit: int = 300) -> str:
    """The beginning of a text up to its first full stop, at most `limit` characters."""
    line = next((line for line in text.split("\n") if line.strip()), "").strip()
    end = line.find(". ")
    return line[: end + 1 if 0 <= end < limit else limit]


def estimate(items: Sequence[Item], prompt: Prompt, model: str, cache: Cache) -> Estimate:
    """Count the requests and tokens of a run that meets no fault."""
    found = Estimate()
    known = cache.keys()
    for item in items:
        request = prompt.request(model, item.values)
        found.items += 1
        if request_key(request) in known:
            found.cached += 1
            continue
        tokens, completion = estimate_tokens(request)
        found.requests += 1
        found.characters += sum(len(value) for value in item.values.values())
        found.prompt_tokens += tokens
        found.completion_tokens += completion
    return found


def rephrase_items(
    items: Sequence[Item],
    prompt: Prompt,
    endpoint: Endpoint,
    cache: Cache,
    meter: Meter,
    *,
    progress: Callable[[int, Meter], None] = lambda done, meter: None,
) -> list[Outcome]:
    """An outcome for every item, in their order.

    Raises:
        NetworkError: The server is gone; every answer so far is in the cache.
    """
    return asyncio.run(_Run(prompt, endpoint, cache, meter, progress).all(items))


@dataclass(slots=True)
class _Run:
    prompt: Prompt
    endpoint: Endpoint
    cache: Cache
    meter: Meter
    progress: Callable[[int, Meter], None]
    under_way: dict[str, asyncio.Future[Answer]] = field(default_factory=dict)
    done: int = 0

    async def all(self, items: Sequence[Item]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(items)
        numbered = iter(enumerate(items))

        async def work(client: Client) -> None:
            for number, item in numbered:
                outcomes[number] = await self._one(client, item)
                self.done += 1
                self.progress(self.done, self.meter)

        async with Client(self.endpoint, self.meter) as client:
            workers = [asyncio.create_task(work(client)) for _ in range(self.endpoint.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return [outcome for outcome in outcomes if outcome is not None]

    async def _one(self, client: Client, item: Item) -> Outcome:
        outcome = Outcome(item)
        for attempt in range(ATTEMPTS):
            request = self.prompt.request(self.endpoint.model, item.values, attempt)
            key = request_key(request)
            try:
                answer = self.cache.get(key) or await self._ask(client, key, request)
            except LimitReached as limit:
                # a second try that may not be sent leaves the fault of the first
                return outcome if outcome.fault else Outcome(item, fault=str(limit))
            except BadAnswerError:
                return Outcome(item, fault="refused_by_server", key=key)
            try:
                rewrite = check(self.prompt.kind, item, answer, request)
            except FaultError as error:
                outcome = Outcome(item, fault=error.fault.value, key=key, answer=answer)
                continue
            return Outcome(item, rewrite, key=key, answer=answer)
        return outcome

    async def _ask(self, client: Client, key: str, request: Mapping[str, Any]) -> Answer:
        """Ask once for each request, however many items it stands for."""
        if (asked := self.under_way.get(key)) is not None:
            return await asyncio.shield(asked)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.under_way[key] = future
        try:
            answer = self.cache.put(key, request, await client.ask(request))
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # seen: nobody else may be waiting
            else:
                future.cancel()
            raise
        else:
            future.set_result(answer)
            return answer
        finally:
            del self.under_way[key]


def check(kind: str, item: Item, answer: Answer, request: Mapping[str, Any]) -> Rewrite:
    """The rewrite in an answer.

    Raises:
        FaultError: It does not pass.
    """
    sent = str(request["messages"][-1]["content"])
    rewrite = parse_rewrite(kind, answer.text, answer.finish_reason, sent)
    values = item.values
    if kind == "flashcard":
        check_flashcard(rewrite, values["front"], values["back"])
    else:
        check_heading(rewrite, values["topic"], values["heading"], values["sentence"])
    return rewrite


def rewritten_record(outcome: Outcome, prompt: Prompt, model: str) -> Record:
    """The row with the rewritten texts and their provenance; a section's text stays to the byte."""
    rewrite, record, answer = outcome.rewrite, outcome.item.record, outcome.answer
    asked_with = rewriting(record.source).instructions
    if rewrite is None or answer is None:
        raise ValueError("there is no rewrite")
    meta = json.loads(record.meta)
    meta["rephrase"] = {
        "model": model,
        "prompt": prompt.id,
        "prompt_sha256": prompt.sha256,
        "request_sha256": outcome.key,
        "finish_reason": answer.finish_reason,
    }
    return replace(
        record,
        # a cloze or a prompt is a question now; one that was one keeps the words of its style
        instruction=record.instruction
        if record.instruction in asked_with.values()
        else asked_with[Style.MEADOW],
        input=rewrite.question,
        output=record.output if rewrite.answer is None else rewrite.answer,
        rephrased_by=model,
        meta=dump_meta(meta),
    )


def fault_counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Why items were not rewritten, by name; never a text."""
    return dict(sorted(Counter(item.fault for item in outcomes if item.fault).items()))


def rewritten(outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """The outcomes that have a rewrite."""
    return (outcome for outcome in outcomes if outcome.rewrite is not None)
