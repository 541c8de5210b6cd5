"""One run of rewriting: what would be asked and what it costs, then asking, checking, writing.

A rewrite that fails its checks is asked for once more; then the row keeps its deterministic text (a
heading stays rejected), and the reason is counted. What a run does depends on the answers alone, so
that one that was killed and continued ends with the same bytes as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from meadow.chat.client import (
    DEFAULT_URL,
    Answer,
    Cache,
    Endpoint,
    Meter,
    announced,
    ask_all,
    estimate,
    make_endpoint,
    make_meter,
)
from meadow.chat.prompts import Prompt, chosen_prompt
from meadow.corpus.folder import Corpus
from meadow.errors import UsageError
from meadow.rephrase.checks import Rewrite, check_flashcard, check_heading, parse_rewrite
from meadow.rephrase.items import Item, collect_items, rewriting
from meadow.rephrase.write import Job, Outcome, fault_counts, write_rephrased
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
    meter = make_meter(endpoint, max_requests=max_requests, budget_usd=budget_usd, prices=prices)
    chosen = chosen_prompt(kind, prompt)
    items = collect_items(corpus, source, inputs)[:limit]
    out = out or corpus.folder.with_name(corpus.folder.name + "-rephrased")
    with closing(Cache(Path(cache or DEFAULT_CACHE).expanduser())) as answers:
        planned = estimate((chosen.request(model, item.values) for item in items), answers)
        progress(announced(f"{source}: {len(items):,} rows", endpoint, planned, meter))
        if not endpoint.is_local:
            progress(_leaving(endpoint, planned, corpus, source))
        document: dict[str, Any] = {
            "items": len(items),
            "estimate": {**planned, "usd": meter.cost(planned)},
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
    progress(f"{done:,} of {len(items):,} rewritten; {meter}")
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


def _leaving(endpoint: Endpoint, planned: dict[str, int], corpus: Corpus, source: str) -> str:
    """What leaves the machine."""
    facts = corpus.manifest.sources[source].facts.get("licenses", {})
    return (
        f"leaving this machine for {endpoint.address}: {planned['characters']:,} characters of "
        f"{planned['requests']:,} rows and the prompts around them (licences: "
        f"{', '.join(facts) or 'none'}); no names, ids or addresses of authors"
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
    asked = ask_all(
        items,
        lambda item, attempt: prompt.request(endpoint.model, item.values, attempt),
        lambda item, answer, request: _checked(prompt.kind, item, answer, request),
        endpoint,
        cache,
        meter,
        progress=progress,
    )
    outcomes = [
        Outcome(item, found.value, found.fault, found.key, found.answer)
        for item, found in zip(items, asked, strict=True)
    ]
    seen: set[tuple[str, str]] = set()
    for number, outcome in enumerate(outcomes):
        if (rewrite := outcome.rewrite) is not None:
            text = (rewrite.question, rewrite.answer or outcome.item.record.output)
            if text in seen:
                outcomes[number] = replace(outcome, rewrite=None, fault="duplicate")
            seen.add(text)
    return outcomes


def _checked(kind: str, item: Item, answer: Answer, request: Mapping[str, Any]) -> Rewrite:
    sent = str(request["messages"][-1]["content"])
    rewrite = parse_rewrite(kind, answer.text, answer.finish_reason, sent)
    check = check_flashcard if kind == "flashcard" else check_heading
    check(rewrite, **item.values)
    return rewrite
