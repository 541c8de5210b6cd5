"""`meadow demo`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import PATH, Finish, application, json_option, log
from meadow.errors import CheckError


@click.command()
@click.option(
    "--out",
    type=PATH,
    default=Path("demo"),
    show_default=True,
    help="The folder to write.",
)
@click.option("--data", is_flag=True, help="Only the data: no torch is needed.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."
)
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
    document |= demo_2026(out)
    if not data:
        document |= application("pipelines.demo:run_demo", "the demo beyond --data")(out)
    finish(document, rows_out=corpus)


def demo_corpus(folder: Path, workers: int) -> int:
    """Build and check the samples; the number of records.

    Raises:
        CheckError: The corpus has a finding.
    """
    from meadow import api
    from meadow.build.build import build_corpus
    from meadow.build.plan import plan_build
    from meadow.samples import FOLDER, sampled_sources

    names = sampled_sources()
    log(f"building {len(names)} sources from the embedded samples (invented, CC0)")
    plan = plan_build(names, raw=FOLDER)
    build_corpus(
        plan.settings, plan.inputs, folder, workers=workers, progress=lambda line: log(f"  {line}")
    )
    if findings := api.check(folder):
        first = findings[0]
        raise CheckError(f"{first.kind}: {first.detail}", where=f"{folder}: {first.where}")
    rows = api.open_corpus(folder).rows()
    log(f"checked {rows:,} rows: no finding")
    log(f"the corpus    {folder}/README.md, {folder}/MANIFEST.json")
    log(f"its rows      meadow show {folder} -n 3")
    log(f"the rejects   {folder}/quarantine/  (the samples hold broken rows on purpose)")
    return rows


def demo_rephrase(out: Path) -> int:
    """Rewrite the sample's flashcards by an in-process script; how many."""
    from meadow import api
    from meadow.chat.scripted import MODEL, scripted_chat

    with scripted_chat() as server:
        done = api.rephrase(
            "anki",
            corpus=out / "corpus",
            model=MODEL,
            base_url=server.base_url,
            cache=out / "rephrase.sqlite",
        )
    log(
        f"rephrasing: {done['rewritten']} of {done['items']} flashcards, by a scripted server in "
        f"this process, which is no model: {out}/corpus-rephrased/"
    )
    rewritten: int = done["rewritten"]
    return rewritten


def demo_2026(out: Path) -> dict[str, int]:
    """Reason about questions by an in-process script, and mix the recipe of today; the counts."""
    from meadow import api
    from meadow.chat.scripted import MODEL, scripted_chat, scripted_reasoning
    from meadow.samples import FOLDER

    exams = {"demo_exam": FOLDER / "exam"}
    with scripted_chat(scripted_reasoning) as server:
        done = api.reason(
            "medmcqa",
            corpus=out / "corpus",
            exams=exams,
            model=MODEL,
            base_url=server.base_url,
            cache=out / "reason.sqlite",
        )
    log(
        f"reasoning: {done['rewritten']} of {done['items']} questions, by a script that guesses (a "
        f"guesser comes to {done['guessing']:.0%}): {out}/corpus-reasoned/"
    )
    mix = api.mix("meadow-2026", corpus=out / "corpus-reasoned", out=out / "mix-2026", exams=exams)
    rows = mix.to_arrow(columns=["source", "meta", "reasoning"]).to_pylist()
    found = {
        "mix_2026": len(rows),
        "with_reasoning": sum(row["reasoning"] is not None for row in rows),
        "of_several_turns": sum('"turns":' in row["meta"] for row in rows),
    }
    log(
        f"meadow-2026: {found['mix_2026']} rows of {len({row['source'] for row in rows})} sources "
        f"under free licences, {found['with_reasoning']} with reasoning, "
        f"{found['of_several_turns']} of several turns: {out}/mix-2026/"
    )
    return found
