"""Prompts as versioned files: what a model is asked, and a hash of it for the provenance.

The text of a card or a page is put into the prompt as data; a brace in it is a brace.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from meadow.errors import UsageError

FOLDER = Path(__file__).parent / "prompt_texts"
_KEYS = {"id", "kind", "max_tokens", "temperature", "system", "user"}
FIELDS = {"flashcard": ("front", "back"), "heading": ("topic", "heading", "sentence")}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt.

    Args:
        id: Its name with its version.
        kind: "flashcard" or "heading".
        sha256: Of the file's bytes.
        system: The instructions.
        user: The frame of the data.
        max_tokens: The longest answer.
        temperature: 0 for the same answer again, where the server can.
    """

    id: str
    kind: str
    sha256: str
    system: str
    user: str
    max_tokens: int
    temperature: float

    def request(self, model: str, values: Mapping[str, str], attempt: int = 0) -> dict[str, Any]:
        """The canonical request: the cache's key is a hash of it.

        Args:
            model: As the server names it.
            values: The fields of `FIELDS[kind]`.
            attempt: 0 for the first; a further one gets another seed, and so another key.
        """
        text = self.user
        for name in FIELDS[self.kind]:
            text = text.replace("{" + name + "}", f"\x00{name}\x00")
        for name in FIELDS[self.kind]:
            text = text.replace(f"\x00{name}\x00", values[name].replace("\x00", ""))
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
        found = tomllib.loads(data.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the prompt cannot be read: {error}", where=str(path)) from error
    if found.keys() != _KEYS or found.get("kind") not in FIELDS:
        raise UsageError(
            "the prompt does not have exactly the keys that a prompt has",
            where=str(path),
            fix=f"keys: {', '.join(sorted(_KEYS))}; kind: one of {', '.join(FIELDS)}",
        )
    missing = [name for name in FIELDS[found["kind"]] if "{" + name + "}" not in found["user"]]
    if missing:
        raise UsageError(f"the prompt does not use {missing[0]}", where=str(path))
    return Prompt(
        id=str(found["id"]),
        kind=str(found["kind"]),
        sha256=hashlib.sha256(data).hexdigest(),
        system=str(found["system"]),
        user=str(found["user"]),
        max_tokens=int(found["max_tokens"]),
        temperature=float(found["temperature"]),
    )


def latest_prompt(kind: str) -> Prompt:
    """The newest of our own prompts of a kind."""
    paths = FOLDER.glob(f"{kind}-*.toml")
    return read_prompt(max(paths, key=lambda path: int(path.stem.rpartition("-")[2])))


@cache
def refusal_phrases() -> tuple[str, ...]:
    """How models decline, in lower case, one a line of `prompts/refusals.txt`."""
    return tuple((FOLDER / "refusals.txt").read_text(encoding="utf-8").splitlines())
