"""The static Space of a release: one commit, a page that reads the tag, and nothing covered."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.corpora import build
from support.hub.server import Fault, LoopbackHub
from support.hub.session import Loop, Session

from meadow.api import open_corpus
from meadow.errors import ExitCode
from meadow.hub.space import Space
from meadow.quality.browse import SITE, site_files

PAGE = {*site_files(), "README.md"}
FOREVER = 10**6


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus. Only its receipt changes."""
    return build(tmp_path_factory.mktemp("space") / "corpus", ["medqa"])


def receipt_of(corpus: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((corpus / "publish.json").read_text())
    return document


def text_of(hub: LoopbackHub, space: str, path: str) -> str:
    return hub.storage.read(hub.repository(space, "space").head, path).decode()


def test_the_page_follows_the_release(
    corpus: Path, loop: tuple[LoopbackHub, Loop], tmp_path: Path
) -> None:
    hub, publisher = loop
    done = publisher.publish(corpus, "meadow/shown", "v1.0.0", public=True, space="meadow/page")
    space = hub.repository("meadow/page", "space")
    assert (len(space.commits), space.private) == (2, False), "the new Space and one commit"
    assert done["space"]["commit"] == space.head.id
    assert space.head.title == "Show meadow/shown at v1.0.0"
    assert set(space.head.tree) == {*PAGE, ".gitattributes"}
    receipt = receipt_of(corpus)
    assert receipt["space"] == {"repository": "meadow/page", "commit": space.head.id}
    assert receipt["tag"] == "v1.0.0"
    requests = [f"{entry.method} {entry.path}" for entry in hub.log]
    tag = next(n for n, line in enumerate(requests) if line.startswith("POST") and "/tag/" in line)
    page = next(n for n, line in enumerate(requests) if "POST /api/spaces/" in line)
    assert tag < page, "the page comes after the tag that it reads"

    card = hub.storage.card(space.head)
    assert (card["sdk"], card["datasets"]) == ("static", ["meadow/shown"])
    index = text_of(hub, "meadow/page", "index.html")
    base = re.search(r'name="meadow-base" content="([^"]+)"', index)
    assert base is not None
    assert base[1] == f"{hub.base}/datasets/meadow/shown/resolve/v1.0.0/"
    assert f"connect-src 'self' {hub.base}" in index
    shard = open_corpus(corpus).shards()[0]
    with httpx.Client() as reader:
        assert reader.get(base[1] + shard.path).content == (corpus / shard.path).read_bytes()
        document = reader.get(f"{hub.base}/spaces/meadow/page/resolve/main/app.js")
        assert document.content == (SITE / "app.js").read_bytes()

    same = publisher.publish(corpus, "meadow/shown", "v1.0.0", public=True, space="meadow/page")
    assert (same["made_commit"], same["space"]["made_commit"]) == (False, False)
    assert len(space.commits) == 2

    grown = build(tmp_path / "grown", ["medqa", "mmmlu"])
    new = publisher.publish(grown, "meadow/shown", "v1.1.0", public=True, space="meadow/page")
    assert new["space"]["changed"] == ["index.html"]
    assert len(space.commits) == 3
    assert "resolve/v1.1.0/" in text_of(hub, "meadow/page", "index.html")


def test_a_page_that_cannot_be_pushed_leaves_the_release_and_follows_later(
    corpus: Path, loop: tuple[LoopbackHub, Loop]
) -> None:
    hub, publisher = loop
    data, name = "meadow/fault", "meadow/page-fault"
    hub.faults[:] = [
        Fault(path=f"/api/spaces/{name}/commit/", method="POST", kind="cut", times=FOREVER)
    ]
    outcome = publisher.publish(corpus, data, "v1.0.0", public=True, space=name)
    hub.faults.clear()
    space, published = hub.repository(name, "space"), hub.repository(data)
    assert outcome["kind"] == "NetworkError"
    assert f"spaces/{name}" in outcome["fault"]
    assert published.tags == {"v1.0.0": published.head.id}
    assert len(space.commits) == 1
    receipt = receipt_of(corpus)
    assert (receipt["commit"], "space" in receipt) == (published.head.id, False)
    again = publisher.publish(corpus, data, "v1.0.0", public=True, space=name)
    assert (again["made_commit"], again["space"]["made_commit"]) == (False, True)
    assert set(space.head.tree) > PAGE
    assert receipt_of(corpus)["space"]["commit"] == space.head.id


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tag": None}, "publish to meadow/unsent@vX.Y.Z"),
        ({"space": "page"}, "write OWNER/SPACE"),
        ({"space": "spaces/meadow/page"}, "write OWNER/SPACE"),
        ({"space": "meadow/page@main"}, "write OWNER/SPACE"),
        ({"gated": "auto"}, "private or gated"),
    ],
)
def test_what_no_page_can_show_is_refused_first(
    corpus: Path, loop: tuple[LoopbackHub, Loop], more: dict[str, Any], message: str
) -> None:
    hub, publisher = loop
    before = hub.number
    task = {"repository": "meadow/unsent", "tag": "v1.0.0", "space": "meadow/page"} | more
    outcome = publisher.publish(corpus, public=True, **task)
    assert outcome["code"] == ExitCode.USAGE
    assert message in outcome["fault"]
    assert hub.number == before, "something was sent"


@pytest.mark.parametrize("sdk", ["static", "gradio"])
def test_a_space_of_somebody_else_is_left_alone(
    corpus: Path, loop: tuple[LoopbackHub, Loop], sdk: str
) -> None:
    """Whatever stands there, the corpus is not published either: the fault is seen first."""
    hub, publisher = loop
    name = f"meadow/own-{sdk}"
    space = hub.storage.create("space", name, private=False, author="tester", sdk=sdk)
    tree = space.head.tree | {"index.html": hub.storage.regular(b"my own page")}
    head = hub.storage.commit(space, "main", tree, "mine", "", "tester")
    outcome = publisher.publish(corpus, "meadow/unsent", "v1.0.0", public=True, space=name)
    assert outcome["code"] == ExitCode.USAGE
    assert f"spaces/{name}" in outcome["fault"]
    assert space.head is head
    assert ("dataset", "meadow/unsent") not in hub.storage.repositories


def test_the_page_of_another_corpus_is_left_alone(
    corpus: Path, loop: tuple[LoopbackHub, Loop]
) -> None:
    hub, publisher = loop
    publisher.publish(corpus, "meadow/first", "v1.0.0", public=True, space="meadow/taken")
    head = hub.repository("meadow/taken", "space").head
    outcome = publisher.publish(
        corpus, "meadow/second", "v1.0.0", public=True, space="meadow/taken"
    )
    assert outcome["code"] == ExitCode.USAGE
    assert "shows meadow/first, not meadow/second" in outcome["fault"]
    assert hub.repository("meadow/taken", "space").head is head


def test_an_empty_space_is_used_and_files_of_the_user_stay(
    corpus: Path, loop: tuple[LoopbackHub, Loop]
) -> None:
    hub, publisher = loop
    name = "meadow/prepared"
    space = hub.storage.create("space", name, private=False, author="tester", sdk="static")
    publisher.publish(corpus, "meadow/with-notes", "v1.0.0", public=True, space=name)
    assert len(space.commits) == 2
    tree = space.head.tree | {"notes.txt": hub.storage.regular(b"mine")}
    del tree["app.js"]
    hub.storage.commit(space, "main", tree, "by hand", "", "tester")
    mended = publisher.publish(corpus, "meadow/with-notes", "v1.0.0", public=True, space=name)
    assert mended["space"]["changed"] == ["app.js"]
    assert set(space.head.tree) == {*PAGE, ".gitattributes", "notes.txt"}


def test_a_closed_data_set_gets_no_page(corpus: Path, loop: tuple[LoopbackHub, Loop]) -> None:
    hub, publisher = loop
    publisher.publish(corpus, "meadow/closing", "v1.0.0")
    assert hub.repository("meadow/closing").private
    outcome = publisher.publish(corpus, "meadow/closing", "v1.0.0", space="meadow/unread")
    assert outcome["code"] == ExitCode.USAGE
    assert "private or gated" in outcome["fault"]
    assert ("space", "meadow/unread") not in hub.storage.repositories


def test_the_command(corpus: Path, hub: LoopbackHub, session: Session, tmp_path: Path) -> None:
    own = shutil.copytree(corpus, tmp_path / "corpus")
    command = ("publish", own, "meadow/demo", "--space", "meadow/page")
    refused = session.meadow(*command, fault=True)
    assert refused.returncode == ExitCode.USAGE
    assert "publish to meadow/demo@vX.Y.Z" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert hub.log == []

    command = ("publish", own, "meadow/demo@v1.0.0", "--space", "meadow/page")
    closed = session.meadow(*command, fault=True)
    assert closed.returncode == ExitCode.USAGE
    assert "open it with --public" in closed.stderr
    assert not hub.storage.repositories
    planned = session.meadow(*command, "--public", "--dry-run", "--json")
    space = json.loads(planned.stdout)["space"]
    assert {file["path"] for file in space["changed"]} == PAGE
    assert "spaces/meadow/page: would be created" in planned.stderr
    assert "send    index.html" in planned.stderr
    assert not hub.storage.repositories

    done = session.meadow(*command, "--public", "--json")
    made = hub.repository("meadow/page", "space").head
    assert json.loads(done.stdout)["space"]["commit"] == made.id
    assert "spaces/meadow/page shows meadow/demo@v1.0.0" in done.stderr


def test_a_tag_stands_in_the_address_as_it_has_to() -> None:
    space = Space.of("meadow/page", "meadow/data", "v1.0.0+b1")
    assert space.shard_origin("https://huggingface.co") == (
        "https://huggingface.co/datasets/meadow/data/resolve/v1.0.0%2Bb1"
    )
