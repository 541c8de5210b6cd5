"""The browse page: a folder of static files, and a local server for a corpus on this machine.

The same files serve three places: `meadow browse` (this server: the page, ranges of the shards, and
full-text search), a static Space that reads the tagged shards of a published corpus, and the tests.
The page shows whatever the shards hold as text and may fetch from its own origin and the shard
origin alone; its content security policy says so, and a test watches its requests.
"""

from __future__ import annotations

import contextlib
import functools
import html
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import write_bytes, write_text
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import NAME as MANIFEST
from meadow.errors import MeadowError, UsageError
from meadow.net.http import split_address

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

SITE = Path(__file__).parent / "site"
REPORT = "report/report.json"
_BASE = '<meta name="meadow-base" content="corpus/">'
_SEARCH = '<meta name="meadow-search" content="">'
_CONNECT = "connect-src 'self'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
HUB_REDIRECTS = ("https://*.hf.co", "https://*.huggingface.co")
"""Where the Hub sends a request for a file's bytes."""


def site_files() -> list[str]:
    """The files of the page, relative to its folder; the rebuild recipe is not among them."""
    kept = {path.name for path in SITE.iterdir() if path.suffix in {".html", ".css", ".js", ".svg"}}
    return sorted(kept | {"vendor/parquet.js", "vendor/LICENSES.txt"})


def index_html(
    *, base: str = "corpus/", search: str = "", title: str = "Medical Meadow", connect: str = ""
) -> str:
    """The page's document, told where its shards are: `base`, an address that ends with a slash.

    Without a search service the page scans; `connect` has further origins that it may fetch from,
    separated by spaces.
    """
    page = (SITE / "index.html").read_text(encoding="utf-8")
    for known, replacement in (
        (_BASE, _BASE.replace("corpus/", html.escape(base))),
        (_SEARCH, _SEARCH.replace('""', f'"{html.escape(search)}"')),
        (_CONNECT, f"{_CONNECT} {html.escape(connect)}".rstrip()),
        ("<title>Medical Meadow<", f"<title>{html.escape(title)}<"),
        ('id="title">Medical Meadow<', f'id="title">{html.escape(title)}<'),
    ):
        assert page.count(known) == 1, f"index.html holds {known!r} once"
        page = page.replace(known, replacement)
    return page


def write_site(
    folder: Path, *, shard_origin: str = "corpus/", title: str = "Medical Meadow"
) -> list[Path]:
    """Write the page as static files that any web server or a static Space can hold.

    `shard_origin` is the address of the corpus folder: relative ("corpus/"), or absolute, such as
    `https://huggingface.co/datasets/OWNER/NAME/resolve/TAG/`. Returns the files written.

    Raises:
        UsageError: The address is none, neither relative nor http(s), or holds more than that.
    """
    base = shard_origin if shard_origin.endswith("/") else shard_origin + "/"
    parts = split_address(base)
    if any(c in base for c in " \t\r\n;,'\"<>") or parts.query or parts.fragment:
        raise UsageError(f"not the address of a folder: {shard_origin[:80]!r}")
    if parts.scheme not in {"", "http", "https"} or "@" in parts.netloc:
        raise UsageError(
            f"shards are read over http(s), not {parts.scheme or parts.netloc!r}",
            fix="give the https address of the published folder, or a relative one",
        )
    origins = [f"{parts.scheme}://{parts.netloc}"] if parts.netloc else []
    if parts.netloc == "huggingface.co":
        origins += HUB_REDIRECTS
    page = index_html(base=base, title=title, connect=" ".join(origins)).encode()
    for name in site_files():
        write_bytes(folder / name, page if name == "index.html" else (SITE / name).read_bytes())
    return [folder / name for name in site_files()]


def write_space(folder: Path, *, shard_origin: str, title: str, repository: str) -> list[Path]:
    """Write the page as a static Space: its files, and the README.md that says so to the Hub."""
    import yaml

    facts = {
        "title": title,
        "sdk": "static",
        "pinned": False,
        "license": "apache-2.0",
        "datasets": [repository],
        "short_description": "Read and search the rows of a medical instruction corpus.",
    }
    front = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    written = write_site(folder, shard_origin=shard_origin, title=title)
    body = (
        f"The browse page of `{repository}`. It reads the published Parquet shards by HTTP ranges; "
        "nothing is stored here. vendor/LICENSES.txt has the licences of the Parquet reader.\n"
    )
    write_text(folder / "README.md", f"---\n{front}---\n\n{body}")
    return [*written, folder / "README.md"]


def application(
    corpus: Corpus, *, origins: Sequence[Corpus] = (), title: str = "Medical Meadow"
) -> Starlette:
    """The local server: the page, the corpus folder's named files by ranges, search and rows by id.

    `origins` are the builds that a mix was drawn from: they have the rows that it dropped. Only
    loopback names are answered (a foreign page cannot reach it by a name of its own), and only
    files that the manifest names.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
    from starlette.routing import Route

    from meadow.quality.search import Query, Search

    search = Search(corpus)
    named = set(corpus.manifest.named()) | {MANIFEST}
    files = set(site_files()) - {"index.html"}
    document = index_html(search="api/search", title=title)
    report = functools.cache(lambda: _fresh_report(corpus))

    async def index(request: Request) -> Response:
        return HTMLResponse(document, headers=_HEADERS)

    def named_file(folder: Path, names: set[str], name: str) -> Response:
        # what is asked for is compared with names that are known, never made into a path first
        if name not in names or not (folder / name).is_file():
            return PlainTextResponse("not found", status_code=404, headers=_HEADERS)
        return FileResponse(folder / name, headers=_HEADERS)

    async def page_file(request: Request) -> Response:
        return named_file(SITE, files, request.path_params["path"])

    async def corpus_file(request: Request) -> Response:
        name = request.path_params["path"]
        if name == REPORT:
            return JSONResponse(await run_in_threadpool(report), headers=_HEADERS)
        return named_file(corpus.folder, named, name)

    async def find(request: Request) -> Response:
        parameters = dict(request.query_params)
        source, split = parameters.pop("source", ""), parameters.pop("split", "train")
        try:
            query = Query.of(parameters)
            hits = await run_in_threadpool(search.rows, source, split, query)
        except MeadowError as error:
            return JSONResponse({"error": error.what}, status_code=400, headers=_HEADERS)
        return JSONResponse(asdict(hits), headers=_HEADERS)

    async def row(request: Request) -> Response:
        record_id = request.query_params.get("id", "")
        for opened in (corpus, *origins):
            if record_id and (found := await run_in_threadpool(opened.find, record_id)):
                return JSONResponse({"row": found}, headers=_HEADERS)
        return JSONResponse({"row": None}, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/api/search", find),
            Route("/api/row", row),
            Route("/corpus/{path:path}", corpus_file),
            Route("/{path:path}", page_file),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def _fresh_report(corpus: Corpus) -> dict[str, Any]:
    """The report in the folder where it speaks of this very manifest; else it is made."""
    from meadow.quality.report import build_report, subject

    with contextlib.suppress(OSError, ValueError, AttributeError):
        document: dict[str, Any] = json.loads((corpus.folder / REPORT).read_text(encoding="utf-8"))
        if document.get("subject") == subject(corpus.manifest):
            return document
    return build_report(corpus)


def serve(
    corpus: Corpus,
    *,
    origins: Sequence[Corpus] = (),
    port: int = 0,
    title: str = "Medical Meadow",
    ready: Callable[[str], None],
) -> None:
    """Serve `application` on loopback until interrupted; `ready` is told the page's address.

    Port 0 takes a free one.

    Raises:
        UsageError: The port is taken.
    """
    import uvicorn

    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used: {os.strerror(error.errno or 0)}",
            fix="choose another with --port",
        ) from error
    ready(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    settings = uvicorn.Config(
        application(corpus, origins=origins, title=title),
        log_level="warning",
        lifespan="off",
        access_log=False,
    )
    # Ctrl-C is how a server is meant to end.
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(settings).run(sockets=[listener])
