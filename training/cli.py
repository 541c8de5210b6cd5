"""`meadow train`, `meadow plan` and `meadow export`: thin shells over this room's functions."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import (
    Finish,
    dry_run_option,
    exam_scorer,
    json_option,
    list_option,
    log,
    telling,
    telling_steps,
)
from meadow.cli.weights import convert_option, safe_weights
from meadow.errors import UsageError

if TYPE_CHECKING:
    from training.config import Recipe

_SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe, e.g. method=lora or optimizer.learning_rate=1e-4.",
)
_BASE = click.option(
    "--base", metavar="PATH|REPO", help="Another base: a local folder or REPO[@REVISION]."
)


def _load(recipe: str, overrides: tuple[str, ...], mix: str | None) -> Recipe:
    """The recipe; what is mistyped is refused here, before torch is imported."""
    from training.config import find_recipe, load_recipe

    found = load_recipe(recipe, overrides)
    if mix is not None:
        from meadow.api import open_corpus

        open_corpus(mix)
    if recipe != find_recipe(recipe).stem and not recipe.endswith(".toml"):
        log(f"recipe {found.name}")
    return found


@click.command()
@click.argument("recipe")
@click.option("--mix", required=True, metavar="DIR|REPO@REV", help="The mix or corpus.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The run folder; a run that was stopped there is continued.",
)
@_BASE
@_SET
@click.option(
    "--preview",
    type=click.IntRange(1),
    metavar="N",
    help="Show N examples as tokens, with what is learned, and stop.",
)
@list_option(
    "--exam",
    "exams",
    metavar="NAME=FILE",
    help="Score the model on an exam every run.exam_steps steps, and at the end.",
)
@click.option(
    "--allow-contaminated", is_flag=True, help="Train although exam items are in the mix."
)
@click.option("--ignore-memory", is_flag=True, help="Start although the estimate does not fit.")
@convert_option
@dry_run_option
@json_option
def train(
    recipe: str, mix: str, out: Path | None, base: str | None, as_json: bool, **options: Any
) -> None:
    """Fine-tune a model on a mix.

    RECIPE is a recipe's name, the name of a row of the paper's table (its faithful recipe), or a
    TOML file. For several processes start `torchrun ... -m training` with the same arguments.
    """
    finish = Finish(as_json=as_json)
    found = _load(recipe, options["overrides"], mix)
    if options["dry_run"]:
        from training.plan import plan_run

        with telling(lambda: f"planning {found.name}, counting tokens"):
            document = plan_run(found, mix=mix, base=base)
        _finish_plan(finish, document)
        return
    if preview := options["preview"]:
        from training.plan import preview_run

        shown = preview_run(found, mix, base, preview)
        for example in () if as_json else shown:
            click.echo(f"{example['id']}\n{example_line(example)}\n")
        finish(shown, rows_in=preview, rows_out=len(shown))
        return
    if out is None:
        raise UsageError("no folder for the run", fix="--out DIR, or --preview N to see examples")
    if base or found.base.repository != "random":
        named = base or "@".join(filter(None, (found.base.repository, found.base.revision)))
        safe = safe_weights(named, convert=options["convert_weights"])
        base = base if safe == named else safe
    from training.loop import StepLines
    from training.loop import train as run

    first = os.environ.get("RANK", "0") == "0"
    # the other processes of a run say nothing
    told = (
        telling_steps(f"training {found.name}")
        if first
        else contextlib.nullcontext(lambda line: None)
    )
    with told as progress:
        result = run(
            found,
            mix,
            out,
            base=base,
            exam=exam_scorer(options["exams"], found.data.template) if options["exams"] else None,
            callbacks=[StepLines(progress)],
            progress=progress,
            **{name: options[name] for name in ("allow_contaminated", "ignore_memory")},
        )
    if not first:
        return
    data, shown = result.manifest["data"], result.manifest["result"]
    log(
        f"loss {shown['first_loss']:.4f} -> {shown['last_loss']:.4f}"
        + (f", held out {shown['validation_loss']:.4f}" if shown["validation_loss"] else "")
        + f", {shown['tokens_per_second']:,.0f} tokens/s"
    )
    for line in shown["exams"]:
        log(f"{line['exam']}: {line['accuracy']:.3f} after step {line['step']}")
    if shown["model_of_step"] < shown["steps"]:
        log(f"kept: the model of step {shown['model_of_step']}")
    log(f"model: {result.model}")
    finish(
        {"model": str(result.model), "folder": str(result.folder), **shown, "data": data},
        rows_in=data["rows_in"],
        rows_out=data["rows_out"],
        rejected=sum(data["rejected"].values()),
    )


def example_line(example: dict[str, Any]) -> str:
    """An example's tokens, what is learned in green; where there is no colour, in brackets."""
    return " ".join(
        click.style(f"\u27e6{token}\u27e7", fg="green", bold=True) if learned else token
        for token, learned in zip(example["tokens"], example["learned"], strict=True)
    )


@click.command()
@click.argument("recipe")
@click.option("--mix", metavar="DIR|REPO@REV", help="Count steps and tokens on this mix.")
@_BASE
@_SET
@click.option("--gpus", type=click.IntRange(min=1), help="Devices.")
@click.option("--gpu-gb", type=click.FloatRange(min=0), help="Memory of each, in GB (1e9 bytes).")
@click.option("--gpu-tflops", type=click.FloatRange(min=0), help="Peak rate of each, for hours.")
@json_option
def plan(
    recipe: str, mix: str | None, overrides: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Say what a training run needs before it starts.

    Nothing is downloaded: the model's dimensions stand in the recipe. Tokens are counted with the
    base's tokenizer where it is at hand, else estimated from characters.
    """
    finish = Finish(as_json=as_json)
    found = _load(recipe, overrides, mix)
    from training.plan import plan_run

    with telling(lambda: f"planning {found.name}, counting tokens"):
        document = plan_run(found, mix=mix, **options)
    _finish_plan(finish, document)


def _finish_plan(finish: Finish, document: dict[str, Any]) -> None:
    for line in () if finish.as_json else plan_lines(document):
        click.echo(line)
    finish(document)


def plan_lines(document: dict[str, Any]) -> list[str]:
    """The plan for a person."""
    lines = [
        f"{document['recipe']}: {document['method']}",
        f"  parameters      {document['parameters']:>16,}",
        f"  trained         {document['trainable_parameters']:>16,}",
        "  memory, GB           whole   per device",
    ]
    each = document["memory_per_gpu_gb"]
    lines += [
        f"    {name:<14}{value:>11.3f}{each[name]:>12.3f}"
        for name, value in document["memory_gb"].items()
    ]
    if document["reported_2023"]:
        reported = document["reported_2023"]
        lines.append(f"  measured in 2023  {reported['vram_gb']:g} GB ({reported['source']})")
    if document["fits"] is not None:
        lines.append(f"  fits            {'yes' if document['fits'] else 'no'}")
    if document["steps"] is not None:
        how = "estimated" if document["tokens_estimated"] else "counted"
        lines.append(f"  steps           {document['steps']:>16,}")
        lines.append(f"  tokens          {document['tokens']:>16,} ({how})")
    if rows := document.get("rows"):
        lost = "".join(f", {reason} {count:,}" for reason, count in rows["rejected"].items())
        lines.append(f"  rows            {rows['out']:>16,} (of {rows['in']:,}{lost})")
    if document["hours"] is not None:
        lines.append(f"  hours           {document['hours']:>16.2f} ({document['hours_assume']})")
    return lines


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to make.",
)
@_BASE
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Of the written weights; by default the base's.",
)
@click.option("--gguf", is_flag=True, help="Also convert with llama.cpp's converter.")
@click.option(
    "--converter",
    type=click.Path(path_type=Path, dir_okay=False),
    help="llama.cpp's convert_hf_to_gguf.py, where LLAMA_CPP does not name its folder.",
)
@click.option("--push", "repository", metavar="OWNER/NAME", help="Upload to the Hub.")
@click.option("--public", is_flag=True, help="Make a new repository public.")
@dry_run_option
@json_option
def export(
    run: Path, out: Path, repository: str | None, public: bool, as_json: bool, **options: Any
) -> None:
    """Merge adapters and export a checkpoint.

    RUN is the --out folder of `meadow train`, or one of its checkpoints. The base is dequantised
    and merged in float32; the figures say how far the result is from the adapters.
    """
    from meadow.models import checkpoints
    from meadow.models.gguf import find_converter
    from training.run_manifest import find_model

    finish = Finish(as_json=as_json)
    # what can be refused is refused before torch is imported
    source = find_model(run)
    checkpoints.refuse_taken(out)
    if options["gguf"]:
        find_converter(options["converter"])
    if options.pop("dry_run"):
        finish({"source": str(source), "out": str(out), "push": repository})
        return
    from meadow.hub.models import push_model
    from training.export import export as write

    document = write(run, out, **options)
    for name, value in document["figures"].items():
        log(f"{name.replace('_', ' ')}: {value:.3g}")
    if repository:
        document["push"] = push_model(out, repository, private=not public)
        log(f"pushed: {document['push']['url']}")
    log(f"model: {out}")
    finish(document)
