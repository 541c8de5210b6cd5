"""CrowdAnki's deck.json: note types with templates, decks in decks, and JSON that is no deck."""

import json
from pathlib import Path

import pytest
from support.converted import converted

from meadow.errors import FileError
from meadow.schema import Reason, Record
from meadow.source import Input, Options
from meadow.sources.anki import source as anki

MODEL = {
    "crowdanki_uuid": "m",
    "name": "Bones",
    "flds": [{"name": "Joint", "ord": 1}, {"name": "Bone", "ord": 0}],
    "tmpls": [{"qfmt": "Which joint has the {{Bone}}?", "afmt": "{{Joint}}"}],
}


def note(*fields: object, guid: str = "g1", model: str = "m") -> dict:
    return {"fields": list(fields), "guid": guid, "note_model_uuid": model, "tags": ["leg"]}


def deck(*notes: dict, **more: object) -> dict:
    return {"__type__": "Deck", "name": "Anatomy", "note_models": [MODEL], "notes": notes, **more}


def convert(document: object, folder: Path) -> list:
    path = folder / "deck.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return converted(anki.SOURCE.upstream, path)


def test_a_deck_and_the_decks_in_it(tmp_path: Path) -> None:
    child = {"name": "Leg", "notes": [note("Tibia", "Knee", guid="g2")], "children": []}
    first, second = convert(deck(note("Femur", "Hip"), children=[child]), tmp_path)
    assert isinstance(first, Record)
    assert (first.source_id, first.input, first.output) == (
        "g1",
        "Which joint has the Femur?",
        "Hip",
    )
    meta = {"deck": "Anatomy", "note_type": "Bones", "tags": ["leg"]}
    assert json.loads(first.meta) == {**meta, "repairs": ["template_words"]}
    assert json.loads(second.meta)["deck"] == "Anatomy::Leg"


def test_a_bad_note_is_one_reject(tmp_path: Path) -> None:
    notes = (note("A", "B"), note("A", model="x"), note(), note(3), {"guid": "?"}, note("\ud800"))
    found = convert(deck(*notes), tmp_path)
    assert [item.reason for item in found[1:]] == [
        Reason.ORPHAN,
        *[Reason.BAD_VALUE] * 3,
        Reason.LONE_SURROGATE,
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"fields": []}, "no deck that CrowdAnki wrote"),
        ([{"input": "x"}], "no deck that CrowdAnki wrote"),
        ('{"__type__": "Deck", ', "cannot be read"),
        ({"__type__": "Deck", "note_models": [{}]}, "cannot be read"),
        (json.dumps(deck()).replace('"ord": 1', '"ord": 1e999'), "cannot be read"),
        ('{"a":' * 20_000, "cannot be read"),
    ],
)
def test_what_is_no_deck_is_an_error(document: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=message):
        convert(document, tmp_path)


def test_a_text_that_begins_with_a_deletion_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "deck.txt").write_text("{{c1::Iron}} is low\t\n")
    (raw,) = anki.read([Input(tmp_path / "deck.txt", "deck.txt")], Options())
    assert raw["fields"] == ["{{c1::Iron}} is low", ""]
