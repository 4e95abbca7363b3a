"""Tasks that nothing awaits: what they raise is reported, and work that repeats goes on after an error.

A repeated task that keeps failing is part of the daemon's health.
"""

import asyncio
import inspect
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

KEPT_FAILING = 3
"""Number of failures in a row from which the daemon is reported as unhealthy."""
REPORT_SECONDS = 60.0
"""Time in which failures of the same work are logged at most once."""

T = TypeVar("T")
Act = Callable[[], Awaitable[None] | None]


class Background:
    """The daemon's tasks, on asyncio's loop. It is the `Loop` of the scheduler."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        """Begin without tasks. `on_error` gets one line for each error that is to be logged."""
        self._on_error = on_error
        self._tasks: set[asyncio.Future[Any]] = set()
        self._failures: dict[str, tuple[int, str]] = {}
        """Number of failures in a row and the last one in words, by the name of the work."""
        self._reported: dict[str, float] = {}

    def run(self, work: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Start `work` and return its task. An error of it is reported."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` once `seconds` have passed, unless `cancel` comes first."""
        self.run(_later(seconds, call))

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Return what `function` returns in a thread of its own."""
        return await asyncio.to_thread(function)

    def every(self, seconds: float, name: str, act: Act) -> None:
        """Call `act`, a function or a coroutine function, now and then each `seconds` until `cancel`.

        The calls go on after an error.
        """
        self.run(self._repeat(seconds, name, act))

    async def attempt(self, name: str, act: Act) -> None:
        """Call `act` once. An error of it is logged and counted under `name`; a success resets the count."""
        try:
            if inspect.isawaitable(found := act()):
                await found
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a named boundary: the daemon's repeated work reports and goes on
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._failed(name, error)
        else:
            self._failures.pop(name, None)

    def problem(self) -> str | None:
        """Return the reason for which repeated work keeps failing; None if it does not."""
        return next((words for count, words in self._failures.values() if count >= KEPT_FAILING), None)

    def cancel(self) -> None:
        """Cancel all tasks."""
        for task in list(self._tasks):
            task.cancel()

    async def _repeat(self, seconds: float, name: str, act: Act) -> None:
        while True:
            await self.attempt(name, act)
            await asyncio.sleep(seconds)

    def _failed(self, name: str, error: BaseException) -> None:
        count, _ = self._failures.get(name, (0, ""))
        words = f"{name} failed: {type(error).__name__}: {error}"
        self._failures[name] = count + 1, words
        now = time.monotonic()
        if now - self._reported.get(name, -REPORT_SECONDS) >= REPORT_SECONDS:
            self._reported[name] = now
            self._on_error(f"{words}{_place(error)}")

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                self._on_error(f"{type(error).__name__}: {error}{_place(error)}")


async def _later(seconds: float, call: Callable[[], None]) -> None:
    await asyncio.sleep(seconds)
    call()


def _place(error: BaseException) -> str:
    """Return the line that raised `error`, for the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].name}, {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
