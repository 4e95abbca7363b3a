"""The removal of a message and of all that follows it: what stays, undo, the trash, readers, running answers."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.chats.chats import Chats
from lmx_daemon.chats.store.purge import DAY
from lmx_daemon.chats.store.store import ChatStore, new_id
from lmx_daemon.contract.admin.chats import Ask, Attachment, ChatChange, ChatCreate, ChatRole, StoredMessage
from lmx_daemon.contract.errors import ConflictError, NotFoundError, RequestError
from tests.chats.scripted_models import ScriptedModels
from tests.chats.store.conftest import Clock
from tests.screen_states import QWEN, answer_of, finished


def added(store: ChatStore, chat: str, role: ChatRole, text: str, parent: str | None = None, **fields: Any) -> str:
    message = StoredMessage(id=new_id("m"), parent=parent, role=role, text=text, **fields)
    store.add(chat, [message])
    return message.id


def two_turns(store: ChatStore) -> tuple[str, list[str]]:
    """Return a chat and the ids of its messages: two turns, the second prompt with a file and two answers."""
    chat = store.create(ChatCreate()).id
    first = added(store, chat, "user", "why do whales surface")
    answer = added(store, chat, "assistant", "to breathe", first)
    second = added(store, chat, "user", "and fish", answer, attachments=(Attachment(name="a.txt", data=b"kept-bytes"),))
    ends = [added(store, chat, "assistant", words, second) for words in ("they use gills", "water has oxygen")]
    return chat, [first, answer, second, *ends]


def texts(store: ChatStore, chat: str) -> list[str]:
    return [message.text for message in store.get(chat).messages]


def test_a_message_goes_with_all_that_follows_it(store: ChatStore) -> None:
    chat, (_, answer, second, *ends) = two_turns(store)
    removal = store.remove_messages(chat, second)
    assert set(removal.messages) == {second, *ends}
    found = store.get(chat)
    assert texts(store, chat) == ["why do whales surface", "to breathe"]
    assert (found.leaf, found.row.messages) == (answer, 2)
    assert not store.search("gills") and store.search("breathe")


def test_a_removal_is_undone_with_branches_files_and_index(store: ChatStore, clock: Clock, tmp_path: Path) -> None:
    chat, messages = two_turns(store)
    before = store.get(chat)
    store.remove_messages(chat, messages[2])
    store.close()
    again = ChatStore(tmp_path / "chats.db", clock=clock)
    restored = again.restore_messages(chat, "")
    found = again.get(chat)
    assert (found.messages, found.leaf) == (before.messages, before.leaf) and len(restored.messages) == 3
    assert again.files(found.messages[2])[0].data == b"kept-bytes" and again.search("gills")
    with pytest.raises(NotFoundError, match="no message of this chat was deleted"):
        again.restore_messages(chat, "")


def test_another_branch_is_selected_where_there_is_one(store: ChatStore) -> None:
    chat, (*_, one, other) = two_turns(store)
    assert store.get(chat).leaf == other
    store.remove_messages(chat, other)
    assert store.get(chat).leaf == one
    store.change(chat, ChatChange(leaf=one))
    store.restore_messages(chat, "")
    assert store.get(chat).leaf == other


def test_first_message_leaves_an_empty_chat_that_can_be_undone_after_days(store: ChatStore, clock: Clock) -> None:
    chat, (first, *_) = two_turns(store)
    store.remove_messages(chat, first)
    found = store.get(chat)
    assert (found.messages, found.leaf, found.row.first_words) == ((), None, "")
    clock.now += 3 * DAY
    store.create(ChatCreate())
    store.restore_messages(chat, "")
    assert store.get(chat).row.first_words == "why do whales surface"


def test_removals_are_undone_in_reverse_order(store: ChatStore) -> None:
    chat, (_, answer, second, *_) = two_turns(store)
    inner = store.remove_messages(chat, second)
    outer = store.remove_messages(chat, answer)
    with pytest.raises(RequestError, match="deleted later"):
        store.restore_messages(chat, inner.id)
    assert store.get(chat).row.messages == 1, "a refused undo changes nothing"
    store.restore_messages(chat, outer.id)
    store.restore_messages(chat, "")
    assert store.get(chat).row.messages == 5


def test_removed_messages_leave_the_file_with_the_trash(store: ChatStore, clock: Clock, tmp_path: Path) -> None:
    chat, (*_, second, _, _) = two_turns(store)
    store.remove_messages(chat, second)
    clock.now += 31 * DAY
    store.create(ChatCreate())
    with pytest.raises(NotFoundError):
        store.restore_messages(chat, "")
    other, (first, *_) = two_turns(store)
    store.remove_messages(other, first)
    store.delete(other)
    store.empty_trash()
    store.close()
    assert b"kept-bytes" not in b"".join(file.read_bytes() for file in tmp_path.glob("chats.db*"))


@pytest.fixture
async def chats(store: ChatStore) -> AsyncGenerator[tuple[Chats, ScriptedModels]]:
    tasks: set[asyncio.Future[None]] = set()
    models = ScriptedModels()
    chats = Chats(store, models, lambda work: tasks.add(asyncio.ensure_future(work)))
    yield chats, models
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await chats.close()


async def test_readers_get_the_chat_again(chats: tuple[Chats, ScriptedModels], store: ChatStore) -> None:
    all_chats, _ = chats
    chat, (_, answer, second, *_) = two_turns(store)
    reader = all_chats.watch(chat)
    await anext(reader)
    await all_chats.remove_messages(chat, second)
    async with asyncio.timeout(20):
        update = await anext(reader)
        assert update is not None and update.chat is not None and update.chat.leaf == answer
        await all_chats.restore_messages(chat, "")
        update = await anext(reader)
        assert update is not None and update.chat is not None and len(update.chat.messages) == 5


async def test_a_running_answer_is_not_removed(chats: tuple[Chats, ScriptedModels]) -> None:
    all_chats, models = chats
    chat = (await all_chats.create(ChatCreate(model=QWEN))).id
    asked = await all_chats.ask(chat, Ask(text="go"))
    assert asked.user is not None
    with pytest.raises(ConflictError, match="is being generated"):
        await all_chats.remove_messages(chat, asked.user.id)
    with pytest.raises(NotFoundError, match="no message 'nosuch'"):
        await all_chats.remove_messages(chat, "nosuch")
    async with asyncio.timeout(20):
        while not models.readings:
            await asyncio.sleep(0.01)
        models.readings[0].send(*answer_of("done"), finished())
        while (await all_chats.get(chat)).row.running:
            await asyncio.sleep(0.01)
    assert len((await all_chats.remove_messages(chat, asked.user.id)).messages) == 2
