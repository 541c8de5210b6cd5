"""A source of one's own from its TOML file to a mix: like any other, and without the file again."""

import re
from pathlib import Path

import pytest

import meadow
from meadow.build.own import own_documents
from meadow.config import Config
from meadow.corpus.manifest import NAME, read_manifest
from meadow.errors import CheckError, MeadowError, UpstreamChangedError, UsageError
from meadow.hub.publish import check_licenses
from meadow.hub.rebuild import rebuild
from meadow.quality.check import check_corpus

FORM = """name = "clinic"
title = "A clinic"
license = "cc-by-4.0"
free_text = true
homepage = "https://clinic.example"
prose = "Rows of a *clinic*."
[read]
format = "jsonl"
[row]
task = "open_qa"
instruction = "Answer."
input = "{q}"
output = "{a}"
id = "{n}"
authors = [{ name = "A Clinic" }]
[[example]]
raw = { n = 1, q = "a secret row", a = "y" }
row = { input = "a secret row" }
"""
LINES = """{"n": 1, "q": "What helps against fever? Write to a@clinic.example", "a": "Rest."}
{"n": 2, "q": "What is an ileus?", "a": ""}
{"n": 3, "q": "What is an ulcer?", "a": "A sore."}
"""


@pytest.fixture
def form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.jsonl").write_text(LINES)
    path = tmp_path / "clinic.toml"
    path.write_text(FORM)
    return path


def build(out: str = "corpus", **more: object) -> meadow.Corpus:
    given = {"own": ["clinic.toml"], "files": {"clinic": "lines.jsonl"}} | more
    return meadow.build(out=out, **given)  # type: ignore[arg-type]


def test_the_folder_needs_the_file_no_more(form: Path, tmp_path: Path) -> None:
    corpus = build()
    entry = corpus.manifest.sources["clinic"]
    assert (entry.rows_in, entry.rows_out, dict(entry.rejected)) == (3, 2, {"empty_output": 1})
    form.unlink()
    text = (corpus.folder / NAME).read_text()
    assert "a secret row" not in text
    assert check_corpus(corpus.folder) == []
    check_licenses(corpus.folder, corpus.manifest)
    card = (corpus.folder / "README.md").read_text()
    assert "Rows of a \\*clinic\\*." in card
    assert "Searched, since people wrote freely there: clinic." in card
    assert f"meadow build --source {NAME} --file clinic=lines.jsonl" in card
    mixed = meadow.mix("clean", corpus=corpus, out="mix")
    assert check_corpus(mixed.folder) == []
    assert "A clinic" in (mixed.folder / "README.md").read_text()
    again = build("again", own=[corpus.folder])
    assert again.manifest.sources == corpus.manifest.sources
    found = rebuild(
        corpus.manifest, tmp_path / "b", config=Config(), files={"clinic": "lines.jsonl"}
    )
    assert found.findings == ()


def test_a_key_in_an_address_stays_out_of_the_folder(form: Path) -> None:
    held = "https://ada:canary@clinic.example/rows.jsonl?token=canary"
    hub = "hf://datasets/clinic/rows@v1.0.0/rows.jsonl"
    files = "".join(
        f'[[files]]\nname = "{n}.jsonl"\nurl = "{url}"\n' for n, url in enumerate((held, hub))
    )
    form.write_text(FORM + files)
    folder = build().folder
    kept = read_manifest(folder).own_sources["clinic"]["files"]
    assert [file["url"] for file in kept] == ["https://clinic.example/rows.jsonl", hub]
    assert not any("canary" in path.read_text("utf-8", "ignore") for path in folder.rglob("*.*"))


def test_what_the_file_says_is_the_version(form: Path) -> None:
    first = build()
    lines: list[str] = []
    form.write_text(FORM + "# a remark\n")
    build(progress=lines.append)
    assert lines[0] == "clinic: unchanged, 2 rows"
    form.write_text(FORM.replace('"Answer."', '"Say."'))
    assert build().manifest.sources["clinic"].key != first.manifest.sources["clinic"].key
    assert {row["instruction"] for row in build().to_polars().to_dicts()} == {"Say."}


def test_traits_come_from_the_folder(form: Path) -> None:
    form.write_text(FORM.replace("free_text = true", "free_text = false\nexam = true"))
    corpus = build()
    with pytest.raises(CheckError, match=r"no row is left \(exams: not_a_target 2\)"):
        meadow.mix("clean", corpus=corpus, out="mix")


def test_an_id_that_stands_twice_ends_the_build_and_leaves_the_folder(form: Path) -> None:
    before = build()
    (form.parent / "lines.jsonl").write_text(LINES + '{"n": 1, "q": "Other?", "a": "Other."}\n')
    with pytest.raises(UpstreamChangedError, match="'1' stands for two contents"):
        build()
    assert read_manifest(before.folder).text() == before.manifest.text()
    assert check_corpus(before.folder) == []


def test_what_a_file_says_is_text_wherever_it_is_shown(form: Path) -> None:
    """A manifest can come from anybody, and a card is read in a browser."""
    said = "<script>alert(1)</script> [x](javascript:alert) `{{ 7 * 7 }}`"
    text = FORM.replace('"A clinic"', f"'{said}'").replace("*clinic*", said)
    form.write_text(text + f"[provenance]\ntext_sources = ['{said}']\n")
    folder = build().folder
    mixed = meadow.mix("clean", corpus=folder, out="mix").folder
    for card in (folder / "README.md", mixed / "README.md"):
        shown = card.read_text()
        assert not re.search(r"(?<!\\)(?:<script|\]\(javascript)", shown)
        assert "49" not in shown.partition("### ")[2].partition("generated")[0]
    form.write_text(FORM.replace("https://clinic.example", "https://x.example/><script>"))
    with pytest.raises(UsageError, match="homepage: should be an address"):
        build("other")


def test_a_manifest_may_not_give_a_source_another_name(form: Path) -> None:
    corpus = build()
    path = corpus.folder / NAME
    path.write_text(path.read_text().replace('"name": "clinic"', '"name": "other"'))
    with pytest.raises(UpstreamChangedError, match="of the name 'other'"):
        check_corpus(corpus.folder)


def test_names(form: Path) -> None:
    folder = form.parent / "more"
    folder.mkdir()
    (folder / "b.toml").write_text(FORM.replace("A clinic", "Another"))
    with pytest.raises(UsageError, match="two sources have the name 'clinic'"):
        own_documents([form, folder])
    (folder / "b.toml").write_text(FORM.replace('"clinic"', '"medqa"'))
    with pytest.raises(UsageError, match="'medqa' is that of a source of the house"):
        own_documents([folder])
    (folder / "b.toml").unlink()
    with pytest.raises(MeadowError, match="holds no TOML file"):
        own_documents([folder])


def test_meadow_toml_can_name_them(form: Path) -> None:
    Path("meadow.toml").write_text(
        'sources = ["clinic.toml"]\n[vouch.clinic]\nlicence = "cc0-1.0"\nwho = "Ada"\n'
        "when = 2026-01-01\n"
    )
    with pytest.raises(UsageError, match="the licence of clinic is stated"):
        build(own=[])
    form.write_text(FORM.replace("cc-by-4.0", "user-supplied"))
    assert set(build(own=[]).to_polars()["license"]) == {"cc0-1.0"}
    lines: list[str] = []
    from meadow.samples import FOLDER

    build("other", files={"alpaca": FOLDER / "alpaca"}, progress=lines.append)
    assert lines[0].startswith("note: clinic is known, and not built")


def test_a_folder_says_what_is_not_understood(form: Path) -> None:
    corpus = build()
    path = corpus.folder / NAME
    path.write_text(path.read_text().replace('"free_text": true', '"free_text": true, "new": 1'))
    with pytest.raises(UpstreamChangedError, match="is not understood here: unknown key 'new'"):
        check_corpus(corpus.folder)
