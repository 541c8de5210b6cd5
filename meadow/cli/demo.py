"""`meadow demo`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import Finish, application, json_option, log
from meadow.errors import CheckError


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="The folder to write.",
)
@click.option("--data", is_flag=True, help="Only the data: no torch is needed.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
@json_option
def demo(out: Path, data: bool, workers: int, as_json: bool) -> None:
    """Run the main job on the embedded samples.

    Builds every source, checks the corpus and says where to look; without --data it goes on with
    the mix, a tiny fine-tune and an evaluation. No network is used.
    """
    finish = Finish(as_json=as_json)
    corpus = demo_corpus(out / "corpus", workers)
    document = {"corpus": str(out / "corpus"), "rows": corpus}
    document["rephrased"] = demo_rephrase(out)
    if not data:
        document |= application("pipelines.demo", "the rest of the demo").run_demo(out)
    finish(document, rows_out=corpus)


def demo_corpus(folder: Path, workers: int) -> int:
    """Build and check the samples; the number of records.

    Raises:
        CheckError: The corpus has a finding.
    """
    from meadow.build.build import BuildSettings, build_corpus
    from meadow.build.plan import find_inputs
    from meadow.quality.check import check_corpus
    from meadow.samples import FOLDER, sampled_sources
    from meadow.source import OriginName
    from meadow.sources import SOURCES

    names = sampled_sources()
    origins = {
        name: OriginName.UPSTREAM if SOURCES[name].upstream else OriginName.PUBLISHED
        for name in names
    }
    log(f"building {len(names)} sources from the embedded samples (invented, CC0)")
    result = build_corpus(
        BuildSettings(sources=tuple(names), origins=origins, recipe="demo"),
        {
            name: find_inputs(SOURCES[name], SOURCES[name].origin(origins[name]), FOLDER)
            for name in names
        },
        folder,
        workers=workers,
        progress=lambda line: log(f"  {line}"),
    )
    if findings := check_corpus(folder):
        first = findings[0]
        raise CheckError(f"{first.kind}: {first.detail}", where=f"{folder}: {first.where}")
    rows = sum(entry.rows_out for entry in result.manifest.sources.values())
    log(f"checked {rows:,} rows: no finding")
    for text in (
        f"the corpus    {folder}/README.md, {folder}/MANIFEST.json",
        f"its rows      meadow show {folder} -n 3",
        f"the rejects   {folder}/quarantine/  (the samples hold broken rows on purpose)",
    ):
        log(text)
    return rows


def demo_rephrase(out: Path) -> int | None:
    """Rewrite the sample's flashcards by an in-process script; how many, None without openai."""
    import importlib.util

    from meadow.api import open_corpus
    from meadow.rephrase.client import Cache, Meter, make_endpoint
    from meadow.rephrase.items import rephrase_items, rewritten
    from meadow.rephrase.prompts import latest_prompt
    from meadow.rephrase.scripted_chat import MODEL, scripted_chat
    from meadow.rephrase.write import Job, collect_items, write_rephrased

    if importlib.util.find_spec("openai") is None:
        log("rephrasing: left out; pip install 'medical-meadow[rephrase]'")
        return None
    corpus, prompt = open_corpus(out / "corpus"), latest_prompt("flashcard")
    items = collect_items(corpus, "anki", ())
    cache = Cache(out / "rephrase.sqlite")
    try:
        with scripted_chat() as server:
            endpoint = make_endpoint(server.base_url, MODEL, allow_remote=False)
            outcomes = rephrase_items(items, prompt, endpoint, cache, Meter())
    finally:
        cache.close()
    write_rephrased(corpus, Job("anki", prompt, MODEL), outcomes, out / "corpus-rephrased")
    done = sum(1 for _ in rewritten(outcomes))
    log(
        f"rephrasing: {done} of {len(items)} flashcards, by a scripted server in this process, "
        f"which is no model: {out}/corpus-rephrased/"
    )
    return done
