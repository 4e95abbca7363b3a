"""Chats against a real daemon and the built-in model: answers, kills, the command line."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.chats import Ask, AskAgain, ChatChange, ChatCreate, ChatDetail, ChatSettings
from lmx_daemon.contract.errors import ChatNotFoundError, NotFoundError, RequestError
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.models import GUIDE
from tests.end_to_end.conftest import TALKER
from tests.end_to_end.running import Daemon


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client(daemon.home / "lmx.sock") as made:
        yield made


async def until(client: Client, chat: str, true: Callable[[ChatDetail], object]) -> ChatDetail:
    async with asyncio.timeout(60):
        while not true(found := await client.chat(chat)):
            await asyncio.sleep(0.05)
    return found


async def test_an_answer_is_generated_by_the_daemon_and_streamed_to_a_reader(client: Client) -> None:
    chat = (await client.create_chat(ChatCreate(model=GUIDE))).id
    asked = await client.ask_chat(chat, Ask(text="how do I pull a model?", tenant="tui", client="lmx tui"))
    assert asked.user is not None and asked.answer.parent == asked.user.id and asked.answer.state == "running"
    answer: ChatAnswer | None = None
    async with asyncio.timeout(60):
        async for update in client.watch_chat(chat):
            if update.chat is not None:
                now = update.chat.messages[1]
                answer = ChatAnswer(now.request_id, now.model, 0.0, content=now.text)
                if now.state == "done":
                    break
            assert answer is not None
            for event in update.events:
                answer.consume(event, 0.0)
            if update.message is not None and update.message.state == "done":
                assert answer.content == update.message.text
                break
    found = await client.chat(chat)
    assert "lmx pull" in found.messages[1].text and found.messages[1].figures is not None
    assert found.messages[1].figures.tokens > 0 and found.messages[1].figures.first_token
    assert [row.id for row in await client.search_chats("pull model")] == [chat]
    assert (await client.snapshot()).chats > 0


async def test_an_answer_goes_on_without_a_reader_and_is_stopped_by_a_cancel(client: Client) -> None:
    settings = ChatSettings(max_tokens=400)
    chat = (await client.create_chat(ChatCreate(model=TALKER, settings=settings))).id
    asked = await client.ask_chat(chat, Ask(text="go"))
    await until(client, chat, lambda found: found.messages[1].text)
    await client.cancel(asked.answer.request_id)
    stopped = await until(client, chat, lambda found: found.messages[1].state != "running")
    assert stopped.messages[1].state == "stopped" and stopped.messages[1].text
    again = await client.ask_chat_again(chat, AskAgain(message=stopped.messages[0].id))
    await client.cancel(again.answer.request_id)
    found = await until(client, chat, lambda found: not found.row.running)
    assert len(found.messages) == 3 and found.leaf == again.answer.id


async def test_unknown_chats_and_messages_are_named(client: Client) -> None:
    with pytest.raises(ChatNotFoundError, match="nosuch"):
        await client.chat("nosuch")
    with pytest.raises(ChatNotFoundError):
        async for _ in client.watch_chat("nosuch"):
            pass
    chat = (await client.create_chat(ChatCreate(title="empty"))).id
    with pytest.raises(NotFoundError, match="m0"):
        await client.ask_chat_again(chat, AskAgain(message="m0"))
    with pytest.raises(RequestError, match="no model"):
        await client.ask_chat(chat, Ask(text="x"))


async def test_a_killed_daemon_loses_no_acknowledged_message(own_daemon: Daemon) -> None:
    own_daemon.start()
    async with Client(own_daemon.home / "lmx.sock") as client:
        chat = (await client.create_chat(ChatCreate(model=TALKER))).id
        await client.ask_chat(chat, Ask(text="before the kill"))
        await client.change_chat(chat, ChatChange(draft="not sent", title="Kept"))
    assert own_daemon.process is not None
    own_daemon.process.kill()
    own_daemon.process.wait()
    own_daemon.start()
    async with Client(own_daemon.home / "lmx.sock") as client:
        found = await client.chat(chat)
    assert (found.row.title, found.draft, found.messages[0].text) == ("Kept", "not sent", "before the kill")
    assert found.messages[1].state == "interrupted"


def test_command_line_lists_searches_shows_exports_and_removes(own_daemon: Daemon, tmp_path: Path) -> None:
    own_daemon.start()
    chat = own_daemon.admin("POST", "/admin/chats", {"title": "Whales", "tags": ["sea"]})["id"]
    messages = [{"role": "user", "text": "why a blowhole?"}, {"role": "assistant", "text": "To breathe."}]
    own_daemon.admin("POST", f"/admin/chats/{chat}/append", {"messages": messages})
    assert "Whales" in own_daemon.lmx("chats").stdout and "sea" in own_daemon.lmx("chats", "list").stdout
    assert [row["id"] for row in json.loads(own_daemon.lmx("chats", "search", "breathe", "--json").stdout)] == [chat]
    assert "To breathe." in own_daemon.lmx("chats", "show", chat[:6]).stdout
    assert own_daemon.lmx("chats", "export", chat, "--to", str(tmp_path / "w.json"), "--json").returncode == 0
    assert own_daemon.lmx("chats", "export", chat, "--to", str(tmp_path / "w.json")).returncode == 1
    assert own_daemon.lmx("chats", "export", chat).stdout.startswith("# Whales\n")
    assert own_daemon.lmx("chats", "import", str(tmp_path / "w.json")).stdout.endswith("1 were there already\n")
    answer = own_daemon.admin("GET", f"/admin/chats/{chat}")["leaf"]
    assert own_daemon.lmx("chats", "rm", chat, "--from", answer).stdout == "moved to the trash: 1 message\n"
    assert "To breathe." not in own_daemon.lmx("chats", "show", chat).stdout
    assert own_daemon.lmx("chats", "restore", chat, "--messages").stdout == "restored: 1 message\n"
    assert "To breathe." in own_daemon.lmx("chats", "show", chat).stdout
    assert own_daemon.lmx("chats", "rm", chat).stdout == "moved to the trash: Whales\n"
    assert own_daemon.lmx("chats", "list", "--json").stdout == "[]\n"
    assert own_daemon.lmx("chats", "restore", chat).stdout == "restored: Whales\n"
    own_daemon.lmx("chats", "rm", chat)
    assert own_daemon.lmx("chats", "empty-trash", "--yes").stdout == "removed 1 chats\n"
    assert own_daemon.lmx("chats", "import", str(tmp_path / "w.json")).stdout == "imported 1 chats\n"
    assert own_daemon.lmx("chats", "show", "nosuch").returncode == 1
    assert own_daemon.lmx("chats", "import", str(tmp_path / "none.json")).returncode == 1
