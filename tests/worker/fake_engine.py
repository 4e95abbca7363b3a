"""A second engine that answers a fixed text: everything that an engine has to bring to the shared main loop.

`python -m tests.worker.fake_engine` is its worker program. Some prompts make it fail in one place each.
"""

import os
import queue
import threading
from functools import partial

from lmx_daemon.contract.errors import EngineMissingError
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Started, Usage
from lmx_daemon.contract.generation.requests import Text
from lmx_daemon.contract.worker.messages import Capabilities, Events, Grant, Load, Loaded, MemoryUse
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from lmx_daemon.worker.program import EngineInfo, SendFrame, run
from lmx_daemon.worker.submissions import Submission

ANSWER = ("one ", "two ", "three")
CAPACITY = 2
KEEP = "keep"
"""Prompt of a request that is not answered until it is cancelled."""
BREAK_PROMPTS, BREAK_ENGINE = "break the prompts thread", "break the engine thread"
IS_MISSING = "FAKE_ENGINE_IS_MISSING"
"""Environment variable with which the engine cannot be imported."""

Command = Load | Grant | Submission | str | None


class FakeEngine:
    """An engine thread with an inbox; a string in it is the id of a cancelled request, None is the end."""

    info = EngineInfo("fake", {"fake": "1"}, "no device")
    answer: tuple[str, ...] = ANSWER

    def __init__(self, send: SendFrame, counters: HeartbeatCounters) -> None:
        self._send = send
        self._counters = counters
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._kept: set[str] = set()
        self._loaded = threading.Event()

    @property
    def capacity(self) -> int:
        return CAPACITY if self._loaded.is_set() else 0

    def run(self) -> None:
        while (command := self._inbox.get()) is not None:
            match command:
                case Load():
                    self._loaded.set()
                    self._send(Loaded(capabilities=Capabilities(context_length=64), memory=MemoryUse(), seconds=0.0))
                case Submission():
                    self._answer(command)
                case str() as identity if identity in self._kept:
                    self._end(identity, Ending(reason="cancelled"))
            self._counters.steps += 1

    def prepare(self) -> None:
        while True:
            submission = self._counters.submissions.next()
            if submission is None:
                continue
            if prompt_of(submission) == BREAK_PROMPTS:
                raise ValueError(BREAK_PROMPTS)
            self._counters.submissions.hand_over(submission, partial(self._inbox.put, submission))

    def command(self, frame: Load | Grant) -> None:
        self._inbox.put(frame)

    def drop(self, identity: str) -> None:
        self._inbox.put(identity)

    def stop(self, flush_seconds: float) -> None:
        self._inbox.put(None)

    def close(self) -> None:
        pass

    def _answer(self, submission: Submission) -> None:
        identity = submission.id
        if prompt_of(submission) == BREAK_ENGINE:
            raise ValueError(BREAK_ENGINE)
        self._send(Events(events=(Started(id=identity, prompt_tokens=1, cached_tokens=0, seed=0),)))
        if prompt_of(submission) == KEEP:
            self._kept.add(identity)
            return
        self._send(Events(events=tuple(Delta(id=identity, content=word, tokens=1) for word in self.answer)))
        self._end(identity, Ending(reason="stop"))

    def _end(self, identity: str, ending: Ending) -> None:
        event: Event = Finished(id=identity, endings=(ending,), usage=Usage(completion_tokens=len(ANSWER)))
        self._kept.discard(identity)
        self._counters.submissions.closed(identity)
        self._send(Events(events=(event,)))


def prompt_of(submission: Submission) -> str:
    prompt = submission.request.prompt
    return prompt.text if isinstance(prompt, Text) else ""


def open_engine(send: SendFrame, counters: HeartbeatCounters) -> FakeEngine:
    if os.environ.get(IS_MISSING):
        raise EngineMissingError("the fake engine is missing", hint="unset the variable")
    return FakeEngine(send, counters)


if __name__ == "__main__":
    run(open_engine)
