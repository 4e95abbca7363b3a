"""What the Hub has answered, kept with its time, to be looked at offline. It knows nothing of the questions."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.state import json_of, read_state, write_state

T = TypeVar("T")
MOST = 400
"""Answers kept; the oldest go first."""


class CachedResponse(Frozen, frozen=True):
    asked_at: float
    value: msgspec.Raw


class ResponseCache:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, question: Any, value: Any) -> float:
        """When it was. Best effort: an answer that cannot be kept is no error."""
        answer = CachedResponse(asked_at=time.time(), value=msgspec.Raw(msgspec.json.encode(value)))
        with suppress(OSError):
            write_state(self._file(question), msgspec.json.encode(answer))
        return answer.asked_at

    def get(self, question: Any, kind: type[T]) -> tuple[float, T] | None:
        """When it was asked, and the answer; None where there is none."""
        decode = json_of(CachedResponse)

        def both(content: bytes) -> tuple[float, T]:
            answer = decode(content)
            return answer.asked_at, msgspec.json.decode(answer.value, type=kind)

        return read_state(self._file(question), both)

    def tidy(self) -> None:
        try:
            files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
            for file in files[:-MOST]:
                file.unlink(missing_ok=True)
        except OSError:
            return

    def _file(self, question: Any) -> Path:
        digest = hashlib.blake2b(msgspec.json.encode(question, order="deterministic"), digest_size=16).hexdigest()
        return self._folder / f"{digest}.json"
