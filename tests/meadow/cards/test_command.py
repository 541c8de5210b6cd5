"""The command on a card, run as it stands there, gives the same bytes."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from support.command import run_meadow

from meadow.cards.command import conditions, regenerate
from meadow.corpus.manifest import parse_manifest, read_manifest
from meadow.errors import FileError
from meadow.samples import FOLDER

ROW = {"question": "Which reed whistles at noon?", "options": {"A": "thin", "B": "thick"},
       "answer": "thin", "answer_idx": "A", "meta_info": "step1"}  # fmt: skip
POSTS = FOLDER / "stack_exchange"


def on_the_card(folder: Path, places: dict[str, str]) -> list[str]:
    """The words of the card's command, with its placeholders and file names filled in."""
    card = (folder / "README.md").read_text()
    found = re.search(r"byte for byte, with [^\n]*:\n\n```\nmeadow ([^\n]*)\n```", card)
    assert found, card
    words = []
    for word in shlex.split(found[1]):
        name, equals, path = word.partition("=")
        last = path if equals else word
        words.append(f"{name}={places[last]}" if equals and last in places else
                     places.get(word, word))  # fmt: skip
    return words


def shards(folder: Path) -> dict[str, str]:
    return {shard.path: shard.sha256 for shard in read_manifest(folder).shards()}


def again(folder: Path, tmp_path: Path, places: dict[str, str]) -> list[str]:
    """Run the card's command; the words that it had."""
    out = tmp_path / f"{folder.name}-again"
    words = on_the_card(folder, places | {"DIR": str(out)})
    ran = run_meadow(*words)
    assert ran.code in (0, 3), (words, ran.err)
    assert shards(out) == shards(folder)
    return words


@pytest.mark.parametrize(
    "given",
    [
        ["--only", "pubmed_causal", "--limit", "4"],
        ["--only", "pubmed_causal,medquad", "--style", "2023"],
        ["--file", f"chatdoctor={FOLDER / 'chatdoctor' / 'chatdoctor5k.json'}"],
        ["--only", "medqa,pubmed_causal", "--file", "medqa=MEDQA"],
        ["--recipe", "full", "--only", "pubmed_causal", "--style", "2023", "--origin", "upstream"],
    ],
)
def test_a_build_is_made_again_by_its_card(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps(ROW) + "\n")
    given = [word.replace("MEDQA", str(tmp_path / "own.jsonl")) for word in given]
    run_meadow("build", *given, "--raw", str(FOLDER), "--out", str(tmp_path / "a"))
    files = {Path(w.partition("=")[2]).name: w.partition("=")[2] for w in given if "=" in w}
    words = again(tmp_path / "a", tmp_path, files | {"RAW": str(FOLDER)})
    assert [word for word in given if word.startswith("--") and word not in words] == []


def test_a_build_of_the_published_origin_is_made_again(tmp_path: Path) -> None:
    rows = [
        {"instruction": "What advice does this sentence give?", "input": text, "output": label}
        for text, label in (
            ("Bees should be kept away from the salt cellar.", "This is a strong advice"),
            ("Bees were counted at noon.", "This is no advice"),
        )
    ]
    for place in ("raw/health_advice", "both/health_advice"):
        (tmp_path / place).mkdir(parents=True)
        name = "medical_meadow_health_advice.json"
        (tmp_path / place / name).write_text(json.dumps(rows))
    (csv,) = sorted((FOLDER / "health_advice").rglob("*.csv"))[:1]
    (tmp_path / "both/health_advice" / csv.name).write_bytes(csv.read_bytes())
    ran = run_meadow("build", "--only", "health_advice", "--origin", "published", "--raw",
                     str(tmp_path / "raw"), "--out", str(tmp_path / "o"))  # fmt: skip
    assert sum(shard.rows for shard in read_manifest(tmp_path / "o").shards()) > 0, ran.err
    again(tmp_path / "o", tmp_path, {"RAW": str(tmp_path / "both")})


OWN = """[build]
sources = ["medquad", "anki", "pubmed_causal"]
style = "2023"

[build.origins]
anki = "upstream"

[build.note_types]
"Basic #1 (of ours)" = ["Front", "Back"]
"""


def test_a_build_by_an_own_recipe_is_made_again_by_what_the_card_prints(tmp_path: Path) -> None:
    own = tmp_path / "full.toml"  # a name that one of the project's has too
    own.write_text(OWN)
    run_meadow("build", "--recipe", str(own), "--raw", str(FOLDER), "--out", str(tmp_path / "a"))
    printed = re.search(r"```toml\n(.*?)\n```", (tmp_path / "a/README.md").read_text(), re.DOTALL)
    assert printed
    (tmp_path / "printed").mkdir()
    (tmp_path / "printed" / "full.toml").write_text(printed[1])
    places = {"RAW": str(FOLDER), "full.toml": str(tmp_path / "printed" / "full.toml")}
    again(tmp_path / "a", tmp_path, places)
    settings = [read_manifest(tmp_path / name).settings for name in ("a", "a-again")]
    assert settings[0] == settings[1]


def test_named_files_keep_subset_and_role_and_answers(tmp_path: Path) -> None:
    (posts,) = sorted(POSTS.rglob("*Posts.xml"))[:1]
    run_meadow("build", "--file", f"stack_exchange:coffee={posts}", "--answers", "top",
               "--out", str(tmp_path / "b"))  # fmt: skip
    words = again(tmp_path / "b", tmp_path, {posts.name: str(posts)})
    assert f"stack_exchange:coffee={posts}" in words
    assert words[words.index("--answers") + 1] == "top"


def test_a_mix_is_made_again_by_its_card(tmp_path: Path) -> None:
    corpus = tmp_path / "c"
    run_meadow("build", "--only", "pubmed_causal,medquad,chatdoctor", "--raw", str(FOLDER),
               "--out", str(corpus))  # fmt: skip
    row = json.loads((FOLDER / "medqa" / "train.jsonl").read_text().splitlines()[0])
    exam = tmp_path / "bees.jsonl"
    exam.write_text(json.dumps(row) + "\n")
    (tmp_path / "half.toml").write_text(
        '[mix]\ndescription = "half \\"of\\" it"\n'
        '[[mix.parts]]\nsource = "pubmed_causal"\nweight = 0.5\nlabels = {"causal" = 2.0}\n'
        '[[mix.parts]]\nsource = "medquad"\nquota = 3\n'
    )
    places = {"CORPUS": str(corpus), "bees.jsonl": str(exam)}
    run_meadow("mix", "clean", "--corpus", str(corpus), "--exam", f"bees={exam}", "--seed", "5",
               "--validation", "0.5", "--out", str(tmp_path / "m1"))  # fmt: skip
    words = again(tmp_path / "m1", tmp_path, places)
    assert f"bees={exam}" in words
    run_meadow("mix", "full", "--corpus", str(corpus), "--accept-licence", "chatdoctor", "--drop",
               "none", "--format", "messages", "--out", str(tmp_path / "m2"))  # fmt: skip
    again(tmp_path / "m2", tmp_path, places)
    parts = 'parts=[{source="medquad",quota=3},{source="pubmed_causal",labels={"Correlational"=2}}]'
    run_meadow("mix", "clean", "--corpus", str(corpus), "--set", parts, "--set", "exam_sources=[]",
               "--out", str(tmp_path / "m4"))  # fmt: skip
    words = again(tmp_path / "m4", tmp_path, places)
    assert words.count("--set") == 2
    settings = [read_manifest(tmp_path / name).settings for name in ("m4", "m4-again")]
    assert settings[0] == settings[1]
    run_meadow("mix", str(tmp_path / "half.toml"), "--corpus", str(corpus), "--out",
               str(tmp_path / "m3"))  # fmt: skip
    card = (tmp_path / "m3" / "README.md").read_text()
    recipe = re.search(r"```toml\n(.*?)\n```", card, re.DOTALL)
    assert recipe
    (tmp_path / "printed").mkdir()
    printed = tmp_path / "printed" / "half.toml"
    printed.write_text(recipe[1])
    again(tmp_path / "m3", tmp_path, places | {"half.toml": str(printed)})


def test_what_was_taken_down_is_said(tmp_path: Path) -> None:
    (tmp_path / "meadow.toml").write_text("")
    (tmp_path / "exclude_ids.txt").write_text("one-id\nanother-id\n")
    run_meadow("build", "--only", "pubmed_causal", "--raw", str(FOLDER), "--config",
               str(tmp_path / "meadow.toml"), "--out", str(tmp_path / "d"))  # fmt: skip
    card = (tmp_path / "d" / "README.md").read_text()
    assert "2 ids in `exclude_ids.txt`" in card
    assert read_manifest(tmp_path / "d").settings["excluded_ids"] in card


HOSTILE = [None, 5, "x", [1], {"a": 1}, {"own": 5}, {"parts": 3}, {"model": "m"}]
READ = ["recipe", "sources", "origins", "options", "limit", "excluded_ids", "excluded", "errata",
        "semantic", "held", "exams", "accepted_licences", "own_recipe", "mix"]  # fmt: skip


@pytest.mark.parametrize("stage", ["build", "mix"])
def test_settings_of_any_type_are_refused_or_written(stage: str, tmp_path: Path) -> None:
    run_meadow("build", "--only", "pubmed_causal", "--raw", str(FOLDER), "--out", str(tmp_path))
    whole = json.loads((tmp_path / "MANIFEST.json").read_text())
    places = [("settings", name) for name in READ] + [("details", "files")]
    refused = 0
    for part, name in places:
        for value in HOSTILE:
            changed = {**whole, "stage": stage, part: {**whole[part], name: value}}
            try:
                manifest = parse_manifest(json.dumps(changed).encode(), "somewhere")
            except FileError as error:
                assert name in str(error)  # noqa: PT017
                refused += 1
                continue
            assert regenerate(manifest).startswith("meadow ")
            conditions(manifest)
    assert refused > len(places)


def test_a_recipe_of_anybody_stays_in_its_block(tmp_path: Path) -> None:
    run_meadow("build", "--only", "pubmed_causal", "--raw", str(FOLDER), "--out", str(tmp_path))
    whole = json.loads((tmp_path / "MANIFEST.json").read_text())
    whole["stage"] = "mix"
    whole["settings"] |= {
        "own_recipe": True,
        "recipe": "<img src=x>",
        "excluded_ids": "`<b>`",
        "mix": {"a\n```\n# out": "x\n```\n<script>", "unset": None, "parts": []},
    }
    manifest = parse_manifest(json.dumps(whole).encode(), "somewhere")
    said = "\n".join(conditions(manifest))
    block = re.search(r"^(`{3,})toml\n(.*?)\n\1$", said, re.DOTALL | re.MULTILINE)
    assert block
    assert tomllib.loads(block[2])["mix"]["a\n```\n# out"] == "x\n```\n<script>"
    outside = said.replace(block[0], "").replace("`exclude_ids.txt` beside `meadow.toml`", "")
    assert re.search(r"(?<!\\)[<`]", outside) is None
