"""A Hub on the loopback interface: what huggingface_hub asks of one to create, upload to and download repositories."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"  # each POST takes it
LARGE = {".arrow", ".bin", ".parquet", ".safetensors"}  # go by the large file protocol, others inside the commit


@dataclass
class Repo:
    """Files by commit and path, and the commit that each branch is at."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {sha(b"first"): {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": sha(b"first")})

    def commit(self, branch, lines, large):
        files = dict(self.commits[self.branches[branch]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        name = sha(repr((self.branches[branch], sorted(files.items()))).encode())
        self.commits[name] = files
        self.branches[branch] = name
        return name

    def at(self, revision):
        """The commit, or ``None``."""
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None


def sha(data):
    return hashlib.sha1(data).hexdigest()


class Hub(ThreadingHTTPServer):
    """Its ``repos`` are keyed ``"models/me/name"``, as in the paths of its API; ``log`` has each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.log: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments):
        self.server.log.append(f"{self.command} {self.path}")

    def respond(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, {"error": "Invalid credentials"})
        for method, pattern, answer in ROUTES:
            if method == self.command.replace("HEAD", "GET") and (match := re.fullmatch(pattern, path)):
                return answer(self, **match.groupdict())
        return self.send(404, {"error": f"no route {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = respond

    def send(self, status, content, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, what):
        self.send(404, {"error": f"{what} not found"}, X_Error_Code=f"{what}NotFound")

    def found(self, repo, revision):
        """The repository and the commit; answers and gives ``None`` if one is missing."""
        there = self.server.repos.get(repo)
        if there is None:
            return self.missing("Repo")
        commit = there.at(revision or "main")
        return self.missing("Revision") if commit is None else (there, commit)

    def create(self):
        asked = json.loads(self.body)
        kind, name = f"{asked.get('type') or 'model'}s", f"{asked.get('organization') or 'me'}/{asked['name']}"
        status = 409 if f"{kind}/{name}" in self.server.repos else 200
        self.server.repos.setdefault(f"{kind}/{name}", Repo())
        self.send(status, {"url": f"{self.server.url}/{'' if kind == 'models' else kind + '/'}{name}"})

    def validate(self):
        self.send(200, {"errors": [], "warnings": []})

    def preupload(self, repo, revision):
        if self.found(repo, revision):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if PurePosixPath(file["path"]).suffix in LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.send(200, {"files": modes})

    def batch(self):
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
            for one in json.loads(self.body)["objects"]
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def put_large(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.send(400, {"error": "not the file of this hash"})
        self.server.large[oid] = self.body
        return self.send(200, {})

    def commit(self, repo, revision):
        if found := self.found(repo, revision):
            lines = [json.loads(line) for line in self.body.splitlines()]
            commit = found[0].commit(revision, lines, self.server.large)
            self.send(200, {"commitUrl": f"{self.server.url}/{repo}/commit/{commit}", "commitOid": commit})

    def info(self, repo, revision=None):
        if found := self.found(repo, revision):
            there, commit = found
            files = [{"rfilename": path} for path in there.commits[commit]]
            self.send(200, {"id": repo.partition("/")[2], "sha": commit, "siblings": files, "private": False})

    def tree(self, repo, revision):
        if found := self.found(repo, revision):
            there, commit = found
            self.send(
                200,
                [
                    {"type": "file", "path": path, "size": len(data), "oid": sha(data)}
                    for path, data in there.commits[commit].items()
                ],
            )

    def resolve(self, name, revision, path, kind=None):
        if found := self.found(f"{kind or 'models'}/{name}", revision):
            there, commit = found
            data = there.commits[commit].get(path)
            if data is None:
                return self.missing("Entry")
            self.send(200, data, ETag=f'"{sha(data)}"', X_Repo_Commit=commit)
        return None


REPO, NAME, REVISION = "(?P<repo>(models|datasets)/[^/]+/[^/]+)", "(?P<name>[^/]+/[^/]+)", "(?P<revision>[^/]+)"
ROUTES = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/{REPO}/preupload/{REVISION}", Handler.preupload),
    ("POST", "/.*[.]git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/large/(?P<oid>[0-9a-f]+)", Handler.put_large),
    ("POST", f"/api/{REPO}/commit/{REVISION}", Handler.commit),
    ("GET", f"/api/{REPO}(/revision/{REVISION})?", Handler.info),
    ("GET", f"/api/{REPO}/tree/{REVISION}", Handler.tree),
    ("GET", f"/((?P<kind>datasets)/)?{NAME}/resolve/{REVISION}/(?P<path>.+)", Handler.resolve),
]


@contextmanager
def hub():
    """A server that runs while the block does."""
    with Hub() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
