"""Flashcards: one deck in five forms, rules for fields, media and clozes."""

from pathlib import Path

import pytest
from support.anki_deck import BASIC, CLOZE, MUSCLE, NOTICE, Deck, Note, collection
from support.converted import converted

from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources.anki import source as anki

OPTIONS = Options()


def convert(path: Path, options: Options = OPTIONS) -> list[Record | Reject]:
    return converted(anki.SOURCE.upstream, path, options=options)


def records(path: Path) -> list[Record]:
    return [item for item in convert(path) if isinstance(item, Record)]


def deck(folder: Path, *notes: Note) -> Path:
    path = folder / "collection.anki2"
    path.write_bytes(collection(Deck(list(notes))))
    return path


def one(folder: Path, *fields: str, note_type: tuple = BASIC, options: Options = OPTIONS):
    (item,) = convert(deck(folder, Note(note_type, fields)), options)
    return item


def test_an_ordinary_note(tmp_path: Path) -> None:
    record = one(tmp_path, "<div>What is <b>x</b>?</div>", "a<br>b &lt; c<sup>2</sup>")
    assert (record.input, record.output) == ("What is x?", "a\nb < c²")
    assert record.instruction == anki.INSTRUCTION_QUESTION
    assert (record.source_id, record.license) == ("guid-0001", "user-supplied")
    old = one(tmp_path, "Term", "Meaning", options=Options(style=Style.PUBLISHED_2023))
    assert old.instruction == "Answer this question truthfully"
    assert old.id == one(tmp_path, "Term", "Meaning").id


@pytest.mark.parametrize(
    "text",
    [
        "pH <normal and PaCO2 >45",
        "give if pH <normal",
        "TSH <lower limit and T4 >upper",
        "K <b",
    ],
)
def test_a_comparison_is_no_tag(text: str, tmp_path: Path) -> None:
    assert one(tmp_path, "When?", f"<div>{text}</div><o:p></o:p>").output == text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("<img src=a.png>", "b"), Reason.MEDIA),
        (("a", "[sound:b.mp3]"), Reason.MEDIA),
        (("a", "<video src=b>"), Reason.MEDIA),
        (("", "b"), Reason.EMPTY_INPUT),
        (("a", "<br>"), Reason.EMPTY_OUTPUT),
        (("a", "<div>" * 700), Reason.TOO_DEEP),
        (("a", "x" * 1_000_000 + "<p>"), Reason.TOO_LARGE),
    ],
)
def test_what_makes_no_card(fields: tuple, reason: Reason, tmp_path: Path) -> None:
    assert one(tmp_path, *fields).reason is reason


def test_media_in_a_field_that_is_not_used_is_ignored(tmp_path: Path) -> None:
    found = records(deck(tmp_path, Note(CLOZE, ("{{c1::a}} b", "<img src=x.png>"))))
    assert [record.output for record in found] == ["a"]
    assert found[0].repairs == ("left_out_remarks",)


def test_what_an_export_holds_beside_question_and_answer_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "export.txt"
    path.write_text("Femur?\tHip\tLecture 2\nUlna?\tElbow\t<br>\n{{c1::Iron}}\tSee also\n")
    repairs = [record.repairs for record in records(path)]
    assert repairs == [("left_out_remarks",), (), ("left_out_remarks",)]


def test_cloze_numbers_have_ids_of_their_own(tmp_path: Path) -> None:
    found = records(deck(tmp_path, Note(CLOZE, ("{{c1::a}} is {{c2::b::hint}}", ""))))
    assert [(r.source_id, r.input, r.output) for r in found] == [
        ("guid-0001#c1", "[...] is b", "a"),
        ("guid-0001#c2", "a is [hint]", "b"),
    ]


def test_a_cloze_with_an_image_rejects_every_number(tmp_path: Path) -> None:
    found = convert(deck(tmp_path, Note(CLOZE, ("{{c1::a}} <img src=x> {{c2::b}}", ""))))
    assert [item.reason for item in found] == [Reason.MEDIA, Reason.MEDIA]


def test_a_note_type_that_makes_no_gaps_has_none(tmp_path: Path) -> None:
    record = one(tmp_path, "Mark a gap: {{c1::so}}", "That is the syntax")
    assert (record.input, record.output) == ("Mark a gap: {{c1::so}}", "That is the syntax")


def exported(folder: Path, text: str) -> list:
    path = folder / "export.txt"
    path.write_text(text, encoding="utf-8")
    return [
        (item.input, item.output) if isinstance(item, Record) else item.reason
        for item in convert(path)
    ]


def test_an_export_does_not_tell_note_types_apart_so_its_text_must(tmp_path: Path) -> None:
    columns = "#separator:tab\n#html:true\n#guid column:1\n#notetype column:2\n"
    assert exported(tmp_path, "the {{c1::x}}\t\n") == [("the [...]", "x")]
    assert exported(tmp_path, columns + "1\tBasic+\tthe {{c1::x}}\ty\n") == [("the {{c1::x}}", "y")]
    assert exported(tmp_path, columns + "1\tCloze\tno gap\ty\n") == [Reason.NOT_A_TARGET]
    two = "1\tGaps\tthe {{c1::x}}\tand {{c2::y}}\n"
    assert exported(tmp_path, columns + two) == [("the [...]", "x"), ("and [...]", "y")]


@pytest.mark.parametrize(
    ("names", "row", "expected"),
    [
        ("ID,Question,Answer", "9,What is it?,This", ("What is it?", "This")),
        ("Answer,Source,Question", "This,Book,What is it?", ("What is it?", "This")),
        ("Note ID,Bone,Joint", "9,Femur,Hip", ("Femur", "Hip")),
        ("Bone,Joint", "Femur,Hip", ("Femur", "Hip")),
        ("", "This,What is it?", Reason.NOT_A_TARGET),
    ],
)
def test_columns_say_what_asks(names: str, row: str, expected: object, tmp_path: Path) -> None:
    named = f"#columns:{names}\n" if names else ""
    assert exported(tmp_path, f"#separator:comma\n{named}{row}\n") == [expected]


def test_a_back_that_repeats_its_front_is_cut_there(tmp_path: Path) -> None:
    text = (
        "#separator:tab\n#html:true\nWhich bone?\tWhich bone?<hr>Femur<br>Lecture 2\n"
        "Heparin\tHeparin binds antithrombin\nWhich bone?\tWhich bone? Tibia\n"
    )
    assert exported(tmp_path, text) == [
        ("Which bone?", "Femur\nLecture 2"),
        ("Heparin", "Heparin binds antithrombin"),
        ("Which bone?", "Tibia"),
    ]


@pytest.mark.parametrize(
    "message",
    [
        "No cloze \u20683\u2069 found on card. Please add one.",
        "<div>Pas de trou<br><a href='https://docs.ankiweb.net/templates/errors.html#x'>?</a></div>",
        "The front of this card is blank. More information",
    ],
)
def test_what_anki_says_of_a_broken_card_is_no_row(message: str, tmp_path: Path) -> None:
    text = f"#separator:tab\n#html:true\n{message}\t{message}\n"
    assert exported(tmp_path, text) == [Reason.NOT_A_TARGET]


GUIDS = "#separator:tab\n#html:true\n#guid column:1\n"


def test_one_guid_is_one_note(tmp_path: Path) -> None:
    text = GUIDS + "g\tQ1?\tA\ng\tQ1, mended?\tA\ng\tQ1?\tA\nh\tQ2?\tA\n"
    assert exported(tmp_path, text) == [("Q1?", "A"), Reason.CONFLICT, ("Q1?", "A"), ("Q2?", "A")]


def test_a_text_beside_decks_is_one_reject(tmp_path: Path) -> None:
    (tmp_path / "deck.txt").write_text(GUIDS + "g\tQ?\tA\n")
    (tmp_path / "README.txt").write_text("About\tthis folder\n")
    inputs = [Input(path, path.name) for path in sorted(tmp_path.iterdir())]
    about, note = anki.read(inputs, OPTIONS)
    assert (about.where, about.reason) == ("README.txt", Reason.NOT_A_TARGET)
    assert note["guid"] == "g"


def test_a_mapping_names_the_fields(tmp_path: Path) -> None:
    options = Options(note_types={"Muscle": ("Name", "Origin", "Insertion")})
    fields = ("<img src=x>", "Biceps", "Scapula", "Radius")
    record = one(tmp_path, *fields, note_type=MUSCLE, options=options)
    assert (record.input, record.output) == ("Biceps", "Origin: Scapula\nInsertion: Radius")
    two = Options(note_types={"Muscle": ("Name", "Origin")})
    assert one(tmp_path, *fields, note_type=MUSCLE, options=two).output == "Scapula"
    wrong = Options(note_types={"Muscle": ("Name", "Nerve")})
    assert one(tmp_path, *fields, note_type=MUSCLE, options=wrong).reason is Reason.MISSING_FIELD


MCAT = (
    "MCAT_High_Yield.apkg",
    "mcat_exports/mcat_legacy.apkg",
    "mcat_exports/mcat_modern.apkg",
    "mcat_exports/collection_schema18.anki2",
    "mcat_exports/notes_html_True.txt",
)


@pytest.mark.realdata
@pytest.mark.parametrize("style", list(Style))
def test_five_forms_of_one_deck_give_identical_records(upstream: Path, style: Style) -> None:
    options = Options(style=style)
    forms = [convert(upstream / "anki" / name, options) for name in MCAT]
    expected = [item for item in forms[0] if isinstance(item, Record)]
    assert len(forms[0]) == 73
    assert len(expected) == 53
    for form in forms[1:]:
        assert [item for item in form if isinstance(item, Record)] == expected
        assert [i.reason for i in form if isinstance(i, Reject)] == [Reason.MEDIA] * 20
    assert len({record.id for record in expected}) == 53
    for record in expected:
        text = record.input + record.output
        assert "<" not in text.replace("<=", "")
        assert NOTICE not in text


@pytest.mark.realdata
def test_the_other_exports_read_cleanly(upstream: Path) -> None:
    folder = upstream / "anki/mcat_exports"
    for name, expected in (
        ("notes_html_False.txt", 66),
        ("cards_html_False.txt", 66),
        ("cards_html_True.txt", 48),
    ):
        found = convert(folder / name)
        assert len(found) == 73
        kept = [item for item in found if isinstance(item, Record)]
        assert len(kept) == expected
        assert len({record.id for record in kept}) == expected
