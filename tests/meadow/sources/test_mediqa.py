"""MEDIQA-AnS, on hand-made files of its structure, and the rows of its 2023 release."""

import json
from pathlib import Path

import pytest
from support.converted import converted, one

from meadow.build.build import BuildSettings, build_corpus
from meadow.errors import FileError
from meadow.schema import Reason, Reject, Style
from meadow.source import Input, Options, OriginName
from meadow.sources import mediqa

OLD = Options(style=Style.PUBLISHED_2023)
ORIGIN = mediqa.SOURCE.upstream


def data(answers: int = 2) -> dict:
    return {
        "1": {
            "question": "What helps?",
            "multi_abs_summ": "All in own words.",
            "multi_ext_summ": "All as it stands.",
            "answers": {
                f"1_Answer{number}": {
                    "article": f"Passage {number}.",
                    "answer_abs_summ": f"Own words {number}.",
                    "answer_ext_summ": f"As it stands {number}.",
                    "section": "S",
                    "url": f"https://x.example/{number}",
                    "rating": "4",
                }
                for number in range(1, answers + 1)
            },
        }
    }


def write(folder: Path, content: object) -> Path:
    path = folder / "ans.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_four_kinds_for_each_answer(tmp_path: Path) -> None:
    items = converted(ORIGIN, write(tmp_path, data(3)), options=OLD)
    assert len(items) == 3 * 4
    assert {item.subset for item in items} == set(mediqa.KINDS)
    first = items[0]
    assert (first.instruction, first.input, first.output) == (
        "What helps?",
        "Passage 1.",
        "Own words 1.",
    )


def test_552_answers_make_the_2208_rows_of_2023(tmp_path: Path) -> None:
    content = {str(n): data(4 if n < 84 else 3)["1"] for n in range(156)}
    assert sum(len(question["answers"]) for question in content.values()) == 552
    assert len(converted(ORIGIN, write(tmp_path, content), options=OLD)) == 2208


def test_a_summary_over_all_passages_gets_all_of_them(tmp_path: Path) -> None:
    records = converted(ORIGIN, write(tmp_path, data(2)))
    multi = [record for record in records if record.subset == "multi_abs_summ"]
    assert {record.input for record in multi} == {
        "Question: What helps?\n\nPassage: Passage 1.\n\nPassage 2."
    }
    assert len({record.id for record in multi}) == 2
    single = records[0]
    assert single.instruction == mediqa.INSTRUCTION_ABSTRACTIVE
    assert single.url == "https://x.example/1"


def test_style_meadow_keeps_one_of_the_equal_rows(tmp_path: Path) -> None:
    path = write(tmp_path, data(3))
    result = build_corpus(
        BuildSettings(sources=("mediqa",)), {"mediqa": [Input(path, "ans.json")]}, tmp_path / "out"
    )
    entry = result.manifest.sources["mediqa"]
    assert (entry.rows_in, entry.rows_out, entry.rejected) == (12, 8, {"duplicate": 4})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": ""}, Reason.EMPTY_INPUT),
        ({"multi_abs_summ": None}, Reason.EMPTY_OUTPUT),
        ({"answers": {}}, Reason.MISSING_FIELD),
        ({"answers": [1]}, Reason.MISSING_FIELD),
    ],
)
def test_what_is_missing(change: dict, reason: Reason, tmp_path: Path) -> None:
    content = data(1)
    content["1"] |= change
    found = converted(ORIGIN, write(tmp_path, content))
    assert reason in [item.reason for item in found if isinstance(item, Reject)]


@pytest.mark.parametrize("content", ["[]", "{", '{"1": 1, "1": 2}', "", "null"])
def test_no_object_is_an_error(content: str, tmp_path: Path) -> None:
    with pytest.raises(FileError):
        converted(ORIGIN, write(tmp_path, content))


def test_a_published_row() -> None:
    row = {"instruction": "what  helps ?", "input": "A passage.", "output": "This. "}
    old, new = (one(mediqa.SOURCE.published, style=s, **row) for s in (OLD.style, Style.MEADOW))
    assert (old.instruction, old.input, old.output) == tuple(row.values())
    assert (new.input, new.output) == ("Question: what helps?\n\nPassage: A passage.", "This.")
    assert new.repairs == ("double_space", "space_before_mark")
    assert old.id == new.id
    gone = one(mediqa.SOURCE.published, **row | {"instruction": " "})
    assert gone.reason is Reason.EMPTY_INPUT


def test_the_published_file_is_pinned_by_its_hash() -> None:
    (file,) = mediqa.SOURCE.origin(OriginName.PUBLISHED).files
    assert file.sha256 is not None
    assert (file.size, mediqa.SOURCE.published_rows) == (15_782_980, 2_208)
