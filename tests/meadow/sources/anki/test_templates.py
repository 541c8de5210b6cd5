"""Note types with templates of their own: what Anki shows is what a row says."""

from pathlib import Path

import pytest
from support.anki_deck import BASIC, Deck, Note, collection
from support.converted import converted

from meadow.schema import Reason, Record, Reject
from meadow.source import Input, Options
from meadow.sources.anki import source as anki
from meadow.sources.anki.templates import Side, TemplateError, parse_template

FIELDS = ("Drug", "Use", "Harm", "Extra")
LITHIUM = ("Lithium", "Mania", "Tremor", "Check the level")


def made(folder: Path, note_type: tuple, *notes: Note, schema: int = 11) -> list[Record | Reject]:
    path = folder / "collection.anki2"
    path.write_bytes(collection(Deck(list(notes), schema, (BASIC, note_type))))
    return converted(anki.SOURCE.upstream, path)


def shown(folder: Path, *templates: tuple[str, str], values: tuple = LITHIUM, cloze: int = 0):
    note_type = (7, "Drugs", cloze, FIELDS, templates)
    found = made(folder, note_type, Note(note_type, values, guid="g"))
    return [
        (item.source_id, item.input, item.output) if isinstance(item, Record) else item.reason
        for item in found
    ]


@pytest.mark.parametrize("schema", [11, 18])
def test_every_template_is_a_card_with_an_id_of_its_own(schema: int, tmp_path: Path) -> None:
    templates = (
        ("{{#Use}}What is {{Drug}} for?{{/Use}}", "{{FrontSide}}<hr id=answer>{{Use}}"),
        ("{{#Harm}}What harm does {{Drug}}?{{/Harm}}", "{{Harm}}"),
    )
    note_type = (7, "Drugs", 0, FIELDS, templates)
    notes = [Note(note_type, LITHIUM, "a"), Note(note_type, ("X", "", "Rash", ""), "b")]
    found = made(tmp_path, note_type, *notes, schema=schema)
    assert [(item.source_id, item.input, item.output) for item in found] == [
        ("a", "What is Lithium for?", "Mania"),
        ("a#2", "What harm does Lithium?", "Tremor"),
        ("b#2", "What harm does X?", "Rash"),
    ]
    assert {item.repairs for item in found} == {("template_words",)}


@pytest.mark.parametrize(
    ("front", "back", "expected"),
    [
        ("{{Use}}?", "{{Drug}}", ("Mania?", "Lithium")),
        ("{{Drug}}", "{{Drug}}<hr id='answer'>{{Use}}", ("Lithium", "Mania")),
        ("{{Drug}}", "{{Drug}}<br>{{Use}}", ("Lithium", "Mania")),
        ("{{Drug}} {{type:Use}}", "{{type:Use}}", ("Lithium", "Mania")),
        ("{{Drug}}{{tts en_US voices=A:Drug}}", "{{text:Use}}", ("Lithium", "Mania")),
        ("{{^Nope}}{{Drug}}{{/Nope}}", "x", Reason.NOT_A_TARGET),
        ("{{Drug}} {{Nope}}", "x", Reason.NOT_A_TARGET),
        ("{{#Drug}}{{Drug}}", "{{Use}}", Reason.NOT_A_TARGET),
        ("{{Drug}}{{/Drug}}", "{{Use}}", Reason.NOT_A_TARGET),
        ("<!-- {{Nope}} -->{{Drug}}", "{{Use}}", ("Lithium", "Mania")),
        ("<img src=logo.png>{{Drug}}", "{{Use}}<script>{{Harm}}</script>", ("Lithium", "Mania")),
        ("<img src='{{Drug}}.png'>", "{{Use}}", Reason.MEDIA),
        ("{{Tags}}{{Deck}}{{Drug}}", "{{Use}}", ("Lithium", "Mania")),
        ("{{^Harm}}no{{/Harm}}{{#Harm}}{{Drug}}{{/Harm}}", "{{ Use }}", ("Lithium", "Mania")),
        ("only words", "{{Use}}", Reason.EMPTY_INPUT),
        ("{{Drug}}", "{{FrontSide}}", Reason.EMPTY_OUTPUT),
    ],
)
def test_one_template(front: str, back: str, expected: object, tmp_path: Path) -> None:
    (found,) = shown(tmp_path, (front, back))
    assert (found[1:] if isinstance(found, tuple) else found) == expected


def test_a_hint_is_not_seen_before_the_answer(tmp_path: Path) -> None:
    note_type = (7, "Drugs", 0, FIELDS, (("{{Drug}}{{hint:Use}}", "{{hint:Extra}}"),))
    (found,) = made(tmp_path, note_type, Note(note_type, LITHIUM))
    assert isinstance(found, Record)
    assert (found.input, found.output) == ("Lithium", "Check the level")
    assert found.repairs == ("left_out_hint",)


def test_a_template_with_an_error_costs_its_own_card(tmp_path: Path) -> None:
    broken, whole = ("{{Drug}}{{Nope}}", "{{Use}}"), ("{{Drug}}", "{{Harm}}")
    assert shown(tmp_path, broken, whole) == [Reason.NOT_A_TARGET, ("g#2", "Lithium", "Tremor")]


def test_the_same_fact_the_other_way_round_is_no_second_card(tmp_path: Path) -> None:
    there, back = ("{{Drug}}", "{{FrontSide}}{{Use}}"), ("{{Use}}", "{{FrontSide}}{{Drug}}")
    other = ("{{Use}}", "{{FrontSide}}{{Harm}}")
    assert [item[0] for item in shown(tmp_path, there, back, other)] == ["g", "g#3"]


def test_cloze_fields_of_one_front(tmp_path: Path) -> None:
    template = ("{{Extra}}: {{cloze:Drug}}{{cloze:Use}}{{#c3}}third{{/c3}}", "{{cloze:Drug}}")
    values = ("A is {{c1::b}}.", "C is {{c2::d::hint}}, {{c1::e}}.", "", "Say")
    assert shown(tmp_path, template, values=values, cloze=1) == [
        ("g#c1", "Say: A is [...].C is d, [...].", "b; e"),
        ("g#c2", "Say: C is [hint], e.", "d"),
    ]
    assert shown(tmp_path, template, cloze=1) == [Reason.NOT_A_TARGET]


def test_struck_text_stays_struck(tmp_path: Path) -> None:
    (found,) = shown(tmp_path, ("{{Drug}}", "{{Use}}"), values=("Dose?", "<s>50</s> 5 mg", "", ""))
    assert found[2] == "~~50~~ 5 mg"


def test_a_card_in_a_filtered_deck_belongs_to_its_home(tmp_path: Path) -> None:
    path = tmp_path / "collection.anki2"
    path.write_bytes(collection(Deck([Note(BASIC, ("Q?", "A"), deck=1, home=2)])))
    (raw,) = anki.read([Input(path, "deck")], Options())
    assert raw["deck"] == "Samples::Heart"


def test_sections_are_not_endless() -> None:
    with pytest.raises(TemplateError, match="deep"):
        parse_template("{{#A}}" * 60 + "{{/A}}" * 60)
    assert (
        Side({"A": " <br>&nbsp;"}, 1, True).render(parse_template("{{^A}}empty{{/A}}")) == "empty"
    )
