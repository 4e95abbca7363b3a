"""The prompt: history, line breaks and pasted text."""

from collections.abc import Callable

import pytest
from textual.events import Paste

from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_pasted_text_is_cleaned_and_cut_text_can_be_pasted(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        prompt = pilot.app.screen.query_one(PromptInput)
        pilot.app.post_message(Paste("a\rb\r\nc\x1b[2J"))
        await until(pilot, lambda: prompt.text == "a\nb\nc␛[2J")
        assert "\x1b" not in screen_text(pilot.app)
        prompt.select_all()
        await pilot.press("ctrl+x")
        await until(pilot, lambda: prompt.text == "")
        await pilot.press("ctrl+v")
        await until(pilot, lambda: prompt.text == "a\nb\nc␛[2J")


async def test_up_and_down_at_the_edges_go_through_the_history(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        for words in ("first", "second"):
            await ask(pilot, words)
            await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        prompt = pilot.app.screen.query_one(PromptInput)
        await pilot.press(*"draft", "up")
        assert prompt.text == "second"
        await pilot.press("up")
        assert prompt.text == "first"
        await pilot.press("down", "down")
        assert prompt.text == "draft"


async def test_history_has_the_messages_of_earlier_runs_and_other_chats(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        for words in ("first", "second", "first"):
            await ask(pilot, words)
            await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
            await pilot.press("ctrl+n")
            await until(pilot, lambda: "Ask anything" in screen_text(pilot.app))
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        prompt = pilot.app.screen.query_one(PromptInput)
        await until(pilot, lambda: prompt._history)
        await ask(pilot, "third")
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        found = []
        for _ in range(4):
            await pilot.press("up")
            found.append(prompt.text)
        assert found == ["third", "first", "second", "second"], "each text once, the newest first"


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter"])
async def test_newline_keys_do_not_send(make_app: Make, client: FakeClient, key: str) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        await pilot.press("a", key, "b")
        assert pilot.app.screen.query_one(PromptInput).text == "a\nb"
        assert not client.requests_seen
