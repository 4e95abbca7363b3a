"""A stand-in Hugging Face Hub, for tests: one folder `root/<owner>/<name>` is one model repository.

`python tests/fakehub.py ROOT [--port N]` prints "PORT <n>". Files above 1 MiB and safetensors are large: a redirect
to /cdn on the other loopback name, with the sha256 as ETag. POST /_faults sets what goes wrong ({} nothing), GET /_log
tells the requests since it was last asked. Faults: rate (bytes a second), drop_after and drop_times, corrupt_at,
truncate_to, ignore_range, status with status_times, status_on and retry_after, gated, etag, evil_path, xet, no_commit,
cache_redirect.
"""

import argparse
import contextlib
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 16
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs|auth-check)(?:/([^/]+))?(?:/.*)?)?")
RESOLVE = re.compile(r"(?:/api/resolve-cache/models)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
CACHED = re.compile(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)")
CDN = re.compile(r"/cdn/([^/]+/[^/]+)/(.+)")


@dataclass
class Entry:
    """One file of a repository."""

    path: str
    file: Path

    @cached_property
    def content(self) -> bytes:
        return self.file.read_bytes()

    @property
    def large(self) -> bool:
        return len(self.content) > LARGE_BYTES or self.path.endswith(".safetensors")

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        return text.encode()

    @cached_property
    def blob_id(self) -> str:
        data = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest()


class Hub:
    """The repositories, the faults and the log; shared by all connections."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def repositories(self) -> list[str]:
        return sorted(f"{path.parent.name}/{path.name}" for path in self.root.glob("*/*") if path.is_dir())

    def entries(self, repo: str) -> list[Entry]:
        base = self.root / repo
        files = sorted(file for file in base.rglob("*") if file.is_file())
        return [Entry(file.relative_to(base).as_posix(), file) for file in files]

    def entry(self, repo: str, path: str) -> Entry | None:
        return next((entry for entry in self.entries(repo) if entry.path == path), None)

    def commit(self, repo: str) -> str:
        listed = "".join(entry.path + entry.blob_id for entry in self.entries(repo))
        return hashlib.sha1(listed.encode()).hexdigest()

    def spend(self, name: str) -> bool:
        """Whether a fault that happens so many times (once, if nothing is said) happens now."""
        with self.lock:
            left = self.faults.get(name, 1)
            self.faults[name] = left - 1
            return bool(left > 0)

    def info(self, repo: str, blobs: bool) -> dict[str, Any]:
        siblings = []
        for entry in self.entries(repo):
            sibling: dict[str, Any] = {"rfilename": entry.path}
            if blobs:
                sibling |= {"size": len(entry.content), "blobId": entry.blob_id}
                if entry.large:
                    sibling["lfs"] = {"sha256": entry.sha256, "size": len(entry.content)}
            siblings.append(sibling)
        return {
            "_id": hashlib.md5(repo.encode()).hexdigest()[:24],
            "id": repo,
            "modelId": repo,
            "author": repo.partition("/")[0],
            "sha": self.commit(repo),
            "private": False,
            "gated": "auto" if self.faults.get("gated") else False,
            "disabled": False,
            "downloads": 10,
            "likes": 3,
            "tags": ["mlx", "safetensors", "text-generation"],
            "library_name": "mlx",
            "pipeline_tag": "text-generation",
            "lastModified": "2026-11-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "siblings": siblings,
        }

    def tree(self, repo: str) -> list[dict[str, Any]]:
        listed = []
        for entry in self.entries(repo):
            path = self.faults.get("evil_path", entry.path) if entry.large else entry.path
            row: dict[str, Any] = {"type": "file", "oid": entry.blob_id, "size": len(entry.content), "path": path}
            if entry.large:
                size = len(entry.content)
                row["lfs"] = {"oid": entry.sha256, "size": size, "pointerSize": len(entry.pointer)}
                if self.faults.get("xet"):
                    row["xetHash"] = entry.sha256
            listed.append(row)
        return listed


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "fakehub"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr; GET /_log tells."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if urlsplit(self.path).path != "/_faults":
            return self._json(404, {"error": "not found"})
        with self.hub.lock:
            self.hub.faults = json.loads(body or b"{}")
        return self._json(200, {})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query, faults = unquote(parts.path), parse_qs(parts.query), self.hub.faults
        if path == "/_log":
            with self.hub.lock:
                told, self.hub.log = self.hub.log, []
            return self._answer(200, json.dumps(told).encode(), noted=False)
        if "status" in faults and path.startswith(faults.get("status_on", "/")) and self.hub.spend("status_times"):
            extra = {"Retry-After": faults["retry_after"]} if "retry_after" in faults else {}
            return self._json(faults["status"], {"error": "injected"}, extra)
        if path == "/api/models":
            wanted = query.get("search", [""])[0].lower()
            found = [self.hub.info(repo, False) for repo in self.hub.repositories() if wanted in repo.lower()]
            return self._json(200, found)
        if match := API.fullmatch(path):
            return self._api(match[1], match[2], match[3], "blobs" in query)
        if match := CDN.fullmatch(path):
            entry = self.hub.entry(match[1], match[2])
            return self._blob(entry, {}) if entry else self._json(404, {"error": "gone"})
        if match := RESOLVE.fullmatch(path) or CACHED.fullmatch(path):
            return self._resolve(match[1], match[2], match[3], path.startswith("/api/"))
        return self._json(404, {"error": "not found"})

    def _api(self, repo: str, kind: str | None, revision: str | None, blobs: bool) -> None:
        if repo not in self.hub.repositories():
            return self._error(404, "RepoNotFound", "Repository not found")
        if revision and revision not in ("main", self.hub.commit(repo)):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self._json(200, self.hub.tree(repo) if kind == "tree" else self.hub.info(repo, blobs))

    def _resolve(self, repo: str, revision: str, path: str, cached: bool) -> None:
        faults = self.hub.faults
        if repo not in self.hub.repositories():
            return self._error(404, "RepoNotFound", "Repository not found")
        commit = self.hub.commit(repo)
        if faults.get("gated") and not self.headers.get("Authorization"):
            return self._error(403, "GatedRepo", "Access to model is restricted")
        if revision not in ("main", commit):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entry = self.hub.entry(repo, path)
        if entry is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        headers = {} if faults.get("no_commit") else {"X-Repo-Commit": commit}
        etag = {"ETag": f'"{entry.blob_id}"'}
        if entry.large:
            host, _, port = self.headers["Host"].rpartition(":")
            other = "localhost" if host == "127.0.0.1" else "127.0.0.1"
            headers |= etag | {
                "X-Linked-Size": str(len(entry.content)),
                "X-Linked-ETag": f'"{faults.get("etag", entry.sha256)}"',
                "Location": f"http://{other}:{port}/cdn/{repo}/{quote(path)}",
            }
            return self._answer(302, b"Found", headers)
        if faults.get("cache_redirect") and not cached:
            place = f"/api/resolve-cache/models/{repo}/{commit}/{quote(path)}"
            return self._answer(307, b"", headers | etag | {"Location": place})
        return self._blob(entry, headers | etag)

    def _blob(self, entry: Entry, headers: dict[str, str]) -> None:
        faults, size, start, status = self.hub.faults, len(entry.content), 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and not faults.get("ignore_range"):
            start, status = int(wanted[1]), 206
            if start >= size:
                return self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            headers = headers | {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
        self._note(status)
        self.send_response(status)
        for name, value in (headers | {"Accept-Ranges": "bytes", "Content-Length": str(size - start)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        with contextlib.suppress(OSError):
            self._send_bytes(entry, start)
        return None

    def _send_bytes(self, entry: Entry, start: int) -> None:
        faults = self.hub.faults if entry.large else {}
        content = bytearray(entry.content)
        if "corrupt_at" in faults:
            content[faults["corrupt_at"]] ^= 0xFF
        end = min(len(content), start + faults.get("truncate_to", len(content)))
        dropping = "drop_after" in faults and faults.get("drop_times", 1) > 0
        sent = start
        while sent < end:
            block = bytes(content[sent : min(end, sent + BLOCK_BYTES)])
            self.wfile.write(block)
            sent += len(block)
            if dropping and sent - start >= faults["drop_after"]:
                self.hub.spend("drop_times")
                break
            if faults.get("rate"):
                time.sleep(len(block) / faults["rate"])
        if sent < len(content):
            self.close_connection = True
            self.connection.close()

    def _error(self, status: int, code: str, message: str) -> None:
        self._json(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    def _json(self, status: int, body: Any, headers: dict[str, Any] | None = None) -> None:
        self._answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _answer(self, status: int, body: bytes, headers: dict[str, Any] | None = None, *, noted: bool = True) -> None:
        if noted:
            self._note(status)
        self.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": len(body)}).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _note(self, status: int) -> None:
        with self.hub.lock:
            self.hub.log.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "status": status,
                    "range": self.headers.get("Range"),
                    "auth": bool(self.headers.get("Authorization")),
                }
            )


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what the tests are about."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    handler = type("HubHandler", (Handler,), {"hub": Hub(options.root.resolve())})
    server = Server(("127.0.0.1", options.port), handler)
    print("PORT", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
