"""What is published says where it is, runs as pasted, is closed at first, covers nobody's words."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from support.corpora import build, invented_questions, write_medqa
from support.hub.server import OTHER, LoopbackHub, running
from support.hub.session import Loop, Session

from meadow.api import mix
from meadow.corpus.manifest import parse_manifest
from meadow.errors import ExitCode

NAME, TAG = "meadow/pasted", "v1.2.0"


@dataclass(frozen=True, slots=True)
class Published:
    """A mix that was published once, and what the Hub has of it."""

    hub: LoopbackHub
    session: Session
    folder: Path

    def read(self, path: str, name: str = NAME) -> str:
        return self.hub.storage.read(self.hub.repository(name).head, path).decode()

    def blocks(self, language: str) -> list[str]:
        card = self.read("README.md")
        return re.findall(rf"^```{language}\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module", params=["mix", "build"])
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("pasted")
    place = build(folder / "build", ["medquad", "pubmed_causal", "openassistant"])
    if request.param == "mix":
        mix("clean", corpus=place, out=folder / "mix", validation=0.2)
        place = folder / "mix"
    with running(folder / "hub") as hub:
        session = Session(hub, folder / "home")
        session.meadow("publish", place, f"{NAME}@{TAG}", "--public")
        yield Published(hub, session, place)
        assert hub.unknown == []


def test_every_line_of_python_runs_as_printed(published: Published, tmp_path: Path) -> None:
    blocks = published.blocks("python")
    libraries = ["load_dataset", "import polars", "import duckdb", "import meadow"]
    assert [next(n for n in libraries if n in block) for block in blocks] == libraries
    manifest = parse_manifest(published.read("MANIFEST.json").encode(), "")
    rows = Counter({shard.path.split("/")[2][:5]: 0 for shard in manifest.shards()})
    for shard in manifest.shards():
        rows[shard.path.split("/")[2][:5]] += shard.rows
    assert min(rows.values()) > 0
    stranger = Session(published.hub, tmp_path / "home", token=None)
    for block in blocks:
        script = tmp_path / "pasted.py"
        script.write_text(f"{block}\nprint(len(rows))\n")
        count = rows.total() if "open_corpus" in block else rows["train"]
        assert stranger.python(script) == count, block


def test_every_command_runs_as_printed(published: Published, tmp_path: Path) -> None:
    install, commands = published.blocks("bash")
    assert install.startswith("pip install ")
    assert all(metadata.version(name) for name in install.split()[2:])
    stranger = Session(published.hub, tmp_path / "home", token=None)
    for line in commands.splitlines():
        words = [word if word != "DIR" else str(tmp_path / "DIR") for word in line.split()]
        assert words.pop(0) == "meadow"
        stranger.meadow(*words)
    stranger.meadow("check", tmp_path / "DIR")
    assert (tmp_path / "DIR/README.md").read_text() == published.read("README.md")


def test_nothing_is_left_to_fill_in_and_the_folder_stays(published: Published) -> None:
    card, own = published.read("README.md"), (published.folder / "README.md").read_text()
    for word in ("OWNER/NAME", "REVISION", "path/to/this/folder"):
        assert word not in card
    assert NAME not in own
    assert f"version = {{{TAG}}}" in card
    assert f"{published.hub.base}/datasets/{NAME}" in card


def test_croissant_has_the_address_the_version_and_the_day(
    published: Published, tmp_path: Path
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    told = json.loads(published.read("croissant.json"))
    assert (told["url"], told["version"]) == (f"{published.hub.base}/datasets/{NAME}", "1.2.0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", told["datePublished"])
    assert told["publisher"]["name"] == "meadow"
    (tmp_path / "croissant.json").write_text(json.dumps(told))
    issues = mlcroissant.Dataset(str(tmp_path / "croissant.json")).metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set()), issues.report()
    own = json.loads((published.folder / "croissant.json").read_text())
    assert not {"url", "version", "datePublished", "publisher"} & own.keys()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return build(tmp_path / "corpus", ["pubmed_causal"])


def test_a_new_data_set_is_private_until_it_is_opened(
    corpus: Path, hub: LoopbackHub, session: Session, tmp_path: Path
) -> None:
    done = session.meadow("publish", corpus, "meadow/shy@v1.0.0")
    assert "private, --public opens it" in done.stderr
    repository = hub.repository("meadow/shy")
    stranger = Session(hub, tmp_path / "stranger", token=None)
    assert repository.private
    with_token = session.meadow("show", "meadow/shy@v1.0.0", "-n", "1")
    assert "pubmed_causal" in with_token.stdout
    refused = stranger.meadow("show", "meadow/shy@v1.0.0", "-n", "1", fault=True)
    assert refused.returncode == ExitCode.FAILED
    assert "hf auth login" in refused.stderr
    commits = len(repository.commits)
    session.meadow("publish", corpus, "hf://meadow/shy@v1.0.0", "--public")
    assert (repository.private, len(repository.commits)) == (False, commits)
    stranger.meadow("show", "meadow/shy@v1.0.0", "-n", "1")
    session.meadow("publish", corpus, "meadow/shy@v1.0.1")
    assert not repository.private, "what is open stays open"


def test_who_may_not_write_opens_a_pull_request(
    corpus: Path, hub: LoopbackHub, session: Session, tmp_path: Path
) -> None:
    session.meadow("publish", corpus, "meadow/shared", "--public")
    repository = hub.repository("meadow/shared")
    head = repository.head
    other = Session(hub, tmp_path / "other", token=OTHER)
    grown = build(tmp_path / "grown", ["pubmed_causal", "medquad"])
    refused = other.meadow("publish", grown, "meadow/shared", fault=True)
    assert refused.returncode == ExitCode.FAILED
    assert "--create-pr" in refused.stderr
    tagged = other.meadow("publish", grown, "meadow/shared@v2.0.0", "--create-pr", fault=True)
    assert tagged.returncode == ExitCode.USAGE
    done = other.meadow("publish", grown, "meadow/shared", "--create-pr", "--json")
    opened = json.loads(done.stdout)
    assert opened["pull_request"] == f"{hub.base}/datasets/meadow/shared/discussions/1"
    assert repository.head is head
    there = repository.commits[repository.branches["refs/pr/1"]]
    assert (there.parent, there.id) == (head.id, opened["commit"])
    assert any(path.startswith("data/medquad/") for path in there.tree)
    nowhere = other.meadow("publish", grown, "meadow/none", "--create-pr", fault=True)
    assert nowhere.returncode == ExitCode.USAGE


def test_a_branch_is_published_to_and_main_stays(
    corpus: Path, hub: LoopbackHub, session: Session
) -> None:
    session.meadow("publish", corpus, "meadow/branched")
    repository = hub.repository("meadow/branched")
    head = repository.head
    done = session.meadow("publish", corpus, "meadow/branched@next")
    assert "made the branch next" in done.stderr
    assert repository.head is head
    made = repository.commits[repository.branches["next"]]
    assert made.parent == head.id
    assert 'revision="next"' in hub.storage.read(made, "README.md").decode()
    again = session.meadow("publish", corpus, "meadow/branched@next")
    assert "no commit was made" in again.stderr


def edited(hub: LoopbackHub, name: str, old: str, new: str) -> None:
    """Somebody writes on the card, on the Hub's page."""
    repository = hub.repository(name)
    text = hub.storage.read(repository.head, "README.md").decode()
    assert old in text
    entry = hub.storage.regular(text.replace(old, new).encode())
    tree = repository.head.tree | {"README.md": entry}
    hub.storage.commit(repository, "main", tree, "words", "", "somebody")


def test_words_on_the_card_of_the_hub_are_kept_or_covered_by_option(
    loop: tuple[LoopbackHub, Loop], tmp_path: Path
) -> None:
    hub, publisher = loop
    name, corpora = "meadow/worded", []
    for number in (1, 2, 3):
        write_medqa(tmp_path / f"raw{number}", invented_questions(10 + number, seed=number))
        corpora.append(build(tmp_path / str(number), ["medqa"], raw=tmp_path / f"raw{number}"))
    publisher.publish(corpora[0], name, "v1.0.0")
    edited(hub, name, "## Takedown", "## Thanks\n\nTo all.\n\n## Takedown")
    refused = publisher.publish(corpora[1], name, "v1.1.0")
    assert (refused["kind"], refused["code"]) == ("RefusedError", ExitCode.REFUSED)
    assert "--card keep" in refused["fault"]

    def card() -> str:
        return hub.storage.read(hub.repository(name).head, "README.md").decode()

    for tag, number, corpus in (("v1.1.0", 12, corpora[1]), ("v1.2.0", 13, corpora[2])):
        # the second time, too: what was kept once is not covered without a word the next time
        assert publisher.publish(corpus, name, tag)["kind"] == "RefusedError"
        done = publisher.publish(corpus, name, tag, card="keep")
        assert done["made_commit"], done
        assert "## Thanks\n\nTo all.\n" in card()
        assert f"num_examples: {number}" in card()
        assert f'revision="{tag}"' in card()
        again = publisher.publish(corpus, name, tag, card="keep")
        assert again == {"commit": done["commit"], "made_commit": False}
    assert publisher.publish(corpora[0], name, "v2.0.0", card="replace")["made_commit"]
    assert "## Thanks" not in card()
    edited(hub, name, "<!-- generated:use -->", "")
    broken = publisher.publish(corpora[1], name, "v2.1.0", card="keep")
    assert "--card replace" in broken["fault"]


def test_a_card_that_was_there_before_is_somebodys(
    corpus: Path, loop: tuple[LoopbackHub, Loop]
) -> None:
    hub, publisher = loop
    made = hub.storage.create("dataset", "meadow/begun", private=False, author="tester")
    tree = made.head.tree | {"README.md": hub.storage.regular(b"# Mine\n")}
    hub.storage.commit(made, "main", tree, "mine", "", "tester")
    assert publisher.publish(corpus, "meadow/begun", None)["kind"] == "RefusedError"
    assert publisher.publish(corpus, "meadow/begun", None, card="replace")["made_commit"]


def test_a_pulled_folder_can_be_published_elsewhere(
    published: Published, hub: LoopbackHub, session: Session, tmp_path: Path
) -> None:
    published.session.meadow("pull", f"{NAME}@{TAG}", "--out", tmp_path / "pulled")
    session.meadow("publish", shutil.copytree(tmp_path / "pulled", tmp_path / "own"), "meadow/own")
    card = hub.storage.read(hub.repository("meadow/own").head, "README.md").decode()
    assert NAME not in card
    assert re.search(r'load_dataset\("meadow/own", "(clean|all)", revision="main"', card)
