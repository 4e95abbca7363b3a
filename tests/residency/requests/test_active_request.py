"""Tests of the record of a request: its row, and its events for one reader."""

import asyncio

import pytest

from lmx_daemon.contract.generation.events import Delta, Ending, Failed, Finished, Timings, Usage, is_terminal
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.residency.requests.active_request import MAX_EVENTS, ActiveRequest

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))


def test_the_rate_is_the_workers_figure_even_if_the_answer_arrived_at_once() -> None:
    active = ActiveRequest(REQUEST, lambda _: None)
    active.put(Delta(id="r", content="abc", tokens=11))
    finished = Finished(
        id="r", endings=(Ending(reason="stop"),), usage=Usage(completion_tokens=11), timings=Timings(decode=2.0)
    )
    active.put(finished)
    assert active.row().rate == pytest.approx(5.0)


async def test_events_that_arrive_together_are_read_together() -> None:
    active = ActiveRequest(REQUEST, lambda _: None)
    reading = asyncio.ensure_future(active.take())
    await asyncio.sleep(0)
    deltas = [Delta(id="r", content=text) for text in "ab"]
    for delta in deltas:
        active.put(delta)
    assert await reading == deltas and not active.read
    active.put(end := Finished(id="r", endings=(Ending(reason="stop"),)))
    assert not active.read
    assert await active.take() == [end] and active.read


async def test_a_read_ends_after_its_patience_and_may_be_cancelled() -> None:
    active = ActiveRequest(REQUEST, lambda _: None)
    assert await active.take(0.001) == []
    gone = asyncio.ensure_future(active.take(60.0))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    active.put(late := Delta(id="r", content="late"))
    assert await active.take() == [late]


async def test_an_answer_that_is_not_read_ends_with_one_terminal_event() -> None:
    def cancel(active: ActiveRequest) -> None:  # as the scheduler does for a request without a worker
        active.put(Finished(id="r", endings=(Ending(reason="cancelled"),)))

    active = ActiveRequest(REQUEST, cancel)
    for _ in range(MAX_EVENTS + 2):
        active.put(Delta(id="r", content="x"))
    events = await active.take()
    assert [type(event) for event in events if is_terminal(event)] == [Failed]
    assert isinstance(events[-1], Failed) and "not read" in events[-1].error.message
