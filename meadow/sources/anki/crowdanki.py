"""CrowdAnki: a deck as one JSON document, note types and decks within decks in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meadow.errors import FileError
from meadow.readers.archives import open_binary
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import Input
from meadow.sources.anki.templates import NoteType

MAX_BYTES = 512 * 1024**2
BROKEN = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""What JSON of another shape raises; an overflow where a number has no end (1e999)."""


def is_json(path: Path) -> bool:
    """Whether a file begins as a JSON document; a text can begin with a deletion, `{{c1::`."""
    with open_binary(path) as file:
        return (
            re.match(rb"(?:\xef\xbb\xbf)?\s*(?:\{\s*\"|\[\s*\{\s*\")", file.read(256)) is not None
        )


def read_crowdanki(item: Input) -> Iterator[Raw | Reject]:
    """Yield every note of the deck and of the decks in it.

    Raises:
        FileError: The document is no deck of CrowdAnki's, or cannot be read.
    """
    with open_binary(item.path, MAX_BYTES) as file:
        content = file.read()
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("__type__") != "Deck":
            raise FileError(
                "JSON, and no deck that CrowdAnki wrote",
                where=item.label,
                fix="give an .apkg, a text export, or CrowdAnki's deck.json",
            )
        decks = list(_decks(document, ""))
        note_types = {
            str(model["crowdanki_uuid"]): model_of(model)
            for _, deck in decks
            for model in deck.get("note_models", ())
        }
        notes = [(name, note) for name, deck in decks for note in deck.get("notes", ())]
    except BROKEN as error:
        raise FileError(
            f"the CrowdAnki deck cannot be read: {type(error).__name__} {error}",
            where=item.label,
            fix="export the deck from Anki again, as an .apkg if need be",
        ) from error
    for number, (deck_name, note) in enumerate(notes, start=1):
        where = f"{item.label}:note {number}"
        try:
            guid, tags, fields = str(note["guid"]), list(map(str, note["tags"])), note["fields"]
            note_type = note_types.get(str(note["note_model_uuid"]))
            if not fields or not all(isinstance(text, str) for text in fields):
                raise ValueError("the fields are no texts")
        except BROKEN as error:
            detail = f"{type(error).__name__} {error}"
            yield Reject(where, Reason.BAD_VALUE, detail, printable(str(note)))
            continue
        if note_type is None:
            yield Reject(where, Reason.ORPHAN, "the note's type is not in the deck")
        elif any(map(has_lone_surrogate, (guid, deck_name, *tags, *fields))):
            yield Reject(where, Reason.LONE_SURROGATE, "half of a surrogate pair")
        else:
            yield note_type.note(where, guid, deck_name, tags, fields)


def model_of(model: dict[str, Any]) -> NoteType:
    """A note type as Anki's older JSON gives it, which CrowdAnki kept."""

    def in_order(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(parts, key=lambda part: int(part.get("ord", 0)))

    return NoteType(
        str(model["name"]),
        tuple(str(field["name"]) for field in in_order(model["flds"])),
        model.get("type") == 1,
        tuple(
            (str(each["qfmt"]), str(each["afmt"])) for each in in_order(model.get("tmpls") or [])
        ),
    )


def _decks(deck: dict[str, Any], above: str) -> Iterator[tuple[str, dict[str, Any]]]:
    name = f"{above}::{deck['name']}" if above else str(deck["name"])
    yield name, deck
    for child in deck.get("children", ()):
        yield from _decks(child, name)
