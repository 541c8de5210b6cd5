"""File content: ranged downloads (resolve) and git-lfs uploads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from support.hub.rest import SLASH, Access, Refused
from support.hub.storage import Storage

LFS_JSON = "application/vnd.git-lfs+json"


def ranged(request: Request, path: Path, headers: dict[str, str]) -> Response:
    """A file, or the part of it that the request asks for."""
    size = path.stat().st_size
    start, end, status = 0, size - 1, 200
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if match and (match[1] or match[2]):
        if match[1]:
            start, end = int(match[1]), min(int(match[2] or size - 1), size - 1)
        else:
            start = max(size - int(match[2]), 0)
        if start >= size:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        status = 206
        headers = headers | {"Content-Range": f"bytes {start}-{end}/{size}"}
    headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if request.method == "HEAD":
        return Response(status_code=200, headers=headers | {"Content-Length": str(size)})
    headers["Content-Length"] = str(end - start + 1)

    def blocks() -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(start)
            left = end - start + 1
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                left -= len(block)
                yield block

    return StreamingResponse(blocks(), status, headers=headers)


class Content:
    """Handlers of resolve and LFS."""

    def __init__(self, storage: Storage, access: Access, base: str, *, xet: bool) -> None:
        self.storage = storage
        self.access = access
        self.base = base
        self.xet = xet

    def routes(self) -> list[Route]:
        read, file = ["GET", "HEAD"], "resolve/{revision}/{path:path}"
        return [
            Route("/{kind}/{owner}/{name}/" + file, self.resolve, methods=read),
            Route("/{owner}/{name}/" + file, self.resolve, methods=read),
            Route(
                "/{kind}/{owner}/{name}.git/info/lfs/objects/batch", self.batch, methods=["POST"]
            ),
            Route("/{owner}/{name}.git/info/lfs/objects/batch", self.batch, methods=["POST"]),
            Route("/lfs/put/{oid}", self.put, methods=["PUT"]),
            Route("/lfs/verify", self.verify, methods=["POST"]),
        ]

    async def resolve(self, request: Request) -> Response:
        repository = self.access.repository(request)
        if repository.gated and self.access.user(request) is None:
            raise Refused(401, "GatedRepo", f"Access to {repository.id} is restricted.")
        commit = self.access.commit(request, repository)
        path = request.path_params["path"].replace(SLASH, "/")
        entry = commit.tree.get(path)
        headers = {"X-Repo-Commit": commit.id}
        if entry is None:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return Response("Entry not found", 404, headers=headers)
        headers |= {
            "ETag": f'"{entry.etag}"',
            "X-Linked-Etag": f'"{entry.etag}"',
            "X-Linked-Size": str(entry.size),
        }
        if self.xet and entry.xet:
            api = f"{self.base}/api/{repository.kind}s/{repository.id}"
            headers["X-Xet-Hash"] = entry.xet
            headers["Link"] = (
                f'<{api}/xet-read-token/{commit.id}>; rel="xet-auth", '
                f'<{self.base}/cas/v2/reconstructions/{entry.xet}>; rel="xet-reconstruction-info"'
            )
        return ranged(request, self.storage.blob(entry.sha256), headers)

    async def batch(self, request: Request) -> Response:
        # content that no tree names yet: who opens a pull request sends it before
        self.access.repository(request)
        self.access.needs_user(request)
        body = await request.json()
        objects = []
        for item in body["objects"]:
            oid, size = item["oid"], item["size"]
            answer = {"oid": oid, "size": size, "authenticated": True}
            if not self.storage.has(oid):
                upload = {"href": f"{self.base}/lfs/put/{oid}"}
                verify = {"href": f"{self.base}/lfs/verify"}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        value = {"transfer": "basic", "objects": objects, "hash_algo": "sha256"}
        return JSONResponse(value, media_type=LFS_JSON)

    async def put(self, request: Request) -> Response:
        self._store(await request.body(), request.path_params["oid"])
        return Response(headers={"ETag": '"stored"'})

    async def verify(self, request: Request) -> Response:
        body = await request.json()
        if not self.storage.has(body["oid"]):
            raise Refused(404, "", "no such object")
        if self.storage.blob(body["oid"]).stat().st_size != body["size"]:
            raise Refused(400, "", "wrong size")
        return JSONResponse({})

    def _store(self, data: bytes, oid: str) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400, "", "the content is not what its name says")
        self.storage.put(data)
