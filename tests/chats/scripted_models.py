"""ScriptedModels: what generates answers of chats in tests. A test gives the events of each answer."""

import asyncio
from collections.abc import Sequence

from lmx_daemon.chats.answers import AnswerReading
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event, is_terminal
from lmx_daemon.contract.generation.requests import Generate
from tests.screen_states import finished


class ScriptedReading:
    """Events of one request. They arrive when the test sends them."""

    def __init__(self) -> None:
        self.read = False
        self.released = False
        self._waiting: list[Event] = []
        self._wake = asyncio.Event()

    def send(self, *events: Event) -> None:
        self._waiting += events
        self._wake.set()

    async def take(self, patience: float | None = None) -> list[Event]:
        try:
            await asyncio.wait_for(self._wake.wait(), patience)
        except TimeoutError:
            return []
        self._wake.clear()
        events, self._waiting = self._waiting, []
        self.read = any(map(is_terminal, events))
        return events


class ScriptedModels:
    """Records requests. Each gets a reading with the events of `answer`, or an error."""

    def __init__(self, answer: Sequence[Event] = ()) -> None:
        self.answer = list(answer)
        self.error: LmxError | None = None
        self.requests: list[Generate] = []
        self.readings: list[ScriptedReading] = []

    async def submit(self, request: Generate) -> ScriptedReading:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        reading = ScriptedReading()
        self.readings.append(reading)
        if self.answer:
            reading.send(*self.answer)
        return reading

    def release(self, reading: AnswerReading) -> None:
        assert isinstance(reading, ScriptedReading)
        reading.released = True
        if not reading.read:
            reading.send(finished(reason="cancelled"))
