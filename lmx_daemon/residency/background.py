"""Tasks that nobody awaits: they are kept from being lost, and what they raise is told."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any


class Background:
    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Future[Any]] = set()

    def run(self, work: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Start `work` and return its task. An error of it is reported."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                self._on_error(f"{type(error).__name__}: {error}")
