"""Tests of request observers: what they are notified of, and that they cannot affect a request."""

import logging

import pytest

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.events import Delta, Ending, Event, Finished, Started
from lmx_daemon.contract.requests import Generate, Request, Text
from lmx_daemon.residency.requests.observers import Observers
from lmx_daemon.residency.requests.request_registry import RequestRegistry

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))
STARTED = Started(id="r", prompt_tokens=3, cached_tokens=0, seed=1)
DELTA = Delta(id="r", content="a", tokens=1)
FINISHED = Finished(id="r", endings=(Ending(reason="stop"),))


class Recorder:
    """An observer that keeps the calls it gets."""

    observes_events = True

    def __init__(self) -> None:
        self.calls: list[object] = []

    def queued(self, request: Request) -> None:
        self.calls.append(("queued", request.id))

    def started(self, request: Request, event: Started) -> None:
        self.calls.append(event)

    def event(self, request: Request, event: Event) -> None:
        self.calls.append(event)

    def ended(self, request: Request, row: RequestRow) -> None:
        self.calls.append(("ended", row.state))


class Ends(Recorder):
    """An observer of beginnings and ends only."""

    observes_events = False


class Broken(Recorder):
    """An observer with a defect in its handling of events."""

    def event(self, request: Request, event: Event) -> None:
        raise ValueError("a defect")


def run(observers: Observers) -> list[RequestRow]:
    requests = RequestRegistry(lambda active: None, observers)
    active = requests.open(REQUEST, "instance")
    for event in (STARTED, DELTA, FINISHED):
        active.put(event)
    requests.release(active)
    requests.release(active)
    return requests.recent_rows()


def test_an_observer_is_notified_of_each_step_once() -> None:
    recorder, ends = Recorder(), Ends()
    run(Observers([recorder, ends]))
    assert recorder.calls == [("queued", "r"), STARTED, DELTA, FINISHED, ("ended", "finished")]
    assert ends.calls == [("queued", "r"), ("ended", "finished")]


def test_a_request_that_is_released_early_ends_as_cancelled() -> None:
    recorder = Recorder()
    requests = RequestRegistry(lambda active: None, Observers([recorder]))
    requests.release(requests.open(REQUEST, "instance"))
    assert recorder.calls == [("queued", "r"), ("ended", "cancelled")]


def test_an_observer_that_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    broken, recorder = Broken(), Recorder()
    observers = Observers([broken, recorder])
    with caplog.at_level(logging.ERROR, "lmx.observers"):
        assert [row.state for row in run(observers)] == ["finished"]
        assert [row.state for row in run(observers)] == ["finished"]
    assert broken.calls == [("queued", "r"), STARTED]
    assert recorder.calls == [("queued", "r"), STARTED, DELTA, FINISHED, ("ended", "finished")] * 2
    assert caplog.text.count("Broken raised an error") == 1
