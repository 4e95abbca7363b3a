"""A request's row, which is what the monitor and the log say of it; and its events, on their way to one reader."""

import asyncio

import pytest

from lmx_daemon.contract.generation import (
    Delta,
    Ending,
    Failed,
    Finished,
    Generate,
    Started,
    Text,
    Timings,
    Usage,
    is_terminal,
)
from lmx_daemon.residency.desk import Desk, summary
from lmx_daemon.residency.ticket import MAX_EVENTS, Ticket

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))


def test_the_rate_of_an_answer_is_the_workers_own_even_if_it_arrived_all_at_once() -> None:
    ticket = Ticket(REQUEST, lambda _: None)
    ticket.put(Delta(id="r", content="abc", tokens=11))
    finished = Finished(
        id="r", endings=(Ending(reason="stop"),), usage=Usage(completion_tokens=11), timings=Timings(decode=2.0)
    )
    ticket.put(finished)
    assert ticket.row().rate == pytest.approx(5.0)


def test_the_log_tells_why_a_prompt_was_not_cached_and_where_if_that_is_known() -> None:
    for place, told in ((None, "(8 cached; evicted)"), (12, "(8 cached; evicted, at token 12)")):
        ticket = Ticket(REQUEST, lambda _: None)
        ticket.put(Started(id="r", prompt_tokens=99, cached_tokens=8, seed=1, first_difference=place, miss="evicted"))
        assert told in summary(ticket.row())


def test_an_id_is_taken_until_its_request_has_ended_though_nobody_waits_for_it() -> None:
    told: list[str] = []
    desk = Desk(lambda ticket: None, lambda model, log: told.append(log.message))
    ticket = desk.open(REQUEST, "instance")
    desk.release(ticket)
    assert desk.knows("r") and desk.rows() == []
    assert "cancelled" in told[0]
    ticket.put(Finished(id="r", endings=(Ending(reason="cancelled"),)))
    assert not desk.knows("r")


async def test_what_came_together_is_taken_together_until_the_end() -> None:
    ticket = Ticket(REQUEST, lambda _: None)
    taking = asyncio.ensure_future(ticket.take())
    await asyncio.sleep(0)
    deltas = [Delta(id="r", content=text) for text in "ab"]
    for delta in deltas:
        ticket.put(delta)
    assert await taking == deltas and not ticket.read
    ticket.put(end := Finished(id="r", endings=(Ending(reason="stop"),)))
    assert not ticket.read
    assert await ticket.take() == [end] and ticket.read


async def test_patience_ends_with_nothing_and_a_reader_may_be_gone() -> None:
    ticket = Ticket(REQUEST, lambda _: None)
    assert await ticket.take(0.001) == []
    gone = asyncio.ensure_future(ticket.take(60.0))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    ticket.put(late := Delta(id="r", content="late"))
    assert await ticket.take() == [late]


async def test_an_answer_that_nobody_reads_ends_once_whatever_its_cancelling_brings() -> None:
    def cancel(ticket: Ticket) -> None:  # what the pool does where no worker has the request
        ticket.put(Finished(id="r", endings=(Ending(reason="cancelled"),)))

    ticket = Ticket(REQUEST, cancel)
    for _ in range(MAX_EVENTS + 2):
        ticket.put(Delta(id="r", content="x"))
    events = await ticket.take()
    assert [type(event) for event in events if is_terminal(event)] == [Failed]
    assert isinstance(events[-1], Failed) and "not read" in events[-1].error.message
