"""A small Hub on loopback, in memory: what the client libraries ask of the real one, over real HTTP.

Creates repositories, takes commits (inline and LFS uploads), serves files with ETag, length and ranges by branch or
commit, keeps private and gated repositories shut, and fails on demand: `hub.fail(path=…, how=…, times=…)`.
Every request is written down in `hub.log`. Start it before importing huggingface_hub, which reads `HF_ENDPOINT`.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

TOKEN = "hf_of_the_owner"
_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space", None: "model"}
_LFS = (".safetensors", ".parquet", ".onnx")


@dataclass
class Repo:
    """`branches` holds the commits of each branch, oldest first, as (id, {path: content})."""

    private: bool = False
    gated: bool = False
    branches: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=lambda: {"main": []})

    def commit(self, branch: str, added: dict[str, bytes], deleted: list[str] = ()) -> str:
        commits = self.branches.setdefault(branch, list(self.branches["main"]))
        files = {**(commits[-1][1] if commits else {}), **added}
        files = {p: c for p, c in files.items() if not any(p == d or p.startswith(f"{d}/") for d in deleted)}
        digest = hashlib.sha1(f"{branch}{len(commits)}".encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        commits.append((digest.hexdigest(), files))
        return commits[-1][0]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a branch name or (the start of) a commit id means."""
        if revision in self.branches:
            return self.branches[revision][-1]
        commits = (commit for branch in self.branches.values() for commit in branch)
        return next((commit for commit in commits if commit[0].startswith(revision)), None)


@dataclass
class Fault:
    """`how`: "error" answers 500; "broken" cuts the connection half-way through the content."""

    path: str
    how: str
    times: int


class HubServer:
    """`with HubServer() as hub:` serves at `hub.url` until the block ends."""

    def __init__(self):
        self.repos: dict[tuple[str, str], Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, int]] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        return self.repos[kind, name].at(revision)[1]

    def fail(self, path: str, how: str, times: int = 1) -> None:
        """The next `times` requests for a URL that contains `path` go wrong."""
        self.faults.append(Fault(path, how, times))

    def reset(self) -> None:
        """Forget all repositories, faults and requests."""
        for memory in (self.repos, self.uploads, self.faults, self.log):
            memory.clear()

    def fault_for(self, path: str) -> str | None:
        for fault in self.faults:
            if fault.times and fault.path in path:
                fault.times -= 1
                return fault.how
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass  # `hub.log` has it

    def handle_request(self) -> None:
        url = urlparse(self.path)
        self.route, self.query, self.content = unquote(url.path), parse_qs(url.query), self._read()
        self.breaks = False
        # Only requests that carry content can break in the middle.
        fault = self.hub.fault_for(self.route) if self.command != "HEAD" else None
        if fault == "error":
            return self.refuse(500, "InternalError", "something went wrong")
        self.breaks = fault == "broken"
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, self.route):
                return answer(self, *match.groups())
        return self.refuse(404, "UnknownRoute", self.route)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = handle_request

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def reply(self, content, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = isinstance(content, bytes)
        data = content if raw else json.dumps(content).encode()
        self.hub.log.append((self.command, self.route, status))
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if raw else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.breaks:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        self.reply({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message, **headers})

    def repo(self, kind: str | None, name: str, content: bool = False) -> Repo | None:
        """The repository, or None after a refusal. As on the Hub, who may not see a private one is told it is not."""
        repo = self.hub.repos.get((_KINDS[kind], name))
        owner = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not owner):
            return self.refuse(404 if owner else 401, "RepoNotFound", "Repository not found")
        if content and repo.gated and not owner:
            return self.refuse(403, "GatedRepo", f"Access to model {name} is restricted: ask its owners for it.")
        return repo

    def commit_at(self, repo: Repo, revision: str) -> tuple[str, dict[str, bytes]] | None:
        return repo.at(revision) or self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def create(self) -> None:
        asked = json.loads(self.content)
        name = f"{asked.get('organization') or 'owner'}/{asked['name']}"
        key = (asked.get("type") or "model", name)
        url = f"{self.hub.url}/{'' if key[0] == 'model' else key[0] + 's/'}{name}"
        if key in self.hub.repos:
            return self.reply({"error": "You already created this repo", "url": url}, 409)
        repo = self.hub.repos[key] = Repo(private=asked.get("private") or asked.get("visibility") == "private")
        repo.commit("main", {".gitattributes": b""})
        return self.reply({"url": url, "name": name, "id": name})

    def info(self, kind: str, name: str, revision: str | None) -> None:
        if (repo := self.repo(kind, name)) and (commit := self.commit_at(repo, revision or "main")):
            files = [{"rfilename": path, "size": len(content)} for path, content in commit[1].items()]
            about = {"id": name, "_id": "1", "private": repo.private, "tags": [], "downloads": 0, "likes": 0}
            self.reply({**about, "sha": commit[0], "siblings": files})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if self.repo(kind, name):
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(_LFS) else "regular", "oid": None}
                for f in json.loads(self.content)["files"]
            ]
            self.reply({"files": [{**mode, "shouldIgnore": False} for mode in modes]})

    def lfs_batch(self, kind: str | None, name: str) -> None:
        if self.repo(kind, name):
            objects = [
                {**entry, "actions": {"upload": {"href": f"{self.hub.url}/_lfs/{entry['oid']}"}}}
                for entry in json.loads(self.content)["objects"]
            ]
            self.reply({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        if hashlib.sha256(self.content).hexdigest() != oid:
            return self.refuse(400, "BadUpload", "content does not match its hash")
        self.hub.uploads[oid] = self.content
        return self.reply({})

    def take_commit(self, kind: str, name: str, revision: str) -> None:
        if not (repo := self.repo(kind, name)):
            return
        added, deleted = {}, []
        for line in self.content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                added[value["path"]] = self.hub.uploads[value["oid"]]
            elif entry["key"] in ("deletedFile", "deletedFolder"):
                deleted.append(value["path"].rstrip("/"))
        oid = repo.commit(revision, added, deleted)
        self.reply({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"})

    def branch(self, kind: str, name: str, revision: str) -> None:
        if repo := self.repo(kind, name):
            repo.commit(revision, {})
            self.reply({})

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> None:
        if not (repo := self.repo(kind, name)) or not (commit := self.commit_at(repo, revision)):
            return
        prefix = f"{folder}/" if folder else ""
        files = {path: content for path, content in commit[1].items() if path.startswith(prefix)}
        if prefix and not files:
            return self.refuse(404, "EntryNotFound", f"{folder} does not exist")
        folders = set()
        if self.query.get("recursive", ["false"])[0].lower() != "true":
            folders = {
                prefix + path.removeprefix(prefix).split("/")[0] for path in files if "/" in path[len(prefix) :]
            }
            files = {path: content for path, content in files.items() if "/" not in path[len(prefix) :]}
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)]
        return self.reply(entries + [_entry(path, content) for path, content in files.items()])

    def paths(self, kind: str, name: str, revision: str) -> None:
        if (repo := self.repo(kind, name)) and (commit := self.commit_at(repo, revision)):
            form = self.content.decode()
            asked = json.loads(form)["paths"] if form.startswith("{") else parse_qs(form).get("paths", [])
            self.reply([_entry(path, commit[1][path]) for path in asked if path in commit[1]])

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        if not (repo := self.repo(kind, name, content=True)) or not (commit := self.commit_at(repo, revision)):
            return
        if path not in commit[1]:
            return self.refuse(404, "EntryNotFound", f"{path} does not exist", **{"X-Repo-Commit": commit[0]})
        content = commit[1][path]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"X-Repo-Commit": commit[0], "ETag": etag, "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            return self.reply(content[start : end + 1], 206, headers)
        return self.reply(content, 200, headers)


def _entry(path: str, content: bytes) -> dict:
    return {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": path}


_API = r"/api/(models|datasets|spaces)/([^/]+/[^/]+)"
_REPO = r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable]] = [
    (r"/api/whoami-v2", lambda request: request.reply({"name": "owner", "type": "user", "orgs": []})),
    (r"/api/validate-yaml", lambda request: request.reply({"errors": [], "warnings": []})),
    (r"/api/repos/create", _Handler.create),
    (_API + r"(?:/revision/([^/]+))?", _Handler.info),
    (_API + r"/preupload/([^/]+)", _Handler.preupload),
    (_API + r"/commit/([^/]+)", _Handler.take_commit),
    (_API + r"/branch/([^/]+)", _Handler.branch),
    (_API + r"/tree/([^/]+)(?:/(.+))?", _Handler.tree),
    (_API + r"/paths-info/([^/]+)", _Handler.paths),
    (_REPO + r"\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (r"/_lfs/(\w+)", _Handler.lfs_upload),
    (_REPO + r"/resolve/([^/]+)/(.+)", _Handler.resolve),
]
