"""The transcript: scrolling, thinking, tool calls, the line below an answer, and terminal controls."""

from collections.abc import Callable

import msgspec

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Delta, Started, Usage
from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.answer_view import THINKING_LINES, ThinkingView, end_line
from lmx_tui.widgets.chat.message_view import MessageView
from lmx_tui.widgets.chat.prompt import PromptInput
from lmx_tui.widgets.chat.transcript import Transcript
from lmx_tui.widgets.monitor.requests import request_note
from tests.fake_client import FakeClient
from tests.screen_states import QWEN, answer_of, finished
from tests.tui.conftest import ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_thinking_is_folded_when_the_answer_begins(make_app: Make, client: FakeClient) -> None:
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


async def test_tool_call_is_shown(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("Looking.", call=("get_weather", '{"city": "[Oslo]"}'))
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "get_weather" in screen_text(pilot.app))
        assert '{"city": "[Oslo]"}' in screen_text(pilot.app)


async def test_control_characters_do_not_reach_the_terminal(make_app: Make, client: FakeClient) -> None:
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


async def test_short_chat_begins_at_the_top_and_is_followed(make_app: Make, client: FakeClient) -> None:
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


async def test_scrolled_up_transcript_does_not_move(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("\n\n".join(f"paragraph {n}" for n in range(80)), pieces=20)
    client.hold_at = 15
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "224 tok" in screen_text(pilot.app))
        await pilot.press("pageup", "pageup")
        await settled(pilot)
        transcript = pilot.app.screen.query_one(Transcript)
        place = transcript.scroll_y
        view = list(pilot.app.screen.query(MessageView))[-1]
        view.append("\n\nmore\n\nand more\n\nand more")
        await settled(pilot)
        assert transcript.scroll_y == place


async def test_page_down_at_the_end_does_not_stop_following(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("\n\n".join(f"paragraph {n}" for n in range(80)), pieces=20)
    client.hold_at = 15
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "224 tok" in screen_text(pilot.app))
        transcript = pilot.app.screen.query_one(Transcript)
        await until(pilot, lambda: transcript.max_scroll_y and transcript.scroll_y == transcript.max_scroll_y)
        await pilot.press("pagedown")
        await settled(pilot)
        list(pilot.app.screen.query(MessageView))[-1].append("\n\nand more\n\nuntil the last line")
        await until(pilot, lambda: "until the last line" in screen_text(pilot.app))


async def test_grown_answer_is_measured_anew_beside_another_change(make_app: Make, client: FakeClient) -> None:
    """The set of changed widgets is as Textual leaves it when another child of the transcript changes as well."""
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        transcript = pilot.app.screen.query_one(Transcript)
        size = transcript.scrollable_content_region.size
        await until(pilot, lambda: not pilot.app.screen._layout_widgets)
        heights = [transcript.arrange(size).placements[-1].region.height]
        list(pilot.app.screen.query(MessageView))[-1].append("\n\nmore\n\nand more")
        for changed in ({transcript.vertical_scrollbar}, set()):
            for widget in (transcript, transcript.children[-1]):
                widget._clear_arrangement_cache()
            pilot.app.screen._layout_widgets[transcript] = changed
            heights.append(transcript.arrange(size).placements[-1].region.height)
        before, beside, alone = heights
        assert before < beside == alone


async def test_two_page_keys_at_once_scroll_two_pages(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("\n\n".join(f"paragraph {n}" for n in range(80)))
    async with running(make_app(), (80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        transcript = pilot.app.screen.query_one(Transcript)
        await until(pilot, lambda: transcript.scroll_y == transcript.max_scroll_y)
        transcript.scroll_pages(-1)
        transcript.scroll_pages(-1)
        assert transcript.scroll_y == transcript.max_scroll_y - 2 * (transcript.size.height - 2)
        transcript.scroll_pages(2)
        assert transcript.scroll_y == transcript.max_scroll_y


async def test_long_paragraph_of_thinking_shows_its_last_lines(make_app: Make, client: FakeClient) -> None:
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


def test_miss_reason_is_shown_below_the_answer_and_in_the_request_note() -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    started = Started(id="r", prompt_tokens=100, cached_tokens=0, seed=1, miss="evicted", first_difference=1234)
    answer.consume(started, 1.0)
    usage = Usage(prompt_tokens=100, completion_tokens=0)
    answer.consume(msgspec.structs.replace(finished(), usage=usage), 1.0)
    first, second = end_line(answer).plain.split("\n")
    assert first == "Qwen3-8B-4bit · empty answer · 0% cached" and second == "not cached: evicted, at token 1,234"
    row = RequestRow(id="r", model=QWEN, state="decode", prompt_tokens=100, cached_tokens=12, miss="evicted")
    assert request_note(row, None) == "12% cached* · evicted"
    failed = msgspec.structs.replace(row, state="failed", error=ErrorBody(code="x", message="out of [memory]"))
    assert request_note(failed, None) == "out of [memory]" and request_note(None, None) == ""
