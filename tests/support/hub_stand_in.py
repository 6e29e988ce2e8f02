# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A local stand-in for the Hub: repositories with commits, one user with one token, and faults on demand.

It keeps everything in memory and implements the requests that `huggingface_hub` makes, with regular and LFS uploads.
`huggingface_hub` reads `HF_ENDPOINT` when it is imported, so each client is a new process, which `Hub.run` starts.
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
DROP_CONNECTION = "drop connection"
# First lines of a client's program, with and without this package.
WITH_PACKAGE_START = """
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
WITHOUT_PACKAGE_START = (
    WITHOUT_PACKAGE
    + """
import json, os
from pathlib import Path

root, found = Path.cwd(), {}
"""
)


class Refusal(Exception):
    """An error response as the Hub sends it: the status, the message, and the error code that its clients read."""

    def __init__(self, status, message, code=None):
        self.status = status
        self.message = message
        self.code = code


class Repository:
    """One repository.

    Attributes:
        commits (list of dict): The oldest is first. Each has an `oid`, a `title`, all `files` as `{path: bytes}`, and `sent`,
            the paths that were uploaded.
        branches (dict): Id of the last commit by the name of the branch.
    """

    def __init__(self, private):
        self.private = private
        self.commits = []
        self.branches = {}
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
    """uvicorn's protocol, which keeps its open connections, so that the Hub can drop one."""

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
    """The server, a context manager.

    Attributes:
        repositories (dict): `Repository` by `owner/name`.
        objects (dict): Contents of LFS files by SHA-256.
        faults (dict): For each kind of request, a list with the results of the next ones: an HTTP status, `DROP_CONNECTION`,
            or None for the regular response. Kinds are the names of the functions in `routes`. Clients add faults with
            `POST /faults`.
        requests (list of `(kind, path)`): All requests so far.
    """

    def __init__(self):
        self.repositories = {}
        self.objects = {}
        self.faults = defaultdict(list)
        self.requests = []
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
        if fault == DROP_CONNECTION:
            await anext(request.stream())  # wait until the first part has arrived
            Protocol.open[tuple(request.scope["client"])].abort()
        if fault:
            raise Refusal(500 if fault == DROP_CONNECTION else fault, f"fault in {kind}")
        if request.headers.get("authorization", f"Bearer {TOKEN}") != f"Bearer {TOKEN}":
            raise Refusal(401, "Invalid credentials in Authorization header")

    async def refuse(self, request, refusal):
        headers = {"X-Error-Message": refusal.message}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        return JSONResponse({"error": refusal.message}, refusal.status, headers)

    def repository(self, request, owner, name, write=False):
        logged_in = "authorization" in request.headers
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None or (repository.private and not logged_in):
            raise Refusal(404 if logged_in else 401, "Repository not found", "RepoNotFound")
        if write and (not logged_in or owner != USER):
            raise Refusal(403, f"You don't have the right to write to {owner}/{name}")
        return repository

    def history(self, name):
        """Returns `(title, uploaded paths)` of each commit of a repository after the first."""
        return [(commit["title"], commit["sent"]) for commit in self.repositories[name].commits[1:]]

    def files(self, name, revision="main"):
        return self.repositories[name].at(revision)["files"]

    def environment(self, home, **others):
        """Returns the environment of a client. `home` is the folder of its cache, where it might also store a token."""
        removed = ("TRANSFORMERS_OFFLINE", "HF_MODULES_CACHE", "HF_HUB_CACHE", "PYTHONPATH")
        environment = {key: value for key, value in os.environ.items() if key not in removed}
        environment |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
        environment |= {"SOURCES": os.pathsep.join(str(ROOT / name) for name in ("", "tests"))}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        return environment | others

    def run(self, program, folder, home="home", **environment):
        """Runs a Python program in a folder and appends its output to `output.txt` there."""
        environment = self.environment(folder / home, **environment)
        command = [sys.executable, "-P", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=400)
        with open(folder / "output.txt", "a") as file:
            file.write(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-5000:]


def routes(hub, app):
    """Adds the requests that are used to push and load models."""
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
            error = {"error": "bad metadata", "errors": [{"message": "not valid YAML"}], "warnings": []}
            return JSONResponse(error, 400)
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
        present = hub.repository(request, owner, name, write=True).at(revision)["files"]
        answer = []
        for path in (file["path"] for file in (await request.json())["files"]):
            entry = {"path": path, "uploadMode": "lfs" if is_large(path) else "regular", "shouldIgnore": False}
            if path in present:
                entry["oid"] = object_id(path, present[path])
            answer.append(entry)
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
            raise Refusal(400, "the content does not have the announced checksum")
        hub.objects[oid] = content

    @app.post(model + "/commit/{revision:path}")
    async def commit(request: Request, owner: str, name: str, revision: str):
        repository = hub.repository(request, owner, name, write=True)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        files = dict(repository.at(revision)["files"])
        title = ""
        sent = [line["value"]["path"] for line in lines if line["key"] != "header"]
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "header":
                title = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(revision, title, files, sent)
        return {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{owner}/{name}/commit/{oid}"}

    @app.get(model + "/tree/{rest:path}")
    async def tree(request: Request, owner: str, name: str, rest: str):
        revision, _, below = request.scope["raw_path"].decode().partition("/tree/")[2].partition("/")
        files = hub.repository(request, owner, name).at(unquote(revision))["files"]
        if below and not any(path.startswith(f"{below}/") for path in files):
            raise Refusal(404, f"{below} does not exist on {revision}", "EntryNotFound")
        answer = []
        for path, content in files.items():
            if not path.startswith(below):
                continue
            entry = {"type": "file", "path": path, "oid": object_id(path, content), "size": len(content)}
            if is_large(path):
                entry["lfs"] = {"oid": entry["oid"], "size": entry["size"], "pointerSize": 134}
            answer.append(entry)
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
