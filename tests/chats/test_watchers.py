"""Tests of the readers of chats."""

import pytest

from lmx_daemon.chats.watchers import MAX_WAITING, Watcher, Watchers
from lmx_daemon.contract.admin.chats import ChatRow
from lmx_daemon.contract.generation.events import Delta


def delta(content: str) -> Delta:
    return Delta(id="r", content=content, tokens=1)


async def test_consecutive_events_of_an_answer_arrive_in_one_update() -> None:
    readers = Watchers()
    reader = readers.add("c")
    for content in "abc":
        readers.events("c", "first", (delta(content),))
    readers.events("c", "second", (delta("d"),))
    readers.row(ChatRow(id="c"))
    readers.events("c", "second", (delta("e"), delta("f")))
    updates = await reader.take(1.0)
    assert [
        (update.answer, [event.content for event in update.events if isinstance(event, Delta)]) for update in updates
    ] == [
        ("first", ["a", "b", "c"]),
        ("second", ["d"]),
        ("", []),
        ("second", ["e", "f"]),
    ]
    assert reader.drain() == []


async def test_updates_of_another_chat_do_not_arrive() -> None:
    readers = Watchers()
    reader = readers.add("c")
    readers.events("other", "first", (delta("a"),))
    assert await reader.take(0.0) == []


@pytest.mark.parametrize("joined", [True, False])
def test_reader_that_takes_nothing_is_lost_at_the_bound(joined: bool) -> None:
    readers = Watchers()
    reader: Watcher = readers.add("c")
    for number in range(MAX_WAITING + 100):
        assert not reader.lost or number > MAX_WAITING
        readers.events("c", "a" if joined else str(number), (delta("x"),))
    assert reader.lost
    assert sum(len(update.events) for update in reader.drain()) == MAX_WAITING + 1
