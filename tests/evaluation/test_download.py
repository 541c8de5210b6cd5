"""Exams by name, revision and address, from a Hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from huggingface_hub import HfApi
from support.hub.server import TOKEN, LoopbackHub, running
from support.hub.session import Session


def rows(*answers: str) -> bytes:
    return "".join(
        json.dumps({"question": f"Which one is number {n}?", "options": {"A": "one", "B": "two"},
                    "answer": answer}) + "\n"
        for n, answer in enumerate(answers)
    ).encode()  # fmt: skip


@pytest.fixture
def hub(tmp_path) -> Iterator[LoopbackHub]:
    with running(tmp_path / "hub") as served:
        api = HfApi(endpoint=served.base, token=TOKEN)
        api.create_repo("tester/exams", repo_type="dataset")
        for tag, data in (("v1", rows("A", "A")), ("v2", rows("B", "B", "B"))):
            api.upload_file(path_or_fileobj=data, path_in_repo="test/own.jsonl",
                            repo_id="tester/exams", repo_type="dataset")  # fmt: skip
            api.create_tag("tester/exams", tag=tag, repo_type="dataset")
        yield served


def test_a_file_at_a_revision_is_pinned_and_named_in_the_run(hub, upstream, tmp_path) -> None:
    session = Session(hub, tmp_path / "home")
    model = upstream / "tiny_llama" / "stories260K-hf"

    def run(tag: str, out: str) -> dict[str, object]:
        session.meadow(
            "eval", "run", "--model", model, "--exam", "own", "--file",
            f"hf://datasets/tester/exams@{tag}/test/own.jsonl", "--out", tmp_path / out,
        )  # fmt: skip
        return dict(json.loads((tmp_path / out / "run.json").read_text())["exam_files"][0])

    commits = [commit.commit_id for commit in HfApi(endpoint=hub.base, token=TOKEN)
               .list_repo_commits("tester/exams", repo_type="dataset")]  # fmt: skip
    first, second = run("v1", "one"), run("v2", "two")
    assert first["repository"] == second["repository"] == "tester/exams"
    assert (second["revision"], first["revision"]) == tuple(commits[:2])
    assert json.loads((tmp_path / "two/summary.json").read_text())["n"] == 3
    hub.reset_log()
    assert run("v1", "again") == first
    assert hub.log == [], "what is here is not asked for again"
    (place,) = (tmp_path / "home/.cache/medical-meadow/exams").glob("tester*v1")
    (place / "test/own.jsonl").write_bytes(rows("B"))
    changed = session.meadow(
        "eval", "run", "--model", model, "--exam", "own", "--file",
        "hf://datasets/tester/exams@v1/test/own.jsonl", "--out", tmp_path / "x", fault=True,
    )  # fmt: skip
    assert changed.returncode == 5
    assert "not the file that was downloaded first" in changed.stderr


def test_wrong_addresses_are_said(hub, tmp_path) -> None:
    session = Session(hub, tmp_path / "home")
    for words, code, message in (
        (("--exam", "own", "--file", "hf://datasets/tester/exams"), 2, "does not name a file"),
        (("--exam", "medqa@bad..name"), 2, "not a data set on the Hub"),
        (("--exam", "own@v1"), 2, "no download"),
        (
            ("--exam", "own", "--file", "hf://datasets/tester/exams@v9/a.jsonl"),
            1,
            "no such revision",
        ),
    ):
        found = session.meadow("eval", "run", "--model", "m", *words, "--out", "o", fault=True)
        assert found.returncode == code, found.stderr
        assert message in found.stderr
        assert "Traceback" not in found.stderr
