"""The main job: raw files in, a verified folder out; and every way in which input can be bad."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import Ran, run_meadow
from support.fault_shim import snapshot

import meadow
from meadow.api import open_corpus
from meadow.atomic import locked
from meadow.build import transform, worker
from meadow.corpus.manifest import read_manifest
from meadow.fetch.lockfile import NAME, LockEntry, record
from meadow.samples import FOLDER

SIX = {
    "medqa": "medqa/questions_US_dev.jsonl",
    "mmmlu": "mmlu",
    "pubmed_causal": "pubmed_causal/data/pubmed_causal_language_use.csv",
    "health_advice": "health_advice/data",
    "wikidoc_patient_information": "wikidoc/medical_meadow_wikidoc_patient_info.json",
    "chatdoctor": "chatdoctor/chatdoctor5k.json",
}
EXPECTED = {
    "medqa": (1272, {}),
    "mmmlu": (1089, {"duplicate": 78}),
    "pubmed_causal": (3061, {"duplicate": 7, "conflict": 2}),
    "health_advice": (10848, {"duplicate": 18, "conflict": 4}),
    "chatdoctor": (5452, {}),
}


BUILT = (0, 3)
"""The samples hold broken rows, more than 1 % of some sources."""


@pytest.fixture(scope="module")
def real(upstream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six sources from the real files."""
    out = tmp_path_factory.mktemp("real") / "corpus"
    ran = run_meadow("build", *file_options(upstream), "--out", out)
    assert ran.code == 0, ran.err
    return out


def file_options(upstream: Path) -> list[str]:
    return [word for name, path in SIX.items() for word in ("--file", f"{name}={upstream / path}")]


@pytest.mark.realdata
def test_the_six_sources_on_the_real_files(real: Path) -> None:
    sources = read_manifest(real).sources
    for name, (rows_in, rejected) in EXPECTED.items():
        assert sources[name].rows_in == rows_in
        assert sources[name].rejected == rejected
    assert sources["wikidoc_patient_information"].rows_in == 5942
    for entry in sources.values():
        assert entry.rows_in == entry.rows_out + sum(entry.rejected.values())
    assert run_meadow("check", real).code == 0


@pytest.mark.realdata
def test_two_workers_and_another_folder_give_the_same_bytes(
    real: Path, upstream: Path, tmp_path: Path
) -> None:
    ran = run_meadow("build", *file_options(upstream), "--workers", 2, "--out", tmp_path / "b")
    assert ran.code == 0, ran.err
    assert snapshot(tmp_path / "b") == snapshot(real)


@pytest.mark.parametrize(
    ("source", "workers"), [("stack_exchange", 2), ("medqa", 1), ("pubmed_causal", 1)]
)
def test_pieces_of_a_source_give_its_bytes(
    source: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One piece; many, in this process and in others; and a limit inside a batch."""
    options = ["build", "--raw", FOLDER, "--only", source]
    code = run_meadow(*options, "--out", tmp_path / "whole").code
    monkeypatch.setattr(transform, "BATCH_ROWS", 3)
    monkeypatch.setattr(worker, "LARGE", 1)
    monkeypatch.setattr(worker, "PIECE", 600)
    resolve, made = worker.resolve, []

    def counting(parts, excluded):
        made.append(len(parts))
        return resolve(parts, excluded)

    monkeypatch.setattr(worker, "resolve", counting)
    for count in range(1, workers + 1):
        ran = run_meadow(*options, "--workers", count, "--out", tmp_path / str(count))
        assert ran.code == code, ran.err
        assert snapshot(tmp_path / str(count)) == snapshot(tmp_path / "whole")
        assert not list(tmp_path.rglob("parts-*"))
    assert min(made) > 2
    assert run_meadow(*options, "--limit", 4, "--out", tmp_path / "limit").code in (0, code)
    assert read_manifest(tmp_path / "limit").sources[source].rows_in == 4


def test_a_resumed_source_makes_the_missing_pieces_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = medqa(tmp_path, *map(medqa_row, range(40)))
    assert run_meadow("build", *words, "--out", tmp_path / "whole").code == 0
    monkeypatch.setattr(worker, "LARGE", 1)
    monkeypatch.setattr(worker, "PIECE", 1000)
    transform_batch, read, most = transform.transform_batch, [], 3

    def failing(raws, rules, left):
        read.append(len(raws))
        if len(read) > most:
            raise KeyboardInterrupt
        return transform_batch(raws, rules, left)

    monkeypatch.setattr(transform, "transform_batch", failing)
    assert build(tmp_path, *words).code == 130
    assert len(list((tmp_path / "out").rglob("1000-*"))) == most == len(read) - 1
    most = 100
    assert build(tmp_path, *words).code == 0
    assert sum(read) - read[3] == 40
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_a_quotation_mark_that_opens_nothing_costs_the_pieces_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "rows.csv"
    rows = [f'"Aspirin number {n} helps,\nand so on.",{n % 4}\n' for n in range(40)]
    rows.insert(9, 'The 5" catheter is measured here.,1\n')
    raw.write_text("sentence,label\n" + "".join(rows))
    words = ("--file", f"pubmed_causal={raw}")
    assert run_meadow("build", *words, "--out", tmp_path / "whole").code == 0
    monkeypatch.setattr(worker, "LARGE", 1)
    monkeypatch.setattr(worker, "PIECE", 300)
    ran = build(tmp_path, *words)
    assert ran.code == 0, ran.err
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore")
def test_every_config_loads_with_datasets_polars_and_pandas(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    corpus = open_corpus(real)
    for config in ["all", *corpus.configs]:
        own = None if config == "all" else config
        loaded = datasets.load_dataset(str(real), name=config, cache_dir=str(tmp_path / "cache"))
        frame, table = corpus.to_pandas(own), corpus.to_polars(own)
        texts = loaded["train"]["output"]
        assert loaded["train"].num_rows == len(frame) == table.height
        assert sorted(texts) == sorted(frame["output"]) == sorted(table["output"])
    assert corpus.to_datasets("medqa")["train"].num_rows == 1272


@pytest.mark.realdata
def test_a_rerun_builds_nothing_and_changes_nothing(real: Path, upstream: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in real.rglob("*.parquet")}
    listing = snapshot(real)
    ran = run_meadow("build", *file_options(upstream), "--out", real)
    assert ran.code == 0
    assert ran.err.count("unchanged") == len(SIX)
    assert snapshot(real) == listing
    assert {path: path.stat().st_mtime_ns for path in real.rglob("*.parquet")} == before


@pytest.mark.realdata
def test_style_2023_leaves_published_text_as_it_is(upstream: Path, tmp_path: Path) -> None:
    path = upstream / SIX["wikidoc_patient_information"]
    option = f"wikidoc_patient_information={path}"
    ran = run_meadow("build", "--file", option, "--style", "2023", "--out", tmp_path / "old")
    assert ran.code == 0, ran.err
    published = {(r["instruction"], r["input"], r["output"]) for r in json.loads(path.read_text())}
    rows = open_corpus(tmp_path / "old").to_arrow().to_pylist()
    assert {(r["instruction"], r["input"], r["output"]) for r in rows} <= published


# bad input ---------------------------------------------------------------------------------------


def build(tmp_path: Path, *options: object) -> Ran:
    return run_meadow("build", *options, "--out", tmp_path / "out")


def medqa(tmp_path: Path, *rows: str) -> tuple[str, str]:
    """The option that names a file of these lines."""
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{row}\n" for row in rows))
    return ("--file", f"medqa={path}")


def medqa_row(n: int, **changes: object) -> str:
    row = {
        "question": f"Question {n}?",
        "answer": "yes",
        "options": {"A": "yes", "B": "no"},
        "answer_idx": "A",
        "meta_info": "step1",
    }
    return json.dumps({**row, **changes})


def test_a_missing_raw_file_prints_the_expected_names(tmp_path: Path) -> None:
    ran = build(tmp_path, "--raw", tmp_path, "--only", "medqa,mmmlu")
    assert ran.code == 1
    assert "medqa/data_clean.zip" in ran.err
    assert "mmmlu/data.tar" in ran.err


def test_a_wrong_checksum_is_an_upstream_change(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "pubmed_causal"
    raw.mkdir(parents=True)
    (raw / "pubmed_causal_language_use.csv").write_text("sentence,label\nA b.,0\n")
    (tmp_path / "meadow.toml").write_text('raw = "raw"\n')
    known = LockEntry("https://example.org/x.csv", "0" * 64, 23)
    record(tmp_path / NAME, "pubmed_causal/pubmed_causal_language_use.csv", known)
    config = tmp_path / "meadow.toml"
    ran = build(tmp_path, "--config", config, "--only", "pubmed_causal")
    assert ran.code == 5, ran.err
    assert "checksum" in ran.err


PACKED = gzip.compress(
    "\n".join(map(medqa_row, range(200))).encode(), mtime=0
)  # the time would stand in the test's name


@pytest.mark.parametrize(
    ("source", "data", "code", "said"),
    [
        ("medqa", None, 1, "raw"),
        ("medqa", PACKED[: len(PACKED) // 2], 1, "truncated"),
        ("pubmed_causal", b'sentence,label\nfine,0\n"open,1\nnext,2\n', 1, "raw:3"),
        ("chatdocter", b"", 2, "chatdoctor"),
    ],
)
def test_a_file_that_cannot_be_read(
    source: str, data: bytes | None, code: int, said: str, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / "raw").write_bytes(data)
    ran = build(tmp_path, "--file", f"{source}={tmp_path / 'raw'}")
    assert ran.code == code
    assert said in ran.err
    assert not (tmp_path / "out" / "MANIFEST.json").exists()


def test_bad_lines_are_rejects_and_end_with_exit_code_3(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    lines = [medqa_row(n) for n in range(10)]
    lines[3:3] = ["{", '{"question": "\\ud800"}', medqa_row(99, answer_idx="Z")]
    path.write_bytes("\n".join(lines).encode() + b'\n{"question": "\xff"}\n')
    ran = build(tmp_path, "--file", f"medqa={path}")
    assert ran.code == 3
    entry = read_manifest(tmp_path / "out").sources["medqa"]
    assert (entry.rows_in, entry.rows_out) == (14, 10)
    assert entry.rejected == {
        "bad_json": 1,
        "lone_surrogate": 1,
        "answer_not_in_options": 1,
        "bad_encoding": 1,
    }
    quarantine = (tmp_path / "out/quarantine/medqa.jsonl").read_text().splitlines()
    assert [json.loads(line)["where"] for line in quarantine] == [
        "train.jsonl:4",
        "train.jsonl:5",
        "train.jsonl:6",
        "train.jsonl:14",
    ]


def test_duplicates_and_conflicts_do_not_count_as_malformed(tmp_path: Path) -> None:
    rows = [medqa_row(1), medqa_row(1), medqa_row(2), medqa_row(2, answer="no", answer_idx="B")]
    assert build(tmp_path, *medqa(tmp_path, *rows)).code == 0
    entry = read_manifest(tmp_path / "out").sources["medqa"]
    assert entry.rejected == {"duplicate": 1, "conflict": 2}


def test_one_upstream_id_with_two_contents_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    question = (
        '<row Id="1" PostTypeId="1" Score="5" Title="T" Body="&lt;p&gt;Why is it so?&lt;/p&gt;" '
        'CreationDate="2020-01-01T00:00:00.000" OwnerUserId="7" Tags="&lt;a&gt;" />'
    )
    answer = (
        '<row Id="2" PostTypeId="2" ParentId="1" Score="9" '
        'Body="&lt;p&gt;Because {} it is.&lt;/p&gt;" '
        'CreationDate="2020-01-02T00:00:00.000" OwnerUserId="8" />'
    )
    rows = [question, answer.format("once"), answer.format("twice")]
    path.write_text('<?xml version="1.0"?>\n<posts>\n' + "\n".join(rows) + "\n</posts>\n")
    ran = build(tmp_path, "--file", f"stack_exchange:biology={path}")
    assert ran.code == 5, ran.err
    assert "two contents" in ran.err


def test_an_unknown_recipe_key_names_file_key_and_nearest(tmp_path: Path) -> None:
    recipe = tmp_path / "my.toml"
    recipe.write_text('[build]\nsources = ["medqa"]\nstlye = "meadow"\n')
    ran = build(tmp_path, "--recipe", recipe)
    assert ran.code == 2
    assert "my.toml" in ran.err
    assert "stlye" in ran.err
    assert "style" in ran.err


def test_a_folder_of_other_options_is_left_alone(tmp_path: Path) -> None:
    words = medqa(tmp_path, medqa_row(1))
    assert build(tmp_path, *words).code == 0
    before = snapshot(tmp_path / "out")
    ran = build(tmp_path, *words, "--style", "2023")
    assert ran.code == 2
    assert "other options" in ran.err
    assert snapshot(tmp_path / "out") == before


def test_a_folder_grows_to_what_one_build_of_all_would_give(tmp_path: Path) -> None:
    """The sources that are not asked for stay, and their raw files are not needed."""
    samples = tmp_path / "raw"
    shutil.copytree(FOLDER / "medqa", samples / "medqa")
    for only in ("medqa", "pubmed_causal"):
        assert build(tmp_path, "--raw", samples, "--only", only).code in BUILT
        shutil.rmtree(samples)
        shutil.copytree(FOLDER / "pubmed_causal", samples / "pubmed_causal")
    whole = ("build", "--raw", FOLDER, "--only", "medqa,pubmed_causal", "--out", tmp_path / "one")
    assert run_meadow(*whole).code in BUILT
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "one")
    assert run_meadow("check", tmp_path / "out").code == 0
    ran = build(tmp_path, "--raw", samples, "--only", "pubmed_causal", "--dry-run", "--json")
    assert json.loads(ran.out)["stay"] == ["medqa"]


def test_the_card_of_a_folder_of_two_origins_has_a_command_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"instruction": "What kind of statement is this?", "input": "Sleep more.",
           "output": "This is a strong advice"}  # fmt: skip
    Path("advice.json").write_text(json.dumps([row]))
    for options in (
        ("--raw", FOLDER, "--only", "medquad"),
        ("--file", "health_advice=advice.json", "--origin", "published"),
    ):
        ran = build(tmp_path, *options)
        assert ran.code in BUILT, ran.err
    commands = re.findall(r"^meadow build .*--out DIR$", Path("out/README.md").read_text(), re.M)
    assert len(commands) == 2
    for command in commands:
        words = command.replace("RAW", str(FOLDER)).replace("DIR", "again").split()
        assert run_meadow(*words[1:]).code in BUILT
    assert snapshot(tmp_path / "again") == snapshot(tmp_path / "out")


@pytest.mark.parametrize("changed", ["an id", "a version"])
def test_what_stays_must_have_been_built_alike(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--raw", FOLDER, "--config", tmp_path / "meadow.toml", "--only")
    (tmp_path / "meadow.toml").write_text("")
    assert build(tmp_path, *options, "medqa,medquad").code in BUILT
    if changed == "an id":
        taken = open_corpus(tmp_path / "out").to_polars()["id"][1]
        (tmp_path / "exclude_ids.txt").write_text(taken)
    else:
        older = read_manifest(tmp_path / "out").versions | {"lxml": "0.1"}
        replace(read_manifest(tmp_path / "out"), versions=older).write(tmp_path / "out")
    for more in ((), ("--dry-run",)):
        ran = build(tmp_path, *options, "pubmed_causal", *more)
        assert ran.code == 2
        assert "--only pubmed_causal,medqa,medquad" in ran.err
    assert build(tmp_path, *options, "pubmed_causal,medqa,medquad").code in BUILT
    entries = read_manifest(tmp_path / "out").sources
    assert entries["medqa"].rejected.get("excluded", 0) == (changed == "an id")
    assert run_meadow("check", tmp_path / "out").code == 0


def test_a_source_that_stays_and_is_damaged_is_named(tmp_path: Path) -> None:
    assert build(tmp_path, "--raw", FOLDER, "--only", "medqa").code in BUILT
    shard = next((tmp_path / "out" / "data" / "medqa").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    ran = build(tmp_path, "--raw", FOLDER, "--only", "medquad")
    assert ran.code == 1
    assert "build medqa again" in ran.err
    assert build(tmp_path, "--raw", FOLDER, "--only", "medquad,medqa").code in BUILT


def test_what_is_missing_is_listed_and_left_out_where_that_was_asked_for(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "medqa", tmp_path / "raw" / "medqa")
    options = ("--raw", tmp_path / "raw", "--only", "medqa,medquad,cord19")
    ran = build(tmp_path, *options)
    assert ran.code == 1
    assert "leave out medquad, cord19 with --available" in ran.err
    ran = build(tmp_path, *options, "--available")
    assert ran.code in BUILT, ran.err
    assert "medquad: left out" in ran.err
    assert "cord19: left out" in ran.err
    assert list(read_manifest(tmp_path / "out").sources) == ["medqa"]
    assert "--only medqa" in (tmp_path / "out" / "README.md").read_text()
    ran = run_meadow("build", "--raw", tmp_path, "--available", "--only", "cord19", "--out", "no")
    assert ran.code == 1


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert build(tmp_path, *medqa(tmp_path, medqa_row(1))).code == 2
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_second_run_on_the_same_folder_ends_at_once(tmp_path: Path) -> None:
    words = ("build", *medqa(tmp_path, medqa_row(1)), "--out", tmp_path / "out")
    with locked(tmp_path / "out"):
        ran = subprocess.run(
            [sys.executable, "-m", "meadow", *words], capture_output=True, text=True, check=False
        )
    assert ran.returncode == 4
    assert f"pid {os.getpid()}" in ran.stderr


def test_changed_input_rebuilds_only_its_source(tmp_path: Path) -> None:
    other = tmp_path / "x.csv"
    other.write_text("sentence,label\nA b c.,0\n")
    options = ("--file", f"pubmed_causal={other}")
    assert build(tmp_path, *options, *medqa(tmp_path, medqa_row(1))).code == 0
    ran = build(tmp_path, *options, *medqa(tmp_path, medqa_row(1), medqa_row(2)))
    assert ran.code == 0
    assert "pubmed_causal: unchanged" in ran.err
    assert "medqa: in 2, out 2" in ran.err
    assert run_meadow("check", tmp_path / "out").code == 0


def test_limit_counts_candidates(tmp_path: Path) -> None:
    assert build(tmp_path, *medqa(tmp_path, *map(medqa_row, range(10))), "--limit", 3).code == 0
    assert read_manifest(tmp_path / "out").sources["medqa"].rows_in == 3


def test_excluded_ids_are_taken_down(tmp_path: Path) -> None:
    words = medqa(tmp_path, *map(medqa_row, range(3)))
    assert build(tmp_path, *words).code == 0
    taken = open_corpus(tmp_path / "out").to_polars()["id"][1]
    (tmp_path / "exclude_ids.txt").write_text(f"# by request\n{taken}  # the second row\n")
    (tmp_path / "meadow.toml").write_text("")
    options = ("--config", tmp_path / "meadow.toml", "--out", tmp_path / "again")
    ran = run_meadow("build", *words, *options)
    assert ran.code == 0, ran.err
    assert read_manifest(tmp_path / "again").sources["medqa"].rejected == {"excluded": 1}
    assert taken not in open_corpus(tmp_path / "again").to_polars()["id"]


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    ran = build(tmp_path, "--raw", FOLDER, "--only", "medqa", "--dry-run")
    assert ran.code == 0
    assert not (tmp_path / "out").exists()


def test_json_is_one_document_on_stdout(tmp_path: Path) -> None:
    ran = build(tmp_path, "--raw", FOLDER, "--only", "pubmed_causal", "--json")
    assert json.loads(ran.out)["sources"]["pubmed_causal"]["rows_in"] == 31


def test_a_file_of_another_split_is_warned_of(tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("questions_dev.jsonl", "train.jsonl"):
        (tmp_path / name).write_text(medqa_row(1) + "\n")
        out = tmp_path / name.removesuffix(".jsonl")
        meadow.build(["medqa"], files={"medqa": tmp_path / name}, out=out, progress=said.append)
    (warning,) = [line for line in said if line.startswith("warning")]
    assert "questions_dev.jsonl" in warning
    assert "10,178 rows were expected, 1 were found" in warning
    assert (
        warning.removeprefix("warning: ") in (tmp_path / "questions_dev" / "README.md").read_text()
    )
    assert "another split" not in (tmp_path / "train" / "README.md").read_text()
    for name, told in (("questions_dev", True), ("train", False)):
        mixed = meadow.mix("full", corpus=tmp_path / name, out=tmp_path / f"{name}-mix")
        warnings = mixed.manifest.details["warnings"]
        assert (warning.removeprefix("warning: ") in warnings) == told
