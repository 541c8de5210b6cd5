"""An OpenAI-compatible server on loopback that answers by script: for the demo and for tests.

It is no model. `scripted_rewrite` turns a card into a question by a fixed phrase, so that the whole
path can be seen at work (request, answer, checks, provenance) where there is no model at all; rows
that went through it say so in `rephrased_by`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-no-model"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does with one request.

    Args:
        content: The message of the completion.
        finish_reason: Why it ended.
        status: The HTTP status; other than 200, `body` is sent.
        headers: Further headers.
        body: Sent instead of a completion.
        delay: Seconds before anything is sent.
        reset: Reset the connection instead of answering.
    """

    content: str = ""
    finish_reason: str = "stop"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    reset: bool = False


Script = Callable[[dict[str, Any], int], Reply]
"""A request and how many came before it -> what to do."""


def scripted_rewrite(request: dict[str, Any], count: int = 0) -> Reply:
    """A rewrite by a fixed phrase, from the frame of our own prompts."""
    text = str(request["messages"][-1]["content"])
    if found := re.search(r"Front: (.*)\nBack: (.*)\n</card>", text, re.DOTALL):
        front, back = found[1].strip().rstrip("?:. "), found[2].strip()
        question = front if found[1].rstrip().endswith("?") else f"What is known about {front}"
        answer = {"question": f"{question}?".replace("??", "?"), "answer": back}
        return Reply(json.dumps(answer, ensure_ascii=False))
    topic = re.search(r"Topic: (.*)", text)
    heading = re.search(r"Heading: (.*)", text)
    asked = f"What does {heading[1] if heading else ''} mean in {topic[1] if topic else ''}"
    return Reply(json.dumps({"question": asked.replace("?", "") + "?"}, ensure_ascii=False))


class ScriptedChat:
    """The server; `requests` lists what it was asked, `keys` the bearer tokens that came along."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """No log: the demo's output is for people."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """The address that ends in /v1."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Read a request, ask the script, do what it says."""
        length = int(handler.headers.get("content-length") or 0)
        request = json.loads(handler.rfile.read(length) or b"{}")
        with self._lock:
            count = len(self.requests)
            self.requests.append(request)
            self.keys.add((handler.headers.get("authorization") or "").removeprefix("Bearer "))
        reply = self.script(request, count)
        if reply.delay:
            time.sleep(reply.delay)
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
            handler.close_connection = True
            return
        body = reply.body if reply.body is not None else _completion(request, reply)
        with contextlib.suppress(OSError):
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)


def _completion(request: dict[str, Any], reply: Reply) -> bytes:
    prompt = sum(len(str(message["content"]).split()) for message in request["messages"])
    completion = len(reply.content.split())
    return json.dumps(
        {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": reply.content},
                    "finish_reason": reply.finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
    ).encode()


@contextlib.contextmanager
def scripted_chat(script: Script = scripted_rewrite) -> Iterator[ScriptedChat]:
    """Serve for the length of a block."""
    server = ScriptedChat(script)
    try:
        yield server
    finally:
        server.close()
