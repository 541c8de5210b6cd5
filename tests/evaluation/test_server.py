"""OpenAI-compatible servers, over loopback HTTP: honest ones, and ones that leave numbers out."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Request, Response

from evaluation import server as http
from evaluation.modes import parse_modes
from evaluation.questions import REASON, Framing
from evaluation.run import Settings, run
from evaluation.server import HttpBackend
from meadow.corpus.shards import read_parquet
from meadow.errors import NetworkError, RefusedError
from meadow.exams.items import ExamItem
from meadow.net.retry import RetryPolicy

SOON = RetryPolicy(tries=3, sleep=lambda _: None)


class Server:
    """Completions of a real model; `kind` says what it leaves out."""

    def __init__(self, model: Any, tokenizer: Any, kind: str) -> None:
        self.model, self.tokenizer, self.kind = model, tokenizer, kind
        self.seen: set[str] = set()

    def __call__(self, request: Request) -> Response:
        body = request.get_json()
        first = str(body) not in self.seen
        self.seen.add(str(body))
        if self.kind == "down" or (self.kind == "flaky" and first):
            return Response("{}", 503 if self.kind == "down" else 429)
        return Response(json.dumps(self.answer(body)), content_type="application/json")

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        import torch

        prompt, wanted = body["prompt"], body.get("logprobs")
        coded = self.tokenizer(prompt, return_offsets_mapping=True)
        ids, offsets = coded["input_ids"], coded["offset_mapping"]
        with torch.inference_mode():
            logprobs = self.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "length"}
        silent = self.kind == "silent" or wanted is None
        best = int(logprobs[-1].argmax())
        if body.get("echo"):
            choice["text"] = prompt + self.tokenizer.decode([best])
            pieces = [prompt[a:b] for a, b in offsets]
            values = [None, *(float(logprobs[i, t]) for i, t in enumerate(ids[1:]))]
            if self.kind == "begin":  # BOS as text shifts everything
                pieces[0] = self.tokenizer.bos_token
            pieces.append(self.tokenizer.decode([best]))
            values.append(float(logprobs[-1, best]))
            if self.kind == "one entry":  # as llama-server answers
                pieces, values = pieces[-1:], values[-1:]
            if not silent:
                choice["logprobs"] = {"tokens": pieces, "token_logprobs": values}
            return {"choices": [choice]}
        choice["text"] = self.tokenizer.decode([best])
        if not silent:
            count = 2 if self.kind == "few" else int(wanted)
            values, tokens = logprobs[-1].topk(min(count, logprobs.shape[-1]))
            top = {
                self.tokenizer.convert_ids_to_tokens(int(t)): float(v)
                for v, t in zip(values, tokens, strict=True)
            }
            choice["logprobs"] = {"top_logprobs": [top]}
        return {"choices": [choice]}


@pytest.fixture
def serve(random_model, httpserver) -> Any:
    """Makes a backend of a server of some kind; two addresses of it share the work."""

    def start(kind: str = "honest") -> HttpBackend:
        handler = Server(*random_model, kind)
        httpserver.clear()
        httpserver.expect_request("/v1/completions", method="POST").respond_with_handler(handler)
        urls = [httpserver.url_for("/v1"), httpserver.url_for("/")]
        return HttpBackend(urls, "random", policy=SOON)

    return start


def scored(
    backend: Any, items: list[ExamItem], out: Path, modes: str
) -> tuple[list[Any], dict[str, Any]]:
    summary = run(backend, items, Settings("sample", parse_modes(modes), max_new_tokens=4), out)
    return read_parquet(out / "predictions.parquet").to_pylist(), summary


@pytest.mark.parametrize("kind", ["honest", "begin", "flaky"])
def test_a_server_with_prompt_logprobs_scores_as_the_local_model(
    serve, local, sample_items, tmp_path, kind
) -> None:
    items = sample_items[:4]
    backend = serve(kind)
    backend.probe(["letter", "text"])
    assert backend.has_echo
    remote, _ = scored(backend, items, tmp_path / "remote", "letter,option,text")
    own, _ = scored(local(), items, tmp_path / "local", "letter,option,text")
    for a, b in zip(remote, own, strict=True):
        assert a["logliks"] == pytest.approx(b["logliks"], abs=1e-4)
        assert (a["pred"], a["gold"], a["status"]) == (b["pred"], b["gold"], "scored")
    assert backend.work()["requests"] >= sum(3 * len(item.options) for item in items)
    assert (backend.work()["retries"] > 0) == (kind == "flaky")


def test_a_server_without_logprobs_is_refused_for_scoring(serve) -> None:
    backend = serve("silent")
    with pytest.raises(RefusedError, match="letter needs log-probabilities"):
        backend.probe(["letter"])
    with pytest.raises(RefusedError, match="text needs log-probabilities"):
        backend.probe(["text"])
    backend.probe(["generate"])  # needs none


def test_a_server_without_echo_is_refused_for_text_only(
    serve, local, sample_items, tmp_path, monkeypatch
) -> None:
    backend = serve("one entry")
    with pytest.raises(RefusedError, match=r"option, text needs log-probabilities of the prompt"):
        backend.probe(["letter", "option", "text"])
    backend.probe(["letter"])
    assert (backend.has_letters, backend.has_echo) == (True, False)
    monkeypatch.setattr(http, "TOP", 10_000)  # the whole vocabulary: nothing is censored
    items = sample_items[:4]
    remote, _ = scored(backend, items, tmp_path / "remote", "letter")
    own, _ = scored(local(), items, tmp_path / "local", "letter")
    for a, b in zip(remote, own, strict=True):
        assert a["logliks"] == pytest.approx(b["logliks"], abs=1e-4)
        assert a["pred"] == b["pred"]


def test_letters_outside_the_top_are_censored_not_scored(serve, sample_items, tmp_path) -> None:
    backend = serve("few")
    backend.has_letters = True  # this server shows two tokens only
    items = sample_items[:6]
    rows, summary = scored(backend, items, tmp_path, "letter")
    assert backend.censored > 0
    for row in rows:
        if any(math.isnan(value) for value in row["logliks"]):
            assert row["status"] == "censored"
        if all(math.isnan(value) for value in row["logliks"]):
            assert row["pred"] is None
            assert not row["correct"]
    assert summary["modes"]["letter"]["statuses"]["censored"] > 0


def test_generation_over_completions(serve, sample_items, tmp_path) -> None:
    backend = serve("silent")
    rows, _ = scored(backend, sample_items[:3], tmp_path, "generate")
    assert all(row["text"] for row in rows)


def test_a_server_that_stays_down_is_an_error_with_a_way_on(serve) -> None:
    backend = serve("down")
    with pytest.raises(NetworkError, match="status 503; given up after 3 tries") as caught:
        backend.probe(["letter"])
    assert "the journal keeps what was scored" in str(caught.value.fix)
    assert (backend.work()["requests"], backend.work()["retries"]) == (3, 3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(RefusedError, match="over https only"):
        HttpBackend(["http://192.0.2.1/v1"], "random")
    with pytest.raises(NetworkError, match="ConnectError"):
        HttpBackend([f"http://127.0.0.1:{free}"], "random", policy=SOON).probe(["letter"])


@pytest.mark.parametrize(
    ("options", "message", "pred", "status"),
    [
        ({"chat": True}, {"content": "### Answer\nB"}, "B", "parsed"),
        ({"chat": True}, {"content": "C", "reasoning_content": "It is B."}, "C", "parsed"),
        ({"chat": True}, {"content": None, "reasoning": "The answer is B."}, None, "truncated"),
        ({"chat": True, "thinking": False}, {"content": "A"}, "A", "parsed"),
    ],
)
def test_a_chat_route_gets_the_users_text_alone(
    httpserver, sample_items, tmp_path, options, message, pred, status
) -> None:
    seen = []

    def answer(request: Request) -> Response:
        seen.append(request.get_json())
        return Response(json.dumps({"choices": [{"message": message, "finish_reason": "length"}]}))

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(answer)
    backend = HttpBackend([httpserver.url_for("/v1")], "m", policy=SOON, **options)
    settings = Settings("sample", parse_modes("cot"), Framing(template="chat"))
    run(backend, sample_items[:1], settings, tmp_path)
    (body,) = seen
    (turn,) = body["messages"]
    assert "stop" not in body
    assert body.get("chat_template_kwargs") == (
        {"enable_thinking": False} if "thinking" in options else None
    )
    assert "###" not in turn["content"]
    assert turn["content"].endswith(REASON)
    (row,) = read_parquet(tmp_path / "predictions.parquet").to_pylist()
    assert (row["pred"], row["status"], row["prompt"].strip()) == (pred, status, turn["content"])


def test_alpacas_frame_brings_its_stops(serve, sample_items, tmp_path, monkeypatch) -> None:
    backend = serve("silent")
    seen = []
    post = backend._post
    monkeypatch.setattr(
        backend, "_post", lambda u, p, body: (seen.append(body), post(u, p, body))[1]
    )
    scored(backend, sample_items[:1], tmp_path, "generate")
    assert "\n###" in seen[0]["stop"]
