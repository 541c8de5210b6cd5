"""A canary key through every failure of a chat server, for rewriting and for evaluation.

The servers are as bad as they can be: they repeat the key in every field of an answer, in errors
and in headers, and they redirect the texts to another host.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from support.budget import note
from support.canary import KEY, PASSWORD, OtherHost, Watch
from support.corpora import build

from meadow.chat.scripted import MODEL, Reply, Script, scripted_chat

SAID = json.dumps({"error": {"message": f"no: {KEY}", "code": KEY, "type": KEY}}).encode()


def parrot(request: dict[str, Any], count: int) -> Reply:
    """An answer in form, with the key in every field that is text."""
    if "messages" in request:
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": f"It is {KEY}"}}
    else:
        top = {" A": -1.0, " B": -2.0, f" {KEY}": -3.0}
        choice = {"text": f" A {KEY}", "logprobs": {"top_logprobs": [top]}}
    document = {
        "id": KEY, "object": KEY, "model": f"served-{KEY}", "system_fingerprint": KEY,
        "choices": [{"index": 0, "finish_reason": f"stop-{KEY}", **choice}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }  # fmt: skip
    return Reply(body=json.dumps(document).encode())


def always(**values: Any) -> Script:
    return lambda request, count: Reply(**values)


FAULTS: dict[str, Script] = {
    "401": always(status=401, body=SAID, headers={"X-Request-Id": KEY}),
    "no form": always(body=json.dumps([KEY]).encode()),
    "no text": always(body=f"\xff{KEY}".encode("latin-1")),
    "parrot": parrot,
}


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    made = Watch(tmp_path_factory.mktemp("canary") / "home", {"HF_HUB_OFFLINE": "1"})
    build(made.folder / "corpus", ["anki"])
    return made


def rephrase(watch: Watch, url: str, out: Path) -> list[str | Path]:
    return ["rephrase", "anki", "--corpus", watch.folder / "corpus", "--out", out, "--model",
            MODEL, "--base-url", url, "--cache", out.with_suffix(".sqlite"), "--json"]  # fmt: skip


def evaluate(modes: str, url: str, out: Path) -> list[str | Path]:
    return ["eval", "run", "--model", MODEL, "--exam", "sample", "--limit", "2", "--modes", modes,
            "--base-url", url, "--out", out, "--json"]  # fmt: skip


def rubric(url: str, out: Path) -> list[str | Path]:
    return ["eval", "rubric", "--exam", "sample", "--limit", "1", "--model", MODEL, "--base-url",
            url, "--judge", MODEL, "--judge-url", url, "--cache", out.with_suffix(".sqlite"),
            "--out", out, "--json"]  # fmt: skip


def commands(watch: Watch, url: str, name: str) -> dict[str, list[str | Path]]:
    return {
        "rephrase": rephrase(watch, url, watch.folder / f"rephrased-{name}"),
        "generate": evaluate("generate", url, watch.folder / f"generated-{name}"),
        "letter": evaluate("letter", url, watch.folder / f"letters-{name}"),
        "rubric": rubric(url, watch.folder / f"rubric-{name}"),
    }


@pytest.mark.parametrize(
    ("command", "fault"),
    [("rephrase", "401"), ("rephrase", "no text"), ("rephrase", "parrot"), ("generate", "no form"),
     ("letter", "parrot"), ("rubric", "401"), ("rubric", "parrot")],
)  # fmt: skip
def test_a_server_that_repeats_the_key_finds_no_listener(
    watch: Watch, command: str, fault: str
) -> None:
    with scripted_chat(FAULTS[fault]) as server:
        argv = commands(watch, server.base_url, fault)[command]
        # an answer in form is no failure of the run
        finishes = fault == "parrot"
        watch.run("-m", "meadow", "--debug", *argv, fails=not finishes)
        assert KEY in server.keys, "the key has to reach the server that it is for"
    if finishes:
        note("canary_failures")
    assert watch.leaks == []


@pytest.mark.parametrize("command", ["rephrase", "generate", "rubric"])
def test_neither_key_nor_text_reaches_another_host(
    watch: Watch, other: OtherHost, command: str
) -> None:
    """No redirect is followed, and what is for this machine passes no proxy."""
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), other.url)
    elsewhere = always(status=307, body=b"{}", headers={"Location": f"{other.url}/v1/x"})
    with scripted_chat(elsewhere) as server:
        argv = commands(watch, server.base_url, "away")[command]
        watch.meadow(*argv, NO_PROXY="", no_proxy="", **proxy)
        assert server.requests
    assert other.requests == []
    assert watch.leaks == []


@pytest.mark.parametrize("command", ["rephrase", "generate", "rubric"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(watch: Watch, command: str) -> None:
    for url in (
        f"http://user:{PASSWORD}@127.0.0.1:9/v1",
        f"http://{KEY}@127.0.0.1:9/v1",
        f"http://127.0.0.1:9/v1?api_key={PASSWORD}",
    ):
        done = watch.meadow(*commands(watch, url, "address")[command])
        assert done.returncode == 2
    assert watch.leaks == []


def test_a_key_leaves_this_machine_over_https_only(watch: Watch) -> None:
    asked = evaluate("generate", "http://192.0.2.1/v1", watch.folder / "far")
    done = watch.meadow(*asked, "--allow-remote")
    assert done.returncode == 6
    assert "over https only" in done.stderr
    assert watch.leaks == []
