"""The Hub's own API: who am I, repositories, trees, commits, references, settings."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from support.hub.storage import (
    LFS_SIZE,
    LFS_SUFFIXES,
    Commit,
    Repository,
    Storage,
    front_matter,
)

SLASH = "\x1f"
"""Stands for a slash inside one segment of a path (a revision such as refs/convert/parquet)."""
_POWERS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
SDKS = {"static", "gradio", "docker"}
MAX_SHORT_DESCRIPTION = 60
SIZES = frozenset(
    {"n<1K", "n>1T", *(f"{low}<n<{high}" for low, high in itertools.pairwise(_POWERS))}
)


def refuse(status: int, code: str, message: str, **more: str) -> JSONResponse:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return JSONResponse({"error": message, **more}, status, headers=headers)


class Refused(Exception):
    """Ends a handler with an error response."""

    def __init__(self, status: int, code: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.response = refuse(status, code, message, **more)


class Access:
    """Who may do what."""

    def __init__(self, storage: Storage, tokens: dict[str, dict[str, Any]]) -> None:
        self.storage = storage
        self.tokens = tokens

    def user(self, request: Request) -> dict[str, Any] | None:
        header = request.headers.get("authorization", "")
        return self.tokens.get(header.removeprefix("Bearer "))

    def needs_user(self, request: Request) -> dict[str, Any]:
        user = self.user(request)
        if user is None:
            raise Refused(401, "", "Invalid username or password.")
        return user

    def can_write(self, request: Request, repository_id: str) -> bool:
        user = self.user(request)
        owner = repository_id.partition("/")[0]
        return bool(user and user["role"] == "write" and owner in [user["name"], *user["orgs"]])

    def needs_write(self, request: Request, repository_id: str) -> None:
        if not self.can_write(request, repository_id):
            self.needs_user(request)
            raise Refused(403, "", "Forbidden: you must have write access")

    def repository(self, request: Request, *, write: bool = False) -> Repository:
        kind = request.path_params.get("kind", "models").removesuffix("s")
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        found = self.storage.repositories.get((kind, name))
        if found is None or (found.private and not self.can_write(request, name)):
            status = 404 if self.user(request) else 401
            raise Refused(status, "RepoNotFound", "Repository not found")
        if write:
            self.needs_write(request, name)
        return found

    def commit(self, request: Request, repository: Repository) -> Commit:
        name = request.path_params.get("revision", "main").replace(SLASH, "/")
        found = repository.resolve(name)
        if found is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {name}")
        return found


class Rest:
    """Handlers of the API."""

    def __init__(self, storage: Storage, access: Access, base: str, *, xet: bool) -> None:
        self.storage = storage
        self.access = access
        self.base = base
        self.xet = xet

    def routes(self) -> list[Route]:
        repository = "/api/{kind}/{owner}/{name}"
        post = ["POST"]
        return [
            Route("/api/agent-harnesses", self.agent_harnesses),
            Route("/api/repos/create", self.create, methods=post),
            Route("/api/validate-yaml", self.validate_yaml, methods=post),
            Route(repository, self.info),
            Route(repository + "/revision/{revision}", self.info),
            Route(repository + "/settings", self.settings, methods=["PUT"]),
            Route(repository + "/tree/{revision}", self.tree),
            Route(repository + "/tree/{revision}/{path:path}", self.tree),
            Route(repository + "/commits/{revision}", self.commits),
            Route(repository + "/preupload/{revision}", self.preupload, methods=post),
            Route(repository + "/commit/{revision}", self.commit, methods=post),
            Route(repository + "/tag/{revision}", self.tag, methods=post),
            Route(repository + "/branch/{revision}", self.branch, methods=post),
        ]

    async def agent_harnesses(self, request: Request) -> Response:
        """What `hf` asks for once a day; it knows none here."""
        return JSONResponse({"standardEnvVars": [], "harnesses": {}})

    async def create(self, request: Request) -> Response:
        body = await request.json()
        user = self.access.needs_user(request)
        kind = body.get("type") or "model"
        name = f"{body.get('organization') or user['name']}/{body['name']}"
        url = f"{self.base}/{'' if kind == 'model' else kind + 's/'}{name}"
        self.access.needs_write(request, name)
        if (kind, name) in self.storage.repositories:
            # The client reads `url` out of the conflict, also with exist_ok.
            raise Refused(409, "", f"You already created this {kind} repo", url=url)
        private = body.get("visibility") == "private" or bool(body.get("private"))
        sdk = body.get("sdk")
        if (kind == "space") != (sdk in SDKS):
            raise Refused(400, "", f"a {kind} with the sdk {sdk}")
        self.storage.create(kind, name, private=private, author=user["name"], sdk=sdk)
        return JSONResponse({"url": url, "name": name, "id": "1"})

    async def settings(self, request: Request) -> Response:
        repository = self.access.repository(request, write=True)
        body = await request.json()
        if "gated" in body:
            repository.gated = body["gated"]
        if "private" in body or "visibility" in body:
            repository.private = body.get("private", body.get("visibility") == "private")
        return JSONResponse(body)

    async def info(self, request: Request) -> Response:
        repository = self.access.repository(request)
        commit = self.access.commit(request, repository)
        card = self.storage.card(commit)
        siblings = []
        for path, entry in sorted(commit.tree.items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if "blobs" in request.query_params:
                sibling |= {"size": entry.size, "blobId": entry.oid}
                if entry.lfs:
                    sibling["lfs"] = {
                        "sha256": entry.sha256,
                        "size": entry.size,
                        "pointerSize": 130,
                    }
            siblings.append(sibling)
        value = {
            "_id": hashlib.sha256(repository.id.encode()).hexdigest()[:24],
            "id": repository.id,
            "author": repository.id.partition("/")[0],
            "sha": commit.id,
            "lastModified": commit.date,
            "createdAt": repository.created,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "cardData": card or None,
            "siblings": siblings,
            "xetEnabled": self.xet,
        }
        if repository.kind == "space":
            value["sdk"] = card.get("sdk")
        if expanded := request.query_params.getlist("expand"):
            value = {k: v for k, v in value.items() if k in expanded or k in {"_id", "id"}}
        return JSONResponse(value)

    async def tree(self, request: Request) -> Response:
        repository = self.access.repository(request)
        commit = self.access.commit(request, repository)
        base = request.path_params.get("path", "").replace(SLASH, "/").strip("/")
        recursive = request.query_params.get("recursive", "").lower() == "true"
        found: dict[str, dict[str, Any]] = {}
        for path, entry in sorted(commit.tree.items()):
            if base and not path.startswith(base + "/"):
                continue
            parts = path[len(base) + 1 if base else 0 :].split("/")
            for depth in range(1, len(parts)):
                if recursive or depth == 1:
                    folder = "/".join([*([base] if base else []), *parts[:depth]])
                    found.setdefault(folder, _folder(folder))
            if recursive or len(parts) == 1:
                found[path] = entry.to_api(path)
        if base and not found:
            raise Refused(404, "EntryNotFound", f"{base} does not exist")
        return JSONResponse(list(found.values()))

    async def commits(self, request: Request) -> Response:
        repository = self.access.repository(request)
        return JSONResponse(
            [
                {
                    "id": commit.id,
                    "title": commit.title,
                    "message": commit.message,
                    "authors": [{"user": commit.author}],
                    "date": commit.date,
                }
                for commit in repository.history(self.access.commit(request, repository))
            ]
        )

    async def tag(self, request: Request) -> Response:
        repository = self.access.repository(request, write=True)
        name = (await request.json())["tag"]
        target = self.access.commit(request, repository)
        if name in repository.tags:
            raise Refused(409, "", f"Tag {name} already exists")
        repository.tags[name] = target.id
        return JSONResponse({})

    async def branch(self, request: Request) -> Response:
        repository = self.access.repository(request, write=True)
        name = request.path_params["revision"].replace(SLASH, "/")
        body = await request.json() if await request.body() else {}
        start = repository.resolve(body.get("startingPoint", "main"))
        if start is None:
            raise Refused(404, "RevisionNotFound", "Invalid rev id")
        if name in repository.branches:
            raise Refused(409, "", f"Branch {name} already exists")
        repository.branches[name] = start.id
        return JSONResponse({})

    async def validate_yaml(self, request: Request) -> Response:
        body = await request.json()
        errors: list[dict[str, str]] = []
        card: dict[str, Any] = {}
        try:
            card = front_matter(body["content"])
        except yaml.YAMLError as error:
            errors.append({"message": f"YAML: {error}"})
        sizes = card.get("size_categories") or []
        for size in [sizes] if isinstance(sizes, str) else sizes:
            if size not in SIZES:
                errors.append({"message": f'"size_categories" must be one of {sorted(SIZES)}'})
        if body.get("repoType") == "space":
            if card.get("sdk") not in SDKS:
                errors.append({"message": f'"sdk" must be one of {sorted(SDKS)}'})
            if len(card.get("short_description") or "") > MAX_SHORT_DESCRIPTION:
                errors.append({"message": '"short_description" has more than 60 characters'})
        names = [config.get("config_name") for config in card.get("configs") or []]
        if len(names) != len(set(names)):
            errors.append({"message": '"configs" has duplicate config_name'})
        warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
        return JSONResponse({"errors": errors, "warnings": warnings}, 400 if errors else 200)

    def _writing(self, request: Request) -> tuple[Repository, bool]:
        """The repository, and whether a pull request is opened: any user may do that."""
        opens = request.query_params.get("create_pr") == "1"
        if opens:
            self.access.needs_user(request)
        return self.access.repository(request, write=not opens), opens

    async def preupload(self, request: Request) -> Response:
        repository, _ = self._writing(request)
        commit = self.access.commit(request, repository)
        answers = []
        for file in (await request.json())["files"]:
            path, sample = file["path"], base64.b64decode(file.get("sample") or "")
            suffix = "." + path.rpartition(".")[2]
            large = suffix in LFS_SUFFIXES or file["size"] > LFS_SIZE or b"\0" in sample
            entry = commit.tree.get(path)
            answers.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    "oid": entry.etag if entry else None,
                }
            )
        return JSONResponse({"files": answers, "commitOid": commit.id})

    async def commit(self, request: Request) -> Response:
        repository, opens = self._writing(request)
        branch = request.path_params["revision"].replace(SLASH, "/")
        if branch not in repository.branches:
            raise Refused(404, "RevisionNotFound", "Invalid rev id")
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        head = repository.commits[repository.branches[branch]]
        parent = header.get("parentCommit")
        if parent and not head.id.startswith(parent):
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        tree = dict(head.tree)
        for line in lines:
            self._apply(tree, line["key"], line["value"])
        author = self.access.needs_user(request)["name"]
        message = header.get("description", "")
        page = f"{self.base}/{repository.kind}s/{repository.id}"
        more = {}
        if opens:
            number = 1 + sum(name.startswith("refs/pr/") for name in repository.branches)
            repository.branches[f"refs/pr/{number}"] = head.id
            branch = f"refs/pr/{number}"
            more = {"pullRequestUrl": f"{page}/discussions/{number}"}
        made = self.storage.commit(repository, branch, tree, header["summary"], message, author)
        url = f"{page}/commit/{made.id}"
        return JSONResponse({"success": True, "commitOid": made.id, "commitUrl": url, **more})

    def _apply(self, tree: dict[str, Any], key: str, value: dict[str, Any]) -> None:
        """One operation of a commit."""
        match key:
            case "file":
                tree[value["path"]] = self.storage.regular(base64.b64decode(value["content"]))
            case "lfsFile":
                if not self.storage.has(value["oid"]):
                    raise Refused(400, "", f"LFS object does not exist: {value['oid']}")
                entry = self.storage.pointer(value["oid"])
                if value.get("size") not in {None, entry.size}:
                    raise Refused(400, "", f"size mismatch for {value['path']}")
                tree[value["path"]] = entry
            case "deletedFile":
                if tree.pop(value["path"], None) is None:
                    raise Refused(404, "EntryNotFound", f"{value['path']} does not exist")
            case "header":
                pass
            case _:
                raise Refused(400, "", f"unknown operation {key}")


def _folder(path: str) -> dict[str, Any]:
    oid = hashlib.sha256(path.encode()).hexdigest()[:40]
    return {"type": "directory", "oid": oid, "size": 0, "path": path}
