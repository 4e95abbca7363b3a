"""Tests of the registry of requests: ids, delivery of events, and what remains after a request."""

import pytest

from lmx_daemon.contract.errors import ConflictError, RequestNotFoundError, WorkerError
from lmx_daemon.contract.generation.events import Delta, Ending, Failed, Finished
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.requests.observers import Observers
from lmx_daemon.residency.requests.request_registry import RequestRegistry

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))
CANCELLED = Finished(id="r", endings=(Ending(reason="cancelled"),))


def registry() -> RequestRegistry:
    return RequestRegistry(lambda active: None, Observers())


def submitted(requests: RequestRegistry, instance: str = "m:1") -> ActiveRequest:
    """Return a request that the worker of an instance holds."""
    active = requests.open(REQUEST, instance)
    active.at_worker = True
    return active


def test_an_id_is_taken_until_the_worker_confirms_the_end() -> None:
    requests = registry()
    active = submitted(requests)
    requests.release(active)
    assert requests.has("r") and requests.rows() == []
    assert [row.state for row in requests.recent_rows()] == ["cancelled"]
    with pytest.raises(ConflictError):
        requests.open(REQUEST, "m:1")
    assert requests.deliver("m:1", [CANCELLED])
    assert not requests.has("r")


def test_an_id_is_taken_until_the_reader_has_finished() -> None:
    requests = registry()
    active = submitted(requests)
    requests.deliver("m:1", [CANCELLED])
    assert requests.has("r")
    requests.release(active)
    assert not requests.has("r")


def test_events_of_another_instance_are_ignored() -> None:
    requests = registry()
    active = submitted(requests)
    assert not requests.deliver("m:2", [CANCELLED]) and not active.closed


def test_events_of_a_request_that_was_not_submitted_are_ignored() -> None:
    requests = registry()
    active = requests.open(REQUEST, "m:1")
    assert not requests.deliver("m:1", [CANCELLED]) and not active.closed


def test_only_a_terminal_event_ends_a_request() -> None:
    requests = registry()
    active = submitted(requests)
    assert not requests.deliver("m:1", [Delta(id="r", content="x", tokens=1)])
    assert active.under_way
    assert requests.deliver("m:1", [CANCELLED]) and not active.under_way


def test_the_end_of_a_worker_fails_its_requests() -> None:
    requests = registry()
    active = submitted(requests)
    requests.end("m:1", WorkerError("it crashed"))
    assert active.closed and not active.under_way


def test_nothing_remains_of_an_instance_that_has_gone() -> None:
    requests = registry()
    requests.of("m:1")
    active = submitted(requests)
    requests.end("m:1", WorkerError("it crashed"))
    requests.forget("m:1")
    assert requests.has("r")
    requests.release(active)
    assert not requests._records


def test_a_request_that_has_just_ended_may_be_cancelled_and_an_unknown_one_may_not() -> None:
    requests = registry()
    active = requests.open(REQUEST, "m:1")
    active.finish_cancelled()
    requests.release(active)
    requests.cancel("r")
    with pytest.raises(RequestNotFoundError):
        requests.cancel("other")


async def test_all_requests_fail_at_shutdown() -> None:
    requests = registry()
    active = submitted(requests)
    requests.fail(WorkerError("stopping"))
    assert isinstance((await active.take())[-1], Failed) and not requests.busy()
