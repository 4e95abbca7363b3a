"""Streamed requests, each read by its own thread as fast as it arrives."""

import http.client
import json
import threading
import time
from typing import Any

from tests.end_to_end.running import Daemon


class Stream:
    """Streamed completion. It is read in chunks, not in lines, so that 64 streams need little CPU."""

    def __init__(self, daemon: Daemon, model: str, max_tokens: int = 100_000, **fields: Any) -> None:
        self.status = 0
        """HTTP status; 0 until the headers have arrived."""
        self.ended: float | None = None
        """Value of time.monotonic() at the end of the body."""
        self.broken: Exception | None = None
        self._body = {"model": model, "prompt": "tell me a story", "max_tokens": max_tokens, "temperature": 1.0}
        self._body |= {"stream": True} | fields
        self._chunks: list[bytes] = []
        self._address = daemon.address.removeprefix("http://")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=120)
        try:
            connection.request("POST", "/v1/completions", json.dumps(self._body), {"content-type": "application/json"})
            answer = connection.getresponse()
            self.status = answer.status
            while chunk := answer.read1(1 << 16):
                self._chunks.append(chunk)
        except (OSError, http.client.HTTPException) as error:
            self.broken = error
        finally:
            connection.close()
            self.ended = time.monotonic()

    @property
    def text(self) -> str:
        """Text that has arrived."""
        return b"".join(self._chunks).decode()

    @property
    def size(self) -> int:
        """Number of bytes that have arrived."""
        return sum(map(len, self._chunks))

    @property
    def running(self) -> bool:
        """Return whether the stream has begun and not ended."""
        return self.ended is None and len(self._chunks) > 3

    @property
    def last(self) -> str:
        """Last event of the body."""
        return self.text.strip().rpartition("\n\n")[2]

    @property
    def outcome(self) -> str:
        """Result: "done", the code of the error event, "broken: ...", or "running"."""
        if self.ended is None:
            return "running"
        if self.broken is not None:
            return f"broken: {self.broken!r}"
        if self.last == "data: [DONE]":
            return "done"
        try:
            return str(json.loads(self.last.removeprefix("data: "))["error"]["code"])
        except (ValueError, LookupError, TypeError):
            return f"broken: the last event is {self.last[-200:]!r}"

    def join(self, seconds: float) -> None:
        """Wait for the end. Raise AssertionError if it does not come within `seconds`."""
        self._thread.join(seconds)
        assert self.ended is not None, f"a stream has neither ended nor failed within {seconds} s"
