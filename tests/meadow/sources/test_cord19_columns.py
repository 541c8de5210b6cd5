"""CORD-19 as columns: the same records and rejects as row by row, in the same order."""

import csv
import gzip
import io
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.errors import MeadowError
from meadow.schema import Block, Record, Reject, Style, to_rows
from meadow.source import Input, Options
from meadow.sources import cord19, cord19_columns
from meadow.sources.cord19_columns import SPACES

OPTIONS = Options()
HEADER = (
    "cord_uid,sha,source_x,title,doi,pmcid,pubmed_id,license,abstract,publish_time,authors,journal,"
    "mag_id,who_covidence_id,arxiv_id,pdf_json_files,pmc_json_files,url,s2_id"
)
COLUMNS = HEADER.split(",")
Found = list[Any]


def by_row(inputs: Iterable[Input], options: Options = OPTIONS) -> Found:
    return outcome(cord19.read(tuple(inputs), options), options)


def by_column(
    inputs: Iterable[Input], options: Options = OPTIONS, block_bytes: int = 1 << 20
) -> Found:
    return outcome(cord19_columns.read(tuple(inputs), options, block_bytes), options)


def outcome(items: Iterable[Any], options: Options) -> Found:
    """Rows of a shard with their place, and rejects, in order; and the error that ends them."""
    found: Found = []
    try:
        for item in items:
            if isinstance(item, Block):
                rows = item.rows.to_pylist()
                taken = 0
                for place, reject in zip(item.places, item.rejects, strict=True):
                    found += [*rows[taken:place], reject]
                    taken = place
                found += rows[taken:]
            elif isinstance(item, Reject):
                found.append(item)
            else:
                for made in cord19.convert(item, options):
                    if isinstance(made, Record):
                        found += [{**row, "_where": item["_where"]} for row in to_rows([made])]
                    else:
                        found.append(made)
    except MeadowError as error:
        found.append((type(error), str(error)))
    return found


def write(path: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS) -> Input:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())
    return Input(path, path.name)


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


NASTY = [
    *("", " ", "x", "  two  spaces ", 'a "quoted" one', "back\\slash", "tab\there", "two\nlines"),
    *(
        "cr\r\nlf",
        "\u00a0edge\u3000",
        "caf\u00e9",
        "cafe\u0301",
        "\u2028",
        "\x1c",
        "a\x1fb",
        "\x85",
    ),
    *("\x7f", "\ufeff", "\U0001f600", "\u212a", "\u0130", "null", "NA", "{}", "'", "\ud7ff"),
]
SPECIAL = {
    "cord_uid": ["abcd1234", "ABCD1234", "a-long-identifier", "a", "  abcd1234 "],
    "abstract": [
        *("Abstract We did", "ABSTRACT: x", "abstract", "Abstract:", "AbstractWe", "Abstracts"),
        *("Unknown", "UN\u212aNOWN...", "n/a", "[Figure: see text].", "No abstract available."),
        *("Abstract\u00a0\u2013 x", "Abstract \u201cx", " Abstract x", "\u017f" * 3),
    ],
    "license": ["cc0", "CC-BY ", "cc-by-sa", "cc-by-nc", "no-cc", 'c"c', "\u0130", "\u039f\u03a3"],
    "doi": ["10.1/x", "http://a.example/x", "https://b.example"],
    "pmcid": ["PMC1"],
    "pubmed_id": ["7"],
    "arxiv_id": ["2001.1"],
    "url": ["https://a.example/1; https://b.example", " http://x ;y", "ftp://x", "; http://x"],
    "authors": [
        *("Roe, J; Doe, K", "Roe, J;Roe, J; Roe,  J", ";;", "; ;a;", " a ; b", "a;\u00a0b", "a\nb"),
        *("\u00c9mile, \u00d6; \u00c9mile, \u00d6", "a\x1cb", "a\u2003b", "x" * 300),
    ],
}


def texts(name: str) -> st.SearchStrategy[str]:
    special = SPECIAL.get(name, ["Words of " + name])
    return st.one_of(st.sampled_from(special), st.sampled_from(NASTY), st.sampled_from(special))


any_row = st.fixed_dictionaries({name: texts(name) for name in cord19_columns.WANTED})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(any_row, max_size=12),
    st.sampled_from(list(Style)),
    st.sampled_from([1, 100, 1 << 20]),
)
def test_the_same_of_any_rows(rows: list[dict[str, str]], style: Style, block_bytes: int) -> None:
    options = Options(style=style)
    with tempfile.TemporaryDirectory() as folder:
        item = write(Path(folder) / "m.csv", rows)
        expected = by_row([item], options)
        assert by_column([item], options, block_bytes) == expected
    assert len(expected) == len(rows)


@pytest.mark.parametrize("name", cord19_columns.WANTED)
def test_the_same_of_each_nasty_text(name: str, tmp_path: Path) -> None:
    values = [*NASTY, *SPECIAL.get(name, []), *(f"{space}x{space}" for space in SPACES)]
    rows = [
        row(value if name == "cord_uid" else f"u{number:07}", **{name: value})
        for number, value in enumerate(values)
    ]
    item = write(tmp_path / "m.csv", rows)
    expected = by_row([item])
    assert by_column([item]) == expected
    # each alone, so that none is done right only because of another in its block
    assert by_column([item], block_bytes=1) == expected


@pytest.mark.parametrize("block_bytes", [50, 300, 1 << 20])
def test_the_same_of_damaged_files(block_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write(path, [row(f"u{number:07}") for number in range(40)])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[5] = b"too,few\n"
    lines[9] = lines[9].replace(b"A title", b"A \xff")
    lines[13] = lines[13].replace(b"A title", b'A "title"')
    lines[17] = lines[17].replace(b"\n", b"\r")
    lines[21] = lines[21].replace(b"u0000020", b"u0000001")
    path.write_bytes(b"".join(lines))
    item = Input(path, "m.csv")
    expected = by_row([item])
    assert by_column([item], block_bytes=block_bytes) == expected
    assert sum(isinstance(found, Reject) for found in expected) == 3
    path.write_bytes(b"".join(lines) + b'"open')
    assert by_column([item], block_bytes=block_bytes) == by_row([item])


def test_the_best_row_in_another_block_or_file(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", [row(abstract=""), row("zzzz0001"), row(license="no-cc")])
    second = write(tmp_path / "b.csv", [row(title=" Other "), row(" abcd1234", title=" Late ")])
    for block_bytes in (1, 1 << 20):
        found = by_column([first, second], block_bytes=block_bytes)
        assert found == by_row([first, second])
    assert [type(item) for item in found] == [Reject, dict, Reject, dict, Reject]
    assert found[4].excerpt == " Late "
    assert found[4].detail == "another row of  abcd1234 is better"


def test_old_layouts(tmp_path: Path) -> None:
    for number, columns in enumerate(
        (
            [name for name in COLUMNS if name != "s2_id"],
            ["cord_uid", "title", "license", "abstract"],
            ["url", "license", "abstract", "title", "cord_uid", "further"],
            ["cord_uid", "title", "abstract"],
        )
    ):
        rows = [row(), row("bbbb0002", url="http://x")]
        item = write(tmp_path / f"{number}.csv", rows, columns)
        assert by_column([item]) == by_row([item])


def test_packed_files(tmp_path: Path) -> None:
    rows = [row(f"u{number % 300:07}", abstract="words " * (number % 7)) for number in range(600)]
    data = write(tmp_path / "m.csv", rows).path.read_bytes()
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(data))
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for name in ("x/changelog", "x/metadata.csv", "x/later"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    expected = by_row([Input(tmp_path / "m.csv", "m.csv")])
    for item in (
        Input(tmp_path / "m.csv.gz", "m.csv"),
        Input(tmp_path / "m.tar.gz", "m.csv", member="metadata.csv"),
    ):
        assert by_column([item], block_bytes=10_000) == expected
    cut = (tmp_path / "m.tar.gz").read_bytes()[:3000]
    (tmp_path / "m.tar.gz").write_bytes(cut)
    assert "truncated or damaged" in by_column([item])[-1][1]


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    item = write(tmp_path / "m.csv", [row(f"u{number:07}") for number in range(50)])
    items = cord19_columns.read([item], OPTIONS, 100)
    next(items)
    items.close()
    assert list(folder.iterdir()) == []


@pytest.mark.realdata
@pytest.mark.parametrize("style", list(Style))
def test_the_real_files(style: Style, upstream: Path) -> None:
    names = ("metadata_a.csv", "metadata_b.csv")
    inputs = [Input(upstream / "cord19" / name, name) for name in names]
    options = Options(style=style)
    expected = by_row(inputs, options)
    for block_bytes in (2000, 100_000, 1 << 23):
        assert by_column(inputs, options, block_bytes) == expected


def test_the_sample() -> None:
    folder = Path(cord19.__file__).parents[1] / "samples" / "cord19"
    inputs = [Input(path, path.name) for path in sorted(folder.glob("*.csv"))]
    assert inputs
    assert by_column(inputs) == by_row(inputs)
