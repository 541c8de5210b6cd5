"""Headless chromium, served corpora, and pages that remember their requests and complaints."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from meadow.api import open_corpus
from meadow.quality.browse import application


class Watched:
    """A browser page with everything that it requested, failed at or printed."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(
            **({"viewport": {"width": 1300, "height": 850}} | options)
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.shard_bytes = 0
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("response", self._count)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))

    def _count(self, response: Any) -> None:
        if ".parquet" in response.url:
            self.shard_bytes += int(response.headers.get("content-length", 0))

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true (the policy forbids playwright's own way)."""
        for _ in range(400):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never true: {expression}")

    def row(self) -> str:
        """The text of the row that is shown, once it is there."""
        self.page.wait_for_selector(".record .prompt, .record .fields")
        return str(self.page.inner_text(".record"))


@pytest.fixture
def watch(chromium: Any) -> Iterator[Callable[..., Watched]]:
    """Opens pages; each one must end without a complaint."""
    opened: list[Watched] = []

    def make(**options: Any) -> Watched:
        opened.append(Watched(chromium, **options))
        return opened[-1]

    yield make
    for watched in opened:
        watched.context.close()
    assert [complaint for watched in opened for complaint in watched.complaints] == []


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve an application on loopback; yields its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves corpus folders with the local server, each one once."""
    with contextlib.ExitStack() as stack:
        known: dict[Path, str] = {}

        def start(folder: Path) -> str:
            if folder not in known:
                known[folder] = stack.enter_context(running(application(open_corpus(folder))))
            return known[folder]

        yield start


@pytest.fixture(scope="session")
def serve_app() -> Iterator[Callable[[Any], str]]:
    """Serves any application."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(running(app))


@pytest.fixture
def visit(watch: Callable[..., Watched], serve: Callable[[Path], str]) -> Callable[..., Watched]:
    """Opens the page of a corpus folder at a fragment of its address."""

    def go(folder: Path, fragment: str = "", **options: Any) -> Watched:
        watched = watch(**options)
        watched.page.goto(serve(folder) + fragment)
        return watched

    return go
