"""A request's row: what the monitor and the log say of it."""

import pytest

from lmx_daemon.contract.generation import Delta, Ending, Finished, Generate, Text, Timings, Usage
from lmx_daemon.residency.desk import Desk
from lmx_daemon.residency.ticket import Ticket

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))


def test_the_rate_of_an_answer_is_the_workers_own_even_if_it_arrived_all_at_once() -> None:
    ticket = Ticket(REQUEST, lambda _: None)
    ticket.put(Delta(id="r", content="abc", tokens=11))
    finished = Finished(
        id="r", endings=(Ending(reason="stop"),), usage=Usage(completion_tokens=11), timings=Timings(decode=2.0)
    )
    ticket.put(finished)
    assert ticket.row().rate == pytest.approx(5.0)


def test_an_id_is_taken_until_its_request_has_ended_though_nobody_waits_for_it() -> None:
    told: list[str] = []
    desk = Desk(lambda ticket: None, lambda model, log: told.append(log.message))
    ticket = desk.open(REQUEST, "instance")
    desk.release(ticket)
    assert desk.knows("r") and desk.rows() == []
    assert "cancelled" in told[0]
    ticket.put(Finished(id="r", endings=(Ending(reason="cancelled"),)))
    assert not desk.knows("r")
