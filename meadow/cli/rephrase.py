"""`meadow rephrase`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import Finish, dry_run_option, json_option, log
from meadow.errors import UsageError

if TYPE_CHECKING:
    from meadow.corpus.folder import Corpus
    from meadow.rephrase.client import Endpoint, Meter

DEFAULT_CACHE = Path("~/.cache/medical-meadow/rephrase.sqlite")


@click.command()
@click.argument("source")
@click.option(
    "--corpus", "folder", type=click.Path(path_type=Path), required=True, help="A built corpus."
)
@click.option("--out", type=click.Path(path_type=Path), help="Default: CORPUS-rephrased.")
@click.option("--model", help="As the server names it.")
@click.option("--base-url", help="An OpenAI-compatible endpoint; default: this machine, port 8000.")
@click.option("--allow-remote", is_flag=True, help="Texts may leave this machine.")
@click.option("--max-requests", type=click.IntRange(min=0), help="Send at most so many.")
@click.option("--budget-usd", type=click.FloatRange(min=0), help="Stop before spending more.")
@click.option("--prices", type=click.Path(path_type=Path), help="A price table of your own.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=120.0, show_default=True)
@click.option("--tries", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--prompt", type=click.Path(path_type=Path), help="A prompt file of your own.")
@click.option("--cache", type=click.Path(path_type=Path), help=f"Default: {DEFAULT_CACHE}.")
@click.option("--raw", type=click.Path(path_type=Path), help="Raw files, for wiki sections.")
@click.option("--file", "files", multiple=True, metavar="SOURCE=PATH", help="A raw file, named.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows.")
@click.option("--review", type=click.IntRange(min=1), help="Judge so many rewrites by hand.")
@click.option("--marked", type=click.Path(path_type=Path), help="Take in a marked review (CSV).")
@click.option("--seed", type=int, default=0, show_default=True, help="For the review's sample.")
@dry_run_option
@json_option
def rephrase(source: str, folder: Path, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Rewrite rows with a language model.

    anki: cards become questions and answers. wikidoc, wikidoc_patient_information: sections whose
    heading has no rule get a question. Answers are cached, so that a run that was stopped goes on
    where it was. The key of a remote server comes from MEADOW_API_KEY or OPENAI_API_KEY. With
    --review or --marked, CORPUS is the rewritten folder.
    """
    from meadow.api import open_corpus
    from meadow.rephrase.items import rewriting

    finish = Finish(as_json=as_json)
    kind = rewriting(source).kind
    corpus = open_corpus(folder, verify=True)
    if given["marked"] or given["review"]:
        finish(_review(corpus, source, dry_run=dry_run, as_json=as_json, **given))
        return
    document = _rewrite(corpus, source, kind, dry_run=dry_run, **given)
    done = document.get("rewritten", 0)
    finish(document, rows_in=document["items"], rows_out=done, rejected=document["items"] - done)


def _rewrite(
    corpus: Corpus, source: str, kind: str, *, dry_run: bool, **given: Any
) -> dict[str, Any]:
    """Plan, ask, check and write; what was done."""
    from meadow.net.retry import RetryPolicy
    from meadow.rephrase.client import DEFAULT_URL, Cache, Meter, make_endpoint, read_price
    from meadow.rephrase.items import estimate, fault_counts, rephrase_items, rewritten
    from meadow.rephrase.prompts import latest_prompt, read_prompt
    from meadow.rephrase.write import Job, collect_items, write_rephrased

    if not given["model"]:
        raise UsageError("which model? its name goes into every row", fix="--model NAME")
    endpoint = make_endpoint(
        given["base_url"] or DEFAULT_URL,
        given["model"],
        allow_remote=given["allow_remote"],
        timeout=given["timeout"],
        concurrency=given["concurrency"],
        policy=RetryPolicy(tries=given["tries"]),
    )
    price = read_price(given["model"], *([given["prices"]] if given["prices"] else []))
    if given["budget_usd"] is not None and price is None and not endpoint.is_local:
        raise UsageError(
            f"no price is known for {given['model']}: it cannot be held to a budget",
            fix="--prices FILE with its price, or --max-requests",
        )
    prompt = read_prompt(given["prompt"]) if given["prompt"] else latest_prompt(kind)
    if prompt.kind != kind:
        raise UsageError(f"the prompt is for a {prompt.kind}, {source} needs one for a {kind}")
    items = collect_items(corpus, source, _inputs(source, kind, given["raw"], given["files"]))
    items = items[: given["limit"]]
    out = given["out"] or corpus.folder.with_name(corpus.folder.name + "-rephrased")
    path = (given["cache"] or DEFAULT_CACHE).expanduser()
    meter = Meter(price, given["max_requests"], given["budget_usd"])
    cache = Cache(path)
    try:
        planned = estimate(items, prompt, given["model"], cache)
        cost = (
            planned.prompt_tokens * price.prompt + planned.completion_tokens * price.completion
            if price
            else None
        )
        _announce(endpoint, planned.to_json(), cost, corpus, source)
        document: dict[str, Any] = {
            "items": len(items),
            "estimate": {**planned.to_json(), "usd": cost},
            "out": str(out),
        }
        if dry_run:
            return {"dry_run": True, **document}
        outcomes = rephrase_items(
            items, prompt, endpoint, cache, meter, progress=_progress(len(items))
        )
    finally:
        cache.close()
    manifest = write_rephrased(corpus, Job(source, prompt, given["model"]), outcomes, out)
    done = sum(1 for _ in rewritten(outcomes))
    faults = fault_counts(outcomes)
    log(f"{done:,} of {len(items):,} rewritten; {_spent(meter)}")
    for fault, count in faults.items():
        log(f"  {count:,} kept their text: {fault}")
    document |= {
        "rewritten": manifest.details["rephrase"][source]["rewritten"],
        "kept": faults,
        "requests_sent": meter.sent,
        "prompt_tokens": meter.prompt_tokens,
        "completion_tokens": meter.completion_tokens,
        "spent_usd": meter.spent if meter.price else None,
    }
    return document


def _inputs(source: str, kind: str, raw: Path | None, files: tuple[str, ...]) -> tuple[Any, ...]:
    """The raw files that sections are read from again."""
    if kind != "heading":
        return ()
    from meadow.build.plan import find_inputs, named_inputs, parse_file_option
    from meadow.config import read_config
    from meadow.source import OriginName
    from meadow.sources import SOURCES

    if files:
        named = [parse_file_option(text) for text in files]
        return named_inputs([item for item in named if item.source == source], SOURCES[source])
    folder = read_config().raw_folder(raw).expanduser()
    return find_inputs(SOURCES[source], SOURCES[source].origin(OriginName.UPSTREAM), folder)


def _announce(
    endpoint: Endpoint, planned: dict[str, int], cost: float | None, corpus: Corpus, source: str
) -> None:
    """Say what would be sent, and what leaves the machine."""
    tokens = f"{planned['prompt_tokens']:,} + {planned['completion_tokens']:,}"
    money = f"at most {cost:.2f} USD" if cost is not None else "no price known"
    log(
        f"{source}: {planned['items']:,} rows, {planned['cached']:,} answered already, "
        f"{planned['requests']:,} to ask {endpoint.model} at {endpoint.address} "
        f"(about {tokens} tokens, {money})"
    )
    if not endpoint.is_local:
        facts = corpus.manifest.sources[source].facts.get("licenses", {})
        log(
            f"leaving this machine for {endpoint.address}: {planned['characters']:,} characters of "
            f"{planned['requests']:,} rows (licences: {', '.join(facts) or 'none'}); no names, ids "
            "or addresses of authors"
        )


def _progress(total: int) -> Any:
    """A line now and then on a terminal; the running total of tokens and money."""
    terminal = sys.stderr.isatty()

    def tell(done: int, meter: Meter) -> None:
        if terminal and (done % 20 == 0 or done == total):
            click.echo(f"\r{done:,} of {total:,}; {_spent(meter)} ", err=True, nl=done == total)

    return tell


def _spent(meter: Meter) -> str:
    money = f", {meter.spent:.4f} USD" if meter.price else ""
    return (
        f"{meter.sent:,} requests, {meter.prompt_tokens:,} + {meter.completion_tokens:,} tokens"
        f"{money}"
    )


def _review(
    corpus: Corpus, source: str, *, dry_run: bool, as_json: bool, **given: Any
) -> dict[str, Any]:
    """Write a sample to be marked, mark it at the terminal, or take marks in."""
    from meadow.rephrase.review import (
        mark_pairs,
        read_marks,
        record_review,
        sample_pairs,
        side_by_side,
        write_review,
    )

    if given["marked"]:
        marks = read_marks(given["marked"])
        if dry_run:
            return {"marked": len(marks), "bad": sum(not good for good in marks.values())}
        manifest = record_review(corpus, source, marks)
        review: dict[str, Any] = manifest.details["rephrase"][source]["review"]
        low, high = review["interval_95"]
        log(
            f"{review['bad']:,} of {review['marked']:,} marked bad: {review['error_rate']:.1%}, "
            f"95 % interval {low:.1%} to {high:.1%}; the card says so now"
        )
        return review
    pairs = sample_pairs(corpus, source, given["review"], given["seed"])
    path = given["out"] or corpus.folder.with_name(f"{corpus.folder.name}-review.csv")
    chosen: dict[str, str] = {}
    if sys.stdin.isatty() and sys.stderr.isatty() and not as_json:
        chosen = mark_pairs(pairs, lambda text: str(click.prompt(text, err=True)))
    else:
        for pair in pairs:
            log(side_by_side(pair))
    if not dry_run:
        write_review(path, pairs, chosen)
        log(f"wrote {path}: mark good or bad, then `meadow rephrase {source} --marked {path}`")
    return {"review": str(path), "rows": len(pairs), "marked": len(chosen)}
