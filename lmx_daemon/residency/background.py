"""The pool's tasks: nobody awaits them, so that they are kept from being lost, and what they raise is told."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from lmx_daemon.residency.journal import Journal


class Background:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                self._journal.log("pool", "error", f"{type(error).__name__}: {error}")
