"""CORD-19: one row a paper, its licence, its authors; files, archives, old layouts."""

import csv
import io
import json
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.api import open_corpus
from meadow.build.build import BuildSettings, build_corpus
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import Reason, Record, Reject, Style
from meadow.source import Input, Options
from meadow.sources import cord19

OPTIONS = Options()
HEADER = (
    "cord_uid,sha,source_x,title,doi,pmcid,pubmed_id,license,abstract,publish_time,authors,journal,"
    "mag_id,who_covidence_id,arxiv_id,pdf_json_files,pmc_json_files,url,s2_id"
)
COLUMNS = HEADER.split(",")


def row(uid: str = "abcd1234", **more: str) -> dict[str, str]:
    return {
        "cord_uid": uid,
        "title": "A title",
        "abstract": "An abstract.",
        "license": "cc-by",
        "doi": "10.5555/x",
        "authors": "Roe, Jane; Doe, John",
        **more,
    }


def text_of(rows: list[dict[str, str]], columns: list[str] = COLUMNS) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def convert(*inputs: Input, options: Options = OPTIONS) -> list:
    items: list = []
    for raw in cord19.SOURCE.upstream.read(inputs, options):
        items.extend([raw] if isinstance(raw, Reject) else cord19.convert(raw, options))
    return items


def from_rows(folder: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS, **more):
    path = folder / "metadata.csv"
    path.write_text(text_of(rows, columns))
    return convert(Input(path, "metadata.csv"), **more)


def test_a_record(tmp_path: Path) -> None:
    (record,) = from_rows(tmp_path, [row()])
    assert (record.input, record.output) == ("An abstract.", "A title")
    assert (record.source_id, record.url) == ("abcd1234", "https://doi.org/10.5555/x")
    assert [author.name for author in record.authors] == ["Roe, Jane", "Doe, John"]
    assert record.license == "cc-by"
    (old,) = from_rows(tmp_path, [row()], options=Options(style=Style.PUBLISHED_2023))
    assert old.instruction == "Please summerize the given abstract to a title"
    assert old.id == record.id


@pytest.mark.parametrize(
    ("stated", "key"),
    [
        ("cc0", "cc0-1.0"),
        ("CC-BY ", "cc-by"),
        ("cc-by-sa", "cc-by-sa"),
        ("cc-by-nc", "cc-by-nc"),
        ("cc-by-nc-nd", "cord19-tdm"),
        ("no-cc", "cord19-tdm"),
        ("els-covid", "cord19-tdm"),
        ("", "cord19-tdm"),
    ],
)
def test_the_license_of_each_row(stated: str, key: str, tmp_path: Path) -> None:
    (record,) = from_rows(tmp_path, [row(license=stated)])
    assert record.license == key
    assert f'"license":"{stated.strip().lower()}"' in record.meta


@pytest.mark.parametrize("gap", [{"authors": " ; "}, {"doi": ""}])
def test_what_cannot_be_attributed_stays_local(gap: dict, tmp_path: Path) -> None:
    (record,) = from_rows(tmp_path, [row(**gap)])
    assert record.license == "cord19-tdm"
    (free,) = from_rows(tmp_path, [row(license="cc0", **gap)])
    assert free.license == "cc0-1.0"


@pytest.mark.parametrize(
    ("more", "address"),
    [
        ({"doi": "10.1/x", "pmcid": "PMC1"}, "https://doi.org/10.1/x"),
        ({"doi": "", "pmcid": "PMC1", "pubmed_id": "2"},
         "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC1/"),
        ({"doi": "", "pubmed_id": "2"}, "https://pubmed.ncbi.nlm.nih.gov/2/"),
        ({"doi": "", "arxiv_id": "2001.1"}, "https://arxiv.org/abs/2001.1"),
        ({"doi": "", "url": "https://a.example/1; https://b.example"}, "https://a.example/1"),
        ({"doi": "", "url": "javascript:x"}, None),
    ],
)  # fmt: skip
def test_the_address(more: dict, address: str | None, tmp_path: Path) -> None:
    (record,) = from_rows(tmp_path, [row(**more)])
    assert record.url == address


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"abstract": " "}, Reason.EMPTY_INPUT),
        ({"title": ""}, Reason.EMPTY_OUTPUT),
        ({"abstract": "Unknown"}, Reason.BOILERPLATE),
        ({"abstract": "[Figure: see text]."}, Reason.BOILERPLATE),
        ({"cord_uid": " "}, Reason.MISSING_FIELD),
    ],
)
def test_what_is_no_example(more: dict, reason: Reason, tmp_path: Path) -> None:
    (item,) = from_rows(tmp_path, [row(**more)])
    assert item.reason is reason
    assert item.where == "metadata.csv:2"


@pytest.mark.parametrize(
    ("abstract", "stripped"),
    [
        ("Abstract Purpose: x", "Purpose: x"),
        ("ABSTRACT: we did", "we did"),
        ("Abstract. We did", "We did"),
        ("ABSTRACTBackground", "Background"),
        ("Abstract\nWe did", "We did"),
        ("Abstract – We did", "We did"),
        ("Abstract reasoning is", "Abstract reasoning is"),
        ("Abstracts were read", "Abstracts were read"),
        ("Abstract Thinking was", "Abstract Thinking was"),
        ("Abstract Meaning Graphs were", "Abstract Meaning Graphs were"),
        ("Abstract Ideas, Words and Art", "Abstract Ideas, Words and Art"),
        ("Abstract State Machines run", "Abstract State Machines run"),
        ("Abstract Factories make", "Abstract Factories make"),
        ("Abstract Arterial pressure fell", "Arterial pressure fell"),
        ("Abstract Statements were rated", "Statements were rated"),
        ("Abstract Booking was late", "Booking was late"),
        ("Abstract Ideally, all wash", "Ideally, all wash"),
        ("Abstract Databases were read", "Databases were read"),
        ("Abstract Data-driven care is", "Data-driven care is"),
        ("Abstract-level reading", "Abstract-level reading"),
        ("Abstract-Aims", "Aims"),
        ("An abstract", "An abstract"),
        ("Abstract:", "Abstract:"),
    ],
)
def test_the_heading_of_an_abstract(abstract: str, stripped: str) -> None:
    text, repairs = cord19.strip_heading(abstract)
    assert text == stripped
    assert bool(repairs) is (text != abstract)


def test_a_word_of_the_title_is_no_heading() -> None:
    text = "Abstract Painting was shown to the patients."
    assert cord19.strip_heading(text, "What abstract painting does")[0] == text


@pytest.mark.parametrize(
    ("title", "abstract", "reason"),
    [
        ("A title", ".", Reason.BOILERPLATE),
        ("A title", "- 2 -", Reason.BOILERPLATE),
        ("- .", "An abstract of a paper.", Reason.BOILERPLATE),
        ("A title", "[Click here to view the film.]", Reason.BOILERPLATE),
        ("A title", "[This corrects the paper with the DOI 10.1/2.]", Reason.BOILERPLATE),
        ("Corrigendum: On fever", "We are sorry about the table.", Reason.BOILERPLATE),
        ("Correction to: On fever", "We are sorry about the table.", Reason.BOILERPLATE),
        ("Correction of anaemia in the old", "We gave iron to ten of them.", None),
        ("Correction for multiple tests", "We say which one to use.", None),
        ("Retraction of the eyelid", "We saw ten of them.", None),
        (
            "Un titre",
            "Nous avons étudié les malades qui ont pris le médicament. " * 4,
            Reason.LANGUAGE,
        ),
        ("A title", "We saw 10 of them.", None),
    ],
)
def test_what_is_no_abstract(title: str, abstract: str, reason: Reason | None) -> None:
    found = cord19.reason_to_reject(title, abstract)
    assert (found[0] if found else None) is reason
    assert cord19.reason_to_reject(title, abstract, old=True) is None


def build(out: Path, *texts: str, exclude: frozenset[str] = frozenset()) -> tuple[list, list]:
    """The rows and the rejects of a corpus of these files."""
    inputs = []
    for number, text in enumerate(texts):
        path = out.with_suffix(f".{number}.csv")
        path.write_text(text)
        inputs.append(Input(path, f"{number}.csv"))
    build_corpus(BuildSettings(sources=("cord19",), exclude=exclude), {"cord19": inputs}, out)
    quarantine = (out / "quarantine/cord19.jsonl").read_text().splitlines()
    rows = [row for table in open_corpus(out).iter_tables() for row in table.to_pylist()]
    return rows, [json.loads(line) for line in quarantine]


def test_the_best_row_of_a_paper(tmp_path: Path) -> None:
    rows = [
        row("aaaa0001", abstract="", source_x="first, but without an abstract"),
        row("aaaa0001", abstract="Longer, but not to be passed on." * 5, license="no-cc"),
        row("aaaa0001", abstract="Short.", source_x="short"),
        row("aaaa0001", abstract="The longest one under a licence.", source_x="best"),
        row("aaaa0001", abstract="The longest one under a licence.", source_x="same, later"),
        row("bbbb0002", abstract="", license="cc0"),
        row("bbbb0002", title=""),
        row("bbbb0002", license="unk"),
        row("cccc0003", title="Another title"),
    ]
    kept, rejects = build(tmp_path / "c", text_of(rows))
    assert [record["source_id"] for record in kept] == ["aaaa0001", "bbbb0002", "cccc0003"]
    assert '"source_x":"best"' in kept[0]["meta"]
    assert kept[1]["license"] == "cord19-tdm"
    assert [(item["where"], item["reason"]) for item in rejects] == [
        ("0.csv:2", "empty_input"),
        ("0.csv:7", "empty_input"),
        ("0.csv:8", "empty_output"),
        ("0.csv:3", "duplicate"),
        ("0.csv:4", "duplicate"),
        ("0.csv:6", "duplicate"),
    ]
    assert rejects[-1]["detail"] == "another row of aaaa0001 is better"


def test_the_best_row_may_stand_in_another_file(tmp_path: Path) -> None:
    first = text_of([row(abstract="Short."), row("zzzz0001", title="Another title")])
    kept, rejects = build(tmp_path / "c", first, text_of([row()]))
    assert [record["input"] for record in kept] == ["An abstract.", "An abstract."]
    assert [item["where"] for item in rejects] == ["0.csv:2"]


def test_no_other_row_of_a_paper_takes_the_place_of_one_that_was_taken_down(
    tmp_path: Path,
) -> None:
    other = row("zzzz0001", title="Another title", doi="10.5555/z")
    rows = [row(abstract="The better one, taken down."), row(doi="10.5555/y"), other]
    taken = frozenset({"https://doi.org/10.5555/x"})
    kept, rejects = build(tmp_path / "c", text_of(rows), exclude=taken)
    assert [record["source_id"] for record in kept] == ["zzzz0001"]
    assert [item["reason"] for item in rejects] == ["excluded", "excluded"]


def test_old_layouts(tmp_path: Path) -> None:
    eighteen = [name for name in COLUMNS if name != "s2_id"]
    few = ["cord_uid", "title", "license", "abstract"]
    assert isinstance(from_rows(tmp_path, [row()], eighteen)[0], Record)
    (record,) = from_rows(tmp_path, [{name: row()[name] for name in few}], few)
    assert record.license == "cord19-tdm"
    without = [name for name in COLUMNS if name != "license"]
    with pytest.raises(UpstreamChangedError, match="needed columns are gone: license"):
        from_rows(tmp_path, [{name: value for name, value in row().items() if name != "license"}],
                  without)  # fmt: skip


def release(path: Path, text: str, *, link: bool = False) -> Input:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (
            ("2022-06-02/changelog", b"words"),
            ("2022-06-02/document_parses.tar.gz", bytes(500_000)),
            ("2022-06-02/metadata.csv", text.encode()),
            ("2022-06-02/z_later", b"never read"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if link and name.endswith(".csv"):
                info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
            archive.addfile(info, io.BytesIO(data))
    return Input(path, path.name, member="metadata.csv")


def test_out_of_the_release_archive(tmp_path: Path) -> None:
    rows = [row(), row("bbbb0002", abstract=""), row(abstract="")]
    item = release(tmp_path / "cord-19_2022-06-02.tar.gz", text_of(rows))
    items = convert(item)
    assert [type(found).__name__ for found in items] == ["Record", "Reject", "Reject"]
    plain = from_rows(tmp_path, rows)
    assert items[0] == plain[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cord-19_2022-06-02.tar.gz",
        "metadata.csv",
    ]


def test_a_release_that_is_cut_or_has_no_metadata(tmp_path: Path) -> None:
    item = release(tmp_path / "c.tar.gz", text_of([row(f"u{n:07d}") for n in range(500)]))
    whole = item.path.read_bytes()
    item.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="truncated or damaged"):
        convert(item)
    linked = release(tmp_path / "d.tar.gz", "", link=True)
    with pytest.raises(FileError, match="has no member"):
        convert(linked)


def test_a_published_row() -> None:
    raw = {
        "_where": "x#0",
        "instruction": "Please summerize the given abstract to a title",
        "input": "Abstract: We did it.",
        "output": "A title",
    }
    (new,) = cord19.convert_published(raw, OPTIONS)
    (old,) = cord19.convert_published(raw, Options(style=Style.PUBLISHED_2023))
    assert (new.input, new.repairs) == ("We did it.", ("abstract_heading",))
    assert (old.input, old.instruction) == (raw["input"], raw["instruction"])
    assert new.license == old.license == "cord19-tdm"
    assert new.id == old.id
    (gone,) = cord19.convert_published({**raw, "output": ""}, OPTIONS)
    assert gone.reason is Reason.EMPTY_OUTPUT


@pytest.mark.realdata
def test_the_real_rows(upstream: Path) -> None:
    items = convert(
        *(Input(upstream / "cord19" / name, name) for name in ("metadata_a.csv", "metadata_b.csv"))
    )
    records = [item for item in items if isinstance(item, Record)]
    assert len(items) == 627
    assert len(records) == 587
    assert Counter(item.reason for item in items if isinstance(item, Reject)) == {
        Reason.EMPTY_INPUT: 39,
        Reason.LANGUAGE: 1,
    }
    assert all(record.url and record.authors for record in records if record.license == "cc-by")


choices = st.tuples(
    st.sampled_from(["u1", "u2", "a-long-identifier-1", "a-long-identifier-2"]),
    st.sampled_from(["", "T"]),
    st.sampled_from(["", "A", "AA"]),
    st.sampled_from(["cc0", "no"]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(choices, max_size=12))
def test_each_paper_keeps_its_best_and_first_row(rows: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = [
            row(u, title=f"{t} of {u}" if t else "", abstract=a, license=c, source_x=str(n))
            for n, (u, t, a, c) in enumerate(rows)
        ]
        # a build of which no row comes out is an error
        made.append(row("stays", title="A title of its own", source_x="-1"))
        kept, rejects = build(Path(folder) / "c", text_of(made))
    assert len(kept) + len(rejects) == len(made)
    best: dict[str, tuple] = {}
    for number, (uid, title, abstract, license) in enumerate(rows):
        if title and abstract:
            key = (license != "cc0", -len(abstract), number)
            best[uid] = min(best.get(uid, key), key)
    places = {each["source_id"]: int(json.loads(each["meta"])["source_x"]) for each in kept}
    assert places == {"stays": -1} | {uid: key[2] for uid, key in best.items()}
