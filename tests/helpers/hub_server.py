"""A Hub on the loopback interface: what huggingface_hub and datasets ask of one.

A test makes it fail by ``server.faults``: pairs of a pattern of ``"METHOD /path"`` and what happens to the next
request that matches, :func:`drop`, :func:`refuse`, :func:`lose`, :func:`hide`, or a function of the handler that
is truthy if it has answered (it reads the body before).
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_tests"  # each POST takes it, and all that is private
LARGE = {".arrow", ".bin", ".parquet", ".png", ".safetensors"}  # go by the large file protocol, others in the commit


@dataclass
class Repo:
    """Files by commit and path, and the commit that each branch is at."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {sha(b"first"): {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": sha(b"first")})
    private: bool = False
    gated: bool = False  # files are for those with the token, all else for everybody

    def files(self, revision="main"):
        return self.commits[self.at(revision)]

    def write(self, path, data, branch="main"):
        """A commit of one file, as its owner makes one in the browser."""
        value = {"path": path, "content": base64.b64encode(data).decode()}
        return self.commit(branch, [{"key": "file", "value": value}], {})

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


def is_large(path):
    return PurePosixPath(path).suffix in LARGE


def oid(path, data):
    """The name that git, or its protocol for large files, has for the content."""
    return hashlib.sha256(data).hexdigest() if is_large(path) else sha(b"blob %d\0" % len(data) + data)


def entry(path, data):
    """A file as listings have it; a directory where there is no data."""
    if data is None:
        return {"type": "directory", "path": path, "oid": sha(path.encode())}
    large = {"lfs": {"oid": oid(path, data), "size": len(data), "pointerSize": 130}} if is_large(path) else {}
    return {"type": "file", "path": path, "size": len(data), "oid": sha(data), **large}


def drop(handler):
    """The connection is cut before the request is read."""
    handler.close_connection = True
    return True


def lose(handler):
    """The request is done, and its answer gets lost."""
    handler.close_connection = handler.lost = True


def refuse(status):
    """This status is all that comes back."""

    def answer(handler):
        handler.read()  # what stays unread would be the next request of this connection
        handler.send(status, {"error": "as the test wants it"})
        return True

    return answer


def hide(handler):
    """The repository is there for others only."""
    handler.read()
    handler.missing("Repo")
    return True


class Hub(ThreadingHTTPServer):
    """Its ``repos`` are keyed ``"models/me/name"``, as in the paths of its API; ``log`` has each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.log: list[str] = []
        self.faults: list[tuple[str, Callable[[Handler], object]]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments):
        self.server.log.append(f"{self.command} {self.path}")

    def respond(self):
        self.lost = False
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        if self.fails(f"{self.command} {url.path}"):
            return None
        self.body = self.read()
        token = self.headers.get("Authorization")
        self.known = token == f"Bearer {TOKEN}"
        if token and not self.known:
            return self.deny("Invalid credentials in Authorization header")
        for method, pattern, answer in ROUTES:
            if method == self.command.replace("HEAD", "GET") and (match := re.fullmatch(pattern, url.path)):
                if method == "POST" and not self.known and answer is not Handler.paths_info:
                    return self.deny("Invalid username or password.")
                return answer(self, **{name: value and unquote(value) for name, value in match.groupdict().items()})
        return self.send(404, {"error": f"no route {self.command} {url.path}"})

    def fails(self, request):
        for fault in self.server.faults:
            if re.search(fault[0], request):
                self.server.faults.remove(fault)
                return fault[1](self)
        return False

    def read(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    do_GET = do_HEAD = do_POST = do_PUT = respond

    def send(self, status, content, **headers):
        if self.lost:
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, what):
        self.send(404, {"error": f"{what} not found"}, X_Error_Code=f"{what}NotFound")

    def deny(self, why, **headers):
        self.send(401, {"error": why}, X_Error_Message=why, **headers)

    def found(self, repo, revision):
        """The repository and the commit; answers and gives ``None`` if one is missing, or not for everybody."""
        there = self.server.repos.get(repo)
        if there is None:
            return self.missing("Repo")
        if there.private and not self.known:
            return self.deny("Invalid username or password.", X_Error_Code="RepoNotFound")
        commit = there.at(revision or "main")
        return self.missing("Revision") if commit is None else (there, commit)

    def create(self):
        asked = json.loads(self.body)
        kind, name = f"{asked.get('type') or 'model'}s", f"{asked.get('organization') or 'me'}/{asked['name']}"
        status = 409 if f"{kind}/{name}" in self.server.repos else 200
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server.repos.setdefault(f"{kind}/{name}", Repo(private=private))
        self.send(status, {"url": f"{self.server.url}/{'' if kind == 'models' else kind + '/'}{name}"})

    def branch(self, repo, revision):
        if found := self.found(repo, None):
            there, commit = found
            status = 409 if revision in there.branches else 200
            there.branches.setdefault(revision, commit)
            self.send(status, {})

    def validate(self):
        self.send(200, {"errors": [], "warnings": []})

    def whoami(self):
        if self.known:
            self.send(200, {"name": "me", "type": "user"})
        else:
            self.deny("Invalid username or password.")

    def preupload(self, repo, revision):
        if found := self.found(repo, revision):
            files = found[0].commits[found[1]]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": oid(file["path"], files[file["path"]]) if file["path"] in files else None,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.send(200, {"files": modes})

    def batch(self):
        objects = [
            one
            if one["oid"] in self.server.large
            else {**one, "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
            for one in json.loads(self.body)["objects"]
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def put_large(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.send(400, {"error": "not the file of this hash"})
        self.server.large[oid] = self.body
        return self.send(200, {})

    def commit(self, repo, revision):
        if not (found := self.found(repo, revision)):
            return
        there, head = found
        lines = [json.loads(line) for line in self.body.splitlines()]
        if lines[0]["value"].get("parentCommit", head) != head:
            return self.send(412, {"error": "A commit has happened since."})
        if "create_pr" in self.query:
            revision = f"refs/pr/{len(there.branches)}"
            there.branches[revision] = head
        commit, url = there.commit(revision, lines, self.server.large), f"{self.server.url}/{repo}"
        pull = {"pullRequestUrl": f"{url}/discussions/{revision.rpartition('/')[2]}"}
        self.send(200, {"commitUrl": f"{url}/commit/{commit}", "commitOid": commit, **pull})

    def info(self, repo, revision=None):
        if found := self.found(repo, revision):
            there, commit = found
            files = [{"rfilename": path} for path in there.commits[commit]]
            self.send(200, {"id": repo.partition("/")[2], "sha": commit, "siblings": files, "private": there.private})

    def tree(self, repo, revision, path=None):
        if found := self.found(repo, revision):
            files, folder = found[0].commits[found[1]], f"{path}/" if path else ""
            below = {name: data for name, data in files.items() if name.startswith(folder)}
            if folder and not below:
                return self.missing("Entry")
            for name in list(below):
                for parent in PurePosixPath(name).parents[:-1]:
                    if str(parent).startswith(folder):
                        below.setdefault(str(parent), None)
            recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
            shown = [name for name in below if recursive or "/" not in name.removeprefix(folder)]
            self.send(200, [entry(name, below[name]) for name in shown])

    def paths_info(self, repo, revision):
        if found := self.found(repo, revision):
            files = found[0].commits[found[1]]
            is_json = self.headers["Content-Type"].startswith("application/json")
            asked = (json.loads if is_json else parse_qs)(self.body.decode())["paths"]
            folders = {str(parent) for name in files for parent in PurePosixPath(name).parents[:-1]}
            self.send(200, [entry(path, files.get(path)) for path in asked if path in files or path in folders])

    def resolve(self, name, revision, path, kind=None):
        if found := self.found(f"{kind or 'models'}/{name}", revision):
            there, commit = found
            if there.gated and not self.known:
                return self.deny("Access to this dataset is restricted.", X_Error_Code="GatedRepo")
            data = there.commits[commit].get(path)
            if data is None:
                return self.missing("Entry")
            headers = {"ETag": f'"{sha(data)}"', "X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
                first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
                return self.send(
                    206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **headers
                )
            self.send(200, data, **headers)


REPO, NAME, REVISION = "(?P<repo>(models|datasets|spaces)/[^/]+/[^/]+)", "(?P<name>[^/]+/[^/]+)", "(?P<revision>[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/{REPO}/preupload/{REVISION}", Handler.preupload),
    ("POST", "/.*[.]git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/large/(?P<oid>[0-9a-f]+)", Handler.put_large),
    ("POST", f"/api/{REPO}/commit/{REVISION}", Handler.commit),
    ("POST", f"/api/{REPO}/branch/{REVISION}", Handler.branch),
    ("POST", f"/api/{REPO}/paths-info/{REVISION}", Handler.paths_info),
    ("GET", f"/api/{REPO}(/revision/{REVISION})?", Handler.info),
    ("GET", f"/api/{REPO}/tree/{REVISION}(/(?P<path>.+))?", Handler.tree),
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
