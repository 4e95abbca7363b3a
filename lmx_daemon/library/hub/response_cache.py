"""Responses of the Hub with their times, kept on the disk for use without a network."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.state import json_of, read_state, write_state

T = TypeVar("T")
MAX_RESPONSES = 400
"""Upper bound on the kept responses; the oldest are deleted first."""


class CachedResponse(Frozen, frozen=True):
    """Content of one file."""

    asked_at: float
    value: msgspec.Raw


class ResponseCache:
    """Responses by request. A request is any value that JSON can represent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, request: Any, value: Any) -> float:
        """Store a response, and return its time. A response that cannot be written is not an error."""
        response = CachedResponse(asked_at=time.time(), value=msgspec.Raw(msgspec.json.encode(value)))
        with suppress(OSError):
            write_state(self._file(request), msgspec.json.encode(response))
        return response.asked_at

    def get(self, request: Any, kind: type[T]) -> tuple[float, T] | None:
        """Return the time and the value of a response; None when there is none."""
        decode = json_of(CachedResponse)

        def both(content: bytes) -> tuple[float, T]:
            response = decode(content)
            return response.asked_at, msgspec.json.decode(response.value, type=kind)

        return read_state(self._file(request), both)

    def tidy(self) -> None:
        """Delete the oldest responses beyond MAX_RESPONSES."""
        try:
            files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
            for file in files[:-MAX_RESPONSES]:
                file.unlink(missing_ok=True)
        except OSError:
            return

    def _file(self, request: Any) -> Path:
        digest = hashlib.blake2b(msgspec.json.encode(request, order="deterministic"), digest_size=16).hexdigest()
        return self._folder / f"{digest}.json"
