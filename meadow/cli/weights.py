"""`--convert-weights`, and the question that stands for it on a terminal."""

from __future__ import annotations

import os
import sys

import click

from meadow.cli.app import log

convert_option = click.option(
    "--convert-weights",
    is_flag=True,
    help="Turn weights that exist in PyTorch's own format alone into safetensors, once.",
)


def safe_weights(
    model: str, *, convert: bool, revision: str | None = None, adapter: bool = False
) -> str:
    """The model, or the folder of its conversion where somebody has agreed to one.

    Args:
        model: A folder, or OWNER/NAME[@REVISION].
        convert: Whether `--convert-weights` was given; without it a person at a terminal is asked.
        revision: Of a repository.
        adapter: Whether it is an adapter.
    """
    from meadow.models.loading import Checkpoint
    from meadow.models.weights import check_at_hand

    found = Checkpoint.parse(model)
    revision = revision or found.revision
    check_at_hand(found.name, revision, adapter=adapter)
    asked = sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"
    if not (convert or asked):
        return model
    from meadow.models.convert import convert as converted
    from meadow.models.convert import needs_conversion

    if not needs_conversion(found.name, revision, adapter=adapter):
        return model
    question = f"The weights of {model} are in a format that can run code. Convert them, once?"
    if not convert and not click.confirm(question, err=True):
        return model
    folder = converted(found.name, revision)
    log(f"{model}: converted into {folder}")
    return str(folder)
