"""One run of rewriting: what would be asked and what it costs, then asking, checking, writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meadow.corpus.folder import Corpus
from meadow.errors import UsageError
from meadow.net.retry import RetryPolicy
from meadow.rephrase.client import DEFAULT_URL, Cache, Endpoint, Meter, make_endpoint, read_price
from meadow.rephrase.items import estimate, fault_counts, rephrase_items, rewriting, rewritten
from meadow.rephrase.prompts import latest_prompt, read_prompt
from meadow.rephrase.write import Job, collect_items, write_rephrased
from meadow.source import Input

DEFAULT_CACHE = Path("~/.cache/medical-meadow/rephrase.sqlite")


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
    tries: int = 6,
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
        tries: How often one request is sent.
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
        policy=RetryPolicy(tries=tries),
    )
    price = read_price(model, *([prices] if prices else []))
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
    answers = Cache(Path(cache or DEFAULT_CACHE).expanduser())
    try:
        planned = estimate(items, chosen, model, answers)
        cost = None
        if price:
            cost = (
                planned.prompt_tokens * price.prompt + planned.completion_tokens * price.completion
            )
        for line in _announced(endpoint, planned.to_json(), cost, corpus, source):
            progress(line)
        document: dict[str, Any] = {
            "items": len(items),
            "estimate": {**planned.to_json(), "usd": cost},
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
            progress=lambda done, meter: meter_progress(done, len(items), meter),
        )
    finally:
        answers.close()
    manifest = write_rephrased(corpus, Job(source, chosen, model), outcomes, out)
    faults = fault_counts(outcomes)
    done = sum(1 for _ in rewritten(outcomes))
    progress(f"{done:,} of {len(items):,} rewritten; {spent(meter)}")
    for fault, count in faults.items():
        progress(f"  {count:,} kept their text: {fault}")
    return document | {
        "rewritten": manifest.details["rephrase"][source]["rewritten"],
        "kept": faults,
        "requests_sent": meter.sent,
        "prompt_tokens": meter.prompt_tokens,
        "completion_tokens": meter.completion_tokens,
        "spent_usd": meter.spent if meter.price else None,
    }


def _announced(
    endpoint: Endpoint, planned: dict[str, int], cost: float | None, corpus: Corpus, source: str
) -> list[str]:
    """What would be sent, and what leaves the machine."""
    tokens = f"{planned['prompt_tokens']:,} + {planned['completion_tokens']:,}"
    money = f"at most {cost:.2f} USD" if cost is not None else "no price known"
    lines = [
        f"{source}: {planned['items']:,} rows, {planned['cached']:,} answered already, "
        f"{planned['requests']:,} to ask {endpoint.model} at {endpoint.address} "
        f"(about {tokens} tokens, {money})"
    ]
    if not endpoint.is_local:
        facts = corpus.manifest.sources[source].facts.get("licenses", {})
        lines.append(
            f"leaving this machine for {endpoint.address}: {planned['characters']:,} characters of "
            f"{planned['requests']:,} rows (licences: {', '.join(facts) or 'none'}); no names, ids "
            "or addresses of authors"
        )
    return lines


def spent(meter: Meter) -> str:
    """What was sent so far, and its price where one is known."""
    money = f", {meter.spent:.4f} USD" if meter.price else ""
    return (
        f"{meter.sent:,} requests, {meter.prompt_tokens:,} + {meter.completion_tokens:,} tokens"
        f"{money}"
    )
