"""Work that the prompt thread does ahead of the first constrained request."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.worker.messages import Submit
from lmx_daemon.engines.mlx.text.prompts import prompt_thread
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from lmx_daemon.engines.mlx.text.prompts.prompt_thread import PromptThread
from lmx_daemon.worker.heartbeat import HeartbeatCounters

PIECES = 4


class Grammars:
    """A compiler whose work ahead has PIECES pieces. `act` is called in each of them."""

    def __init__(self, act: Callable[[int], None] = lambda piece: None) -> None:
        self._act = act
        self.pieces = 0
        self.done = threading.Event()

    @property
    def ready(self) -> bool:
        return self.pieces == PIECES

    def read_ahead(self) -> None:
        self._act(self.pieces)
        self.pieces += 1
        if self.ready:
            self.done.set()


class Builder:
    def build(self, *_: Any) -> PreparedPrompt:
        return PreparedPrompt([1], [])

    def works(self) -> bool:
        return True


def started(counters: HeartbeatCounters, grammars: Any, hand_over: Callable[[Any], None]) -> PromptThread:
    thread = PromptThread(counters, lambda frame: None, hand_over)
    threading.Thread(target=thread.run, daemon=True).start()
    builder: Any = Builder()
    thread.loaded(builder, grammars)
    return thread


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_thread, "IDLE_SECONDS", 0.01)


def submit(counters: HeartbeatCounters, identity: str) -> None:
    counters.submissions.add(Submit(request=Generate(id=identity, model="m", prompt=Text(text="x")), waited=0.0))


def test_the_vocabulary_of_grammars_is_read_before_a_request_needs_it() -> None:
    grammars = Grammars()
    started(HeartbeatCounters(), grammars, lambda ready: None)
    assert grammars.done.wait(20)


def test_a_request_is_prepared_between_two_pieces() -> None:
    counters, order = HeartbeatCounters(), list[str]()

    def act(piece: int) -> None:
        order.append(f"piece {piece}")
        if piece == 1:
            submit(counters, "a")

    grammars = Grammars(act)
    started(counters, grammars, lambda ready: order.append(ready.request.id))
    assert grammars.done.wait(20)
    assert order == ["piece 0", "piece 1", "a", "piece 2", "piece 3"]


def test_no_work_is_done_ahead_while_the_engine_is_busy() -> None:
    counters, waited = HeartbeatCounters(), threading.Event()
    counters.busy = True
    grammars = Grammars()
    started(counters, grammars, lambda ready: waited.set())
    assert not grammars.done.wait(0.2) and grammars.pieces == 0
    counters.busy = False
    assert grammars.done.wait(20)


def test_a_failure_ahead_is_left_to_the_request_that_needs_the_work() -> None:
    counters, failed, prepared = HeartbeatCounters(), threading.Event(), threading.Event()

    def fail(piece: int) -> None:
        failed.set()
        raise ValueError("broken")

    started(counters, Grammars(fail), lambda ready: prepared.set())
    assert failed.wait(20)
    submit(counters, "a")
    assert prepared.wait(20)
