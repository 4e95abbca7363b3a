"""Deletion of messages on the Chat screen: the confirmation, what stays, and undo."""

from collections.abc import Callable

from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.questions import Confirm
from lmx_tui.widgets.chat.transcript import Transcript
from tests.fake_client import FakeClient
from tests.screen_states import answer_of
from tests.tui.conftest import ask, running, screen_text, until
from tests.tui.screens.chat.test_kept_chats import SECONDS, answered, chat_of, shown

Make = Callable[..., LmxApp]


async def test_message_and_what_follows_it_is_deleted_and_brought_back(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "the first question", "Hello from")
        client.answer = answer_of("Second words.")
        await answered(pilot, "the second question", "Second words.")
        await pilot.press("escape", "k", "d")
        await shown(pilot, "Delete from this message on?")
        assert "2 messages" in screen_text(pilot.app) and "lmx chats rm c" in screen_text(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm), SECONDS)
        assert "Second words." in screen_text(pilot.app), "Cancel has the focus"
        await pilot.press("d")
        await shown(pilot, "Delete from this message on?")
        await pilot.press("D")
        await shown(pilot, "2 messages deleted")
        await until(pilot, lambda: "the second question" not in screen_text(pilot.app), SECONDS)
        assert "Hello from" in screen_text(pilot.app) and len(chat_of(pilot)._chat.path) == 2
        assert chat_of(pilot).query_one(Transcript).current == chat_of(pilot)._chat.leaf
        await pilot.press("u")
        await shown(pilot, "restored: 2 messages")
        await shown(pilot, "Second words.")
        await pilot.press("u")
        await shown(pilot, "no message of this chat was deleted")


async def test_next_prompt_follows_what_is_left(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        await pilot.press("escape", "k", "d")
        await shown(pilot, "Delete from this message on?")
        await pilot.press("D")
        await shown(pilot, "Ask anything")
        client.answer = answer_of("Another beginning.")
        await pilot.press("i")
        await answered(pilot, "again", "Another beginning.")
        assert [message.text for message in chat_of(pilot)._chat.path] == ["again", "Another beginning."]


async def test_running_answer_is_not_deleted(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("slow words " * 10)
    client.hold_at = 4
    async with running(make_app()) as pilot:
        await ask(pilot, "why")
        await shown(pilot, "slow words")
        chat_of(pilot).action_delete_messages()
        await shown(pilot, "an answer is in progress")
        assert not isinstance(pilot.app.screen, Confirm)
