"""Cleaning: each repair and each reject under its name, idempotent, and nothing lost unnamed."""

import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.schema import Reason, Record, Reject, Style, Task, has_lone_surrogate, make_record
from meadow.sources import SOURCES
from meadow.text import clean
from meadow.text.clean import clean_record, clean_records, decode_escapes
from meadow.text.language import is_foreign

NAMES = ["stack_exchange", "chatdoctor", "openassistant", "anki", "wikidoc", "medqa", "cord19"]
GERMAN = (
    "Die Behandlung der Hypertonie umfasst Änderungen des Lebensstils und Medikamente, die den "
    "Blutdruck senken. Patienten sollten regelmäßig kontrolliert werden, damit die Dosis stimmt."
)


def record(output: str = "An answer.", source: str = "medqa", question: str = "Why?") -> Record:
    return make_record(
        source=source,
        source_id="1",
        instruction="Answer.",
        input=question,
        output=output,
        task=Task.OPEN_QA,
        license="mit",
    )


def cleaned(output: str, source: str = "medqa", style: Style = Style.MEADOW) -> Record:
    result = clean_record(record(output, source), SOURCES[source], style)
    assert isinstance(result, Record), result
    return result


@pytest.mark.parametrize(
    ("source", "output", "expected", "repairs"),
    [
        ("medqa", "clean", "clean", ()),
        ("cord19", "of 10<sup>7</sup> cells", "of 10⁷ cells", ("removed_markup",)),
        ("cord19", "W<sup><i>0.7</i></sup>", "W^(0.7)", ("removed_markup",)),
        ("cord19", "H<jats:sub>2</jats:sub>O", "H₂O", ("removed_markup",)),
        (
            "cord19",
            "<jats:p>a &beta; b</jats:p>",
            "a β b",
            ("unescaped_entities", "removed_markup", "normalised_whitespace"),
        ),
        ("cord19", "a <i and j> b, p <0.05, R&D;", "a <i and j> b, p <0.05, R&D;", ()),
        ("cord19", "x<td>4</td><td>7</td>x", "x 4  7 x", ("removed_markup",)),
        ("medqa", "a\u00a0b ", "a b", ("normalised_whitespace",)),
        ("medqa", "a\x07b\u200b", "ab", ("normalised_characters",)),
        ("medqa", "e\u0301\r\nx", "é\nx", ("normalised_characters",)),
        ("medqa", "\ud83d\ude00", "😀", ("joined_surrogates",)),
        ("medqa", "mail me@x.example", "mail me@x.example", ()),
        ("anki", "mail me@x.example", "mail [EMAIL]", ("scrubbed_email",)),
        ("wikidoc", "call 555-123-4567", "call [PHONE]", ("scrubbed_phone",)),
        (
            "chatdoctor",
            "a &amp;lt; b<br>c &nbsp;d <b>e</b>",
            "a < b\nc  d e",
            ("unescaped_entities", "removed_markup", "normalised_whitespace"),
        ),
        (
            "chatdoctor",
            "Hello. Thank you for your query. rest the knee for a week.",
            "Rest the knee for a week.",
            ("removed_greeting", "removed_thanks"),
        ),
        (
            "chatdoctor",
            "Rest the knee for a week. Hope I have answered your query. Regards, Dr. Naveen Kumar.",
            "Rest the knee for a week.",
            ("removed_hope", "removed_signature"),
        ),
        (
            "chatdoctor",
            "Rest the knee for a week. Wish you good health. Chat Doctor.",
            "Rest the knee for a week.",
            ("removed_wish",),
        ),
        ("chatdoctor", "Hello. Yes.", "Hello. Yes.", ()),
        ("chatdoctor", "Rest it. Take care of the wound.", "Rest it. Take care of the wound.", ()),
        ("medqa", "Hello. Thank you for your query.", "Hello. Thank you for your query.", ()),
    ],
)
def test_repairs_have_names(source: str, output: str, expected: str, repairs: tuple) -> None:
    result = cleaned(output, source)
    assert result.output == expected
    assert result.repairs == repairs
    assert result.id == record(output, source).id


@pytest.mark.parametrize(
    ("source", "output", "reason"),
    [
        ("medqa", "a\ud800b", Reason.LONE_SURROGATE),
        ("medqa", " \u00a0\n", Reason.EMPTY_OUTPUT),
        ("medqa", "\x00\x07", Reason.EMPTY_OUTPUT),
        ("medqa", "x" * 200_001, Reason.TOO_LONG),
        ("stack_exchange", "[here](https://a.example/b)", Reason.LINK_ONLY),
        ("stack_exchange", "See https://a.example/long/path/of/a/page", Reason.LINK_ONLY),
        (
            "stack_exchange",
            "The answer can be found here: [this page](https://a.example/b)",
            Reason.LINK_ONLY,
        ),
        ("stack_exchange", "...", Reason.TOO_SHORT),
        ("chatdoctor", "It may be … read more", Reason.TRUNCATED),
        ("chatdoctor", "It begins so [truncated]", Reason.TRUNCATED),
        ("chatdoctor", "Look <img src='x.png'> there", Reason.HTML_RESIDUE),
        ("openassistant", GERMAN * 2, Reason.LANGUAGE),
    ],
)
def test_rejects_have_reasons(source: str, output: str, reason: Reason) -> None:
    question = GERMAN if reason is Reason.LANGUAGE else "Why?"
    result = clean_record(record(output, source, question), SOURCES[source], Style.MEADOW)
    assert isinstance(result, Reject)
    assert result.reason is reason
    assert len(result.excerpt) <= 500


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("stack_exchange", "Yes, it is: see [the trial of 2014](https://a.example/b) for details."),
        ("stack_exchange", "In India - Tuborg, Kingfisher, Haywards"),
        ("anki", "↑"),
        ("medqa", "..."),
        ("medqa", GERMAN),
        ("openassistant", "Beers: Tuborg pils, Hansa pils, Ringnes pils"),
    ],
)
def test_short_and_odd_answers_stay(source: str, output: str) -> None:
    assert cleaned(output, source).output == output


def test_neither_instruction_nor_input_is_a_reject() -> None:
    empty = record().with_text(instruction=" ", input="", output="x")
    result = clean_record(empty, SOURCES["medqa"], Style.MEADOW)
    assert isinstance(result, Reject)
    assert result.reason is Reason.EMPTY_INPUT


@pytest.mark.parametrize("source", NAMES)
def test_style_2023_keeps_the_wording_whatever_the_source(source: str) -> None:
    published = "Hello,  dear\u00a0 &amp; Â° ... read more\r\n"
    assert cleaned(published, source, Style.PUBLISHED_2023) == record(published, source)
    assert cleaned("\ud83d\ude00", source, Style.PUBLISHED_2023).output == "😀"
    half = clean_record(record("\ud83d"), SOURCES[source], Style.PUBLISHED_2023)
    assert isinstance(half, Reject)


@pytest.mark.parametrize("source", [name for name in SOURCES if SOURCES[name].free_text])
def test_personal_data_goes_in_every_style(source: str) -> None:
    result = cleaned("Hello,  mail me@x.example\u00a0 &amp;", source, Style.PUBLISHED_2023)
    assert result.output == "Hello,  mail [EMAIL]\u00a0 &amp;"
    assert result.repairs == ("scrubbed_email",)


@pytest.mark.parametrize(
    "text",
    [
        *("Itâ€™s sore", "100Â\u00a0°F", "I??ve a cough", "a \ufffd b", "Ã©"),
        *("HbA1c of â‰¥6 %", "70 Î¼g/d", "age √¢‚Ä∞¬•10", "20 √é¬ºg", "98¬±53 L", "5‚Äì6 mg"),
    ],
)
def test_mojibake_is_flagged_and_not_guessed(text: str) -> None:
    result = cleaned(text)
    assert json.loads(result.meta)["flags"] == ["mojibake"]
    for plain in ("Is it? Really??", "√2 ≤ ¬p, château, Île", "«Ça», ‚quoted‘", "ΑΒΓ"):
        assert "flags" not in cleaned(plain).meta


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"p\u2009\xe2\x89\xa4\u20090.05", "p\u2009≤\u20090.05"),
        (r"5\\xa0mg\xa0\xa0or\n6", "5\xa0mg\xa0\xa0or\\n6"),
        (r"a\nbreak and \xce\x94\xce", "a break and \\xce\\x94\\xce"),
        (r"\ud83d and \u12 and \xZ1", "\\ud83d and \\u12 and \\xZ1"),
    ],
)
def test_characters_written_as_numbers_are_read(written: str, read: str) -> None:
    assert decode_escapes(written) == read


texts = st.text(
    st.characters() | st.sampled_from("\r\n\t\u00a0\u200b\ud83d\ude00&<>@."), max_size=80
)


@pytest.mark.parametrize(
    "text",
    [
        GERMAN,
        "Le traitement de l'hypertension comprend des changements du mode de vie et des "
        "médicaments qui abaissent la pression. Les patients doivent être suivis.",
        "El tratamiento de la hipertensión incluye cambios en el estilo de vida y medicamentos "
        "que reducen la presión arterial. Los pacientes deben ser controlados.",
        "O tratamento da hipertensão inclui mudanças no estilo de vida e medicamentos que reduzem "
        "a pressão arterial. Os pacientes devem ser acompanhados.",
        "Лечение гипертонии включает изменение образа жизни и лекарства.",
        "高血压的治疗包括改变生活方式和服用降低血压的药物，患者应定期复查。",
    ],
)
def test_foreign_texts_are_seen_and_short_ones_not_decided(text: str) -> None:
    assert is_foreign(text)
    short = ("", "Tuborg", "123 456", "Acetylsalicylic acid, ibuprofen", "$\\alpha$ `code`", "是")
    assert not any(map(is_foreign, short))


def test_no_real_english_text_is_called_foreign(upstream: Path) -> None:
    """Medical texts full of drug names, where smaller identifiers fail."""
    count = 0
    for name in (
        "wikidoc/medical_meadow_wikidoc_patient_info.json",
        "chatdoctor/chatdoctor5k.json",
    ):
        for row in json.loads((upstream / name).read_text(encoding="utf-8")):
            assert not is_foreign(row["output"]), row["output"]
            count += 1
    assert count > 11_000


def test_real_dialogues_all_stay(upstream: Path) -> None:
    def dialogue(row: dict[str, str]) -> Record:
        return record(row["output"], "chatdoctor", row["input"])

    rows = json.loads((upstream / "chatdoctor/chatdoctor5k.json").read_text())
    kept = {
        (result.input, result.output)
        for row in rows
        if isinstance(
            result := clean_record(dialogue(row), SOURCES["chatdoctor"], Style.MEADOW), Record
        )
    }
    assert len(rows) == len(kept) == 5452


ODD = (
    *("", " ", "\t", "\n", "\n\n\n", " \n", "a", "é", "e\u0301", "\u212b", "\u1100\u1161", "??ve"),
    *(
        "\x00",
        "\x1f",
        "\x85",
        "\u00a0",
        "\u2028",
        "\ufeff",
        "\u200c",
        "Ã\x83",
        "â€",
        "Â°",
        "\ufffd",
    ),
)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(Style),
    st.lists(st.lists(st.sampled_from(ODD) | texts, max_size=4).map("".join), min_size=1),
)
def test_a_batch_is_cleaned_as_its_records_are(
    source: str, style: Style, outputs: list[str]
) -> None:
    """The screen over a batch passes no record that cleaning would have changed."""
    traits = SOURCES[source]
    batch = [record(output, source, output[::-1]) for output in outputs]
    batch += [record("A clean answer.", source, f"Why {n}?") for n in range(32)]
    batch += [record(output, source) for output in ("x" * 200_001, "")]
    # half of a surrogate pair turns the screen off: most batches must go without
    assert clean_records(batch, traits, style) == [clean_record(r, traits, style) for r in batch]
    written = [each for each in batch if not has_lone_surrogate(each.input + each.output)]
    assert clean_records(written, traits, style) == [
        clean_record(each, traits, style) for each in written
    ]


@pytest.mark.parametrize("german", ["question", "answer"])
def test_question_and_answer_are_judged_each_by_itself(german: str) -> None:
    english = "What is the treatment that you would give to a patient who has this? " * 12
    texts = {"question": english, "answer": english, german: GERMAN}
    given = record(texts["answer"], "stack_exchange", texts["question"])
    result = clean_record(given, SOURCES["stack_exchange"], Style.MEADOW)
    assert isinstance(result, Reject)
    assert result.reason is Reason.LANGUAGE


snippets = st.sampled_from(
    [
        "Hi, ",
        "Hello. ",
        "&amp;amp;",
        "<br>",
        "me@x.example",
        " Regards, Dr. Ann Lee.",
        "\nThanks,\nBo",
    ]
)


@settings(deadline=None, max_examples=250)
@given(st.sampled_from(NAMES), st.lists(texts | snippets, min_size=1, max_size=5))
def test_cleaning_twice_changes_nothing(source: str, parts: list[str]) -> None:
    once = clean_record(record("".join(parts), source), SOURCES[source], Style.MEADOW)
    if isinstance(once, Reject):
        assert once.reason in set(Reason)
        return
    assert not has_lone_surrogate(once.output)
    again = clean_record(once, SOURCES[source], Style.MEADOW)
    assert isinstance(again, Record)
    assert (again.instruction, again.input, again.output) == (
        once.instruction,
        once.input,
        once.output,
    )
    assert again.repairs == once.repairs


def test_inert_characters_are_left_alone_by_nfc_in_any_company() -> None:
    """None is written another way, stands out of order or joins the character before it."""
    inert = re.compile(f"[{re.sub(r'x{([0-9a-f]+)}', lambda m: f'u{m[1]:0>4}', clean._INERT)}]")
    everything = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    found = list(filter(inert.match, everything))
    assert len(found) > 30_000
    assert unicodedata.is_normalized("NFC", "".join(found))
    assert not any(map(unicodedata.combining, found))
    pairs = [unicodedata.decomposition(each).split() for each in everything]
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"}
    # a Hangul syllable grows by vowels and finals that no decomposition tells of
    seconds |= set(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))
    assert seconds.isdisjoint(found)
