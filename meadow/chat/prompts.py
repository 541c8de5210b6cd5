"""Prompts as versioned files: what a model is asked, and a hash of it for the provenance.

The text of a card or a page is put into the prompt as data; a brace in it is a brace.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from meadow.config import Settings
from meadow.errors import UsageError

FOLDER = Path(__file__).parent / "prompt_texts"
FIELDS = {
    "flashcard": ("front", "back"),
    "heading": ("topic", "heading", "sentence"),
    "verdict": ("conversation", "answer", "criterion"),
    "reasoning": ("question",),
}


class Prompt(Settings):
    """One version of a prompt."""

    id: str  # its name with its version
    kind: Literal["flashcard", "heading", "verdict", "reasoning"]  # what it is for
    system: str
    user: str  # the frame of the data, with the fields of `FIELDS[kind]` in braces
    max_tokens: int  # the longest answer
    temperature: float  # 0 for the same answer again, where the server can
    sha256: str  # of the file's bytes; not in the file

    def request(self, model: str, values: Mapping[str, str], attempt: int = 0) -> dict[str, Any]:
        """The canonical request: the cache's key is a hash of it.

        An attempt after the first (0) gets another seed, and so another key.
        """
        # one pass: a field's name in the text of another one is not filled in
        field = re.compile("{(" + "|".join(FIELDS[self.kind]) + ")}")
        text = field.sub(lambda found: values[found[1]].replace("\x00", ""), self.user)
        return {
            "model": model,
            "messages": [
                {"role": "system", "content": self.system.strip()},
                {"role": "user", "content": text.strip()},
            ],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": attempt,
        }


def read_prompt(path: Path) -> Prompt:
    """A prompt from its file.

    Raises:
        UsageError: It is missing, no TOML, or lacks a key or a field.
    """
    try:
        data = path.read_bytes()
        sha256 = {"sha256": hashlib.sha256(data).hexdigest()}
        prompt = Prompt.model_validate(tomllib.loads(data.decode("utf-8")) | sha256)
    except ValidationError as error:
        keys = sorted(Prompt.model_fields.keys() - {"sha256"})
        raise UsageError(
            "the prompt does not have exactly the keys that a prompt has",
            where=str(path),
            fix=f"keys: {', '.join(keys)}; kind: one of {', '.join(FIELDS)}",
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"the prompt cannot be read: {error}", where=str(path)) from error
    if missing := [name for name in FIELDS[prompt.kind] if "{" + name + "}" not in prompt.user]:
        raise UsageError(f"the prompt does not use {missing[0]}", where=str(path))
    return prompt


def latest_prompt(kind: str) -> Prompt:
    """The newest of our own prompts of a kind."""
    paths = FOLDER.glob(f"{kind}-*.toml")
    return read_prompt(max(paths, key=lambda path: int(path.stem.rpartition("-")[2])))


def chosen_prompt(kind: str, path: Path | None) -> Prompt:
    """A prompt of one's own, or the newest of ours.

    Raises:
        UsageError: It cannot be read, or is of another kind.
    """
    prompt = read_prompt(path) if path else latest_prompt(kind)
    if prompt.kind != kind:
        raise UsageError(
            f"the prompt is for a {prompt.kind}, and one for a {kind} is needed", where=str(path)
        )
    return prompt


@cache
def refusal_phrases() -> tuple[str, ...]:
    """How models decline, in lower case, one a line of `prompt_texts/refusals.txt`."""
    return tuple((FOLDER / "refusals.txt").read_text(encoding="utf-8").splitlines())
