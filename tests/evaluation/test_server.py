"""OpenAI-compatible servers, over loopback HTTP: honest ones, and ones that leave numbers out."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evaluation import server as http
from evaluation.modes import parse_modes
from evaluation.run import Settings, run
from evaluation.server import HttpBackend
from meadow.corpus.shards import read_parquet
from meadow.errors import NetworkError, RefusedError
from meadow.exams.items import ExamItem
from meadow.net.retry import RetryPolicy


class Server:
    """Completions of a real model; `kind` says what it leaves out."""

    def __init__(self, model: Any, tokenizer: Any, kind: str) -> None:
        self.model, self.tokenizer, self.kind = model, tokenizer, kind
        self.seen: set[str] = set()
        self.lock = threading.Lock()

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        with self.lock:
            first = str(body) not in self.seen
            self.seen.add(str(body))
            if self.kind == "flaky" and first:
                return JSONResponse({}, 429, {"retry-after": "0"})
            if self.kind == "down":
                return JSONResponse({}, 503, {"retry-after": "0"})
            return JSONResponse(self.answer(body))

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
def serve(random_model: tuple[Any, Any]) -> Iterator[Any]:
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(kind: str = "honest") -> str:
        app = Server(*random_model, kind)
        routes = [Route("/v1/completions", app.completions, methods=["POST"])]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = uvicorn.Config(Starlette(routes=routes), "127.0.0.1", port, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        running.append((server, thread))
        return f"http://127.0.0.1:{port}/v1"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


def scored(
    backend: Any, items: list[ExamItem], out: Path, modes: str
) -> tuple[list[Any], dict[str, Any]]:
    summary = run(backend, items, Settings("sample", parse_modes(modes), max_new_tokens=4), out)
    return read_parquet(out / "predictions.parquet").to_pylist(), summary


@pytest.mark.parametrize("kind", ["honest", "begin", "flaky"])
def test_a_server_with_prompt_logprobs_scores_as_the_local_model(
    serve: Any,
    local: Any,
    sample_items: list[ExamItem],
    tmp_path: Path,
    kind: str,
) -> None:
    items = sample_items[:4]
    backend = HttpBackend([serve(kind), serve(kind)], "random")
    backend.probe(["letter", "text"])
    assert backend.has_echo
    remote, _ = scored(backend, items, tmp_path / "remote", "letter,option,text")
    own, _ = scored(local(), items, tmp_path / "local", "letter,option,text")
    for a, b in zip(remote, own, strict=True):
        assert a["logliks"] == pytest.approx(b["logliks"], abs=1e-4)
        assert (a["pred"], a["gold"], a["status"]) == (b["pred"], b["gold"], "scored")
    assert backend.work()["requests"] >= sum(3 * len(item.options) for item in items)
    assert (backend.work()["retries"] > 0) == (kind == "flaky")


def test_a_server_without_logprobs_is_refused_for_scoring(serve: Any) -> None:
    backend = HttpBackend([serve("silent")], "random")
    with pytest.raises(RefusedError, match="letter needs log-probabilities"):
        backend.probe(["letter"])
    with pytest.raises(RefusedError, match="text needs log-probabilities"):
        backend.probe(["text"])
    backend.probe(["generate"])  # needs none


def test_a_server_without_echo_is_refused_for_text_only(
    serve: Any, local: Any, sample_items: list[ExamItem], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    backend = HttpBackend([serve("one entry")], "random")
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


def test_letters_outside_the_top_are_censored_not_scored(
    serve: Any, sample_items: list[ExamItem], tmp_path: Path
) -> None:
    backend = HttpBackend([serve("few")], "random")
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


def test_generation_over_completions(
    serve: Any, sample_items: list[ExamItem], tmp_path: Path
) -> None:
    backend = HttpBackend([serve("silent")], "random")
    rows, _ = scored(backend, sample_items[:3], tmp_path, "generate")
    assert all(row["text"] for row in rows)


def test_a_server_that_stays_down_is_an_error_with_a_way_on(serve: Any) -> None:
    policy = RetryPolicy(tries=3, sleep=lambda _: None)
    down = HttpBackend([serve("down")], "random", policy=policy)
    with pytest.raises(NetworkError, match="status 503; given up after 3 tries") as caught:
        down.probe(["letter"])
    assert "the journal keeps what was scored" in str(caught.value.fix)
    assert (down.work()["requests"], down.work()["retries"]) == (3, 3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(NetworkError, match="ConnectError"):
        HttpBackend([f"http://127.0.0.1:{free}"], "random", policy=policy).probe(["letter"])


@pytest.mark.slow
def test_transformers_serve(
    random_folder: Path, sample_items: list[ExamItem], tmp_path: Path
) -> None:
    """The real server generates, and answers without log-probabilities: scoring is refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(random_folder),
               "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]  # fmt: skip
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            try:
                httpx.get(f"{url}/health", timeout=2)
                break
            except httpx.TransportError:
                time.sleep(1)
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        backend = HttpBackend([url], str(random_folder))
        for mode in ("letter", "text"):
            with pytest.raises(RefusedError):
                backend.probe([mode])
        backend.probe(["generate"])
        rows, _ = scored(backend, sample_items[:3], tmp_path / "run", "generate")
        assert len(rows) == 3
        assert any(row["text"] for row in rows)
    finally:
        process.terminate()
        process.wait(30)
        log.close()
