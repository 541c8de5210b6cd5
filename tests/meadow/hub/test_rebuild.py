"""A published folder is made again by others, who sign that they got the same bytes."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.hub.server import running
from support.hub.session import Session

from meadow.config import Config
from meadow.corpus.manifest import read_manifest
from meadow.hub.attest import attested, load_key, sign, statement
from meadow.hub.rebuild import rebuild
from meadow.samples import FOLDER

BUILD = ("--only", "medquad,stack_exchange", "--raw", FOLDER)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "meadow.toml").write_text("")
    return home


def test_two_parties_got_these_bytes(tmp_path: Path, here: Path) -> None:
    with running(tmp_path / "hub") as hub:
        one = Session(hub, here)
        one.meadow("build", *BUILD, "--limit", "12", "--out", "corpus", fault=True)
        one.meadow("publish", "corpus", "meadow/demo@v1.0.0")
        assert "nobody has signed yet" in one.meadow("verify", "meadow/demo@v1.0.0").stderr

        rebuild = ("verify", "meadow/demo@v1.0.0", "--rebuild", "--raw", FOLDER)
        one.meadow(*rebuild, "--dry-run")
        assert not list(here.rglob("*.pem")), "a dry run makes no key"
        assert not list(here.glob("*.json"))
        told = json.loads(one.meadow(*rebuild, "--out", "mine.json", "--json").stdout)["rebuild"]
        assert told["same"] is True
        (kept,) = here.rglob("ed25519.pem")
        assert kept.stat().st_mode & 0o077 == 0
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / "id"], check=True
        )
        second = one.meadow(*rebuild, "--key", here / "id", "--out", "theirs.json")
        for line in (told_line(second.stderr), upload(here / "mine.json", told["key"])):
            one.hf(*line.split()[1:])
        found = one.meadow("verify", "meadow/demo@v1.0.0", "--json")
        document = json.loads(found.stdout)
        assert len(set(document["keys"])) == 2
        assert told["key"] in document["keys"]
        assert "2 keys have signed" in found.stderr
        assert document["findings"] == []

        published = json.loads(
            base64.b64decode(json.loads((here / "mine.json").read_text())["payload"])
        )
        shards = {s.path: s.sha256 for s in read_manifest(here / "corpus").shards()}
        assert {s["name"]: s["digest"]["sha256"] for s in published["subject"]} == shards
        made_of = published["predicate"]["buildDefinition"]["resolvedDependencies"]
        inputs = [
            i.sha256 for e in read_manifest(here / "corpus").sources.values() for i in e.inputs
        ]
        assert sorted(item["digest"]["sha256"] for item in made_of) == sorted(inputs)
        assert hub.unknown == []


def told_line(text: str) -> str:
    (line,) = (part.partition("add it: ")[2] for part in text.splitlines() if "add it: " in part)
    return line.replace(" --create-pr", "")


def upload(path: Path, key: str) -> str:
    return f"hf upload meadow/demo {path} attestations/{key[:16]}.json --repo-type dataset"


def test_other_bytes_are_told_with_their_reason_and_not_signed(tmp_path: Path, here: Path) -> None:
    raw = shutil.copytree(FOLDER / "medquad", tmp_path / "raw" / "medquad")
    with running(tmp_path / "hub") as hub:
        session = Session(hub, here)
        options = ("--only", "medquad", "--raw", tmp_path / "raw")
        session.meadow("build", *options, "--out", "corpus", fault=True)
        session.meadow("publish", "corpus", "meadow/demo@v1.0.0")
        file = next(path for path in raw.rglob("*.xml") if "Gallstones" in path.read_text())
        file.write_text(file.read_text().replace("Gallstones", "Kidney stones"))
        rebuild = ("verify", "meadow/demo@v1.0.0", "--rebuild", "--raw", tmp_path / "raw")
        ran = session.meadow(*rebuild, "--json", fault=True)
        assert ran.returncode == 1
        kinds = {each["kind"] for each in json.loads(ran.stdout)["rebuild"]["findings"]}
        assert kinds == {"other_bytes", "other_input"}
        assert not list(here.glob("*.json"))
        (here / "exclude_ids.txt").write_text("an id\n")
        ran = session.meadow(*rebuild, fault=True)
        assert (ran.returncode, "0 ids that were taken down" in ran.stderr) == (2, True)
        ran = session.meadow("verify", "meadow/demo@v1.0.0", "--raw", raw, fault=True)
        assert (ran.returncode, "add --rebuild" in ran.stderr) == (2, True)


def test_a_mix_is_made_again_from_its_corpus(tmp_path: Path, here: Path) -> None:
    with running(tmp_path / "hub") as hub:
        session = Session(hub, here)
        session.meadow("build", *BUILD, "--out", "corpus", fault=True)
        session.meadow("mix", "clean", "--corpus", "corpus", "--seed", "5", "--out", "mix")
        session.meadow("publish", "mix", "meadow/mix@v1.0.0")
        rebuild = ("verify", "meadow/mix@v1.0.0", "--rebuild")
        ran = session.meadow(*rebuild, fault=True)
        assert (ran.returncode, "name them with --corpus" in ran.stderr) == (2, True)
        told = json.loads(session.meadow(*rebuild, "--corpus", "corpus", "--json").stdout)
        assert told["rebuild"]["same"] is True


def test_corpora_with_shards_of_one_path_are_told_apart(tmp_path: Path) -> None:
    import meadow

    parts = [path for path in sorted((FOLDER / "medquad").iterdir()) if path.is_dir()][:2]
    corpora = []
    for number, part in enumerate(parts):
        raw = tmp_path / str(number) / "medquad"
        shutil.copytree(part, raw / part.name)
        corpora.append(meadow.build(["medquad"], raw=raw.parent, out=tmp_path / f"c{number}"))
    mix = meadow.mix("clean", corpus=corpora, out=tmp_path / "mix")
    made = rebuild(mix.manifest, tmp_path / "again", config=Config(), corpora=corpora)
    assert made.findings == ()
    shards = [shard for corpus in corpora for shard in corpus.manifest.shards()]
    assert len({shard.path for shard in shards}) == 1
    assert sorted(made.inputs.values()) == sorted(shard.sha256 for shard in shards)


@pytest.fixture
def envelope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    import meadow

    monkeypatch.setenv("HOME", str(tmp_path))
    meadow.build(["medquad"], raw=FOLDER, out=tmp_path / "corpus")
    key, key_id = load_key(None)
    assert load_key(None)[1] == key_id, "it is kept"
    manifest = read_manifest(tmp_path / "corpus")
    return sign(statement(manifest, "me/corpus", "c" * 40, {}, key_id), key)


def test_a_statement_that_was_changed_counts_for_nothing(
    envelope: dict[str, Any], tmp_path: Path
) -> None:
    manifest = read_manifest(tmp_path / "corpus")

    def counted(*documents: object) -> tuple[int, int]:
        keys, others = attested([json.dumps(d).encode() for d in documents], manifest)
        return len(keys), others

    assert counted(envelope, envelope) == (1, 0), "one key counts once"
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["subject"][0]["digest"]["sha256"] = "0" * 64
    forged = base64.b64encode(json.dumps(payload).encode()).decode()
    (signature,) = envelope["signatures"]
    for broken in (
        envelope | {"payload": forged},
        envelope | {"payloadType": "text/plain"},
        envelope | {"signatures": [signature | {"keyid": "0" * 64}]},
        envelope | {"signatures": []},
        [], {}, 1,
    ):  # fmt: skip
        assert counted(broken) == (0, 1)
    key, key_id = load_key(None)
    other = statement(manifest, "me/corpus", "c" * 40, {}, key_id)
    other["subject"].pop()
    assert counted(sign(other, key)) == (0, 1), "all shards, or it is of another folder"
