"""A trained model's card: every figure comes from its run manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.j2"
METHODS = {
    "full": "all weights",
    "lora": "low-rank adapters on the base as it is",
    "lora_int8": "low-rank adapters on a base in int8",
    "qlora_nf4": "low-rank adapters on a base in nf4",
}


def model_card(document: dict[str, Any], *, merged: bool = False) -> str:
    """README.md for a model folder that this project trained, of its run manifest."""
    from huggingface_hub import ModelCard, ModelCardData

    recipe = document["recipe"]
    base = document["base"]["name"]
    on_hub = base != "random" and base.count("/") == 1 and base[0] not in "./"
    adapters = recipe["method"] != "full" and not merged
    header = ModelCardData(
        library_name="peft" if adapters else "transformers",
        pipeline_tag="text-generation",
        tags=["medical", "instruction-tuning", "medical-meadow"],
        base_model=base if on_hub else None,
    )
    facts = {"parameters": 0, "trainable_parameters": 0, "result": {}, **document}
    card = ModelCard.from_template(
        header,
        template_path=str(TEMPLATE),
        merged=merged,
        methods=METHODS,
        counts=lambda numbers: ", ".join(f"{name} {n:,}" for name, n in numbers.items()),
        number=lambda value: f"{value:.4f}" if isinstance(value, float) else "not measured",
        thousands="{:,}".format,
        **facts,
    )
    return str(card)
