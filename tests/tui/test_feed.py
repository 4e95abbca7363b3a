"""The feed's batches of events."""

import asyncio
from typing import Any

from lmx_daemon.client.conversation import Conversation
from lmx_daemon.contract.events import Finished
from lmx_tui.feed import Feed
from lmx_tui.messages import EventsArrived
from tests.fake_client import FakeClient
from tests.screen_states import QWEN, answer_of, busy_snapshot


async def test_events_are_posted_in_batches() -> None:
    """600 deltas become less than ten messages; the last message ends with the terminal event."""
    posted: list[Any] = []
    client = FakeClient(busy_snapshot(), answer_of("word " * 600, pieces=600))
    feed = Feed(client, posted.append, clock=asyncio.get_running_loop().time)
    await feed.answer(Conversation(tenant="tui", client="lmx tui").ask("x", QWEN, 0.0))
    batches = [message for message in posted if isinstance(message, EventsArrived)]
    assert len(batches) < 10
    events = [event for batch in batches for event in batch.events]
    assert isinstance(events[-1], Finished) and len(events) == len(client.answer)


async def test_answer_without_an_end_is_an_interruption() -> None:
    posted: list[Any] = []
    client = FakeClient(busy_snapshot(), answer_of("word")[:-1])
    await Feed(client, posted.append, clock=lambda: 0.0).answer(
        Conversation(tenant="tui", client="lmx tui").ask("x", QWEN, 0.0)
    )
    assert posted[-1].events[-1].error.message == "interrupted: connection lost"
