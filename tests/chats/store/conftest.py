"""A store of chats with a clock that the test sets."""

from pathlib import Path

import pytest

from lmx_daemon.chats.store.store import ChatStore


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ChatStore:
    return ChatStore(tmp_path / "chats.db", clock=clock)
