"""What is refused before anything is sent: licences, findings, names, tags, other data."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from support.corpora import build
from support.hub.server import LoopbackHub
from support.hub.session import Loop, Session

from meadow.atomic import sha256_file
from meadow.corpus.documented import check_published
from meadow.corpus.manifest import NAME, Published
from meadow.corpus.shards import read_parquet, write_parquet
from meadow.errors import ExitCode, UsageError


def rewrite_shard(folder: Path, change: Callable[[pa.Table], pa.Table]) -> str:
    """Change the first shard and let the manifest say so, as somebody with intent would."""
    document = json.loads((folder / NAME).read_text())
    source = sorted(document["sources"])[0]
    shard = document["sources"][source]["shards"][0]
    path = folder / shard["path"]
    write_parquet(change(read_parquet(path)), path)
    shard |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    (folder / NAME).write_text(json.dumps(document))
    return str(shard["path"])


def rewrite_card(folder: Path, old: str, new: str) -> None:
    """Change the card and let the manifest say so."""
    path = folder / "README.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    document = json.loads((folder / NAME).read_text())
    entry = next(item for item in document["files"] if item["path"] == "README.md")
    entry |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    (folder / NAME).write_text(json.dumps(document))


def with_license(value: str | None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        licenses = table["license"].to_pylist()
        licenses[3] = value
        place = table.schema.get_field_index("license")
        return table.set_column(place, "license", pa.array(licenses, pa.string()))

    return change


def shard_of(folder: Path) -> Path:
    return next((folder / "data").rglob("*.parquet"))


def changed_shard(folder: Path) -> None:
    data = bytearray(shard_of(folder).read_bytes())
    data[len(data) // 2] ^= 1
    shard_of(folder).write_bytes(data)


def unnamed_shard(folder: Path) -> None:
    shutil.copy(shard_of(folder), shard_of(folder).with_name("train-00009-of-00010.parquet"))


def wrong_count(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    line = next(line for line in text.splitlines() if "num_examples:" in line)
    rewrite_card(folder, line, line.partition(":")[0] + ": 1234567")


def missing_config(folder: Path) -> None:
    rewrite_card(folder, "path: data/medqa/train-*.parquet", "path: data/other/train-*.parquet")


CASES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "a forbidden row": (
        lambda folder: rewrite_shard(folder, with_license("cord19-tdm")),
        ExitCode.REFUSED, "1 rows may not be published",
    ),
    "an unknown licence": (
        lambda folder: rewrite_shard(folder, with_license("somebody said so")),
        ExitCode.REFUSED, "under somebody said so",
    ),
    "no licence": (
        lambda folder: rewrite_shard(folder, with_license(None)),
        ExitCode.REFUSED, "under none stated",
    ),
    "a changed shard": (changed_shard, ExitCode.FAILED, ""),
    "a missing shard": (lambda folder: shard_of(folder).unlink(), ExitCode.FAILED, "missing_file"),
    "an unnamed shard": (unnamed_shard, ExitCode.FAILED, "unnamed_file"),
    "a wrong count": (wrong_count, ExitCode.FAILED, "card"),
    "a missing config": (missing_config, ExitCode.FAILED, "card"),
    "no card": (lambda folder: (folder / "README.md").unlink(), ExitCode.FAILED, "README.md"),
    "unfinished": (lambda folder: (folder / NAME).unlink(), ExitCode.FAILED, "MANIFEST.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused_before_anything_is_sent(
    samples: Path, loop: tuple[LoopbackHub, Loop], tmp_path: Path, case: str
) -> None:
    hub, publisher = loop
    corpus = shutil.copytree(samples, tmp_path / "corpus")
    spoil, code, message = CASES[case]
    spoil(corpus)
    before = hub.number
    outcome = publisher.publish(corpus, "meadow/refused")
    assert outcome["code"] == code
    assert message in outcome["fault"]
    assert hub.number == before, "something was sent"
    assert not (corpus / "publish.json").exists()


def test_sources_that_may_not_be_published(
    hub: LoopbackHub, session: Session, tmp_path: Path
) -> None:
    corpus = build(tmp_path / "corpus", ["chatdoctor", "medqa"])
    done = session.meadow("publish", corpus, "meadow/demo", fault=True)
    assert done.returncode == ExitCode.REFUSED
    assert "chatdoctor" in done.stderr
    assert "medqa" not in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.log == []


@pytest.mark.parametrize(
    ("repository", "tag"),
    [("demo", "v1.0.0"), ("a/b/c", "v1.0.0"), ("meadow/demo@v1", None), ("meadow/demo", "1.0.0"),
     ("meadow/demo", "v1"), ("meadow/demo", "v1.0.0/../x"), ("../x", None),
     ("meadow/demo", "`x`"), ("meadow/demo", "refs%20x")],
)  # fmt: skip
def test_names_that_are_none(
    samples: Path, loop: tuple[LoopbackHub, Loop], repository: str, tag: str | None
) -> None:
    hub, publisher = loop
    before = hub.number
    assert publisher.publish(samples, repository, tag)["code"] == ExitCode.USAGE
    assert hub.number == before


def test_a_tag_never_moves(samples: Path, loop: tuple[LoopbackHub, Loop], tmp_path: Path) -> None:
    hub, publisher = loop
    first = shutil.copytree(samples, tmp_path / "first")
    second = build(tmp_path / "second", ["medqa", "mmmlu"])
    assert publisher.publish(first, "meadow/tagged", "v1.0.0")["made_commit"]
    repository = hub.repository("meadow/tagged")
    commit = repository.head.id
    outcome = publisher.publish(second, "meadow/tagged", "v1.0.0")
    assert outcome["code"] == ExitCode.REFUSED
    assert "tags never move" in outcome["fault"]
    assert repository.head.id == commit
    same = publisher.publish(first, "meadow/tagged", "v1.0.0")
    assert same == {"commit": commit, "made_commit": False}

    assert publisher.publish(second, "meadow/tagged", "v1.1.0")["made_commit"]
    assert repository.tags == {"v1.0.0": commit, "v1.1.0": repository.head.id}
    gone = "data/pubmed_causal/train-00000-of-00001.parquet"
    assert gone in repository.commits[commit].tree
    assert gone not in repository.head.tree, "a source that left the corpus left the Hub"
    assert ".gitattributes" in repository.head.tree

    back = publisher.publish(first, "meadow/tagged", "v1.0.0")
    assert back["code"] == ExitCode.REFUSED, "the tag is on a commit that is not the head"


def test_a_repository_with_other_data_is_left_alone(
    samples: Path, loop: tuple[LoopbackHub, Loop]
) -> None:
    hub, publisher = loop
    made = hub.storage.create("dataset", "meadow/other", private=False, author="tester")
    tree = made.head.tree | {"data/mine.csv": hub.storage.regular(b"a,b\n")}
    head = hub.storage.commit(made, "main", tree, "mine", "", "tester")
    assert publisher.publish(samples, "meadow/other", None)["code"] == ExitCode.USAGE
    assert made.head is head


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "hf auth login"), ("hf_unknownunknownunknown", "hf auth login"),
     ("hf_readonlyreadonlyreadonly", "write access")],
)  # fmt: skip
def test_without_the_right_to_write(
    samples: Path, hub: LoopbackHub, tmp_path: Path, token: str | None, message: str
) -> None:
    session = Session(hub, tmp_path / "home", token=token)
    done = session.meadow("publish", samples, "meadow/demo", fault=True)
    assert done.returncode == ExitCode.FAILED
    assert message in done.stderr
    assert token is None or token not in done.stderr
    assert not hub.storage.repositories


def test_a_hub_without_xet_is_named(samples: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    corpus = shutil.copytree(samples, tmp_path / "corpus")
    session = Session(hub, tmp_path / "home", xet=True)
    done = session.meadow("publish", corpus, "meadow/demo", fault=True)
    assert done.returncode == ExitCode.FAILED
    assert "HF_HUB_DISABLE_XET=1" in done.stderr
    assert len(hub.repository("meadow/demo").commits) == 1, "nothing but the empty repository"


def test_private_and_gated_before_there_is_anything_to_see(
    samples: Path, hub: LoopbackHub, session: Session, tmp_path: Path
) -> None:
    corpus = shutil.copytree(samples, tmp_path / "corpus")
    session.meadow("publish", corpus, "meadow/closed", "--gated")
    repository = hub.repository("meadow/closed")
    assert (repository.private, repository.gated) == (True, "auto")
    paths = [f"{entry.method} {entry.path.rpartition('/')[2]}" for entry in hub.log]
    assert paths.index("PUT settings") < paths.index("POST main")
    stranger = Session(hub, tmp_path / "stranger", token=None)
    done = stranger.meadow("pull", "meadow/closed@main", fault=True)
    assert done.returncode == ExitCode.FAILED
    repository.private = False
    done = stranger.meadow("pull", "meadow/closed@main", fault=True)
    assert done.returncode == ExitCode.REFUSED
    assert "access" in done.stderr


def test_an_address_that_no_reader_would_take_is_not_published() -> None:
    """It goes into cards and commands; a password in it would stand there too."""
    usual = {"repository": "ann/corpus", "revision": "v1.0.0", "date": "2026-05-01"}
    good = Published(**usual, endpoint="https://hub.example:8443")
    assert check_published(good) == good
    for endpoint in ("https://ann:s3cret@hub.example", "ftp://hub.example", "https://a\n.example"):
        with pytest.raises(UsageError, match="endpoint") as told:
            check_published(Published(**usual, endpoint=endpoint))
        assert "s3cret" not in str(told.value)
    with pytest.raises(UsageError, match="revision"):
        check_published(Published(**{**usual, "revision": "-v"}, endpoint="https://hub.example"))
