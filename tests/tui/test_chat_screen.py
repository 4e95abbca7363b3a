"""The Chat screen: sending, streaming, stopping, copying, and what a model may not do to the terminal."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.events import Paste
from textual.widgets import Input

from lmx_daemon.contract.errors import BusyError
from lmx_daemon.contract.generation import Chat, Delta
from lmx_tui import app as app_module
from lmx_tui import clipboard
from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.message_view import MessageView
from lmx_tui.widgets.chat.prompt import PromptInput
from lmx_tui.widgets.chat.transcript import THINKING_LINES, ThinkingView, Transcript
from tests.fake_client import QWEN, FakeClient, answer_of, quiet_snapshot
from tests.tui.conftest import Clock, ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reached the clipboard."""
    texts: list[str] = []

    async def copy(text: str, write: Any) -> str:
        texts.append(text)
        return "copied"

    monkeypatch.setattr(clipboard, "copy", copy)
    return texts


async def test_streams_an_answer_with_its_figures(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot, "hi there")
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "hi there" in text and "Hello from lmx." in text
        assert "71.4 tok/s" in text and "TTFT 0.09 s" in text and "4.3k/40k" in text
        request = client.requests_seen[0]
        assert request.model == QWEN and request.tenant == "tui"
        assert isinstance(request.prompt, Chat) and request.prompt.messages[0].text == "hi there"


async def test_the_conversation_goes_along(make_app: Make, client: FakeClient) -> None:
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


async def test_asks_the_guide_when_nothing_is_loaded(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: client.requests_seen)
        assert client.requests_seen[0].model == "lmx/guide"


async def test_escape_stops_and_keeps_the_text(make_app: Make, client: FakeClient, clock: Clock) -> None:
    client.answer = answer_of("kept words " * 20)
    client.hold_at = 5
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "kept words" in screen_text(pilot.app))
        assert "generating" in screen_text(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in screen_text(pilot.app))
        assert client.calls == [("cancel", client.requests_seen[0].id)]
        assert "kept words" in screen_text(pilot.app)


async def test_one_answer_at_a_time(make_app: Make, client: FakeClient) -> None:
    client.hold_at = 2
    async with running(make_app()) as pilot:
        await ask(pilot)
        await ask(pilot, "more")
        await settled(pilot)
        assert len(client.requests_seen) == 1
        assert pilot.app.screen.query_one(PromptInput).text == "more", "the text stays"
        assert "esc stops it" in screen_text(pilot.app)


async def test_regenerate_asks_the_same_again(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        assert client.requests_seen[0].prompt == client.requests_seen[1].prompt
        assert len(pilot.app.screen.query("AnswerView")) == 1


async def test_new_chat_forgets(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        await pilot.press("ctrl+n")
        await settled(pilot)
        assert not pilot.app.screen.query("AnswerView")
        assert "Ask anything" in screen_text(pilot.app)


async def test_copies_code_and_answer(make_app: Make, client: FakeClient, copied: list[str]) -> None:
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


async def test_thinking_folds_when_the_answer_begins(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("Answer.", reasoning="secret musings")
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        assert "secret musings" not in screen_text(pilot.app)
        assert "thought" in screen_text(pilot.app)
        await pilot.press("escape", "z")
        await settled(pilot)
        assert "secret musings" in screen_text(pilot.app)
        assert not pilot.app.screen.query_one(ThinkingView).folded


async def test_the_palette_turns_thinking_on(make_app: Make, client: FakeClient) -> None:
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


async def test_tool_calls_are_shown(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("Looking.", call=("get_weather", '{"city": "[Oslo]"}'))
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "get_weather" in screen_text(pilot.app))
        assert '{"city": "[Oslo]"}' in screen_text(pilot.app)


async def test_a_prompt_that_was_refused_is_not_sent_along(make_app: Make, client: FakeClient) -> None:
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


async def test_escape_means_what_the_key_bar_says(make_app: Make, client: FakeClient) -> None:
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


async def test_a_failed_answer_says_why_in_the_transcript(make_app: Make, client: FakeClient) -> None:
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
        await until(pilot, lambda: "interrupted: connection lost" in screen_text(pilot.app))
        assert "half of an answer" in screen_text(pilot.app)


async def test_control_characters_never_reach_the_terminal(make_app: Make, client: FakeClient) -> None:
    evil = "a\x1b]52;c;ZXZpbA==\x07b\x1b[2Jc\x9b31md\x00\u202ee"
    client.answer = [*answer_of(evil), Delta(id="", reasoning=evil)]
    client.answer = answer_of(evil, reasoning=evil, call=(evil, evil))
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        pilot.app.screen.query_one(PromptInput).insert(evil)
        await pilot.press("enter")
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        for view in pilot.app.screen.query(ThinkingView):
            view.fold(False)
        await settled(pilot)
        text = screen_text(pilot.app)
        assert not [c for c in text if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e")]
        assert "␛]52" in text


async def test_what_is_pasted_is_cleaned_and_what_was_cut_comes_back(make_app: Make, client: FakeClient) -> None:
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


async def test_history_at_the_edges(make_app: Make, client: FakeClient) -> None:
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


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter"])
async def test_newline_keys(make_app: Make, client: FakeClient, key: str) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        await pilot.press("a", key, "b")
        assert pilot.app.screen.query_one(PromptInput).text == "a\nb"
        assert not client.requests_seen


async def test_page_keys_scroll_the_transcript_from_the_prompt(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("\n\n".join(f"paragraph {n}" for n in range(80)))
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        assert "paragraph 79" in screen_text(pilot.app)
        transcript = pilot.app.screen.query_one(Transcript)
        await until(pilot, lambda: transcript.scroll_y == transcript.max_scroll_y)
        await pilot.press("pageup")
        await settled(pilot)
        assert transcript.scroll_y < transcript.max_scroll_y
        assert isinstance(pilot.app.focused, PromptInput)


async def test_a_short_chat_begins_at_the_top_and_is_followed(make_app: Make, client: FakeClient) -> None:
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot, "short question")
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        assert "short question" in screen_text(pilot.app).splitlines()[2]
        await pilot.press("pageup")
        client.answer = answer_of("\n\n".join(f"paragraph {n}" for n in range(40)))
        await ask(pilot, "a long one")
        await until(pilot, lambda: "paragraph 39" in screen_text(pilot.app))
        assert "more below" not in screen_text(pilot.app)
        await pilot.press("pageup")
        await until(pilot, lambda: "↓ more below" in screen_text(pilot.app))
        await pilot.press("pagedown", "pagedown")
        await until(pilot, lambda: "more below" not in screen_text(pilot.app))


async def test_a_reader_who_scrolled_up_is_left_alone(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("\n\n".join(f"paragraph {n}" for n in range(80)), pieces=20)
    client.hold_at = 15
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "paragraph 4" in screen_text(pilot.app))
        await pilot.press("pageup", "pageup")
        await settled(pilot)
        transcript = pilot.app.screen.query_one(Transcript)
        place = transcript.scroll_y
        view = list(pilot.app.screen.query(MessageView))[-1]
        view.append("\n\nmore\n\nand more\n\nand more")
        await settled(pilot)
        assert transcript.scroll_y == place


async def test_the_meter_goes_with_the_model(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: " 4.3k/40k" in screen_text(pilot.app))
        await pilot.press("ctrl+o", "down", "enter")
        await until(pilot, lambda: " ~4.3k/2k" in screen_text(pilot.app), 5.0)
        await pilot.press("ctrl+o", "down", "enter")
        await until(pilot, lambda: " 4.3k/40k" in screen_text(pilot.app))


async def test_an_answer_whose_end_never_comes_is_left(
    make_app: Make, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(request_id: str) -> None:
        return None

    monkeypatch.setattr(app_module, "STOP_SECONDS", 0.05)
    client.cancel = unheard  # type: ignore[method-assign]
    client.answer = answer_of("kept words " * 20)
    client.hold_at = 5
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "kept words" in screen_text(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: "the daemon has not said so" in screen_text(pilot.app))
        assert "kept words" in screen_text(pilot.app)
        client.hold_at = None
        await ask(pilot, "next")
        await until(pilot, lambda: len(client.requests_seen) == 2)


async def test_a_long_paragraph_of_thinking_shows_its_last_lines(make_app: Make, client: FakeClient) -> None:
    thought = " ".join(f"thought{number}" for number in range(300))
    client.answer = answer_of("Answer.", reasoning=thought)
    client.hold_at = 2
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "thought299" in screen_text(pilot.app))
        assert sum("thought" in line for line in screen_text(pilot.app).splitlines()) == THINKING_LINES
        await pilot.resize_terminal(50, 24)
        await until(pilot, lambda: "thought267" not in screen_text(pilot.app))
        assert sum("thought" in line for line in screen_text(pilot.app).splitlines()) == THINKING_LINES


async def test_the_chosen_model_answers(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        await pilot.press("ctrl+o", "down", "enter")
        await settled(pilot)
        await pilot.press("x", "enter")
        await until(pilot, lambda: client.requests_seen)
        assert client.requests_seen[0].model == "lmx/guide"
