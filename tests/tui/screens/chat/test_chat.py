"""The Chat screen: sending, streaming, stopping, asking again and copying."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import Input

from lmx_daemon.contract.errors import BusyError
from lmx_daemon.contract.generation.requests import Chat
from lmx_tui.app import LmxApp
from lmx_tui.terminal import clipboard
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.screen_states import QWEN, answer_of
from tests.tui.conftest import Clock, ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of copied texts."""
    texts: list[str] = []

    async def copy(text: str, write: Any) -> str:
        texts.append(text)
        return "copied"

    monkeypatch.setattr(clipboard, "copy", copy)
    return texts


async def test_answer_is_streamed_with_its_figures(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot, "hi there")
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "hi there" in text and "Hello from lmx." in text
        assert "71.4 tok/s" in text and "TTFT 0.09 s" in text and "4.3k/40k" in text
        request = client.requests_seen[0]
        assert request.model == QWEN and request.tenant == "tui"
        assert isinstance(request.prompt, Chat) and request.prompt.messages[0].text == "hi there"


async def test_earlier_turns_are_sent_with_a_prompt(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot, "one")
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        await ask(pilot, "two")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        prompt = client.requests_seen[1].prompt
        assert isinstance(prompt, Chat)
        assert [(m.role, m.text) for m in prompt.messages] == [
            ("user", "one"),
            ("assistant", "Hello from **lmx**."),
            ("user", "two"),
        ]


async def test_escape_stops_the_answer_and_keeps_its_text(make_app: Make, client: FakeClient, clock: Clock) -> None:
    client.answer = answer_of("kept words " * 20)
    client.hold_at = 5
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "kept words" in screen_text(pilot.app))
        await until(pilot, lambda: "generating" in screen_text(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in screen_text(pilot.app))
        assert client.calls == [("cancel", client.requests_seen[0].id)]
        assert "kept words" in screen_text(pilot.app)


async def test_second_prompt_is_refused_during_an_answer(make_app: Make, client: FakeClient) -> None:
    client.hold_at = 2
    async with running(make_app()) as pilot:
        await ask(pilot)
        await ask(pilot, "more")
        await settled(pilot)
        assert len(client.requests_seen) == 1
        assert pilot.app.screen.query_one(PromptInput).text == "more", "the text stays"
        assert "esc stops it" in screen_text(pilot.app)


async def test_regenerate_sends_the_same_prompt_again(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        assert client.requests_seen[0].prompt == client.requests_seen[1].prompt
        assert len(pilot.app.screen.query("AnswerView")) == 1


async def test_new_chat_is_empty(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        await pilot.press("ctrl+n")
        await settled(pilot)
        assert not pilot.app.screen.query("AnswerView")
        assert "Ask anything" in screen_text(pilot.app)


async def test_keys_copy_code_block_and_answer(make_app: Make, client: FakeClient, copied: list[str]) -> None:
    text = "See:\n\n```python\nx = [1]\n```\n\nand\n\n```sh\nls\n```\n"
    client.answer = answer_of(text)
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        await pilot.press("ctrl+g")
        await until(pilot, lambda: copied)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: len(copied) == 2)
        assert copied == ["ls", text]


async def test_palette_turns_thinking_on(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3", "ctrl+p")
        await settled(pilot)
        pilot.app.screen.query_one(Input).value = "thinking on"
        await until(pilot, lambda: "before they answer" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "thinking on" in screen_text(pilot.app))
        await ask(pilot)
        await until(pilot, lambda: client.requests_seen)
        prompt = client.requests_seen[0].prompt
        assert isinstance(prompt, Chat) and prompt.thinking is True


async def test_refused_prompt_is_not_sent_with_the_next(make_app: Make, client: FakeClient) -> None:
    client.error = BusyError("the queue is full")
    async with running(make_app()) as pilot:
        await ask(pilot, "refused")
        await until(pilot, lambda: "the queue is full" in screen_text(pilot.app))
        client.error = None
        await ask(pilot, "next")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        prompt = client.requests_seen[1].prompt
        assert isinstance(prompt, Chat)
        assert [message.text for message in prompt.messages] == ["next"]


async def test_escape_does_what_the_key_bar_shows(make_app: Make, client: FakeClient) -> None:
    client.hold_at = 2
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        assert "esc Scroll" in screen_text(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: "esc Prompt" in screen_text(pilot.app))
        await pilot.press("escape")
        await ask(pilot)
        await until(pilot, lambda: "esc Stop" in screen_text(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: "esc Scroll" in screen_text(pilot.app))
        assert isinstance(pilot.app.focused, PromptInput)


async def test_failed_answer_shows_its_error_in_the_transcript(make_app: Make, client: FakeClient) -> None:
    client.error = BusyError("the queue is full [256]", hint="try again in 3 s")
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "the queue is full [256]" in screen_text(pilot.app))
        assert "try again in 3 s" in screen_text(pilot.app)


async def test_lost_connection_keeps_the_partial_text(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("half of an answer " * 10)
    client.hold_at = 4
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "half of an answer" in screen_text(pilot.app))
        client.go_down()
        await until(pilot, lambda: "reconnecting" in screen_text(pilot.app))
        assert "half of an answer" in screen_text(pilot.app)

        def is_followed_again() -> bool:
            """Send a snapshot, as a daemon does twice a second, and return whether the chat is read again."""
            assert client._snapshot is not None
            client.show(client._snapshot)
            return "reconnecting" not in screen_text(pilot.app)

        await until(pilot, is_followed_again)
        await client.cancel(client.requests_seen[0].id)
        await until(pilot, lambda: "stopped" in screen_text(pilot.app))
        assert len(pilot.app.screen.query("AnswerView")) == 1
