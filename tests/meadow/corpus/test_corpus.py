"""Shards, manifest, corpus, check and card on one small corpus, whole and then damaged."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import run_meadow
from support.corpora import record, write_corpus

from meadow import convert, open_corpus
from meadow.cards.card import lint_card
from meadow.corpus.manifest import is_safe_path, read_manifest
from meadow.corpus.shards import cut_shards, read_parquet, write_parquet, write_shards
from meadow.errors import CheckError, FileError, UpstreamChangedError, UsageError
from meadow.quality.check import check_corpus
from meadow.samples import FOLDER
from meadow.schema import arrow_schema, join_turns
from meadow.text.markdown import escape_cell


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "c"
    ran = run_meadow("build", "--raw", FOLDER, "--only", "health_advice,mmmlu", "--out", out)
    assert ran.code == 0, ran.err
    return out


@pytest.fixture
def corpus(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "c"))


def kinds(folder: Path) -> set[str]:
    return {finding.kind for finding in check_corpus(folder)}


def test_a_whole_corpus_has_no_finding(whole: Path) -> None:
    assert check_corpus(whole) == []
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert files - read_manifest(whole).named().keys() <= {"MANIFEST.json", ".meadow.lock"}


def test_a_corpus_opens_as_what_users_use(whole: Path) -> None:
    corpus = open_corpus(whole, verify=True)
    assert corpus.configs == ["health_advice", "mmmlu"]
    assert corpus.to_polars().height == len(corpus.to_pandas()) == corpus.rows()
    assert corpus.to_datasets("mmmlu")["train"].num_rows == corpus.rows("mmmlu")
    html = corpus._repr_html_()
    assert "health_advice" in html
    assert "<script" not in html
    with pytest.raises(UsageError, match="no config"):
        corpus.to_polars("medqa")
    with pytest.raises(UsageError, match="no split"):
        corpus.files("mmmlu", "test")


def test_a_corpus_is_a_sequence_of_its_rows(whole: Path) -> None:
    corpus = open_corpus(whole)
    rows = list(corpus)
    assert len(corpus) == len(rows) == corpus.rows()
    assert corpus[0] == rows[0]
    assert corpus[-1] == rows[-1]
    assert corpus[25] == rows[25]  # in the second shard
    assert corpus[18:26].to_dicts() == rows[18:26]
    assert corpus[::-7].to_dicts() == rows[::-7]
    assert corpus[5:5].columns == corpus.to_polars().columns
    assert corpus.head(3).to_dicts() == rows[:3]
    with pytest.raises(IndexError):
        corpus[len(corpus)]


def test_a_sample_does_not_depend_on_what_stands_beside_it(whole: Path) -> None:
    corpus = open_corpus(whole)
    drawn = corpus.sample(4, seed=3, source="mmmlu")
    assert drawn["source"].unique().to_list() == ["mmmlu"]
    assert drawn["id"].to_list() == corpus.sample(4, seed=3, source=["mmmlu"])["id"].to_list()
    assert drawn["id"].to_list() != corpus.sample(4, seed=4, source="mmmlu")["id"].to_list()
    shown = run_meadow("show", whole, "--source", "mmmlu", "-n", "4", "--seed", "3", "--json").out
    assert [row["id"] for row in json.loads(shown)["rows"]] == drawn["id"].to_list()
    with pytest.raises(UsageError, match="no source 'medqa'"):
        corpus.sample(source="medqa")


def test_a_filter_takes_columns_and_flags(whole: Path) -> None:
    corpus = open_corpus(whole)
    rows = list(corpus)
    few = corpus.filter(source="mmmlu", subset="anatomy", columns=["id", "subset"])
    assert few.columns == ["id", "subset"]
    assert few["id"].to_list() == [r["id"] for r in rows if r["subset"] == "anatomy"]
    both = corpus.filter(task=["classification", "multiple_choice"], licence="mit")
    assert both.height == sum(r["license"] == "mit" for r in rows)
    shown = corpus.filter(flag=["html", "percent_encoding"])
    assert shown.height == sum("<" in r["output"] or "%2" in r["input"] for r in rows)
    for wrong in ({"flag": "shrot"}, {"columns": ["idd"]}, {"columns": ["messages"]}):
        with pytest.raises(UsageError):
            corpus.filter(**wrong)  # type: ignore[arg-type]


def test_a_scan_reads_what_a_query_needs(whole: Path) -> None:
    corpus = open_corpus(whole)
    assert corpus.scan().select("id").collect()["id"].to_list() == [row["id"] for row in corpus]
    assert corpus.to_polars(columns=["id", "output"]).columns == ["id", "output"]


def test_datasets_one_split_and_streaming(whole: Path) -> None:
    corpus = open_corpus(whole)
    ids = corpus.to_polars("mmmlu")["id"].to_list()
    assert corpus.to_datasets("mmmlu", "train")["id"][:] == ids
    assert [row["id"] for row in corpus.to_datasets("mmmlu", "train", streaming=True)] == ids
    assert list(corpus.to_datasets("mmmlu", streaming=True)) == ["train"]
    for wrong in (("medqa", None), ("mmmlu", "test")):
        with pytest.raises(UsageError, match="in this corpus"):
            corpus.to_datasets(*wrong)


def test_json_lines_hold_every_row(whole: Path, tmp_path: Path) -> None:
    corpus = open_corpus(whole)
    assert corpus.to_jsonl(tmp_path / "x" / "rows.jsonl", "mmmlu") == corpus.rows("mmmlu")
    read = [json.loads(line) for line in (tmp_path / "x" / "rows.jsonl").open(encoding="utf-8")]
    assert [row["id"] for row in read] == corpus.to_polars("mmmlu")["id"].to_list()
    assert isinstance(read[0]["meta"], dict)
    convert(corpus, to="rows", out=tmp_path / "all.jsonl")
    assert corpus.to_jsonl(tmp_path / "all.jsonl") == corpus.rows()  # the same bytes
    with pytest.raises(UsageError, match="holds something else"):
        corpus.to_jsonl(tmp_path / "all.jsonl", "mmmlu")


def test_the_rejects_are_the_counted_ones(whole: Path) -> None:
    corpus = open_corpus(whole)
    counted = {n: sum(e.rejected.values()) for n, e in corpus.manifest.sources.items()}
    found = corpus.rejects()
    assert dict(found["source"].value_counts().iter_rows()) == {
        k: v for k, v in counted.items() if v
    }
    assert corpus.rejects("mmmlu").height == counted["mmmlu"]
    with pytest.raises(UsageError, match="no ledger of duplicates"):
        corpus.duplicates()


def test_why_a_row_is_here_and_another_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "c"
    run_meadow("build", "--raw", FOLDER, "--only", "medquad,mediqa", "--out", out)
    mixed = tmp_path / "m"
    ran = run_meadow("mix", "full", "--corpus", out, "--accept-licence", "mediqa", "--out", mixed)
    assert ran.code == 0, ran.err
    corpus, mix = open_corpus(out), open_corpus(mixed)
    pair = mix.duplicates().row(0, named=True)
    gone = corpus.why(pair["dropped_id"], mixes=[mix])
    assert [place.folder for place in gone.places] == [str(out)]
    assert [(twin.id, twin.dropped) for twin in gone.twins] == [(pair["kept_id"], False)]
    kept = corpus.why(pair["kept_id"][:12], mixes=[mix])
    assert {place.folder for place in kept.places} == {str(out), str(mixed)}
    assert pair["dropped_id"] in {twin.id for twin in kept.twins if twin.dropped}
    row = corpus.find(pair["kept_id"])
    assert row is not None
    assert (kept.source, kept.license, kept.url) == (row["source"], row["license"], row["url"])
    assert kept.repairs == tuple(json.loads(row["meta"]).get("repairs", ()))
    assert {path for path, _ in kept.inputs} == {
        item.path for item in corpus.manifest.sources[kept.source].inputs
    }
    only_known_by_the_ledger = mix.why(pair["dropped_id"])
    assert only_known_by_the_ledger.places == ()
    assert "went for" in str(only_known_by_the_ledger)
    words = ("show", out, "--id", pair["kept_id"], "--why", "--mix", mixed)
    assert "stands for" in run_meadow(*words).out
    assert json.loads(run_meadow(*words, "--json").out)["id"] == pair["kept_id"]
    with pytest.raises(UsageError, match="no row whose id begins with"):
        corpus.why("nothing")
    assert run_meadow("show", out, "--why").code == 2


def test_a_shard_has_what_the_hub_and_a_browser_need(whole: Path) -> None:
    path = open_corpus(whole).files("mmmlu")[0]
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 1
    column = metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert column.has_offset_index
    assert column.has_column_index


def test_a_flipped_page_is_noticed(tmp_path: Path) -> None:
    table = pa.table({"text": [f"row {n} " * 20 for n in range(2000)]})
    path = tmp_path / "x.parquet"
    write_parquet(table, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(FileError, match="cannot be read"):
        read_parquet(path)


def test_a_changed_shard_is_found(corpus: Path) -> None:
    shard = next((corpus / "data").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes() + b"x")
    assert kinds(corpus) == {"changed_file"}
    with pytest.raises(CheckError):
        open_corpus(corpus, verify=True)
    ran = run_meadow("check", corpus)
    assert ran.code == 1
    assert "changed_file" in ran.err


def test_a_missing_and_an_unnamed_file_are_found(corpus: Path) -> None:
    shutil.copy(next((corpus / "data").rglob("*.parquet")), corpus / "data" / "extra.parquet")
    assert kinds(corpus) == {"unnamed_file"}
    (corpus / "quarantine" / "mmmlu.jsonl").unlink()
    assert kinds(corpus) == {"unnamed_file", "missing_file"}


def test_a_number_changed_in_the_card_is_found(corpus: Path) -> None:
    card = corpus / "README.md"
    expected = card.read_text()
    rows = f"{open_corpus(corpus).rows('mmmlu'):,}"
    assert lint_card(expected, expected) == []
    changed = expected.replace(f"| {rows} |", "| 9,999 |", 1)
    assert any("generated part" in line for line in lint_card(changed, expected))
    assert lint_card(expected + "[More Information Needed]", expected)
    assert lint_card(expected.replace("num_examples", "examples"), expected)
    assert lint_card(expected.replace("pretty_name: ", "pretty_name: ["), expected)
    assert lint_card(expected.replace("<!-- generated:losses -->", ""), expected)


def test_the_card_is_rendered_again(corpus: Path) -> None:
    card = corpus / "README.md"
    text = card.read_text()
    card.write_text(text.replace("Not medical advice", "Medical advice"))
    assert run_meadow("card", corpus, "--dry-run").code == 0
    assert card.read_text() != text
    assert run_meadow("card", corpus).code == 0
    assert card.read_text() == text
    assert check_corpus(corpus) == []


def rewrite(corpus: Path, **columns: object) -> None:
    """Change columns of the mmmlu shard and bring hashes and card up to date, as a forger would."""
    from meadow.atomic import sha256_file

    path = open_corpus(corpus).files("mmmlu")[0]
    table = read_parquet(path)
    for name, value in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array([value] * table.num_rows, pa.string()))
    write_parquet(table, path)
    manifest = json.loads((corpus / "MANIFEST.json").read_text())
    shard = manifest["sources"]["mmmlu"]["shards"][0]
    shard |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    (corpus / "MANIFEST.json").write_text(json.dumps(manifest))
    assert run_meadow("card", corpus).code == 0


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"output": ""}, "empty_field"),
        ({"license": "mine"}, "unknown_license"),
        ({"task": "poetry"}, "unknown_task"),
        ({"id": "0" * 32}, "duplicate_id"),
        ({"meta": "{"}, "bad_meta"),
        ({"meta": '{"options":{"A":"x"},"answer":"B"}'}, "answer_not_in_options"),
        ({"license": "cc-by-4.0"}, "missing_attribution"),
        ({"source": "anki", "output": "mail me@x.example"}, "personal_data"),
    ],
)
def test_bad_rows_are_found_behind_right_hashes(corpus: Path, columns, kind: str) -> None:
    rewrite(corpus, **columns)
    assert kind in kinds(corpus)


def test_a_folder_without_manifest_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a finished folder"):
        open_corpus(tmp_path)
    assert run_meadow("check", tmp_path).code == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema_version=99), "upgrade medical-meadow"),
        (lambda d: d.pop("sources"), "sources"),
        (lambda d: d["files"].append({"path": "../x", "bytes": 1, "sha256": ""}), "'../x'"),
        (lambda d: d["files"].append({"path": "/x", "bytes": 1, "sha256": ""}), "'/x'"),
        (lambda d: d["sources"]["mmmlu"].update(rows_in=-1), "sources.mmmlu.rows_in"),
        (lambda d: d["sources"]["mmmlu"].update(rows_out="3"), "sources.mmmlu.rows_out"),
        (lambda d: d["sources"]["mmmlu"]["shards"][0].update(more=1), "shards.0.more"),
        (lambda d: d["sources"].update({"../x": d["sources"]["mmmlu"]}), "sources"),
        (lambda d: d["details"].update(contact=5), "details.contact"),
        (lambda d: d["details"].update(parts=[{"found": 1}]), "details.parts.0.part"),
        (lambda d: d.update(versions={"pyarrow": None}), "versions.pyarrow"),
    ],
)
def test_a_hostile_or_newer_manifest_is_refused_and_says_where(corpus: Path, change, said) -> None:
    document = json.loads((corpus / "MANIFEST.json").read_text())
    change(document)
    (corpus / "MANIFEST.json").write_text(json.dumps(document))
    kind = UpstreamChangedError if "upgrade" in said else FileError
    with pytest.raises(kind) as caught:
        read_manifest(corpus)
    assert said in str(caught.value)


def test_a_manifest_is_written_as_it_was_read(whole: Path) -> None:
    assert read_manifest(whole).text() == (whole / "MANIFEST.json").read_text()


@pytest.mark.parametrize("name", ["a/../b", "..", "a//b", "/a", "a\\b", "a b", "", ".", 3])
def test_paths_that_leave_their_folder_are_unsafe(name: object) -> None:
    assert not is_safe_path(name)


def test_shards_are_cut_by_size_and_named_by_count(tmp_path: Path) -> None:
    schema = arrow_schema()
    rows = [{name: None if name == "authors" else "x" * 50 for name in schema.names}] * 100
    table = pa.Table.from_pylist(rows, schema=schema)
    assert [part.num_rows for part in cut_shards([table] * 3, table.nbytes)] == [100, 100, 100]
    shards = write_shards(iter([]), tmp_path, "empty")
    assert [shard.rows for shard in shards] == [0]
    assert shards[0].path == "data/empty/train-00000-of-00001.parquet"


@pytest.mark.parametrize(("every", "group"), [(1, 9_000), (7, 9_000), (3, 1_000), (9_001, 9_000)])
def test_each_so_manieth_row_is_taken(tmp_path: Path, every: int, group: int) -> None:
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"n": range(9_000)}), path, row_group_size=group)
    assert read_parquet(path, every=every)["n"].to_pylist() == list(range(0, 9_000, every))


def test_rows_are_read_without_pandas(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"n": range(9)}), path)
    code = (
        "import sys; from pathlib import Path; from meadow.corpus.shards import read_parquet; "
        "print(read_parquet(Path(sys.argv[1]), every=2)['n'].to_pylist(), 'pandas' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, text=True
    )
    assert ran.stdout == "[0, 2, 4, 6, 8] False\n"


def test_show_draws_the_same_rows_and_finds_by_id(whole: Path) -> None:
    one, two = run_meadow("show", whole, "-n", 3), run_meadow("show", whole, "-n", 3)
    assert one.out == two.out
    rows = json.loads(run_meadow("show", whole, "--source", "mmmlu", "--json").out)["rows"]
    assert {row["source"] for row in rows} == {"mmmlu"}
    found = json.loads(run_meadow("show", whole, "--id", rows[0]["id"][:12], "--json").out)
    assert found["rows"] == [rows[0]]
    assert run_meadow("show", whole, "--id", "zz").code == 2
    assert run_meadow("show", whole, "--source", "medqa").code == 2


def test_show_tells_a_conversation_from_its_beginning(tmp_path: Path) -> None:
    turns = ["Who sang?", "Assistant: a bird."]
    talk = record(
        "openassistant", 1, "It flew.", instruction="And then?", input=join_turns(turns),
        meta={"turns": [len(turn) for turn in turns]},
    )  # fmt: skip
    write_corpus(tmp_path / "corpus", [talk])
    shown = run_meadow("show", tmp_path / "corpus").out
    places = [shown.index(text) for text in (*turns, "And then?", "It flew.")]
    assert places == sorted(places)


def test_cells_hold_no_markup() -> None:
    assert escape_cell("a|b\n<script>[x](y)") == "a\\|b \\<script\\>\\[x\\](y)"
