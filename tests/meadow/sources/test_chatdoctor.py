"""ChatDoctor's three parts, as JSON and as Parquet."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import run_meadow
from support.converted import converted

from meadow.schema import Reason, Record, Style
from meadow.source import Input, Options
from meadow.sources import chatdoctor
from meadow.text.clean import clean_record

ORIGIN = chatdoctor.SOURCE.upstream
ROW = {
    "instruction": chatdoctor.INSTRUCTION_2023,
    "input": "Hello doctor, my ear hurts since Monday.",
    "output": "Hi, thanks for your query. Use drops for a week. Hope this helps you. Regards.",
}
ICLINIQ = {
    "input": "My ear hurts since Monday.",
    "answer_icliniq": "Hello. Use these drops for one week.",
    "answer_chatgpt": "See a doctor.",
    "answer_chatdoctor": "Drops.",
}


def written(folder: Path, name: str, rows: list[dict], subset: str = "") -> Input:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows))
    return Input(path, name, subset)


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_json_and_parquet_give_the_same_records(ending: str, tmp_path: Path) -> None:
    (record,) = converted(ORIGIN, written(tmp_path, f"HealthCareMagic-100k.{ending}", [ROW]))
    assert record.subset == "healthcaremagic"
    cleaned = clean_record(record, chatdoctor.SOURCE, Style.MEADOW)
    assert isinstance(cleaned, Record)
    assert cleaned.input == "My ear hurts since Monday."
    assert cleaned.output == "Use drops for a week."
    assert json.loads(cleaned.meta)["removed"] == {
        "greeting": ["Hello doctor,", "Hi,"],
        "thanks": ["thanks for your query."],
        "hope": ["Hope this helps you."],
        "signature": ["Regards."],
    }
    assert cleaned.repairs == tuple(
        f"removed_{form}" for form in ("greeting", "thanks", "hope", "signature")
    )
    (doctor,) = converted(ORIGIN, written(tmp_path, f"iCliniq.{ending}", [ICLINIQ]))
    assert (doctor.subset, doctor.output) == ("icliniq", ICLINIQ["answer_icliniq"])


def test_what_was_removed_can_be_listed(tmp_path: Path) -> None:
    item = written(
        tmp_path, "a.json", [ROW, {**ROW, "input": "Hello doctor, is a cough of four weeks bad?"}]
    )
    built = run_meadow("build", "--file", f"chatdoctor={item.path}", "--out", tmp_path / "out")
    assert built.code == 0, built.err
    listed = run_meadow("show", tmp_path / "out", "--removed", "--json")
    assert {
        (each["form"], each["text"], each["times"]) for each in json.loads(listed.out)["removed"]
    } == {
        ("greeting", "Hello doctor,", 2),
        ("greeting", "Hi,", 2),
        ("thanks", "thanks for your query.", 2),
        ("hope", "Hope this helps you.", 2),
        ("signature", "Regards.", 2),
    }
    other = run_meadow("show", tmp_path / "out", "--removed", "--source", "anki")
    assert other.out == ""
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "greeting 2, hope 2, signature 2, thanks 2, and every" in card


def test_the_part_is_told_by_option_name_or_fields(tmp_path: Path) -> None:
    named = converted(ORIGIN, written(tmp_path, "a.parquet", [ROW], "healthcaremagic"))
    assert named[0].subset == "healthcaremagic"
    assert converted(ORIGIN, written(tmp_path, "a.json", [ROW]))[0].subset == "genmedgpt"
    assert converted(ORIGIN, written(tmp_path, "b.json", [ICLINIQ]))[0].subset == "icliniq"


def test_style_2023_keeps_the_letters(tmp_path: Path) -> None:
    item = written(tmp_path, "a.json", [ROW])
    (old,) = converted(ORIGIN, item, options=Options(style=Style.PUBLISHED_2023))
    assert (old.instruction, old.input, old.output) == tuple(ROW.values())
    assert old.id == converted(ORIGIN, item)[0].id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**ROW, "output": ""}, Reason.EMPTY_OUTPUT),
        ({**ROW, "input": " "}, Reason.EMPTY_INPUT),
        ({"input": "x"}, Reason.MISSING_FIELD),
        ({**ICLINIQ, "answer_icliniq": ""}, Reason.EMPTY_OUTPUT),
    ],
)
def test_the_reasons(row: dict, reason: Reason, tmp_path: Path) -> None:
    (item,) = converted(ORIGIN, written(tmp_path, "a.json", [row]))
    assert item.reason is reason


@pytest.mark.realdata
def test_the_real_part(upstream: Path) -> None:
    path = upstream / "chatdoctor/chatdoctor5k.json"
    items = converted(ORIGIN, path)
    assert len(items) == 5_452
    assert all(isinstance(item, Record) for item in items)
