"""A card says of its rows what was counted in them."""

import json
from pathlib import Path
from typing import Any

import yaml
from support.command import run_meadow

from meadow.samples import FOLDER

GERMAN = (
    "Welcher Nerv versorgt den Deltamuskel?\tDer Nervus axillaris, der unter dem Schultergelenk "
    "nach hinten zieht und auch die Haut darüber versorgt.\n"
    "Was misst man bei einer Spirometrie?\tDie Luft, die ein Mensch nach tiefem Einatmen so "
    "schnell wie möglich ausatmet, und wie viel davon in der ersten Sekunde kommt.\n"
)


def card(folder: Path) -> tuple[dict[str, Any], str]:
    front, _, body = (folder / "README.md").read_text()[4:].partition("\n---\n")
    return yaml.safe_load(front), body


def built(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    out = tmp_path / "c"
    ran = run_meadow("build", *arguments, "--out", str(out))
    assert ran.code in (0, 3), ran.err
    return *card(out), json.loads((out / "croissant.json").read_text())


def test_one_licence_is_itself_and_tasks_are_those_of_the_rows(tmp_path: Path) -> None:
    front, body, croissant = built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal")
    assert front["license"] == "gpl-3.0"
    assert front["task_categories"] == ["text-classification"]
    assert front["language"] == croissant["inLanguage"] == ["en"]
    assert "no row was searched for personal data" in body


def test_a_language_is_measured(tmp_path: Path) -> None:
    deck = tmp_path / "deutsch.txt"
    deck.write_text(f"#separator:tab\n#html:false\n{GERMAN}", encoding="utf-8")
    front, body, croissant = built(tmp_path, "--file", f"anki={deck}")
    assert front["language"] == croissant["inLanguage"] == ["de"]
    assert front["multilinguality"] == ["monolingual"]
    assert "English" not in body + json.dumps(croissant)
    assert "Searched, since people wrote freely there: anki" in body


def test_several_licences_languages_and_the_column_of_messages(tmp_path: Path) -> None:
    deck = tmp_path / "deutsch.txt"
    deck.write_text(f"#separator:tab\n#html:false\n{GERMAN}", encoding="utf-8")
    chat = tmp_path / "chatdoctor5k.json"
    chat.write_bytes((FOLDER / "chatdoctor" / "chatdoctor5k.json").read_bytes())
    front, _, _ = built(tmp_path, "--file", f"anki={deck}", "--file", f"chatdoctor={chat}")
    assert front["license"] == "other"
    assert set(front["language"]) == {"de", "en"}
    assert front["multilinguality"] == ["multilingual"]
    mixed = tmp_path / "m"
    ran = run_meadow("mix", "full", "--corpus", str(tmp_path / "c"), "--format", "messages",
                     "--accept-licence", "anki", "--accept-licence", "chatdoctor",
                     "--out", str(mixed))  # fmt: skip
    assert ran.code == 0, ran.err
    _, body = card(mixed)
    assert "`messages`" in body
    croissant = json.loads((mixed / "croissant.json").read_text())
    for records in croissant["recordSet"]:
        assert "messages" in {field["name"] for field in records["field"]}


def test_a_mix_claims_what_it_did(tmp_path: Path) -> None:
    built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal,medquad")
    for name, arguments, said, unsaid in (
        ("bare", ["--deduplicate", "none"], ["not looked for", "No exam was given"], ["Jaccard"]),
        ("exact", ["--deduplicate", "exact"], ["same words"], ["Jaccard", "not looked for"]),
        ("near", ["--threshold", "0.8"], ["at least 0.8"], ["not looked for"]),
    ):
        run_meadow("mix", "clean", "--corpus", str(tmp_path / "c"), *arguments,
                   "--out", str(tmp_path / name))  # fmt: skip
        body = " ".join(card(tmp_path / name)[1].split())
        assert [words for words in said if words not in body] == []
        assert [words for words in unsaid if words in body] == []
        assert "| pubmed_causal |" in body


def test_what_is_held_elsewhere_is_dropped_and_said(tmp_path: Path) -> None:
    built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal,medquad")
    corpus = str(tmp_path / "c")
    run_meadow("mix", "clean", "--corpus", corpus, "--out", str(tmp_path / "old"))
    ran = run_meadow("mix", "clean", "--corpus", corpus, "--keep-from", str(tmp_path / "old"),
                     "--out", str(tmp_path / "new"))  # fmt: skip
    assert ran.code == 0, ran.err
    rows = json.loads((tmp_path / "old" / "MANIFEST.json").read_text())["details"]["rows"]
    new = json.loads((tmp_path / "new" / "MANIFEST.json").read_text())["details"]
    assert new["rows"]["distinct"] == 0
    assert new["duplicates"]["held_elsewhere"] >= rows["distinct"] > 10
    assert "--keep-from HELD" in (tmp_path / "new" / "README.md").read_text()
    ran = run_meadow("mix", "clean", "--corpus", corpus, "--keep-from", corpus, "--deduplicate",
                     "none", "--out", str(tmp_path / "none"))  # fmt: skip
    assert ran.code == 2
