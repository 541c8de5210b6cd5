"""One run of rewriting: what would be asked and what it costs, then asking, checking, writing.

A rewrite that fails its checks is asked for once more; then the row keeps its deterministic text (a
heading stays rejected), and the reason is counted. What a run does depends on the answers alone, so
that one that was killed and continued ends with the same bytes as one that was not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from meadow.corpus.folder import Corpus
from meadow.errors import UsageError
from meadow.rephrase.checks import (
    FaultError,
    Rewrite,
    check_flashcard,
    check_heading,
    parse_rewrite,
)
from meadow.rephrase.client import (
    DEFAULT_URL,
    Answer,
    BadAnswerError,
    Cache,
    Client,
    Endpoint,
    LimitReached,
    Meter,
    estimate_tokens,
    make_endpoint,
    read_price,
    request_key,
)
from meadow.rephrase.items import Item, collect_items, rewriting
from meadow.rephrase.prompts import Prompt, latest_prompt, read_prompt
from meadow.rephrase.write import Job, Outcome, fault_counts, write_rephrased
from meadow.source import Input

DEFAULT_CACHE = Path("~/.cache/medical-meadow/rephrase.sqlite")
ATTEMPTS = 2


def rephrase_corpus(
    corpus: Corpus,
    source: str,
    inputs: Sequence[Input] = (),
    *,
    model: str,
    out: Path | None = None,
    base_url: str | None = None,
    allow_remote: bool = False,
    max_requests: int | None = None,
    budget_usd: float | None = None,
    prices: Path | None = None,
    concurrency: int = 4,
    timeout: float = 120.0,
    prompt: Path | None = None,
    cache: Path | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    meter_progress: Callable[[int, int, Meter], None] = lambda done, total, meter: None,
) -> dict[str, Any]:
    """Rewrite the rows of one source into a new folder; answers are cached, a stopped run goes on.

    Args:
        corpus: A built corpus.
        source: The source.
        inputs: Its raw files, where sections are read from them again.
        model: As the server names it; it goes into every row.
        out: The folder to write; None: beside the corpus, `-rephrased`.
        base_url: An OpenAI-compatible endpoint; None: this machine, port 8000.
        allow_remote: Whether texts may leave this machine.
        max_requests: Send at most so many.
        budget_usd: Stop before spending more.
        prices: A price table of your own.
        concurrency: Requests at a time.
        timeout: Seconds that one request may take.
        prompt: A prompt file of your own.
        cache: Where answers are kept.
        limit: Only the first so many rows.
        dry_run: Estimate, and neither ask nor write.
        progress: Told one line at a time.
        meter_progress: Told requests answered, requests in all and the meter.

    Returns:
        Items, the estimate, the folder; and what was rewritten, kept, sent and spent.

    Raises:
        UsageError: No model, no known price for a budget, or a prompt of another kind.
        RefusedError: Texts would leave this machine.
    """
    kind = rewriting(source).kind
    if not model:
        raise UsageError("which model? its name goes into every row", fix="--model NAME")
    endpoint = make_endpoint(
        base_url or DEFAULT_URL,
        model,
        allow_remote=allow_remote,
        timeout=timeout,
        concurrency=concurrency,
    )
    price = read_price(model, prices)
    if budget_usd is not None and price is None and not endpoint.is_local:
        raise UsageError(
            f"no price is known for {model}: it cannot be held to a budget",
            fix="--prices FILE with its price, or --max-requests",
        )
    chosen = read_prompt(prompt) if prompt else latest_prompt(kind)
    if chosen.kind != kind:
        raise UsageError(f"the prompt is for a {chosen.kind}, {source} needs one for a {kind}")
    items = collect_items(corpus, source, inputs)[:limit]
    out = out or corpus.folder.with_name(corpus.folder.name + "-rephrased")
    meter = Meter(price, max_requests, budget_usd)
    with closing(Cache(Path(cache or DEFAULT_CACHE).expanduser())) as answers:
        planned = estimate(items, chosen, model, answers)
        cost = price.of(planned["prompt_tokens"], planned["completion_tokens"]) if price else None
        for line in _announced(endpoint, planned, cost, corpus, source):
            progress(line)
        document: dict[str, Any] = {
            "items": len(items),
            "estimate": {**planned, "usd": cost},
            "out": str(out),
        }
        if dry_run:
            return {"dry_run": True, **document}
        outcomes = rephrase_items(
            items,
            chosen,
            endpoint,
            answers,
            meter,
            progress=lambda done: meter_progress(done, len(items), meter),
        )
    write_rephrased(corpus, Job(source, model, chosen.id, chosen.sha256), outcomes, out)
    faults = fault_counts(outcomes)
    done = len(items) - sum(faults.values())
    progress(f"{done:,} of {len(items):,} rewritten; {spent(meter)}")
    for fault, count in faults.items():
        progress(f"  {count:,} kept their text: {fault}")
    return document | {
        "rewritten": done,
        "kept": faults,
        "requests_sent": meter.sent,
        "prompt_tokens": meter.prompt_tokens,
        "completion_tokens": meter.completion_tokens,
        "spent_usd": meter.spent if meter.price else None,
    }


def estimate(items: Sequence[Item], prompt: Prompt, model: str, cache: Cache) -> dict[str, int]:
    """The requests and tokens of a run that meets no fault, before it sends anything."""
    known = cache.keys()
    asked = [(item, prompt.request(model, item.values)) for item in items]
    asked = [(item, request) for item, request in asked if request_key(request) not in known]
    tokens = [estimate_tokens(request) for _, request in asked]
    return {
        "items": len(items),
        "cached": len(items) - len(asked),
        "requests": len(asked),
        "characters": sum(len(value) for item, _ in asked for value in item.values.values()),
        "prompt_tokens": sum(prompt_tokens for prompt_tokens, _ in tokens),
        "completion_tokens": sum(completion for _, completion in tokens),
    }


def _announced(
    endpoint: Endpoint, planned: dict[str, int], cost: float | None, corpus: Corpus, source: str
) -> Iterator[str]:
    """What would be sent, and what leaves the machine."""
    money = f"at most {cost:.2f} USD" if cost is not None else "no price known"
    yield (
        "{source}: {items:,} rows, {cached:,} answered already, {requests:,} to ask {model} at "
        "{address} (about {prompt_tokens:,} + {completion_tokens:,} tokens, {money})"
    ).format(source=source, model=endpoint.model, address=endpoint.address, money=money, **planned)
    if not endpoint.is_local:
        facts = corpus.manifest.sources[source].facts.get("licenses", {})
        yield (
            f"leaving this machine for {endpoint.address}: {planned['characters']:,} characters of "
            f"{planned['requests']:,} rows (licences: {', '.join(facts) or 'none'}); no names, ids "
            "or addresses of authors"
        )


def spent(meter: Meter) -> str:
    """What was sent so far, and its price where one is known."""
    money = f", {meter.spent:.4f} USD" if meter.price else ""
    return (
        f"{meter.sent:,} requests, {meter.prompt_tokens:,} + {meter.completion_tokens:,} tokens"
        f"{money}"
    )


def rephrase_items(
    items: Sequence[Item],
    prompt: Prompt,
    endpoint: Endpoint,
    cache: Cache,
    meter: Meter,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Outcome]:
    """An outcome for every item, in their order.

    Of several items with one and the same rewrite the first keeps it, the others their text.

    Raises:
        NetworkError: The server is gone; every answer so far is in the cache.
    """
    outcomes = asyncio.run(_ask_all(items, prompt, Client(endpoint, cache, meter), progress))
    seen: set[tuple[str, str]] = set()
    for number, outcome in enumerate(outcomes):
        if (rewrite := outcome.rewrite) is not None:
            text = (rewrite.question, rewrite.answer or outcome.item.record.output)
            if text in seen:
                outcomes[number] = replace(outcome, rewrite=None, fault="duplicate")
            seen.add(text)
    return outcomes


async def _ask_all(
    items: Sequence[Item], prompt: Prompt, client: Client, progress: Callable[[int], None]
) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    numbered = iter(enumerate(items))

    async def work() -> None:
        for number, item in numbered:  # shared: each worker takes the next one
            outcomes[number] = await _rewrite(client, prompt, item)
            progress(len(outcomes))

    async with client:
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(client.endpoint.concurrency):
                    workers.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # one server: what stops one worker stops all
    return [outcomes[number] for number in range(len(items))]


async def _rewrite(client: Client, prompt: Prompt, item: Item) -> Outcome:
    outcome = Outcome(item)
    for attempt in range(ATTEMPTS):
        request = prompt.request(client.endpoint.model, item.values, attempt)
        key = request_key(request)
        try:
            answer = await client.ask(key, request)
            rewrite = _checked(prompt.kind, item, answer, request)
        except LimitReached as limit:
            # a second try that may not be sent leaves the fault of the first
            return outcome if outcome.fault else Outcome(item, fault=str(limit))
        except BadAnswerError:
            return Outcome(item, fault="refused_by_server", key=key)
        except FaultError as error:
            outcome = Outcome(item, fault=error.fault.value, key=key, answer=answer)
        else:
            return Outcome(item, rewrite, key=key, answer=answer)
    return outcome


def _checked(kind: str, item: Item, answer: Answer, request: Mapping[str, Any]) -> Rewrite:
    sent = str(request["messages"][-1]["content"])
    rewrite = parse_rewrite(kind, answer.text, answer.finish_reason, sent)
    check = check_flashcard if kind == "flashcard" else check_heading
    check(rewrite, **item.values)
    return rewrite
