"""Answers that the daemon generates on behalf of chats. They continue without a reader, and are stored as they grow."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from lmx_daemon.chats.growing import GrowingMessage
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.chats.watchers import Watchers
from lmx_daemon.contract.admin.chats import StoredMessage
from lmx_daemon.contract.errors import ConflictError, DiskError, ErrorBody, LmxError
from lmx_daemon.contract.generation.events import Event, Failed
from lmx_daemon.contract.generation.requests import Generate
from lmx_daemon.residency.pool import Pool
from lmx_daemon.router.router import Router

FLUSH_SECONDS = 1.0
"""Interval at which a growing answer is written."""
UNWRITTEN_SECONDS = 10.0
"""Interval of attempts to write the answers that a full disk refused."""
LOGGER = logging.getLogger("lmx.chats")


class AnswerReading(Protocol):
    """The events of one request."""

    @property
    def read(self) -> bool:
        """Return whether the terminal event has been read."""

    async def take(self, patience: float | None = None) -> list[Event]:
        """Return the events that have arrived; [] if none arrives within `patience` seconds."""


class Models(Protocol):
    """The models that generate answers."""

    async def submit(self, request: Generate) -> AnswerReading:
        """Return the events of a new request. Raise what prevents it from being queued."""

    def release(self, reading: AnswerReading) -> None:
        """End the reading of a request; one that still runs is cancelled."""


class RoutedModels:
    """The daemon's models, under the names that the router resolves."""

    def __init__(self, router: Router, pool: Pool) -> None:
        self._router, self._pool = router, pool

    async def submit(self, request: Generate) -> AnswerReading:
        """Return the events of a new request. Raise what prevents it from being queued."""
        try:
            route = await self._router.route(request)
        except LmxError as error:
            self._pool.requests.refuse(request, error)
            raise
        return self._pool.submit(route.applied(request))

    def release(self, reading: AnswerReading) -> None:
        """End the reading of a request; one that still runs is cancelled."""
        self._pool.release(reading)  # type: ignore[arg-type]  # `submit` got it from the pool


class ChatAnswers:
    """The answers that are being generated."""

    def __init__(
        self,
        store: ChatStore,
        models: Models,
        watchers: Watchers,
        run: Callable[[Awaitable[None]], object],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`run` starts a task, and `changed` is called when an answer has begun or ended."""
        self._store, self._models, self._watchers = store, models, watchers
        self._run, self._changed, self._clock = run, changed, clock
        self._growing: dict[str, GrowingMessage] = {}
        self._unwritten: dict[str, GrowingMessage] = {}
        """Answers that have ended and are not on the disk, because it was full."""
        self._claimed: set[str] = set()
        """Ids of the messages that a request is about to continue."""
        self._settled = asyncio.Event()
        self._settled.set()

    def of(self, chat: str) -> list[GrowingMessage]:
        """Return the answers of a chat that are being generated."""
        return [growing for growing in self._growing.values() if growing.chat == chat]

    def newer(self, chat: str) -> dict[str, StoredMessage]:
        """Return the messages of a chat that the disk does not have in their present state, by their ids."""
        found = (*self._growing.values(), *self._unwritten.values())
        return {growing.id: growing.message() for growing in found if growing.chat == chat}

    def chats(self) -> set[str]:
        """Return the ids of the chats that have an answer in progress."""
        return {growing.chat for growing in self._growing.values()}

    @contextmanager
    def claimed(self, message: str) -> Iterator[None]:
        """Hold the right to continue a message. Raise ConflictError while it is held or the message grows."""
        if message in self._growing or message in self._claimed:
            raise ConflictError("this answer is being generated", hint="stop it first")
        self._claimed.add(message)
        try:
            yield
        finally:
            self._claimed.remove(message)

    def begin(self, growing: GrowingMessage, request: Generate) -> None:
        """Generate an answer, whose message is stored already."""
        self._unwritten.pop(growing.id, None)
        self._growing[growing.id] = growing
        self._settled.clear()
        self._changed()
        self._run(self._generate(growing, request))

    async def look(self) -> None:
        """Write the answers again for which there was no space. To be called every UNWRITTEN_SECONDS."""
        for growing in list(self._unwritten.values()):
            with suppress(ConflictError), self.claimed(growing.id):
                if not await self._write(growing):
                    return
                self._unwritten.pop(growing.id, None)
                self._changed()

    async def close(self, seconds: float) -> None:
        """Wait until the last answers are written. The wait is bounded, since a disk may not answer."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
                await self.look()
        except TimeoutError:
            pass
        if lost := len(self._growing) + len(self._unwritten):
            LOGGER.warning("%d answers of chats were not written completely", lost)

    async def _generate(self, growing: GrowingMessage, request: Generate) -> None:
        """Read the events to the end and store the message, also if the request fails or the daemon stops."""
        try:
            await self._read(growing, request)
        except LmxError as error:
            self._take(growing, [Failed(id=request.id, error=error.body())])
        except BaseException as error:
            body = ErrorBody(code="internal_error", message=f"{type(error).__name__}: {error}")
            self._take(growing, [Failed(id=request.id, error=body)])
            raise
        finally:
            await asyncio.shield(asyncio.ensure_future(self._end(growing)))

    async def _read(self, growing: GrowingMessage, request: Generate) -> None:
        writing: asyncio.Future[bool] | None = None
        reading = await self._models.submit(request)
        try:
            written = self._clock()
            while not reading.read:
                events = await reading.take(FLUSH_SECONDS)
                self._take(growing, events)
                free = writing is None or writing.done()
                if free and not growing.ended and self._clock() - written >= FLUSH_SECONDS:
                    written = self._clock()
                    writing = asyncio.ensure_future(self._write(growing))
        finally:
            self._models.release(reading)
            if writing is not None:
                await asyncio.wait([writing])

    def _take(self, growing: GrowingMessage, events: list[Event]) -> None:
        if events:
            growing.consume(events, self._clock())
            self._watchers.events(growing.chat, growing.id, tuple(events))

    async def _end(self, growing: GrowingMessage) -> None:
        if not await self._write(growing):
            self._unwritten[growing.id] = growing
        self._growing.pop(growing.id, None)
        self._watchers.message(growing.chat, growing.message())
        self._changed()
        if not self._growing:
            self._settled.set()

    async def _write(self, growing: GrowingMessage) -> bool:
        """Store the message as it is now, unless it was removed. Return whether the disk accepted it.

        A failure of the disk does not end the answer.
        """
        try:
            await asyncio.to_thread(self._store.update, growing.message())
        except DiskError as error:
            LOGGER.warning("an answer of the chat %s was not written: %s", growing.chat, error.message)
            return False
        return True
