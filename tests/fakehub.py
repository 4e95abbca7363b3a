"""Fake Hugging Face Hub for tests. Each folder `root/<owner>/<name>` is one model repository.

`python tests/fakehub.py ROOT [--port N]` prints "PORT <n>". Safetensors and files above 1 MiB are large files: they are
redirected to /cdn on the other loopback name, with their sha256 as ETag. POST /_faults sets the faults to inject ({}
for none). GET /_log returns the requests since the previous call. Counts (`*_times`) apply to each file. Offsets below
1 are fractions of the file size.

Faults in the bytes of large files: rate (bytes per second), drop_after and drop_times, stall_after with stall_times and
stall_seconds, corrupt_at with corrupt_times, truncate_to, append (surplus bytes), ignore_range, shift_range, encoding.
Faults in responses: status with status_times, status_on and retry_after, gated, token (the only valid token), etag,
location, no_commit, cache_redirect.
Faults in listings: evil_path, oid, size, commit, head (another commit of the same files), xet, info (fields of each
repository), row (fields of each file), tree (the whole list of files), link (the header with the next page), padding
(spaces before each list of files), pause (seconds between them, 1000 at a time). whoami is the user of a token.
"""

import argparse
import contextlib
import hashlib
import json
import math
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 16
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs|auth-check)(?:/([^/]+))?(?:/.*)?)?")
RESOLVE = re.compile(r"(?:/api/resolve-cache/models)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
CACHED = re.compile(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)")
CDN = re.compile(r"/cdn/([^/]+/[^/]+)/(.+)")


@dataclass
class Entry:
    """File of a repository."""

    path: str
    file: Path
    size: int

    @property
    def large(self) -> bool:
        return self.size > LARGE_BYTES or self.path.endswith(".safetensors")

    @cached_property
    def sha256(self) -> str:
        with self.file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    @property
    def pointer(self) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
        return text.encode()

    @cached_property
    def blob_id(self) -> str:
        data = self.pointer if self.large else self.file.read_bytes()
        return hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest()


class HubState:
    """Repositories, faults and request log, shared by all connections."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.spent: dict[tuple[str, str], int] = {}
        self._entries: dict[tuple[Path, int, int], Entry] = {}

    def set_faults(self, faults: dict[str, Any]) -> None:
        with self.lock:
            self.faults, self.spent = faults, {}

    def repositories(self) -> list[str]:
        return sorted(f"{path.parent.name}/{path.name}" for path in self.root.glob("*/*") if path.is_dir())

    def entries(self, repo: str) -> list[Entry]:
        base = self.root / repo
        files = sorted(file for file in base.rglob("*") if file.is_file())
        return [self._entry(base, file) for file in files]

    def _entry(self, base: Path, file: Path) -> Entry:
        """Return the entry of a file. Its hashes are computed once for each content."""
        status = file.stat()
        key = file, status.st_mtime_ns, status.st_size
        if key not in self._entries:
            self._entries[key] = Entry(file.relative_to(base).as_posix(), file, status.st_size)
        return self._entries[key]

    def entry(self, repo: str, path: str) -> Entry | None:
        return next((entry for entry in self.entries(repo) if entry.path == path), None)

    def commit(self, repo: str) -> str:
        listed = "".join(entry.path + entry.blob_id for entry in self.entries(repo))
        return hashlib.sha1(listed.encode()).hexdigest()

    def spend(self, name: str, path: str) -> bool:
        """Return whether a fault with a limited count (default: 1) still applies to `path`, and count this use."""
        with self.lock:
            self.spent[name, path] = self.spent.get((name, path), 0) + 1
            return bool(self.spent[name, path] <= self.faults.get(name, 1))

    def offset(self, name: str, size: int) -> int:
        """Return the byte offset that a fault names, either absolute or as a fraction of the file size."""
        value = self.faults[name]
        return max(1, int(value * size)) if value < 1 else int(value)

    def info(self, repo: str, blobs: bool) -> dict[str, Any]:
        siblings = []
        for entry in self.entries(repo):
            sibling: dict[str, Any] = {"rfilename": entry.path}
            if blobs:
                sibling |= {"size": entry.size, "blobId": entry.blob_id}
                if entry.large:
                    sibling["lfs"] = {"sha256": entry.sha256, "size": entry.size}
            siblings.append(sibling)
        return (
            {
                "_id": hashlib.md5(repo.encode()).hexdigest()[:24],
                "id": repo,
                "modelId": repo,
                "author": repo.partition("/")[0],
                "sha": self.faults.get("head") or self.faults.get("commit") or self.commit(repo),
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
            | self._overrides(repo)
            | self.faults.get("info", {})
        )

    def _overrides(self, repo: str) -> dict[str, Any]:
        """Return the fields that `root/.overrides.json` sets for the repository. They override the generated ones."""
        try:
            found: dict[str, Any] = json.loads((self.root / ".overrides.json").read_text()).get(repo, {})
        except FileNotFoundError:
            return {}
        return found

    def listed(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """Return the rows of /api/models: filtered, sorted and limited, with parameters and the short config."""
        wanted, author = query.get("search", [""])[0].lower(), query.get("author", [None])[0]
        found = [self.expanded(repo) for repo in self.repositories() if wanted in repo.lower()]
        found = [info for info in found if author in (None, info["author"])]
        found = [info for info in found if set(query.get("filter", [])) <= set(info["tags"])]
        key = query.get("sort", ["downloads"])[0]
        found.sort(key=lambda info: info.get(key) or 0, reverse=True)
        return found[: int(query.get("limit", ["1000"])[0])]

    def expanded(self, repo: str) -> dict[str, Any]:
        info = self.info(repo, False)
        folder, counts = self.root / repo, Counter[str]()
        for file in folder.glob("*.safetensors"):
            header: dict[str, Any] = {}
            with contextlib.suppress(ValueError, OverflowError, MemoryError), file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(length)) if length < file.stat().st_size else {}
            for name, tensor in header.items():
                counts[tensor.get("dtype", "")] += math.prod(tensor["shape"]) if name != "__metadata__" else 0
        short: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            config = json.loads((folder / "config.json").read_text())
            short = {key: config[key] for key in ("architectures", "model_type") if key in config}
        with contextlib.suppress(OSError, ValueError):
            tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
            short["tokenizer_config"] = {key: tokenizer[key] for key in ("chat_template",) if key in tokenizer}
        counts = Counter({kind: count for kind, count in counts.items() if count})
        more = {"config": short, "safetensors": {"parameters": counts, "total": counts.total()}}
        return more | info | self._overrides(repo) | self.faults.get("info", {})

    def tree(self, repo: str) -> list[dict[str, Any]]:
        listed = []
        for entry in self.entries(repo):
            path = self.faults.get("evil_path", entry.path) if entry.large else entry.path
            size = self.faults.get("size", entry.size) if entry.large else entry.size
            row: dict[str, Any] = {"type": "file", "oid": entry.blob_id, "size": size, "path": path}
            if entry.large:
                oid = self.faults.get("oid", entry.sha256)
                row["lfs"] = {"oid": oid, "size": size, "pointerSize": len(entry.pointer)}
                if self.faults.get("xet"):
                    row["xetHash"] = entry.sha256
            listed.append(row | self.faults.get("row", {}))
        return listed


class Handler(BaseHTTPRequestHandler):
    """Routes of the Hub and of its CDN."""

    protocol_version = "HTTP/1.1"
    server_version = "fakehub"
    hub: HubState

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr. GET /_log returns the requests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if urlsplit(self.path).path != "/_faults":
            return self._json(404, {"error": "not found"})
        self.hub.set_faults(json.loads(body or b"{}"))
        return self._json(200, {})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query, faults = unquote(parts.path), parse_qs(parts.query), self.hub.faults
        if path == "/_log":
            with self.hub.lock:
                entries, self.hub.log = self.hub.log, []
            return self._answer(200, json.dumps(entries).encode(), noted=False)
        if (
            "status" in faults
            and path.startswith(faults.get("status_on", "/"))
            and self.hub.spend("status_times", path)
        ):
            extra = {"Retry-After": faults["retry_after"]} if "retry_after" in faults else {}
            return self._json(faults["status"], {"error": "injected"}, extra)
        if (
            "token" in faults
            and not path.startswith("/cdn/")
            and self.headers.get("Authorization")
            not in (
                None,
                f"Bearer {faults['token']}",
            )
        ):
            return self._json(401, {"error": "Invalid credentials in Authorization header"})
        if path == "/api/whoami-v2":
            if not self.headers.get("Authorization"):
                return self._json(401, {"error": "Invalid username or password."})
            access = {"accessToken": {"role": "read", "displayName": "tests"}}
            return self._json(200, faults.get("whoami", {"type": "user", "name": "tester", "auth": access}))
        if path == "/api/models":
            return self._json(200, self.hub.listed(query))
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
        if revision and revision not in self._revisions(repo):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if kind == "tree":
            return self._tree(repo)
        return self._json(200, self.hub.info(repo, True) if blobs else self.hub.expanded(repo))

    def _tree(self, repo: str) -> None:
        faults = self.hub.faults
        body = json.dumps(faults.get("tree", self.hub.tree(repo))).encode()
        padding = faults.get("padding", 0)
        self._note(200)
        self.send_response(200)
        self.send_header("Content-Length", str(padding + len(body)))
        if link := faults.get("link"):
            self.send_header("Link", f'<{link}>; rel="next"')
        self.end_headers()
        with contextlib.suppress(OSError):
            for start in range(0, padding, 1000):
                self.wfile.write(b" " * min(1000, padding - start))
                time.sleep(faults.get("pause", 0))
            self.wfile.write(body)

    def _revisions(self, repo: str) -> tuple[str | None, ...]:
        return "main", self.hub.commit(repo), self.hub.faults.get("head"), self.hub.faults.get("commit")

    def _resolve(self, repo: str, revision: str, path: str, cached: bool) -> None:
        faults = self.hub.faults
        if repo not in self.hub.repositories():
            return self._error(404, "RepoNotFound", "Repository not found")
        commit = self.hub.commit(repo)
        if faults.get("gated") and not self.headers.get("Authorization"):
            return self._error(403, "GatedRepo", "Access to model is restricted")
        if revision not in self._revisions(repo):
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
                "X-Linked-Size": str(entry.size),
                "X-Linked-ETag": f'"{faults.get("etag", entry.sha256)}"',
                "Location": faults.get("location") or f"http://{other}:{port}/cdn/{repo}/{quote(path)}",
            }
            return self._answer(302, b"Found", headers)
        if faults.get("cache_redirect") and not cached:
            target = f"/api/resolve-cache/models/{repo}/{commit}/{quote(path)}"
            return self._answer(307, b"", headers | etag | {"Location": target})
        return self._blob(entry, headers | etag)

    def _blob(self, entry: Entry, headers: dict[str, str]) -> None:
        faults, size, start, status = self.hub.faults, entry.size, 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and not faults.get("ignore_range"):
            start, status = int(wanted[1]), 206
            if start >= size:
                return self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            shown = start + faults.get("shift_range", 0)
            headers = headers | {"Content-Range": f"bytes {shown}-{size - 1}/{size}"}
        more = faults.get("append", 0) if entry.large else 0
        if entry.large and "encoding" in faults:
            headers = headers | {"Content-Encoding": faults["encoding"]}
        self._note(status)
        self.send_response(status)
        for name, value in (headers | {"Accept-Ranges": "bytes", "Content-Length": str(size - start + more)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        with contextlib.suppress(OSError):
            self._send_bytes(entry, start)
        return None

    def _send_bytes(self, entry: Entry, start: int) -> None:
        """Send the bytes from `start` with the faults that are set, or with sendfile if there are none."""
        hub, size = self.hub, entry.size
        faults = hub.faults if entry.large else {}
        end = min(size, start + hub.offset("truncate_to", size)) if "truncate_to" in faults else size
        if "drop_after" in faults and hub.spend("drop_times", str(entry.file)):
            end = min(end, start + hub.offset("drop_after", size))
        wrong = -1
        if "corrupt_at" in faults and (wrong := hub.offset("corrupt_at", size)) >= start:
            wrong = wrong if "corrupt_times" not in faults or hub.spend("corrupt_times", str(entry.file)) else -1
        stall = -1
        if "stall_after" in faults and hub.spend("stall_times", str(entry.file)):
            stall = hub.offset("stall_after", size)
        with entry.file.open("rb") as content:
            if faults.keys().isdisjoint(("rate", "corrupt_at", "stall_after")):
                self.connection.sendfile(content, start, end - start) if end > start else None
            else:
                self._send_slowly(content, start, end, wrong, stall)
        self.wfile.write(bytes(faults.get("append", 0)))
        if end < size:
            self.close_connection = True
            self.connection.close()

    def _send_slowly(self, content: IO[bytes], start: int, end: int, wrong: int, stall: int) -> None:
        rate = self.hub.faults.get("rate")
        content.seek(position := start)
        while position < end:
            block = bytearray(content.read(min(BLOCK_BYTES, end - position)))
            if position <= wrong < position + len(block):
                block[wrong - position] ^= 0xFF
            if position <= stall < position + len(block):
                time.sleep(self.hub.faults.get("stall_seconds", 60))
            self.wfile.write(block)
            position += len(block)
            if rate:
                time.sleep(len(block) / rate)

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


class FakeHubServer(ThreadingHTTPServer):
    """Server with one thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """Ignore errors of a connection, because tests disconnect on purpose."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    handler = type("HubHandler", (Handler,), {"hub": HubState(options.root.resolve())})
    server = FakeHubServer(("127.0.0.1", options.port), handler)
    print("PORT", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
