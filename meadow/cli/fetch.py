"""`meadow fetch`: raw files of the named sources, to the raw folder."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import (
    FILE,
    FOLDER,
    Finish,
    dry_run_option,
    json_option,
    listed,
    log,
    own_option,
)
from meadow.errors import FileError, MeadowError, NetworkError, UpstreamChangedError, UsageError
from meadow.source import OriginName

if TYPE_CHECKING:
    from meadow.fetch.fetch import Item
    from meadow.net.download import Progress
    from meadow.source import Source

Watcher = Callable[["Item"], "Progress"]


@click.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1, callback=listed)
@own_option
@click.option(
    "--raw",
    type=FOLDER,
    help="The folder of raw files; else the key raw of meadow.toml.",
)
@click.option(
    "--origin",
    type=click.Choice([origin.value for origin in OriginName]),
    default=OriginName.UPSTREAM.value,
    show_default=True,
    help="The upstream files, or the 2023 release on the Hub.",
)
@click.option(
    "--lock",
    type=FILE,
    help="The lock file of known hashes; else sources.lock.toml beside meadow.toml.",
)
@click.option(
    "--deadline", type=click.FloatRange(min=1), help="Seconds that one file may take altogether."
)
@click.option("--contact", help="Crawled sources: whom the wiki can write to.")
@click.option("--max-pages", type=click.IntRange(min=1), help="Crawled sources: pages at most.")
@click.option("--category", help="Crawled sources: only the pages of this category.")
@click.option("--prefix", help="Crawled sources: only pages whose title begins so.")
@click.option("--api", help="Crawled sources: another wiki's api.php.")
@dry_run_option
@json_option
def fetch(
    names: tuple[str, ...], own: tuple[str, ...], dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Download raw files, resumable and checked.

    Of the sources that are named; without names, of those that --source gives. A file has to have
    the hash that its source states, or that sources.lock.toml recorded when it was first fetched.
    What cannot be downloaded is listed with what to do by hand; the exit code is then 1 until it is
    there. A wiki is crawled page by page and asks for a contact; a crawl that was stopped continues
    where it was.
    """
    from meadow.build.own import known_sources, own_documents
    from meadow.build.plan import check_sources
    from meadow.config import read_config
    from meadow.fetch.fetch import Fetcher, State, by_hand_notices
    from meadow.fetch.lockfile import NAME
    from meadow.net.retry import RetryPolicy

    finish = Finish(as_json=as_json)
    config = read_config()
    fetcher = Fetcher(
        raw=config.raw_folder(given["raw"]).expanduser(),
        lock=given["lock"] or config.folder / NAME,
        policy=RetryPolicy(deadline=given["deadline"], sleep=_wait),
    )
    known = known_sources(own, config)
    names = names or tuple(own_documents(own))
    if not names:
        raise UsageError("no source is named", fix="`meadow sources` lists them")
    check_sources(names, known)
    chosen = [known[name] for name in dict.fromkeys(names)]
    crawled: dict[str, Any] = {}
    origin = OriginName(given["origin"])
    if origin is OriginName.UPSTREAM:
        given["contact"] = given["contact"] or config.contact
        wikis = [source for source in chosen if source.crawl is not None]
        crawled = {source.name: _crawl(source, fetcher.raw, dry_run, given) for source in wikis}
        chosen = [source for source in chosen if source.crawl is None]
    items = [item for source in chosen for item in fetcher.plan(source, origin)]
    if dry_run:
        for line in (*map(_planned, items), *by_hand_notices(items)):
            log(line)
        files = [item.to_json() for item in items]
        finish({"dry_run": True, "files": files, "crawled": crawled}, rows_in=len(items))
        return
    done: list[Item] = []
    faults: list[MeadowError] = []
    with _progress(sys.stderr.isatty()) as watch:
        for item in items:
            try:
                for result in fetcher.fetch([item], progress=watch):
                    done.append(result)
                    log(_finished(result))
            except (NetworkError, UpstreamChangedError) as fault:
                # The other files can still be fetched; the first fault gives the exit code.
                faults.append(fault)
                if len(items) > 1:
                    log(f"error: {fault}")
    by_hand = [item for item in done if item.state in (State.BY_HAND, State.ONE_OF)]
    for notice in by_hand_notices(by_hand):
        log(notice)
    finish(
        {
            "files": [item.to_json() for item in done],
            "crawled": crawled,
            "faults": [{"what": f.what, "where": f.where, "fix": f.fix} for f in faults],
        },
        rows_in=len(items),
        rows_out=len(done) - len(by_hand),
    )
    if faults:
        if len(items) == 1:
            raise faults[0]
        raise type(faults[0])(
            f"{len(faults)} of {len(items)} files could not be fetched",
            where=faults[0].where,
            fix=faults[0].fix,
        )
    if by_hand:
        lacking = dict.fromkeys(item.source for item in by_hand)
        raise FileError(
            f"raw files have to be brought by hand for: {', '.join(lacking)}",
            where=str(by_hand[0].target),
            fix="do what is said above, then run the same command again",
        )


def _crawl(source: Source, raw: Path, dry_run: bool, given: dict[str, Any]) -> dict[str, Any]:
    """Crawl a source that is a wiki, and say what was done."""
    from dataclasses import asdict, replace

    from meadow.fetch.crawler import STORE, crawl, user_agent
    from meadow.net.http import plain_address

    assert source.crawl is not None
    name, contact = source.name, given["contact"]
    wanted = replace(source.crawl, max_pages=given["max_pages"])
    if (given["category"], given["prefix"]) != (None, None):
        # one of them given: what the source would crawl else is not meant
        wanted = replace(wanted, category=given["category"] or "", prefix=given["prefix"] or "")
    if given["api"] is not None:
        wanted = replace(wanted, api=plain_address(given["api"], "--api"))
    what = wanted.category and f"category {wanted.category}"
    what = what or (wanted.prefix and f"titles in {wanted.prefix}...") or "all articles"
    log(
        f"{name}: {'would crawl' if dry_run else 'crawling'} {what} of {wanted.api}, one page at a "
        f"time, as {user_agent(contact)!r} (licence {source.license})"
    )
    if dry_run:
        return {**asdict(wanted), "dry_run": True}
    terminal = sys.stderr.isatty()

    def tell(stored: int, title: str) -> None:
        if terminal or stored % 100 == 0:
            log(f"{name}: {stored:,} pages, last {title!r}")

    result = crawl(wanted, raw / name, contact=contact, progress=tell)
    state = "the whole list" if result.complete else "more to come: run it again to continue"
    log(f"{name}/{STORE}: {result.stored:,} pages, {result.fetched:,} new, {state}")
    return asdict(result)


def _wait(seconds: float) -> None:
    """Before another try of a file; a person at the terminal should know why nothing moves."""
    log(f"the transfer failed: another try in {seconds:.0f} s")
    time.sleep(seconds)


def _planned(item: Item) -> str:
    """One line of the plan: what, how large, from where, under which licence."""
    from meadow.fetch.fetch import State

    head = f"{item.key}: {item.state.value}"
    if item.state is not State.FETCH:
        return f"{head} (licence {item.license})"
    size = f"size unknown, at most {item.file.max_size:,}"
    if item.size is not None:
        size = f"{item.size:,} bytes"
    known = "sha256 known" if item.sha256 else "sha256 recorded at this fetch"
    member = f", member {item.file.member}" if item.file.member else ""
    return f"{head} ({size}, {known}, licence {item.license})\n  {item.file.url}{member}"


def _finished(item: Item) -> str:
    digest = f", sha256 {item.sha256[:12]}" if item.sha256 else ""
    size = f", {item.size:,} bytes" if item.size is not None else ""
    return f"{item.key}: {item.state.value}{size}{digest}"


@contextlib.contextmanager
def _progress(terminal: bool) -> Iterator[Watcher | None]:
    """A bar a file with bytes, rate and time left, on a terminal only."""
    if not terminal:
        yield None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True) as bars:

        def watch(item: Item) -> Callable[[int, int | None], None]:
            task = bars.add_task(item.key, total=item.size)

            def update(done: int, total: int | None) -> None:
                bars.update(task, completed=done, total=total)

            return update

        yield watch
