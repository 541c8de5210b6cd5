"""An HTTP server on raw sockets that misbehaves exactly as it is told.

A handler gets each request and how many came before it, and says in a `Reply` what goes over the
wire, down to where the connection is cut. Nothing corrects a lie: that is the point.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path

from meadow.net.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes = b""
    """Head and body as they came."""

    @property
    def start(self) -> int:
        """Where the asked range begins; 0 without one."""
        match = re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(match[1]) if match else 0


@dataclass(slots=True)
class Reply:
    """What goes over the wire.

    `length`: the Content-Length header; None: the true one; -1: no such header.
    `cut`: body bytes after which the connection is closed; None: never.
    `reset`: the cut is a reset instead of a polite end.
    `chunked`: chunked transfer coding.
    `pause`: seconds between the pieces of the body.
    """

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    cut: int | None = None
    reset: bool = False
    chunked: bool = False
    pause: float = 0.0


Handler = Callable[[Request, int], Reply]


def part_of(data: bytes, request: Request, *, etag: str = '"v1"', **more: object) -> Reply:
    """The answer of an honest server that knows ranges and If-Range."""
    condition = request.headers.get("if-range")
    headers = {"ETag": etag} if etag else {}
    if not request.headers.get("range") or (condition and condition != etag):
        return Reply(data, 200, headers, **more)  # type: ignore[arg-type]
    if request.start >= len(data):
        return Reply(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {request.start}-{len(data) - 1}/{len(data)}"
    headers["Content-Range"] = span
    return Reply(data[request.start :], 206, headers, **more)  # type: ignore[arg-type]


class FaultyServer:
    """Serves on 127.0.0.1; `requests` lists what was asked."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.requests: list[Request] = []
        self.sent = 0
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def serve(self, answer: Handler | Reply) -> str:
        """Answer a path of its own with a handler, or always with one reply; the address."""
        handler = (lambda request, count: answer) if isinstance(answer, Reply) else answer
        return self.route(f"/{len(self.handlers)}", handler)

    def asked(self, url: str) -> list[Request]:
        """What was asked of an address."""
        return [request for request in self.requests if url.endswith(f"{self.port}{request.path}")]

    def route(self, path: str, handler: Handler) -> str:
        """Answer `path` with `handler`; returns the address."""
        with self._lock:
            self.handlers[path] = handler
            self._counts[path] = 0
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            # Wakes the thread that waits in accept.
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._thread.join(5)
        self._socket.close()

    def _accept(self) -> None:
        while not self._closing:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            stream = connection.makefile("rb")
            while (request := _read_request(stream)) is not None:
                with self._lock:
                    self.requests.append(request)
                    count = self._counts.get(request.path, 0)
                    self._counts[request.path] = count + 1
                    handler = self.handlers.get(request.path)
                reply = handler(request, count) if handler else Reply(b"no such path", 404)
                if not self._send(connection, reply, head_only=request.method == "HEAD"):
                    return

    def _send(self, connection: socket.socket, reply: Reply, *, head_only: bool) -> bool:
        """Put a reply on the wire; False where the connection is over after it."""
        pieces: Iterable[bytes] = [reply.body] if isinstance(reply.body, bytes) else reply.body
        headers = dict(reply.headers)
        endless = reply.length == -1 and not reply.chunked
        if reply.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif reply.length != -1:
            true = len(reply.body) if isinstance(reply.body, bytes) else 0
            headers["Content-Length"] = str(true if reply.length is None else reply.length)
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in headers.items())]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        if head_only:
            return True
        left = reply.cut
        for piece in pieces:
            piece = piece if left is None else piece[:left]
            if piece:
                framed = b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece
                connection.sendall(framed)
                self.sent += len(piece)
            if left is not None:
                left -= len(piece)
                if not left:
                    _end(connection, reset=reply.reset)
                    return False
            if reply.pause:
                time.sleep(reply.pause)
        if reply.chunked:
            connection.sendall(b"0\r\n\r\n")
        return not endless and reply.length in {None, -1}


def _end(connection: socket.socket, *, reset: bool) -> None:
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        connection.shutdown(socket.SHUT_RDWR)


def _read_request(stream: BufferedReader) -> Request | None:
    raw = b""
    while (line := stream.readline()).strip():
        raw += line
    first, *lines = raw.decode("latin-1").splitlines() or [""]
    if len(first.split()) != 3:
        return None
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = stream.read(int(headers.get("content-length", 0)))
    method, path, _ = first.split()
    return Request(method, path, headers, raw + body)


@contextlib.contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    try:
        yield server
    finally:
        server.close()


@dataclass(slots=True)
class FakeClock:
    """A clock that only moves when somebody sleeps or looks at it."""

    time: float = 0.0
    tick: float = 0.0
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        self.time += self.tick
        return self.time

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    def policy(self, limits: RetryPolicy | None = None) -> RetryPolicy:
        """A policy of retries by this clock, without chance."""
        return replace(limits or RetryPolicy(), now=self.now, sleep=self.sleep, jitter=lambda: 1.0)


def names(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(path.name for path in folder.iterdir())
