"""Studies: every file is loaded and dry-run, a small one runs for real, twice, with one report."""

import json
import re
import shutil
from pathlib import Path

import pytest
from support.command import run_meadow

from pipelines.study import plan_study
from pipelines.study_config import STUDIES, load_study, study_names

ASKED = {"real": {"RQ1", "RQ3", "RQ4"}, "contamination": set()}


@pytest.mark.parametrize("name", study_names())
def test_every_study_is_loaded_and_dry_run(name, tmp_path) -> None:
    study = load_study(name)
    rows = plan_study(study)
    assert [row["arm"] for row in rows] == [arm.name for arm in study.arms]
    assert all(row["estimated_seconds"] for row in rows)
    ran = run_meadow("study", name, "--raw", tmp_path, "--out", tmp_path / "o", "--dry-run")
    assert ran.code == 0, ran.err
    assert not (tmp_path / "o").exists()
    asked = {question for arm in study.arms for question in arm.questions}
    assert asked == ASKED.get(name, {"RQ1", "RQ2", "RQ3", "RQ4"})
    assert {comparison.question for comparison in study.comparisons} == asked


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('titel = "x"', "title"),
        ("concurrency = 0", "concurrency"),
        ('[[arms]]\nname = "x"\nmix = "none"', "there is no mix"),
        ('[[arms]]\nname = "x"\nbase = "arm:later"', "not an earlier arm"),
        ('[[comparisons]]\nquestion="RQ1"\na="x"\nb="base"\nexam="e"\nabout=""', "names arm"),
        ('[[arms]]\nname = "x"\nbase = "local:b"', "no base 'b' in bases"),
        ('[[arms]]\nname = "few-verbatim"\nbase = "random"', "two arms have one name"),
        ('[worth]\narm = "nobody"', "no arm 'nobody' with a mix"),
        ('[[arms]]\nname = "x"\nbase = "random"\nexams = ["f"]', "there is no exam 'f'"),
        ('[mixes.n]\nrecipe = "full"\ntouch = { exam = "f" }', "which is not cut"),
    ],
)
def test_a_wrong_study_says_what_is_wrong(tmp_path, line, message) -> None:
    head, _, tail = SMALL.partition("# tail\n")
    text = f"{line}\n{SMALL}" if "[" not in line else f"{head}{tail}\n{line}\n"
    (tmp_path / "s.toml").write_text(text)
    ran = run_meadow("study", tmp_path / "s.toml", "--raw", tmp_path, "--out", tmp_path / "o")
    assert ran.code == 2
    assert message in ran.err


def test_a_base_that_no_hub_has_says_how_it_is_made(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEADOW_TEST_BASE", str(tmp_path / "nowhere"))
    text = SMALL.replace('base = "random"\nmix = "m"', 'base = "local:own"\nmix = "m"')
    text += (
        '[bases.own]\nfolder = "~/own"\nvariable = "MEADOW_TEST_BASE"\nmake = "make it by hand"\n'
    )
    (tmp_path / "s.toml").write_text(text)
    ran = run_meadow("study", tmp_path / "s.toml", "--raw", tmp_path, "--out", tmp_path / "o")
    assert ran.code == 1
    assert "the base own is missing" in ran.err
    assert str(tmp_path / "nowhere") in ran.err
    assert "make it by hand, and name its folder with MEADOW_TEST_BASE" in ran.err


def test_twins_without_a_table_say_what_is_missing(tmp_path) -> None:
    (tmp_path / "s.toml").write_text(SMALL)
    ran = run_meadow(
        "study", tmp_path / "s.toml", "--raw", tmp_path, "--out", tmp_path / "o", "--add-one-in"
    )
    assert ran.code == 2
    assert "[worth]" in ran.err


def test_a_missing_raw_file_is_named(tmp_path) -> None:
    ran = run_meadow("study", "cpu", "--raw", tmp_path, "--out", tmp_path / "o")
    assert ran.code == 1
    assert "pubmed_causal" in ran.err


SMALL = """title = "Small"
seed = 3
template = "bare"
paper = false

[files]
pubmed_causal = ["pubmed_causal/data/pubmed_causal_language_use.csv"]

[[exams]]
name = "e"
parts = [{ source = "pubmed_causal", per_class = 12 }]

[mixes.m.inline]
deduplicate = "near"
drop = "stem"
parts = [{ source = "pubmed_causal", quota = 300 }]

[mixes.few]
keep = 0.05

[mixes.few.inline]
deduplicate = "near"
drop = "stem"
parts = [{ source = "pubmed_causal" }]

[training]
row = "study"
variant = "tiny"
method = "full"
data = { template = "bare", length = 128 }
batch = { examples = 8, row_tokens = 256 }
optimizer = { learning_rate = 1e-3 }
schedule = { max_steps = 6 }

[training.base]
repository = "random"

[training.base.dimensions]
vocab_size = 512
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 2
max_position_embeddings = 256

[[arms]]
name = "base"
base = "random"
mix = "m"
set = ["schedule.max_steps=1"]

[[arms]]
name = "tuned"
base = "arm:base"
mix = "m"

[[arms]]
name = "few"
base = "arm:base"
mix = "few"

[[comparisons]]
question = "RQ1"
a = "base"
b = "tuned"
exam = "e"
about = "Six steps help"
margin = 0.3

[contamination]
arm = "few"
exam = "e"
levels = ["verbatim", "reworded"]
words = { "with" = "having", "patients" = "people" }
# tail
"""


@pytest.fixture(scope="module")
def finished(upstream, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "s.toml").write_text(SMALL)
    ran = run_meadow("study", folder / "s.toml", "--raw", upstream, "--out", folder / "o")
    assert ran.code == 0, ran.err
    return folder


@pytest.mark.realdata
def test_a_small_study_answers_with_intervals(finished) -> None:
    document = json.loads((finished / "o" / "report.json").read_text())
    entry = document["comparisons"][0]
    assert entry["n"] == 48
    assert entry["ci95"][0] <= entry["difference"] <= entry["ci95"][1]
    assert document["questions"][0]["answers"] == [entry["sentence"]]
    assert "within 30 points (TOST p" in entry["sentence"] or entry["ci95"][0] > 0
    first, second = (arm["trained"]["tokens"] for arm in document["arms"][:2])
    assert entry["tokens"] == [first, second]
    names = {"base", "tuned", "few", "few-verbatim", "few-reworded"}
    assert {arm["name"] for arm in document["arms"]} == names
    page = (finished / "o" / "report.html").read_text()
    linked = set(re.findall(r'href="([^"]+)"', page))
    assert {link.partition("/")[0] for link in linked} == {"arms", "mixes"}
    assert [link for link in linked if not (finished / "o" / link).is_file()] == []
    assert entry["about"] in page
    assert "<script" not in page


@pytest.mark.realdata
def test_planted_items_are_found_and_training_on_them_is_refused(
    finished, upstream, tmp_path
) -> None:
    document = json.loads((finished / "o" / "report.json").read_text())
    found = {mix["name"]: mix["contamination"]["e"] for mix in document["mixes"]}
    assert found["m"] == found["few"] == {}
    assert found["few-verbatim"]["stem+answer"] >= 18
    verbatim, reworded = document["contamination"]
    for level in (verbatim, reworded):
        strata = level["strata"]
        assert strata["touched"]["n"] == level["rows"] >= 18
        assert strata["touched"]["n"] + strata["untouched"]["n"] == 48
        assert level["elsewhere"] == 0
        low, high = level["effect_ci95"]
        assert low <= level["effect"] <= high
    assert verbatim["kept_runs"] == 1.0 > reworded["kept_runs"]
    assert verbatim["found"] == {"stem+answer": verbatim["rows"]}
    assert verbatim["sentence"] in (finished / "o" / "report.md").read_text()
    text = SMALL.replace(
        "[[comparisons]]",
        """[mixes.touched]
touch = { exam = "e" }
keep = 0.05

[mixes.touched.inline]
parts = [{ source = "pubmed_causal" }]

[[arms]]
name = "unaware"
base = "arm:base"
mix = "touched"

[[comparisons]]""",
    )
    (tmp_path / "s.toml").write_text(text)
    shutil.copytree(finished / "o", tmp_path / "o")
    ran = run_meadow("study", tmp_path / "s.toml", "--raw", upstream, "--out", tmp_path / "o")
    assert ran.code == 6, ran.err


@pytest.mark.realdata
def test_a_finished_study_computes_nothing_again(finished, upstream) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "o" / "arms").rglob("*")}
    report = (finished / "o" / "report.json").read_bytes()
    ran = run_meadow(
        "study", finished / "s.toml", "--raw", upstream, "--out", finished / "o"
    )  # fmt: skip
    assert ran.code == 0
    assert ran.err.count("finished before") == 5
    assert {p: p.stat().st_mtime_ns for p in (finished / "o" / "arms").rglob("*")} == before
    assert (finished / "o" / "report.json").read_bytes() == report


@pytest.mark.realdata
def test_a_study_that_lost_parts_ends_with_the_same_report(finished, upstream, tmp_path) -> None:
    out = finished / "o"
    names = ("report.json", "report.md", "report.html")
    before = {name: (out / name).read_bytes() for name in names}
    (out / "arms" / "tuned" / "arm.json").unlink()
    shutil.rmtree(out / "arms" / "tuned" / "eval")
    shutil.rmtree(out / "arms" / "few-reworded")
    (out / "mixes" / "m" / "MANIFEST.json").unlink()
    (out / "held_out" / "held_out.json").unlink()
    for name in names:
        (out / name).unlink()
    ran = run_meadow("study", finished / "s.toml", "--raw", upstream, "--out", out)
    assert ran.code == 0, ran.err
    assert {name: (out / name).read_bytes() for name in names} == before


@pytest.fixture(scope="module")
def worth(upstream, tmp_path_factory) -> Path:
    """A twentieth of cpu.toml's mix on its base, and twins for three of its four sources."""
    text = (STUDIES / "cpu.toml").read_text()
    for old, new in (
        ("[mixes.clean.inline]", "[mixes.clean]\nkeep = 0.05\n\n[mixes.clean.inline]"),
        ("[worth]\n", '[worth]\nsources = ["pubmed_causal", "health_advice", "medquad"]\n'),
        ("quota = 300", "quota = 60"),
        ("quota = 100", "quota = 40"),
        ("per_class = 66", "per_class = 22"),
        ("per_class = 87", "per_class = 29"),
        ("items = 120", "items = 60"),
    ):
        assert old in text
        text = text.replace(old, new)
    folder = tmp_path_factory.mktemp("worth")
    (folder / "s.toml").write_text(text)
    for how in ("--leave-one-out", "--add-one-in"):
        ran = run_meadow("study", folder / "s.toml", "--raw", upstream, "--out", folder / "o", how)
        assert ran.code == 0, ran.err
        assert "at a time: about" in ran.err.splitlines()[0]
    return folder / "o"


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("how", ["leave-one-out", "add-one-in"])
def test_twins_differ_in_one_source_and_say_what_it_is_worth(worth, how) -> None:
    document = json.loads((worth / f"{how}.json").read_text())
    assert {row["source"] for row in document["worth"]} == {
        "pubmed_causal", "health_advice", "medquad"
    }  # fmt: skip
    assert all(row["rows"] > 20 and row["elsewhere"] == 0 for row in document["worth"])
    assert len(document["comparisons"]) == 6
    for entry in document["comparisons"]:
        assert entry["ci95"][0] <= entry["difference"] <= entry["ci95"][1]
        assert "points [" in entry["sentence"]
        assert entry["sentence"] in (worth / f"{how}.md").read_text()


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(5400)
def test_the_card_of_the_mix_says_what_its_sources_are_worth(worth, upstream) -> None:
    mix = worth / "mixes" / "clean"
    card = (mix / "README.md").read_text()
    assert "## What each source is worth" in card
    assert card.count(" points [") == 6
    assert run_meadow("check", mix).code == 0
    assert "worth" not in (worth / "mixes" / "full-without-medquad" / "README.md").read_text()
    before = (mix / "MANIFEST.json").read_bytes()
    ran = run_meadow(
        "study", worth.parent / "s.toml", "--raw", upstream, "--out", worth, "--leave-one-out"
    )
    assert ran.err.count("finished before") == 4
    assert (mix / "MANIFEST.json").read_bytes() == before
