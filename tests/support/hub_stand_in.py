# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A Hub on this machine: repositories with their commits, one user with one token, and faults on demand.

It keeps everything in memory and speaks what `huggingface_hub` asks of the Hub, uploads by git and by LFS. `HF_ENDPOINT` is
read when `huggingface_hub` is imported, so that its clients are processes of their own: `Hub.run` starts one.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from support.without_package import WITHOUT_PACKAGE

ROOT = Path(__file__).parents[2]
USER, TOKEN = "me", "hf_" + "StandInToken" * 3
HANG_UP = "hang up"
# What a process that has the package starts with, and one that has not.
WITH = """
import contextlib, io, json, os, sys, urllib.request
from pathlib import Path

sys.path[:0] = os.environ["SOURCES"].split(os.pathsep)
root, found = Path.cwd(), {}

def fault(**answers):
    data = json.dumps(answers).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["HF_ENDPOINT"] + "/faults", data, method="POST"))

def attempt(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except (OSError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
"""
WITHOUT = (
    WITHOUT_PACKAGE
    + """
import json, os
from pathlib import Path

root, found = Path.cwd(), {}
"""
)


class Refusal(Exception):
    """An answer that is an error, as the Hub words it: status, message, and the code that its clients read."""

    def __init__(self, status, message, code=None):
        self.status, self.message, self.code = status, message, code


class Repository:
    """Commits, the oldest first: each an id, a title, all files as `{path: bytes}`, and the paths that were sent; branches
    by name.
    """

    def __init__(self, private):
        self.private, self.commits, self.branches = private, [], {}
        self.commit("main", "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, branch, title, files, sent=()):
        oid = hashlib.sha1(f"{len(self.commits)} {title}".encode()).hexdigest()
        self.commits.append({"oid": oid, "title": title, "files": files, "sent": sorted(sent)})
        self.branches[branch] = oid
        return oid

    def at(self, revision):
        oid = self.branches.get(revision, revision)
        for commit in self.commits:
            if commit["oid"] == oid:
                return commit
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class Protocol(H11Protocol):
    """uvicorn's, which remembers its connections, so that one can be cut."""

    open = {}

    def connection_made(self, transport):
        super().connection_made(transport)
        self.open[transport.get_extra_info("peername")[:2]] = transport


def is_large(path):
    return path.endswith((".safetensors", ".png"))


def object_id(path, content):
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """
    Args:
        repositories (dict of `Repository` by `owner/name`), objects (dict of `bytes` by SHA-256): What it holds.
        faults (dict of lists by kind): What becomes of the next requests of a kind: a status, `HANG_UP`, or None for a
            proper answer. The kinds are the names of the functions in `routes`. Clients add some by `POST /faults`.
        requests (list of `(kind, path)`): All that were made.
    """

    def __init__(self):
        self.repositories, self.objects = {}, {}
        self.faults, self.requests = defaultdict(list), []
        app = FastAPI(dependencies=[Depends(self.watch)])
        app.add_exception_handler(Refusal, self.refuse)
        routes(self, app)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", http=Protocol)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive(), "the Hub did not start"
            self.thread.join(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *error):
        self.server.should_exit = True
        self.thread.join(10)

    async def watch(self, request: Request):
        kind = request.scope["route"].name
        if kind == "faults":
            return
        self.requests.append((kind, request.url.path))
        fault = self.faults[kind].pop(0) if self.faults[kind] else None
        if fault == HANG_UP:
            await anext(request.stream())  # the first piece has arrived
            Protocol.open[tuple(request.scope["client"])].abort()
        if fault:
            raise Refusal(500 if fault == HANG_UP else fault, f"fault in {kind}")
        if request.headers.get("authorization", f"Bearer {TOKEN}") != f"Bearer {TOKEN}":
            raise Refusal(401, "Invalid credentials in Authorization header")

    async def refuse(self, request, refusal):
        headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
        return JSONResponse({"error": refusal.message}, refusal.status, headers)

    def repository(self, request, owner, name, write=False):
        known = "authorization" in request.headers
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None or (repository.private and not known):
            raise Refusal(404 if known else 401, "Repository not found", "RepoNotFound")
        if write and (not known or owner != USER):
            raise Refusal(403, f"You don't have the right to write to {owner}/{name}")
        return repository

    def history(self, name):
        """Title and sent paths of a repository's commits after the first."""
        return [(commit["title"], commit["sent"]) for commit in self.repositories[name].commits[1:]]

    def files(self, name, revision="main"):
        return self.repositories[name].at(revision)["files"]

    def environment(self, home, **others):
        """What a client's process needs; `home` is its cache and where it might leave a token."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
        own |= {"SOURCES": os.pathsep.join(str(ROOT / name) for name in ("", "tests"))}
        own |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        left_out = ("TRANSFORMERS_OFFLINE", "HF_MODULES_CACHE", "HF_HUB_CACHE", "PYTHONPATH")
        return {key: value for key, value in os.environ.items() if key not in left_out} | own | others

    def run(self, program, folder, home="home", **environment):
        """Runs a program of Python in a folder; its output is appended to `output.txt` there."""
        environment = self.environment(folder / home, **environment)
        command = [sys.executable, "-P", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=400)
        with open(folder / "output.txt", "a") as file:
            file.write(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-5000:]


def routes(hub, app):
    """The parts of the Hub's interface that pushing and loading models go through."""
    model = "/api/models/{owner}/{name}"

    @app.post("/faults")
    async def faults(request: Request):
        for kind, answers in (await request.json()).items():
            hub.faults[kind] += answers

    @app.get("/api/whoami-v2")
    async def whoami(request: Request):
        return {"type": "user", "name": USER, "orgs": [], "auth": {"type": "access_token"}}

    @app.post("/api/repos/create")
    async def create(request: Request):
        body = await request.json()
        owner = body.get("organization") or USER
        repo_id = f"{owner}/{body['name']}"
        if owner != USER or "authorization" not in request.headers:
            raise Refusal(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        answer = {"url": f"{hub.url}/{repo_id}", "name": repo_id, "id": repo_id}
        if repo_id in hub.repositories:
            return JSONResponse({"error": "You already created this model repo"} | answer, 409)
        hub.repositories[repo_id] = Repository(private=body.get("visibility") == "private")
        return answer

    @app.post("/api/validate-yaml")
    async def validate(request: Request):
        content = (await request.json())["content"]
        if content.startswith("---\nlicense: [\n"):
            return JSONResponse(
                {"error": "bad metadata", "errors": [{"message": "not valid YAML"}], "warnings": []}, 400
            )
        return {"errors": [], "warnings": []}

    @app.post(model + "/branch/{revision:path}")
    async def branch(request: Request, owner: str, name: str, revision: str):
        repository = hub.repository(request, owner, name, write=True)
        if revision in repository.branches:
            raise Refusal(409, f"Reference already exists: refs/heads/{revision}")
        repository.branches[revision] = repository.branches["main"]
        return {}

    @app.post(model + "/preupload/{revision:path}")
    async def preupload(request: Request, owner: str, name: str, revision: str):
        there = hub.repository(request, owner, name, write=True).at(revision)["files"]
        answer = []
        for path in (file["path"] for file in (await request.json())["files"]):
            entry = {"path": path, "uploadMode": "lfs" if is_large(path) else "regular", "shouldIgnore": False}
            answer.append(entry | ({"oid": object_id(path, there[path])} if path in there else {}))
        return {"files": answer}

    @app.post("/{owner}/{name}.git/info/lfs/objects/batch")
    async def batch(request: Request, owner: str, name: str):
        hub.repository(request, owner, name, write=True)
        objects = (await request.json())["objects"]
        for entry in objects:
            if entry["oid"] not in hub.objects:
                entry["actions"] = {"upload": {"href": f"{hub.url}/upload/{entry['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    @app.put("/upload/{oid}")
    async def upload(request: Request, oid: str):
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "the content is not what was announced")
        hub.objects[oid] = content

    @app.post(model + "/commit/{revision:path}")
    async def commit(request: Request, owner: str, name: str, revision: str):
        repository = hub.repository(request, owner, name, write=True)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        files, title = dict(repository.at(revision)["files"]), ""
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "header":
                title = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(
            revision, title, files, [line["value"]["path"] for line in lines if line["key"] != "header"]
        )
        return {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{owner}/{name}/commit/{oid}"}

    @app.get(model + "/tree/{rest:path}")
    async def tree(request: Request, owner: str, name: str, rest: str):
        revision, _, below = request.scope["raw_path"].decode().partition("/tree/")[2].partition("/")
        files = hub.repository(request, owner, name).at(unquote(revision))["files"]
        if below and not any(path.startswith(f"{below}/") for path in files):
            raise Refusal(404, f"{below} does not exist on {revision}", "EntryNotFound")
        answer = []
        for path, content in files.items():
            oid, size = object_id(path, content), len(content)
            large = {"lfs": {"oid": oid, "size": size, "pointerSize": 134}} if is_large(path) else {}
            if path.startswith(below):
                answer.append({"type": "file", "path": path, "oid": oid, "size": size} | large)
        return answer

    @app.get(model)
    @app.get(model + "/revision/{revision:path}")
    async def info(request: Request, owner: str, name: str, revision: str = "main"):
        repository = hub.repository(request, owner, name)
        found = repository.at(revision)
        siblings = [{"rfilename": path} for path in found["files"]]
        answer = {"id": f"{owner}/{name}", "sha": found["oid"], "private": repository.private, "siblings": siblings}
        return answer | {"tags": [], "pipeline_tag": "text-generation"}

    @app.api_route("/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    async def resolve(request: Request, owner: str, name: str, revision: str, path: str):
        found = hub.repository(request, owner, name).at(revision)
        if path not in found["files"]:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        content = found["files"][path]
        headers = {"ETag": f'"{object_id(path, content)}"', "X-Repo-Commit": found["oid"]}
        return Response(content, headers=headers, media_type="application/octet-stream")
