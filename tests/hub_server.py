"""A small stand-in for the Hugging Face hub on 127.0.0.1, and how tests point the real client at it."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMIT = "12e8158b7628c168f07e8f31fbbe3445e99f44cf"
TOKEN = "hf_accepted"
_FILE = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_API = re.compile(r"/api/(?:models/|(datasets/))([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.+))?)?")
LARGE = 1000  # bytes from which a file is one of LFS: its ETag is a sha256, and it stands elsewhere


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked."""

    files: dict[str, dict[str, bytes]]  # "owner/name" or "datasets/owner/name" -> path -> content
    gated: set[str] = field(default_factory=set)
    sent_instead: dict[bytes, bytes] = field(default_factory=dict)  # content -> what is sent for it
    etags: dict[bytes, str] = field(default_factory=dict)  # content -> what is said for its hash
    cuts: dict[bytes, list[int]] = field(default_factory=dict)  # content -> bytes until a connection breaks
    failing: int = 0  # with this status, as soon as no cut is left to be made
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    endpoint: str = ""

    def got(self, name: str) -> list[str]:
        """The Range of every GET of a file, by the end of its path (of a large one: its sha256)."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(name)]


@contextmanager
def serve(files: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """A hub with these files at one commit, its branch main."""
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_client(script: str, *arguments: str, hub: Hub, home: Path, **environment: str) -> dict:
    """What `script` prints as JSON, run by a fresh Python whose hub is `hub` and whose cache is in `home`.

    The client reads HF_ENDPOINT and HF_HOME once, when it is imported. So it gets a process of its own: this
    is how a user sets them, and neither this process nor the user's own cache is touched. It does not wait
    between its attempts, which take half a minute otherwise.
    """
    own = re.compile(r"(?i)HF_|HUGGING|TRANSFORMERS_|.*_PROXY").match
    clean = {name: value for name, value in os.environ.items() if not own(name)}
    done = subprocess.run(
        [sys.executable, "-c", f"import time\ntime.sleep = lambda seconds: None\n{script}", *arguments],
        cwd=ROOT,
        env=clean | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "NO_PROXY": "*"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def blob_hash(content: bytes) -> str:
    """What the hub states for a file: sha256 of a large one, else git's hash."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, _, _ = self.path.partition("?")
        if path != "/api/agent-harnesses":  # asked where the client thinks that a program uses it
            self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if self.hub.failing and not any(self.hub.cuts.values()):
            self._refuse(self.hub.failing, "")
        elif match := re.fullmatch(r"/cdn/(\w+)", path):
            contents = (content for files in self.hub.files.values() for content in files.values())
            self._send(next(content for content in contents if blob_hash(content) == match[1]))
        elif match := _FILE.fullmatch(path):
            if self._may_read(match[1], match[2]):
                self._resolve(self.hub.files[match[1]].get(match[3]))
        elif match := _API.fullmatch(path):
            repo = (match[1] or "") + match[2]
            if self._may_read(repo, match[4] or "main"):
                self._describe(repo, match[3] or "revision", match[5] or "")
        else:
            self._answer(404, {}, b"{}")

    def _may_read(self, repo: str, revision: str) -> bool:
        if repo not in self.hub.files:
            self._refuse(401, "RepoNotFound")
        elif repo in self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "GatedRepo")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            return True
        return False

    def _resolve(self, content: bytes | None) -> None:
        if content is None:
            return self._refuse(404, "EntryNotFound")
        etag = self.hub.etags.get(content, blob_hash(content))
        if len(content) < LARGE:
            return self._send(content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        elsewhere = self.hub.endpoint.replace("127.0.0.1", "localhost")  # another host, as the hub's CDN is
        location = {"Location": f"{elsewhere}/cdn/{blob_hash(content)}"}
        self._answer(302, {"X-Repo-Commit": COMMIT} | linked | location, b"")

    def _describe(self, repo: str, what: str, folder: str) -> None:
        if what == "revision":
            return self._answer(200, {}, json.dumps({"id": repo, "sha": COMMIT}).encode())
        tree = []
        inside = {p: c for p, c in self.hub.files[repo].items() if not folder or p.startswith(f"{folder}/")}
        if not inside:
            return self._refuse(404, "EntryNotFound")
        for path, content in inside.items():
            tree.append({"type": "file", "path": path, "size": len(content), "oid": blob_hash(content)})
            if len(content) >= LARGE:
                tree[-1]["lfs"] = {"oid": blob_hash(content), "size": len(content), "pointerSize": 134}
        self._answer(200, {}, json.dumps(tree).encode())

    def _send(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        body = self.hub.sent_instead.get(content, content)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(start[1]) if start else 0
        ranged = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"} if start else {}
        cuts = self.hub.cuts.get(content)
        if self.command == "HEAD":
            self._answer(200, headers or {}, body)
        elif cuts:  # the length is promised, the bytes are not all sent
            self._answer(206 if start else 200, (headers or {}) | ranged, body[first:], cuts.pop(0))
        else:
            self._answer(206 if start else 200, (headers or {}) | ranged, body[first:])

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"X-Error-Code": code, "X-Error-Message": "refused"}, b'{"error": "refused"}')

    def _answer(self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])

    def log_message(self, *args):
        pass
