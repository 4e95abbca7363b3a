"""Tests of request observers: what they are notified of, and that they cannot affect a request."""

import logging

import pytest

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import BusyError, ErrorBody
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Failed, Finished, Loading, Started, Timings
from lmx_daemon.contract.generation.requests import Generate, Request, Text
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

    def refused(self, request: Request, row: RequestRow) -> None:
        self.calls.append(("refused", row.error and row.error.code))


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


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_failed_request_has_the_durations_of_its_stages() -> None:
    clock = Clock()
    requests = RequestRegistry(lambda active: None, Observers(), clock)
    active = requests.open(REQUEST, "instance")
    for seconds, event in ((2.0, STARTED), (3.0, DELTA), (5.0, Failed(id="r", error=ErrorBody(code="x", message="x")))):
        clock.now += seconds
        active.put(event)
    requests.release(active)
    assert requests.recent_rows()[0].timings == Timings(queue=2.0, prefill=3.0, first_token=5.0, decode=5.0)


def test_a_request_that_ends_while_its_model_loads_has_the_time_of_the_load() -> None:
    clock = Clock()
    requests = RequestRegistry(lambda active: active.finish_cancelled(), Observers(), clock)
    active = requests.open(REQUEST, "instance")
    active.put(Loading(id="r", model="m"))
    clock.now += 4.0
    requests.release(active)
    (row,) = requests.recent_rows()
    assert row.timings is not None and (row.timings.load, row.timings.queue, row.timings.prefill) == (4.0, 4.0, 0.0)


def test_the_durations_of_a_finished_request_are_those_of_its_worker() -> None:
    requests = RequestRegistry(lambda active: None, Observers())
    active = requests.open(REQUEST, "instance")
    timings = Timings(queue=1.0, prefill=2.0, first_token=3.0, decode=4.0, load=0.5)
    for event in (STARTED, DELTA, Finished(id="r", endings=(Ending(reason="length"),), timings=timings)):
        active.put(event)
    requests.release(active)
    (row,) = requests.recent_rows()
    assert row.timings == timings and row.finish == "length"


def test_a_request_that_is_not_queued_is_refused_with_its_error() -> None:
    recorder = Recorder()
    requests = RequestRegistry(lambda active: None, Observers([recorder]))
    requests.refuse(REQUEST, BusyError("the queue is full"))
    assert recorder.calls == [("refused", "queue_full")]
    assert not requests.has("r") and requests.recent_rows() == []


def test_an_observer_that_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    broken, recorder = Broken(), Recorder()
    observers = Observers([broken, recorder])
    with caplog.at_level(logging.ERROR, "lmx.observers"):
        assert [row.state for row in run(observers)] == ["finished"]
        assert [row.state for row in run(observers)] == ["finished"]
    assert broken.calls == [("queued", "r"), STARTED]
    assert recorder.calls == [("queued", "r"), STARTED, DELTA, FINISHED, ("ended", "finished")] * 2
    assert caplog.text.count("Broken raised an error") == 1
