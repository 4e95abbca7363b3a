"""FakeChats: the daemon's own chats over a file in a temporary folder, with answers that a FakeClient scripts."""

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from lmx_daemon.chats.answers import AnswerReading
from lmx_daemon.chats.chats import Chats
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event, Failed
from lmx_daemon.contract.generation.requests import Generate
from tests.chats.scripted_models import ScriptedReading
from tests.screen_states import NOW

Generating = Callable[[Generate], AsyncIterator[Event]]


class FakeChats:
    """Chats whose answers come from `generate`. `changed` is called when the list of chats may have changed."""

    def __init__(self, generate: Generating, changed: Callable[[], None]) -> None:
        self._generate, self._changed = generate, changed
        self._tasks: set[asyncio.Future[Any]] = set()
        folder = tempfile.mkdtemp(prefix="lmx-chats-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.now = NOW
        self.store = ChatStore(Path(folder) / "chats.db", clock=lambda: self.now)
        self.chats = Chats(self.store, self, self._run, clock=lambda: self.now)

    async def submit(self, request: Generate) -> ScriptedReading:
        reading = ScriptedReading()
        self._run(self._send(reading, request))
        return reading

    def release(self, reading: AnswerReading) -> None:
        """Do nothing: the events of a scripted answer end by themselves."""

    async def _send(self, reading: ScriptedReading, request: Generate) -> None:
        try:
            async for event in self._generate(request):
                reading.send(event)
        except LmxError as error:
            reading.send(Failed(id=request.id, error=error.body()))

    def _run(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        self._changed()
