"""MedQuAD: keys, phrasing, indentation, lists; archives read without unpacking."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from support.converted import converted
from support.stopwatch import Stopwatch

from meadow.errors import FileError
from meadow.readers import archives as compressed
from meadow.schema import Fact, Reason, Record, Reject
from meadow.source import Input
from meadow.sources import medquad

ORIGIN = medquad.SOURCE.upstream


def document(pairs: list[tuple[str, str]], focus: str = "Topic") -> str:
    body = "".join(
        f'<QAPair pid="{number}"><Question qid="q" qtype="information">{question}</Question>'
        f"<Answer>{answer}</Answer></QAPair>"
        for number, (question, answer) in enumerate(pairs, start=1)
    )
    return (
        '<Document id="1" source="Site" url="https://site.example/1">'
        f"<Focus>{focus}</Focus><QAPairs>{body}</QAPairs></Document>"
    )


def zipped(path: Path, members: dict[str, str]) -> Input:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return Input(path, path.name)


def test_one_pair(tmp_path: Path) -> None:
    item = zipped(
        tmp_path / "m.zip", {"M-master/1_A_QA/01.xml": document([("What is X ?", "It.")])}
    )
    (record,) = converted(ORIGIN, item)
    assert (record.input, record.output) == ("What is X?", "It.")
    assert (record.source_id, record.subset) == ("1_A_QA/01.xml#1", "Site")
    assert record.url == "https://site.example/1"
    assert [author.role for author in record.authors] == ["compiler", "publisher"]
    assert record.license == "cc-by-4.0"


@pytest.mark.parametrize(
    ("question", "repaired"),
    [
        ("What is (are) Gallstones ?", "What are Gallstones?"),
        ("What is (are) Problems with Taste ?", "What are Problems with Taste?"),
        ("What is (are) Diabetes ?", "What is Diabetes?"),
        ("What is (are) Paget's Disease of Bone ?", "What is Paget's Disease of Bone?"),
        ("What is (are) Noonan syndrome with multiple lentigines ?",
         "What is Noonan syndrome with multiple lentigines?"),
        ("What is (are) Lupus ?", "What is Lupus?"),
        ("Who is at risk for Asthma? ?", "Who is at risk for Asthma?"),
        ("How to diagnose  Asthma ?", "How to diagnose Asthma?"),
        ("What is (are) What I need to know about Cirrhosis ?", "What is Cirrhosis?"),
        ("what research is done for Gout ?", "What research is done for Gout?"),
        ("Is it inherited?", "Is it inherited?"),
    ],
)  # fmt: skip
def test_questions_as_english_has_them(question: str, repaired: str) -> None:
    text, repairs = medquad.repair_question(question)
    assert text == repaired
    assert bool(repairs) is (text != question)
    assert medquad.repair_question(text)[0] == text


@pytest.mark.parametrize(
    ("answer", "repaired", "repairs"),
    [
        ("One.\n          Two.", "One.\nTwo.", ("indentation",)),
        ("a\n\n\n\n  b", "a\n\nb", ("indentation",)),
        ("Signs include - pain  - fever", "Signs include\n- pain\n- fever", ("inline_list",)),
        ("You can: - Rest - Drink", "You can:\n- Rest\n- Drink", ("inline_list",)),
        ("- a     - b", "- a\n- b", ("inline_list",)),
        (
            "It comes each day - you know it. Ask this: - Who     - When",
            "It comes each day - you know it. Ask this:\n- Who\n- When",
            ("inline_list",),
        ),
        ("A range of 5 - 10 mg", "A range of 5 - 10 mg", ()),
        ("Well - known and long - lived", "Well - known and long - lived", ()),
        ("Two  spaces", "Two spaces", ("double_space",)),
        ("plain", "plain", ()),
    ],
)
def test_answers_without_their_page(answer: str, repaired: str, repairs: tuple) -> None:
    assert medquad.repair_answer(answer) == (repaired, repairs)
    assert medquad.repair_answer(repaired)[0] == repaired


def test_an_answer_does_not_begin_with_its_question(tmp_path: Path) -> None:
    answers = (
        "How is X inherited? X is dominant.",
        "X is dominant. Why? Nobody knows.",
        "How is X inherited?",
    )
    item = zipped(
        tmp_path / "m.zip",
        {"a/1.xml": document([("Is X inherited ?", text) for text in answers], focus="X")},
    )
    *records, only_asked = converted(ORIGIN, item)
    assert [record.output for record in records] == ["X is dominant.", answers[1]]
    assert only_asked.reason is Reason.EMPTY_OUTPUT
    assert "repeated_question" in records[0].repairs


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("What is X ?", " "), Reason.EMPTY_OUTPUT),
        ((" ", "An answer"), Reason.EMPTY_INPUT),
        (("What is (are)  ?", "An answer"), Reason.NO_TOPIC),
        (("Who is at risk for ? ?", "An answer"), Reason.NO_TOPIC),
    ],
)
def test_what_is_no_pair(pair: tuple, reason: Reason, tmp_path: Path) -> None:
    (item,) = converted(ORIGIN, zipped(tmp_path / "m.zip", {"a/1.xml": document([pair])}))
    assert item.reason is reason
    assert item.where == "m.zip!a/1.xml#1"


def test_one_bad_document_of_many_is_one_reject(tmp_path: Path) -> None:
    good = document([("What is X ?", "It.")])
    members = {
        "a/1.xml": good,
        "a/2.xml": good.replace("</QAPairs>", ""),
        "a/3.xml": '<!DOCTYPE x [<!ENTITY e "e">]>' + good,
        "a/4.xml": "<doc><qaPairs/></doc>",
        "a/5.txt": "no XML",
        "a/6.xml": good,
    }
    items = converted(ORIGIN, zipped(tmp_path / "m.zip", members))
    assert [item.source_id for item in items if isinstance(item, Record)] == [
        "a/1.xml#1",
        "a/2.xml#1",
        "a/6.xml#1",
    ]
    assert [item.where for item in items if isinstance(item, Reject)] == [
        "m.zip!a/2.xml",
        "m.zip!a/3.xml",
    ]
    assert Fact("documents_without_pairs", "a") in items


def test_a_bad_document_alone_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    path.write_text("<Document><QAPairs>")
    with pytest.raises(FileError, match="XML cannot be read"):
        converted(ORIGIN, path)


def tarred(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Input:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return Input(path, path.name)


def test_links_and_names_that_lead_out_are_only_labels(tmp_path: Path) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text(document([("What is secret ?", "This.")]))
    link = tarfile.TarInfo("a/link.xml")
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    device = tarfile.TarInfo("a/device.xml")
    device.type = tarfile.CHRTYPE
    outside = tarfile.TarInfo("../../outside.xml")
    item = tarred(
        tmp_path / "m.tar.gz",
        [(link, b""), (device, b""), (outside, document([("What is Y ?", "It.")]).encode())],
    )
    before = set(tmp_path.rglob("*"))
    assert [
        record.source_id for record in converted(ORIGIN, item) if isinstance(record, Record)
    ] == ["../outside.xml#1"]
    assert set(tmp_path.rglob("*")) == before


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    text = document([("What is X ?", "It. " * 5_000)]).encode()
    item = tarred(tmp_path / "m.tar.gz", [(tarfile.TarInfo("a/1.xml"), text)])
    item.path.write_bytes(item.path.read_bytes()[:-60])
    with pytest.raises(FileError, match="truncated or damaged"):
        converted(ORIGIN, item)


@pytest.mark.parametrize("filler", [" ", "<b/>", "<b>x</b>"])
def test_a_bomb_in_an_archive_stops_at_a_cap(filler: str, tmp_path: Path) -> None:
    bomb = "<a>" + filler * (60_000_000 // len(filler)) + "</a>"
    good = document([("What is X ?", "It.")])
    item = zipped(tmp_path / "m.zip", {"a/1.xml": bomb, "a/2.xml": good})
    watch = Stopwatch()
    try:
        items = converted(ORIGIN, item)
    except FileError as error:
        items = [error]
    assert watch.within(2)
    assert isinstance(items[0], (Reject, FileError))


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = zipped(tmp_path / "m.zip", {f"a/{number}.xml": "<a/>" for number in range(4)})
    default = compressed.members.__kwdefaults__
    monkeypatch.setitem(default, "max_members", 3)
    with pytest.raises(FileError, match="more than 3 members"):
        converted(ORIGIN, item)


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    zipped(tmp_path / "inner.zip", {"a/1.xml": document([("What is X ?", "It.")])})
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "a/inner.zip")
    assert converted(ORIGIN, tmp_path / "outer.zip") == []


@pytest.mark.realdata
def test_the_real_archive(upstream: Path) -> None:
    path = upstream / "medquad/medquad.tar.gz"
    items = [item for item in converted(ORIGIN, path) if not isinstance(item, Fact)]
    records = [item for item in items if isinstance(item, Record)]
    rejected = Counter(item.reason for item in items if isinstance(item, Reject))
    assert len(items) == 16_412
    assert rejected == {Reason.EMPTY_OUTPUT: 25, Reason.NO_TOPIC: 12, Reason.LINK_ONLY: 1_086}
    assert len({record.source_id for record in records}) == len(records) == 15_289
    # 48 pairs are the same upstream, one more once their phrasing is repaired
    assert len(records) - len({(record.input, record.output) for record in records}) == 49
    for record in records:
        assert "(are)" not in record.input
        assert " ?" not in record.input
        assert not any(line != line.strip() for line in record.output.split("\n"))


@pytest.mark.parametrize(
    ("asked", "above", "goes"),
    [
        ("What are the treatments for Gout ?", "How might gout be treated?", True),
        ("What are the symptoms of Gout ?", "What are the signs and symptoms of gout?", True),
        ("What are the treatments for Gout ?", "What happens when gout is not treated?", False),
        ("What are the treatments for Gout ?", "How is pseudogout treated?", False),
        ("What causes Gout ?", "What is gout?", False),
        ("What causes Gout ?", "What causes acute gouty arthritis (AGA)?", False),
        ("How to diagnose Gout ?", "Is genetic testing available for gout?", False),
        ("What is (are) Gout ?", "Does your toe hurt at night?", False),
    ],
)
def test_only_the_same_question_goes_from_above_an_answer(
    tmp_path: Path, asked: str, above: str, goes: bool
) -> None:
    text = document([(asked, f"{above} It is painful.")], focus="Gout")
    (record,) = converted(ORIGIN, zipped(tmp_path / "m.zip", {"M/1_A_QA/01.xml": text}))
    assert record.output == ("It is painful." if goes else f"{above} It is painful.")
    assert ("repeated_question" in record.repairs) is goes


def test_references_are_no_answer_and_a_leaflets_title_is_no_topic(tmp_path: Path) -> None:
    pairs = [
        ("What is (are) Gout ?", "References Library. Gout. June 2001; https://site.example/gout."),
        ("How to prevent Do I Have Gout? Ten Steps ?", "Drink water."),
        (
            "What are the treatments for Gout ?",
            "These resources address the diagnosis or management of gout: - Gene Review: Gout - "
            "Registry: Gout",
        ),
        ("What causes Gout ?", "What causes gout?"),
        ("Who is at risk for Gout ?", "Topics"),
    ]
    found = converted(ORIGIN, zipped(tmp_path / "m.zip", {"M/1_A_QA/01.xml": document(pairs)}))
    assert [item.reason for item in found] == [
        *(Reason.LINK_ONLY, Reason.NO_TOPIC, Reason.LINK_ONLY),
        *(Reason.EMPTY_OUTPUT, Reason.EMPTY_OUTPUT),
    ]


@pytest.mark.timeout(20)
def test_a_long_run_of_tabs_costs_what_its_length_does() -> None:
    """Found by the suite of worst characters: a search for trailing space began at every tab."""
    text, repairs = medquad.repair_answer("not    a" + "\t" * 100_000 + "\x01")
    assert text == "not a \x01"
    assert repairs == ("double_space",)


def test_repairs_cost_linear_time() -> None:
    for text in (" " * 100_000, "- " * 50_000, "a  - b" * 20_000, "\n " * 50_000, ": - " * 30_000):
        watch = Stopwatch()
        medquad.repair_answer(text)
        medquad.repair_question(text + "?")
        assert watch.within(1)
