"""A request's row, which is what the monitor and the log say of it; and its events, on their way to one reader."""

import asyncio

import pytest

from lmx_daemon.contract.events import Delta, Ending, Failed, Finished, Timings, Usage, is_terminal
from lmx_daemon.contract.requests import Generate, Text
from lmx_daemon.residency.active_request import MAX_EVENTS, ActiveRequest
from lmx_daemon.residency.observers import Observers
from lmx_daemon.residency.request_registry import RequestRegistry

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))


def test_the_rate_of_an_answer_is_the_workers_own_even_if_it_arrived_all_at_once() -> None:
    active = ActiveRequest(REQUEST, lambda _: None)
    active.put(Delta(id="r", content="abc", tokens=11))
    finished = Finished(
        id="r", endings=(Ending(reason="stop"),), usage=Usage(completion_tokens=11), timings=Timings(decode=2.0)
    )
    active.put(finished)
    assert active.row().rate == pytest.approx(5.0)


def test_an_id_is_taken_until_its_request_has_ended_though_nobody_waits_for_it() -> None:
    requests = RequestRegistry(lambda active: None, Observers())
    active = requests.open(REQUEST, "instance")
    requests.release(active)
    assert requests.has("r") and requests.rows() == []
    assert [row.state for row in requests.recent_rows()] == ["cancelled"]
    active.put(Finished(id="r", endings=(Ending(reason="cancelled"),)))
    assert not requests.has("r")


async def test_what_came_together_is_taken_together_until_the_end() -> None:
    active = ActiveRequest(REQUEST, lambda _: None)
    taking = asyncio.ensure_future(active.take())
    await asyncio.sleep(0)
    deltas = [Delta(id="r", content=text) for text in "ab"]
    for delta in deltas:
        active.put(delta)
    assert await taking == deltas and not active.read
    active.put(end := Finished(id="r", endings=(Ending(reason="stop"),)))
    assert not active.read
    assert await active.take() == [end] and active.read


async def test_patience_ends_with_nothing_and_a_reader_may_be_gone() -> None:
    active = ActiveRequest(REQUEST, lambda _: None)
    assert await active.take(0.001) == []
    gone = asyncio.ensure_future(active.take(60.0))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    active.put(late := Delta(id="r", content="late"))
    assert await active.take() == [late]


async def test_an_answer_that_nobody_reads_ends_once_whatever_its_cancelling_brings() -> None:
    def cancel(active: ActiveRequest) -> None:  # what the pool does where no worker has the request
        active.put(Finished(id="r", endings=(Ending(reason="cancelled"),)))

    active = ActiveRequest(REQUEST, cancel)
    for _ in range(MAX_EVENTS + 2):
        active.put(Delta(id="r", content="x"))
    events = await active.take()
    assert [type(event) for event in events if is_terminal(event)] == [Failed]
    assert isinstance(events[-1], Failed) and "not read" in events[-1].error.message
