"""A card says of its rows what was counted in them."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from support.command import run_meadow

from meadow.api import open_corpus
from meadow.cards.card import CARD
from meadow.cards.documents import render_documents
from meadow.samples import FOLDER
from meadow.sources import SOURCES

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


def test_languages_are_counted_by_the_build_as_the_rows_say_them(tmp_path: Path) -> None:
    deck = tmp_path / "deutsch.txt"
    cards = "".join(f"{n}. {line}\n" for n in range(600) for line in GERMAN.splitlines())
    deck.write_text(f"#separator:tab\n#html:false\n{cards}", encoding="utf-8")
    named = ("--file", f"anki={deck}", "--only", "anki,medqa,pubmed_causal")
    built(tmp_path, "--raw", str(FOLDER), *named)
    corpus = open_corpus(tmp_path / "c")

    def told(spoken: dict[str, dict[str, int]]) -> dict[str, bytes]:
        entries = {
            name: replace(entry, facts=entry.facts | {"languages": spoken.get(name, {})})
            for name, entry in corpus.manifest.sources.items()
        }
        manifest = replace(corpus.manifest, sources=entries)
        return render_documents(manifest, corpus.folder.__truediv__)

    counted = {name: entry.facts["languages"] for name, entry in corpus.manifest.sources.items()}
    assert counted["anki"] == {"de": 600}  # of 1,200 each second one
    documents = told(counted)
    assert documents[CARD] == (corpus.folder / CARD).read_bytes()
    # where nobody counted, and where a hand wrote, the rows are read
    assert told({}) == told({"anki": {"<b>": 5}, "medqa": {"de": 1, "English": 4}}) == documents
    assert told(counted | {"anki": {"fr": 9}}) != documents


def test_each_source_is_cited_on_a_line_of_its_own(tmp_path: Path) -> None:
    _, body, _ = built(tmp_path, "--raw", str(FOLDER), "--only", "anki,medquad,pubmed_causal")
    _, _, cited = body.partition("And the sources used:\n\n")
    lines = cited.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"- {SOURCES[name].title}" for name in ("anki", "medquad", "pubmed_causal")
    ]
    for line in lines:
        assert re.search(r"[^.]\. <https://\S+>$", line), line


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


def test_what_was_cut_is_said_of_the_corpus_and_of_its_mix(tmp_path: Path) -> None:
    _, body, _ = built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal", "--limit", "5")
    said = "pubmed_causal was cut after 5 candidate rows (--limit)."
    assert said in body
    assert "| candidate rows in (cut: --limit 5) | 5 |" in body
    mixed = run_meadow("mix", "clean", "--corpus", tmp_path / "c", "--out", tmp_path / "m")
    assert mixed.code == 0
    assert said in card(tmp_path / "m")[1]


def test_a_mix_says_its_order_its_duplicates_and_its_verdicts(tmp_path: Path) -> None:
    built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal,medquad,medqa")
    row = (FOLDER / "medqa" / "train.jsonl").read_text().splitlines()[0]
    (tmp_path / "bees.jsonl").write_text(row + "\n")
    command = ("mix", "clean", "--corpus", tmp_path / "c", "--exam", f"bees={tmp_path}/bees.jsonl")
    assert run_meadow(*command, "--out", tmp_path / "m").code == 0
    front, body = card(tmp_path / "m")
    details = json.loads((tmp_path / "m/MANIFEST.json").read_text())["details"]
    assert f"{details['duplicates']['dropped']:,} row" in body
    assert f"| bees | {details['contamination']['bees']['verdict']} | 1 |" in body
    assert "Rows stand shuffled, by a hash of the seed and their id." in body
    assert "expert-generated" not in front["annotations_creators"]
    own = run_meadow(*command, "--order", "source", "--out", tmp_path / "m2")
    assert own.code == 0
    assert "Rows stand source by source" in card(tmp_path / "m2")[1]


def test_tokens_are_those_of_the_tokenizer_that_is_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal,medquad")
    assert run_meadow("mix", "clean", "--corpus", tmp_path / "c", "--out", tmp_path / "m").code == 0
    words = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = WhitespaceSplit()
    words.enable_truncation(3)
    words.save(str(tmp_path / "tokenizer.json"))
    given = f"words={tmp_path}"
    for folder in ("c", "m"):
        assert run_meadow("card", tmp_path / folder, "--tokenizer", given).code == 0
        rows = open_corpus(tmp_path / folder).to_arrow().to_pylist()
        counts: Counter[str] = Counter()
        for row in rows:
            texts = (row[name] for name in ("instruction", "input", "output"))
            counts[row["source"]] += sum(len(text.split()) for text in texts)
        _, body = card(tmp_path / folder)
        assert f"{counts.total():,} tokens of words (tokenizer.json with the SHA-256" in body
        for source, count in counts.items():
            assert re.search(rf"^\| {source} .* \| {count:,} \|$", body, re.MULTILINE)
        assert run_meadow("check", tmp_path / folder).code == 0
    for only, stays in (("pubmed_causal,medquad", True), ("medqa", False)):
        ran = run_meadow("build", "--raw", FOLDER, "--only", only, "--out", tmp_path / "c")
        assert ran.code in (0, 3)
        assert ("tokens of words" in card(tmp_path / "c")[1]) == stays
        assert ("counts them again" in ran.err) != stays
    for wrong in (str(tmp_path), "words=", "=x", f"words={tmp_path / 'none.json'}"):
        assert run_meadow("card", tmp_path / "m", "--tokenizer", wrong).code in (1, 2)


def test_one_word_says_of_a_source_whether_it_may_be_published(root: Path) -> None:
    readme = dict(
        re.findall(
            r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| ([^|;]+)[^|]* \|",
            (root / "README.md").read_text(),
            re.MULTILINE,
        )
    )
    licences = {}
    for names, word in re.findall(
        r"^\| ([\w, ]+) \| [^|]+ \| ([\w ]+) \|",
        (root / "DATA_LICENSES.md").read_text(),
        re.MULTILINE,
    ):
        licences |= dict.fromkeys(names.split(", "), word)
    printed = json.loads(run_meadow("sources", "--json").out)["sources"]
    assert {item["name"] for item in printed} == set(SOURCES)
    for item in printed:
        words = {readme[item["name"]].strip(), licences[item["name"]], item["publishable"]}
        assert words == {SOURCES[item["name"]].publishable}, item["name"]


def test_rows_that_a_model_wrote_are_said_to_be(tmp_path: Path) -> None:
    row = {"instruction": "Answer this question truthfully", "input": "What hums in a hive?",
           "output": "Bees hum in a hive, by the beat of their wings."}  # fmt: skip
    file = tmp_path / "medical_meadow_wikidoc_medical_flashcards.json"
    file.write_text(json.dumps([row]))
    front, body, croissant = built(tmp_path, "--file", f"anki={file}")
    assert "machine-generated" in front["annotations_creators"]
    assert "synthetic" in front["tags"]
    (model,) = {r["rephrased_by"] for r in open_corpus(tmp_path / "c").to_arrow().to_pylist()}
    assert croissant["rai:machineAnnotationTools"] == [f"{model}: 1 rows"]
    labels = [each["prov:label"] for each in croissant["prov:wasGeneratedBy"]]
    assert labels[1:] == ["rewritten or reasoned about by a language model: 1 rows"]
    assert "1 medical instruction examples from 1 source," in body


def test_the_task_of_every_row_is_the_category(tmp_path: Path) -> None:
    front, _, croissant = built(tmp_path, "--raw", str(FOLDER), "--only", "cord19")
    assert front["task_categories"] == ["summarization"]
    licences = {r["license"] for r in open_corpus(tmp_path / "c").to_arrow().to_pylist()}
    assert len(croissant["usageInfo"]) == len(licences)
    closed = [each for each in croissant["usageInfo"] if "text and data mining" in each["name"]]
    assert closed[0]["odrl:prohibition"] == [{"odrl:action": {"@id": "odrl:distribute"}}]
    assert "odrl:permission" not in closed[0]


def test_personal_data_is_replaced_in_either_style_and_counted(tmp_path: Path) -> None:
    posts = tmp_path / "Posts.xml"
    body = "&lt;p&gt;{}&lt;/p&gt;"
    ask = body.format("Why does my kettle sing so loudly before the water boils?")
    tell = body.format("The first bubbles burst. Write to singing@kettle-house.org for more.")
    posts.write_text(
        '<?xml version="1.0"?>\n<posts>\n<row Id="1" PostTypeId="1" Title="Why does it sing?" '
        f'Body="{ask}" Score="9" CreationDate="2020-01-01T00:00:00.000" OwnerUserId="1" />\n'
        f'<row Id="2" PostTypeId="2" ParentId="1" Body="{tell}" Score="8" '
        'CreationDate="2020-01-02T00:00:00.000" OwnerUserId="2" />\n</posts>\n'
    )
    for style in ("meadow", "2023"):
        place = tmp_path / style
        place.mkdir()
        _, said, told = built(place, "--file", f"stack_exchange:coffee={posts}", "--style", style)
        (row,) = open_corpus(place / "c").to_arrow().to_pylist()
        assert "kettle-house.org" not in row["output"]
        assert "| email | 1 |" in said
        assert "email in 1 rows" in told["rai:personalSensitiveInformation"]


def test_a_study_of_a_mix_tells_its_card_what_each_source_is_worth(tmp_path: Path) -> None:
    told = {"study": "On two cores", "method": "full", "parameters": 260_000, "elsewhere": 0,
            "results": [
        {"source": "medquad", "about": "MedQuAD", "exam": "choice", "difference": 0.018,
         "ci95": [0.004, 0.031], "n": 120, "p_holm": 0.0213},
    ]}  # fmt: skip
    built(tmp_path, "--raw", str(FOLDER), "--only", "pubmed_causal", "--limit", "5")
    corpus = open_corpus(tmp_path / "c")

    def rendered(**worth: Any) -> str:
        manifest = replace(corpus.manifest, details={**corpus.manifest.details, "worth": worth})
        return render_documents(manifest, lambda name: corpus.folder / name)[CARD].decode()

    assert "is worth" not in rendered()
    said = rendered(**told)
    assert "- MedQuAD: +1.8 points [+0.4, +3.1] on choice (120 items, p 0.021 after Holm)" in said
    assert "260,000 weights" in said
    assert "all else equal" in said
    others = rendered(**told | {"elsewhere": 8})
    assert "with 8 other rows different too" in others
    assert "all else equal" not in others
