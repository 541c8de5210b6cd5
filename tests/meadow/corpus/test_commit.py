"""The commit of a folder: what stands there before, between and afterwards."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from meadow.corpus.commit import STAGING, changed_documents, claim, commit_folder, open_staging
from meadow.corpus.manifest import (
    NAME,
    Manifest,
    NamedFile,
    SourceEntry,
    parse_manifest,
    read_manifest,
)
from meadow.errors import FileError, UsageError

CARD = {"README.md": b"a card\n"}


def stage(folder: Path, **texts: str) -> tuple[Manifest, dict[str, Path]]:
    """Files in a staging folder, and a manifest that names them."""
    staging = open_staging(folder, "mine")
    staged = {}
    for name, text in texts.items():
        staged[name] = staging / name
        staged[name].write_text(text)
    files = tuple(NamedFile.of(path, name) for name, path in staged.items())
    return Manifest(stage="mix", config_hash="mine", settings={}, files=files), staged


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != NAME}


def test_a_manifest_is_written_in_order_and_read_back() -> None:
    files = [NamedFile(path=name, sha256="0", bytes=1) for name in ("b.md", "a.md")]
    entry = SourceEntry(
        rows_in=3, rows_out=1, rejected=Counter(bad_json=1, action=1), repaired={},
        origin="upstream", inputs=(), shards=(), quarantine=files[0], key="k",
        facts={"tasks": Counter(b=1, a=2)},
    )  # fmt: skip
    told = {"since": date(2026, 1, 2), "parts": ({"n": None, "met": True},), "names": {"x"}}
    written = Manifest(
        stage="build", config_hash="h", settings=told, files=tuple(files),
        sources={"b": entry, "a": replace(entry, own={"title": "A"}, limit=0)},
    )  # fmt: skip
    document = json.loads(written.text())
    assert [file["path"] for file in document["files"]] == ["a.md", "b.md"]
    assert list(document["sources"]) == ["a", "b"]
    assert list(document["sources"]["b"]["rejected"]) == ["action", "bad_json"]
    assert list(document["sources"]["b"]["facts"]["tasks"]) == ["a", "b"]
    assert {"own", "limit"} & document["sources"]["a"].keys() == {"own", "limit"}
    assert not {"own", "limit"} & document["sources"]["b"].keys()
    assert not {"configs", "steps"} & document.keys()
    # TOML has dates, and the house tuples and sets; JSON has neither
    plain = {"since": "2026-01-02", "parts": [{"n": None, "met": True}], "names": ["x"]}
    assert document["settings"] == plain
    read = parse_manifest(written.text().encode(), "here")
    assert read == replace(written, settings=plain, files=tuple(files[::-1]))


def test_a_folder_holds_what_its_manifest_names_and_nothing_of_before(tmp_path: Path) -> None:
    commit_folder(tmp_path, *stage(tmp_path, a="1", b="2"), CARD)
    assert contents(tmp_path) == {"a": "1", "b": "2", "README.md": "a card\n"}
    commit_folder(tmp_path, *stage(tmp_path, a="3"), {"README.md": b"another\n"})
    assert contents(tmp_path) == {"a": "3", "README.md": "another\n"}
    assert read_manifest(tmp_path).named().keys() == {"a", "README.md"}


def test_what_a_killed_run_left_is_known_to_the_next(tmp_path: Path) -> None:
    commit_folder(tmp_path, *stage(tmp_path, old="1"), CARD)
    manifest, staged = stage(tmp_path, new="2")
    (tmp_path / STAGING / "replaced.json").write_text(json.dumps(["old", "README.md", "../x"]))
    (tmp_path / NAME).unlink()  # a kill behind this leaves no other list of the old files
    assert claim(tmp_path, "mix", "mine") is None
    outside = tmp_path.parent / "x"
    outside.write_text("not ours")
    commit_folder(tmp_path, manifest, staged, {})
    assert contents(tmp_path) == {"new": "2"}
    assert outside.exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    assert claim(tmp_path / "none", "mix", "mine") is None
    commit_folder(tmp_path, *stage(tmp_path, a="1"), {})
    assert claim(tmp_path, "mix", "mine") is not None
    for stage_name, config_hash, said in (
        ("build", "mine", "something else"),
        ("mix", "other", "a mix of other options"),
    ):
        with pytest.raises(UsageError, match=said):
            claim(tmp_path, stage_name, config_hash)
    (tmp_path / NAME).write_text("{")
    with pytest.raises(FileError, match=r"MANIFEST\.json"):
        claim(tmp_path, "mix", "mine")
    (tmp_path / NAME).unlink()
    with pytest.raises(UsageError, match="not empty"):
        claim(tmp_path, "mix", "mine")


def test_a_report_stays_while_what_it_tells_is_so(tmp_path: Path) -> None:
    manifest, staged = stage(tmp_path, a="1")
    manifest = commit_folder(tmp_path, manifest, staged, CARD)
    manifest = commit_folder(tmp_path, manifest, {}, {"report.md": b"of one row\n"})
    assert changed_documents(tmp_path, manifest, CARD) == []
    bare = replace(manifest, files=tuple(file for file in manifest.files if file.path == "a"))
    commit_folder(tmp_path, bare, {}, {"README.md": b"the card again\n"})
    assert contents(tmp_path)["report.md"] == "of one row\n"
    commit_folder(tmp_path, replace(bare, details={"contact": "a@b.example"}), {}, CARD)
    assert contents(tmp_path) == {"a": "1", "README.md": "a card\n"}


def test_staging_of_other_settings_goes_and_a_resumed_one_stays(tmp_path: Path) -> None:
    staging = open_staging(tmp_path, "mine")
    (staging / "done").write_text("1")
    (staging / "half.part").write_text("1")
    open_staging(tmp_path, "mine", resume=True)
    assert {path.name for path in staging.iterdir()} == {"config.json", "done"}
    open_staging(tmp_path, "mine")
    assert {path.name for path in staging.iterdir()} == {"config.json"}
    (staging / "done").write_text("1")
    open_staging(tmp_path, "other", resume=True)
    assert {path.name for path in staging.iterdir()} == {"config.json"}
