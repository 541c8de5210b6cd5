"""One run: what would be asked and what it costs, then asking, checking, writing.

An answer that fails its checks is asked for again; then the row keeps its text (a heading stays
rejected), and the reason is counted. What a run does depends on the answers alone, so that one that
was killed and continued ends with the same bytes as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.chat.client import (
    DEFAULT_URL,
    Asked,
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
from meadow.rephrase.write import Work, fault_counts, write_worked

CACHES = Path("~/.cache/medical-meadow")
FOLDERS = {"rephrase": "rephrased", "reason": "reasoned"}
"""What a folder is called beside the corpus that it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who is asked, and within what limits.

    Args:
        model: As the server names it; it goes into every row.
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
        out: The folder to write; None: beside the corpus, `-rephrased` or `-reasoned`.
        dry_run: Estimate, and neither ask nor write.
        progress: Told one line at a time.
        meter_progress: Told items that are done, items in all and the meter.
    """

    model: str
    base_url: str | None = None
    allow_remote: bool = False
    max_requests: int | None = None
    budget_usd: float | None = None
    prices: Path | None = None
    concurrency: int = 4
    timeout: float = 120.0
    prompt: Path | None = None
    cache: Path | None = None
    limit: int | None = None
    out: Path | None = None
    dry_run: bool = False
    progress: Callable[[str], None] = lambda line: None
    meter_progress: Callable[[int, int, Meter], None] = lambda done, total, meter: None

    def opened(self, kind: str) -> tuple[Endpoint, Meter, Prompt]:
        """The model behind its address, the meter of the run, and the prompt of a kind.

        Raises:
            UsageError: No model, no known price for a budget, or a prompt of another kind.
            RefusedError: Texts would leave this machine.
        """
        if not self.model:
            raise UsageError("which model? its name goes into every row", fix="--model NAME")
        endpoint = make_endpoint(
            self.base_url or DEFAULT_URL,
            self.model,
            allow_remote=self.allow_remote,
            timeout=self.timeout,
            concurrency=self.concurrency,
        )
        meter = make_meter(
            endpoint,
            max_requests=self.max_requests,
            budget_usd=self.budget_usd,
            prices=self.prices,
        )
        return endpoint, meter, chosen_prompt(kind, self.prompt)


def carry_out(
    work: Work, corpus: Corpus, asking: Asking, endpoint: Endpoint, meter: Meter
) -> dict[str, Any]:
    """Estimate, ask, check and write; answers are cached, and a stopped run goes on.

    Returns:
        Items, the estimate, the folder; and what was rewritten, kept, sent and spent.

    Raises:
        NetworkError: The server is gone; every answer so far is in the cache.
    """
    out = asking.out or corpus.folder.with_name(f"{corpus.folder.name}-{FOLDERS[work.kind]}")
    cache = asking.cache or CACHES / f"{work.kind}.sqlite"
    items, progress = work.items, asking.progress
    with closing(Cache(Path(cache).expanduser())) as answers:
        planned = estimate((work.prompt.request(work.model, i.values) for i in items), answers)
        again = f", up to {work.attempts} tries each" if work.kind == "reason" else ""
        progress(announced(f"{work.source}: {len(items):,} rows{again}", endpoint, planned, meter))
        if not endpoint.is_local:
            progress(_leaving(endpoint, planned, corpus, work.source))
        document: dict[str, Any] = {
            "items": len(items),
            "estimate": {**planned, "usd": meter.cost(planned)},
            "out": str(out),
        }
        if asking.dry_run:
            return {"dry_run": True, **document}
        asked = ask(
            work,
            endpoint,
            answers,
            meter,
            progress=lambda done: asking.meter_progress(done, len(items), meter),
        )
    write_worked(corpus, work, asked, out)
    faults, told = fault_counts(asked), work.facts(asked)
    done = len(items) - sum(faults.values())
    progress(f"{done:,} of {len(items):,} {FOLDERS[work.kind]}; {meter}")
    for fault, count in faults.items():
        progress(f"  {count:,} kept their text: {fault}")
    if told.get("repeated"):
        progress(
            f"warning: {told['repeated']:,} rows were given up since the same answer came again, "
            "word for word: does the server heed `seed` and `temperature`?"
        )
    return document | {
        "rewritten": done,
        "kept": faults,
        "requests_sent": meter.sent,
        "prompt_tokens": meter.prompt_tokens,
        "completion_tokens": meter.completion_tokens,
        "spent_usd": meter.spent if meter.price else None,
        **told,
    }


def ask(
    work: Work,
    endpoint: Endpoint,
    cache: Cache,
    meter: Meter,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Asked[Any]]:
    """What became of every item, in their order.

    Raises:
        NetworkError: The server is gone; every answer so far is in the cache.
    """
    return work.settle(
        ask_all(
            work.items,
            lambda item, attempt: work.prompt.request(work.model, item.values, attempt),
            work.read,
            endpoint,
            cache,
            meter,
            attempts=work.attempts,
            progress=progress,
        )
    )


def _leaving(endpoint: Endpoint, planned: dict[str, int], corpus: Corpus, source: str) -> str:
    """What leaves the machine."""
    facts = corpus.manifest.sources[source].facts.get("licenses", {})
    return (
        f"leaving this machine for {endpoint.address}: {planned['characters']:,} characters of "
        f"{planned['requests']:,} rows and the prompts around them (licences: "
        f"{', '.join(facts) or 'none'}); no names, ids or addresses of authors"
    )
