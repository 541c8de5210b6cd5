"""Run the loopback Hub: routes, the log of requests, injected faults, CORS.

`python -m support.hub.server [--xet] FOLDER` serves until it is interrupted.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send
from support.hub.content import Content
from support.hub.rest import SLASH, Access, Refused, Rest
from support.hub.storage import Repository, Storage
from support.hub.xet import Xet

TOKEN = "hf_" + "loopbackcanary" * 2
"""A token of the real form; tests search everything that is written or printed for it."""
OTHER = "hf_otherotherotherotherother"
"""Somebody who may write to their own repositories alone."""
TOKENS: dict[str, dict[str, Any]] = {
    TOKEN: {"name": "tester", "orgs": ["meadow"], "role": "write"},
    OTHER: {"name": "other", "orgs": [], "role": "write"},
    "hf_readonlyreadonlyreadonly": {"name": "reader", "orgs": [], "role": "read"},
}
EXPOSED = "Content-Range, Content-Length, ETag, X-Repo-Commit, X-Linked-Size, Accept-Ranges, Link"

Kind = Literal["status", "cut", "lost"]


@dataclass(slots=True)
class Fault:
    """What goes wrong.

    `at`: the number of the request, from 1; 0: the first that `path` matches.
    `kind`: an error status; the connection cut before the work is done ("cut"), or after ("lost").
    `times`: how many requests from there on.
    """

    at: int = 0
    kind: Kind = "status"
    status: int = 500
    times: int = 1
    path: str = ""
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def hits(self, number: int, method: str, path: str) -> bool:
        if not self.times or (self.at and number < self.at):
            return False
        if (self.method and method != self.method) or not re.search(self.path, path):
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Logged:
    """One request."""

    number: int
    method: str
    path: str
    range: str
    agent: str
    status: int = 0
    received: int = 0
    sent: int = 0


class LoopbackHub:
    """The application. Everything that a test looks at or sets is an attribute."""

    def __init__(self, folder: Path, base: str, *, xet: bool) -> None:
        self.base = base
        self.storage = Storage(folder)
        self.access = Access(self.storage, TOKENS)
        self.xet = Xet(self.storage, self.access, base, enabled=xet)
        rest = Rest(self.storage, self.access, base, xet=xet)
        content = Content(self.storage, self.access, base, xet=xet)
        self.log: list[Logged] = []
        self.unknown: list[str] = []
        """Requests that no route knows: a client has learnt something new, or we have a defect."""
        self.faults: list[Fault] = []
        self.number = 0
        self._lock = threading.Lock()
        self.routes = [*rest.routes(), *self.xet.routes(), *content.routes()]
        self._inner = Starlette(routes=self.routes, exception_handlers={Refused: _refused})

    def repository(self, name: str, kind: str = "dataset") -> Repository:
        return self.storage.repositories[kind, name]

    def reset_log(self) -> None:
        self.log.clear()
        self.number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method = scope["method"]
        raw = scope["raw_path"].decode().partition("?")[0]
        scope = dict(scope, path=_decode(raw))
        entry, fault = self._admit(scope, method, raw)
        if method == "OPTIONS":
            await Response(status_code=204, headers=_cors())(scope, receive, send)
            return
        if fault is not None and fault.kind == "status":
            entry.status = fault.status
            await _drain(receive)
            headers = fault.headers | {"X-Error-Message": "injected"}
            await JSONResponse({"error": "injected"}, fault.status, headers=headers)(
                scope, receive, send
            )
            return
        if fault is not None and fault.kind == "cut":
            await _cut(send)

        async def counted() -> Message:
            message = await receive()
            entry.received += len(message.get("body", b""))
            return message

        async def noted(message: Message) -> None:
            if fault is not None:
                return
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                cors = [(key.encode(), value.encode()) for key, value in _cors().items()]
                message["headers"] = [*message["headers"], *cors]
            entry.sent += len(message.get("body", b""))
            await send(message)

        await self._inner(scope, counted, noted)
        if fault is not None:
            await _cut(send)

    def _admit(self, scope: Scope, method: str, raw: str) -> tuple[Logged, Fault | None]:
        """Log a request, and find the fault that is meant for it."""
        headers = dict(scope["headers"])
        with self._lock:
            self.number += 1
            entry = Logged(
                self.number,
                method,
                raw,
                headers.get(b"range", b"").decode(),
                headers.get(b"user-agent", b"").decode()[:60],
            )
            self.log.append(entry)
            if method != "OPTIONS" and not self._known(scope):
                self.unknown.append(f"{method} {raw}")
            for fault in self.faults:
                if fault.hits(self.number, method, raw):
                    return entry, fault
        return entry, None

    def _known(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self.routes)


def _decode(raw: str) -> str:
    """The path, decoded, with a mark for every slash that belongs to a name."""
    parts = (re.sub("%2f", SLASH, part, flags=re.I) for part in raw.split("/"))
    return "/".join(unquote(part) for part in parts)


def _cors() -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Headers": "Range, Authorization",
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
        "Access-Control-Expose-Headers": EXPOSED,
    }


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return error.response


async def _drain(receive: Receive) -> None:
    """Take the whole request, so that the client reads the answer instead of a broken pipe."""
    while (await receive()).get("more_body"):
        pass


async def _cut(send: Send) -> None:
    """End the connection in the middle of an answer."""
    headers = [(b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
    raise ConnectionAbortedError("cut on purpose")


@contextlib.contextmanager
def running(folder: Path, *, xet: bool = False, port: int = 0) -> Iterator[LoopbackHub]:
    """A Hub on 127.0.0.1, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", port))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    hub = LoopbackHub(folder, base, xet=xet)
    config = uvicorn.Config(hub, log_level=60, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield hub
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


if __name__ == "__main__":
    with running(Path(sys.argv[-1]), xet="--xet" in sys.argv) as served:
        print(served.base, flush=True)
        threading.Event().wait()
