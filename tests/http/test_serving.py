"""A stream's events on their way to the client."""

from typing import Any

from lmx_daemon.contract.generation import Ending, Finished, Generate, Loading, Queued, Text
from lmx_daemon.http.openai_answers import ChatDialect
from lmx_daemon.http.serving import stream_of
from lmx_daemon.residency.ticket import Ticket


class Pool:
    def release(self, ticket: Ticket) -> None:
        pass


async def test_who_waits_sees_in_comments_how_far_it_is() -> None:
    ticket = Ticket(Generate(id="r", model="m", prompt=Text(text="x")), lambda _: None)
    opening: list[Any] = [Loading(id="r", model="m"), Loading(id="r", model="m", stage="weights\n\n", fraction=0.42)]
    pool: Any = Pool()
    stream = stream_of(pool, ticket, ChatDialect("id", "m"), opening)
    assert await anext(stream) == b": loading weights 42%\n\n"
    ticket.put(Queued(id="r", position=2))
    assert await anext(stream) == b": queued, 2 in line\n\n"
    ticket.put(Finished(id="r", endings=(Ending(reason="stop"),)))
    assert b"".join([part async for part in stream]).endswith(b"data: [DONE]\n\n")
