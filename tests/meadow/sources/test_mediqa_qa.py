"""MEDIQA 2019: judged answers, sets whose numbers begin anew, the older spelling of LiveQA."""

from collections import Counter
from pathlib import Path

import pytest
from support.converted import converted

from meadow.schema import Reason, Record, Reject
from meadow.sources import mediqa_qa

ORIGIN = mediqa_qa.SOURCE.upstream


def convert(text: str, folder: Path, name: str = "set.xml") -> list:
    path = folder / name
    path.write_text(text)
    return converted(ORIGIN, path)


def question(answers: str, text: str = "What is X?") -> str:
    return (
        f'<Set-A><Question QID="1"><QuestionText>{text}</QuestionText><AnswerList>{answers}'
        "</AnswerList></Question></Set-A>"
    )


def answer(score: str | None, text: str = "It.", key: str = "1_Answer1") -> str:
    judged = f' ReferenceScore="{score}"' if score is not None else ""
    return (
        f'<Answer AID="{key}"{judged}><AnswerURL>https://x.example/1</AnswerURL>'
        f"<AnswerText>{text}</AnswerText></Answer>"
    )


@pytest.mark.parametrize("score", ["3", "4"])
def test_good_answers_stay(score: str, tmp_path: Path) -> None:
    (record,) = convert(question(answer(score)), tmp_path)
    assert (record.input, record.output) == ("What is X?", "It.")
    assert (record.source_id, record.url) == ("Set-A/1_Answer1", "https://x.example/1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (question(answer("1")), Reason.LOW_RANK),
        (question(answer("2")), Reason.LOW_RANK),
        (question(answer("5")), Reason.UNKNOWN_LABEL),
        (question(answer(None)), Reason.NOT_A_TARGET),
        (question(answer("4", " ")), Reason.EMPTY_OUTPUT),
        (question(answer("4"), ""), Reason.EMPTY_INPUT),
    ],
)
def test_the_others_have_their_reason(text: str, reason: Reason, tmp_path: Path) -> None:
    (item,) = convert(text, tmp_path)
    assert item.reason is reason
    assert item.where == "set.xml#1_Answer1"


def test_the_older_spelling(tmp_path: Path) -> None:
    text = (
        '<LiveQA><Question questionid="Q7"><NLM-Summary>what now</NLM-Summary>'
        '<RefAnswer ReferenceScore="4"><ANSWER>This.</ANSWER></RefAnswer></Question></LiveQA>'
    )
    (record,) = convert(text, tmp_path)
    assert (record.input, record.output, record.source_id) == (
        "what now",
        "This.",
        "LiveQA/Q7_Answer1",
    )


def test_the_same_number_in_two_sets_is_two_rows(tmp_path: Path) -> None:
    one = convert(question(answer("4")), tmp_path)
    two = convert(question(answer("4")).replace("Set-A", "Set-B"), tmp_path)
    assert one[0].id != two[0].id


@pytest.mark.realdata
def test_the_real_files(upstream: Path) -> None:
    found = {}
    for path in sorted((upstream / "mediqa/MEDIQA_Task3_QA").glob("*.xml")):
        items = converted(ORIGIN, path)
        kinds = Counter(
            item.reason.value if isinstance(item, Reject) else "record" for item in items
        )
        found[path.stem.removeprefix("MEDIQA2019-Task3-QA-")] = dict(kinds)
        ids = [item.id for item in items if isinstance(item, Record)]
        assert len(ids) == len(set(ids))
    assert found == {
        "TestSet": {"not_a_target": 1107},
        "TestSet-wLabels": {"record": 572, "low_rank": 535},
        "TrainingSet1-LiveQAMed": {"record": 229, "low_rank": 610},
        "TrainingSet2-Alexa": {"record": 405, "low_rank": 457},
        "ValidationSet": {"record": 94, "low_rank": 140},
    }
