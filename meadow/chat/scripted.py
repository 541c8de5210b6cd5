"""An OpenAI-compatible server on loopback that answers by script: for the demo and for tests.

It is no model. `scripted_rewrite` turns a card into a question by a fixed phrase,
`scripted_reasoning` draws an option, and `scripted_verdict` calls a criterion met where the answer
holds what stands in its quotation marks, so that the whole path can be seen at work (request,
answer, checks, provenance) where there is no model at all; rows and verdicts that went through it
say so. It serves with
`python -m meadow.chat.scripted PORT`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-no-model"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does with one request."""

    content: str = ""  # the message of the completion
    finish_reason: str = "stop"  # why it ended
    status: int = 200  # the HTTP status; other than 200, `body` is sent
    headers: Mapping[str, str] = field(default_factory=dict)  # further headers
    body: bytes | None = None  # sent instead of a completion
    delay: float = 0.0  # seconds before anything is sent
    reset: bool = False  # reset the connection instead of answering


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


def scripted_reasoning(request: dict[str, Any], count: int = 0) -> Reply:
    """One of a question's options, drawn by a hash, as a guesser would; else a rewrite."""
    text = str(request["messages"][-1]["content"])
    if not (found := re.search(r"<question>\n(.*)\n</question>", text, re.DOTALL)):
        return scripted_rewrite(request, count)
    options = re.findall(r"(?m)^([A-Z0-9]): (.+)$", found[1])
    drawn = hashlib.sha256(f"{request['seed']}/{found[1]}".encode()).digest()[0]
    label, said = options[drawn % len(options)]
    return Reply(
        f"No model has read this question: draw {request['seed'] + 1} from the {len(options)} "
        f"options that it lists gave {label}. A teacher would say here why it takes {said} and "
        f"leaves the others.\n\n"
        f"Answer: {label}"
    )


def scripted_verdict(request: dict[str, Any], count: int = 0) -> Reply:
    """A verdict by the words that a criterion quotes; anything else is a reasoning."""
    text = str(request["messages"][-1]["content"])
    frame = r"<answer>\n(.*)\n</answer>\n<criterion>\n(.*)\n</criterion>"
    if not (found := re.search(frame, text, re.DOTALL)):
        return scripted_reasoning(request, count)
    wanted = re.findall(r'"([^"]+)"', found[2])
    lacking = [word for word in wanted if word.lower() not in found[1].lower()]
    said = f"{lacking[0]!r} is not in the answer" if lacking else "all that is quoted is there"
    verdict = {"explanation": said, "criteria_met": bool(wanted) and not lacking}
    return Reply(json.dumps(verdict, ensure_ascii=False))


class ScriptedChat(ThreadingHTTPServer):
    """The server; `requests` lists what it was asked, `keys` the bearer tokens that came along."""

    daemon_threads = True

    def __init__(self, script: Script, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """The address that ends in /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self._thread.join(5)

    def reply(self, request: dict[str, Any], key: str) -> Reply:
        """What the script says to a request, which is noted."""
        with self._lock:
            count = len(self.requests)
            self.requests.append(request)
            self.keys.add(key)
        return self.script(request, count)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedChat

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        request = json.loads(self.rfile.read(length) or b"{}")
        key = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        reply = self.server.reply(request, key)
        time.sleep(reply.delay)
        if reply.reset:
            linger = struct.pack("ii", 1, 0)  # closed with a reset, not with an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        body = reply.body if reply.body is not None else _completion(request, reply)
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No log: the demo's output is for people."""


def _completion(request: dict[str, Any], reply: Reply) -> bytes:
    prompt = sum(len(str(message["content"]).split()) for message in request["messages"])
    completion = len(reply.content.split())
    message = {"role": "assistant", "content": reply.content}
    document = {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }
    return json.dumps(document).encode()


@contextlib.contextmanager
def scripted_chat(script: Script = scripted_rewrite) -> Iterator[ScriptedChat]:
    """Serve for the length of a block."""
    server = ScriptedChat(script)
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    ScriptedChat(scripted_verdict, int(sys.argv[1])).serve_forever()
