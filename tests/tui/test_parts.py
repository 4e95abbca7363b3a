"""Pure parts: figures, graph, themes, clipboard, the feed's batches, what an answer says of itself."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmx_daemon.client.conversation import ChatAnswer, Conversation, absence, default_model
from lmx_daemon.contract.errors import ConfigError, ErrorBody
from lmx_daemon.contract.generation import Chat, Delta, Finished, Loading, Started, Usage
from lmx_daemon.contract.types import RequestRow
from lmx_tui import formatting
from lmx_tui.clipboard import copy, is_remote, osc52
from lmx_tui.feed import Feed
from lmx_tui.messages import EventsArrived
from lmx_tui.theme import load_themes, read_theme, themes_folder
from lmx_tui.widgets.chat.meta import meta_line
from lmx_tui.widgets.chat.transcript import end_line
from lmx_tui.widgets.monitor.graph import BrailleArea, legend, levels, resampled, round_top
from lmx_tui.widgets.monitor.requests import request_note
from tests.fake_client import QWEN, FakeClient, answer_of, busy_snapshot, finished, quiet_snapshot


def test_figures_say_dash_for_the_unknown() -> None:
    assert [formatting.rate(0.0), formatting.percent(None)] == ["-"] * 2
    assert [formatting.count(None), formatting.parameters(None)] == ["-"] * 2


def test_a_legend_cuts_names_and_keeps_values() -> None:
    parts = [("a", "Qwen3-32B-4bit", "19.1"), ("b", "lmx/guide", "0.1"), ("c", "lmx", "0.2")]
    assert legend(parts, 80) == [[("a", "Qwen3-32B-4bit 19.1"), ("b", "lmx/guide 0.1"), ("c", "lmx 0.2")]]
    assert legend(parts, 26) == [[("a", "Qwen3-32B-4bit 19.1")], [("b", "lmx/guide 0.1"), ("c", "lmx 0.2")]]
    assert legend(parts, 26, lines=1) == [[("a", "Qwen… 19.1"), ("b", "lmx/… 0.1")]]
    narrow = legend(parts, 15)
    assert [[color for color, _ in row] for row in narrow] == [["a"], ["b"], ["c"]]
    assert all(len(text) + 2 <= 15 for row in narrow for _, text in row)
    assert legend(parts, 3) == []


def test_the_context_meter_is_always_there() -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    for event in answer_of("words " * 9)[:-1]:
        answer.consume(event, 1.0)
    for width in (90, 68, 60, 40):
        line = meta_line(answer, 2.0, width)
        assert len(line) <= width
    assert "ctx" in meta_line(answer, 2.0, 68) and "ctx" in meta_line(answer, 2.0, 60)
    waiting = meta_line(ChatAnswer("r", QWEN, 0.0), 2.0, 68)
    assert waiting == "asking · ctx -", "no figures before there are any"


def test_what_a_load_does_stands_beside_its_progress() -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    answer.consume(Loading(id="r", model=QWEN, fraction=0.41, stage="weights"), 1.0)
    assert meta_line(answer, 2.0, 68) == "loading ███░░░░░ 41% 2.00 s · weights · ctx -"
    answer.consume(Loading(id="r", model=QWEN, stage="waiting for memory: mlx-community/Qwen3-8B-4bit is busy"), 1.0)
    line = meta_line(answer, 2.0, 40)
    assert line.startswith("loading 2.00 s · waiting") and line.endswith("… · ctx -") and len(line) <= 40
    answer.consume(Started(id="r", prompt_tokens=100, cached_tokens=93, seed=1, context_length=500), 3.0)
    assert meta_line(answer, 3.0, 68) == "prefill 3.00 s · 93% cached · ctx █░░░░ 100/500"


def test_why_a_prompt_was_not_cached() -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    started = Started(id="r", prompt_tokens=100, cached_tokens=0, seed=1, miss="evicted", first_difference=1234)
    answer.consume(started, 1.0)
    usage = Usage(prompt_tokens=100, completion_tokens=0)
    answer.consume(msgspec.structs.replace(finished(), usage=usage), 1.0)
    first, second = end_line(answer).plain.split("\n")
    assert first == "Qwen3-8B-4bit · said nothing · 0% cached" and second == "not cached: evicted, at token 1,234"
    row = RequestRow(id="r", model=QWEN, state="decode", prompt_tokens=100, cached_tokens=12, miss="evicted")
    assert request_note(row, None) == "12% cached* · evicted"
    failed = msgspec.structs.replace(row, state="failed", error=ErrorBody(code="x", message="out of [memory]"))
    assert request_note(failed, None) == "out of [memory]" and request_note(None, None) == ""


def test_a_name_has_no_zero_width_characters() -> None:
    for character in "\u200b\u200d\ufeff\u202e":
        assert formatting.one_line(f"a{character}b") == "a\ufffdb"


def test_clean_makes_controls_visible() -> None:
    assert formatting.clean("a\x1b[31mb\r\n\tc\x9b") == "a␛[31mb\n\tc�"
    assert formatting.one_line("a\nb\x07") == "a b␇"


def test_graph_keeps_peaks_and_the_newest_at_the_right() -> None:
    assert resampled([1, 2, 3], 3, 6) == [1, 1, 2, 2, 3, 3]
    assert resampled([5, 1, 9, 1], 4, 2) == [5, 9]
    assert resampled([7], 4, 4) == [None, None, None, 7]
    assert levels([None, 0, 0.001, 50, 500], 100, 8) == [0, 0, 1, 4, 8]
    assert [round_top(value) for value in (0, 11, 140.4, 206, 5000)] == [10, 20, 200, 300, 5000]


@pytest.mark.parametrize(("symbols", "glyphs"), [("braille", "⣿⣤"), ("block", "█▄"), ("ascii", "#:")])
def test_graph_symbols(symbols: str, glyphs: str) -> None:
    area = BrailleArea("memory", symbols)
    area.show([100.0, 100.0], 100.0, 2)
    assert set("".join(area._drawn(2, 2))) == {glyphs[0]}
    area.show([50.0, 50.0], 100.0, 2)
    assert area._drawn(2, 1)[0][0] in glyphs[1] + "."


def test_the_three_themes_are_sound() -> None:
    themes = {theme.name: theme for theme in load_themes()}
    assert set(themes) >= {"ember", "harbor", "paper"}
    assert themes["ember"].dark and not themes["paper"].dark


def test_a_theme_with_a_fault_names_file_and_field(tmp_path: Path) -> None:
    sound = (themes_folder() / "ember.toml").read_text()
    file = tmp_path / "mine.toml"
    for broken, word in (
        (sound.replace('primary = "#ffa62b"', 'primary = "orangeish"'), "primary"),
        (sound.replace('muted = "#8f8c88"\n', ""), "muted"),
        (sound + "\nodd = 1", "str"),
        ("name = [", "mine.toml"),
    ):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=word):
            read_theme(file)


@pytest.mark.parametrize(("code", "route"), [(0, "copied to tmux"), (1, "sent to the terminal (OSC 52, tmux)")])
async def test_inside_tmux_its_own_command_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, route: str
) -> None:
    program = tmp_path / "tmux"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/text\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("TMUX", "/tmp/x")
    monkeypatch.setenv("SSH_TTY", "/dev/pts/9")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    written: list[str] = []
    assert (await copy("grüße", written.append)).startswith(route)
    assert (tmp_path / "arguments").read_text() == "load-buffer -w -\n"
    assert (tmp_path / "text").read_text() == "grüße"
    assert bool(written) == bool(code), "OSC 52 only where tmux did not take it"


@pytest.mark.parametrize("inherited", [{}, {"LANG": "C"}, {"LC_ALL": "de_DE.ISO8859-1", "LC_CTYPE": "C"}])
async def test_pbcopy_gets_a_utf_8_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: dict[str, str]
) -> None:
    program = tmp_path / "pbcopy"
    program.write_text(f'#!/bin/sh\necho "$LANG $LC_CTYPE $LC_ALL" > {tmp_path}/locale\ncat > {tmp_path}/text\n')
    program.chmod(0o755)
    for name in ("LANG", "LC_CTYPE", "LC_ALL", "TMUX", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await copy("grüße 模型", lambda sequence: None, platform="darwin") == "copied with pbcopy"
    assert (tmp_path / "locale").read_text() == "en_US.UTF-8 en_US.UTF-8 \n"
    assert (tmp_path / "text").read_text() == "grüße 模型"


def test_clipboard_routes() -> None:
    assert osc52("hi", {}) == "\x1b]52;c;aGk=\a"
    wrapped = osc52("hi", {"TMUX": "/tmp/x"})
    assert wrapped.startswith("\x1bPtmux;\x1b\x1b]52") and wrapped.endswith("\x1b\\")
    assert is_remote({"SSH_CONNECTION": "a"}) and not is_remote({})


def test_an_answer_tells_its_state() -> None:
    answer = ChatAnswer("r", QWEN, asked_at=10.0)
    answer.consume(Started(id="r", prompt_tokens=100, cached_tokens=0, seed=1, context_length=1000), 10.1)
    assert answer.state == "prefill" and answer.context_used == 100
    answer.consume(Delta(id="r", reasoning="hm", tokens=1), 10.5)
    assert answer.state == "thinking" and answer.first_token == pytest.approx(0.5)
    assert answer.rate is None, "one token has no speed"
    answer.consume(Delta(id="r", content="yes", tokens=10), 11.5)
    assert answer.state == "generating" and answer.rate == pytest.approx(10.0)
    answer.consume(finished(tokens=12, prompt=100), 11.6)
    assert answer.ended and answer.tokens == 12


def test_thinking_is_not_sent_back() -> None:
    conversation = Conversation(tenant="tui", client="lmx tui")
    conversation.ask("one", QWEN, 0.0)
    answer = conversation.answer
    assert answer is not None
    for event in answer_of("visible", reasoning="hidden"):
        answer.consume(event, 1.0)
    request = conversation.ask("two", QWEN, 2.0)
    assert "hidden" not in str(request) and "visible" in str(request)


def test_a_prompt_that_was_stopped_before_a_word_came_is_not_sent_along() -> None:
    conversation = Conversation(tenant="tui", client="lmx tui")
    conversation.ask("one", QWEN, 0.0)
    assert conversation.answer is not None
    conversation.answer.consume(Delta(id="r", reasoning="hm", tokens=1), 0.5)
    conversation.answer.consume(finished(reason="cancelled", tokens=1), 1.0)
    prompt = conversation.ask("two", QWEN, 2.0).prompt
    assert isinstance(prompt, Chat) and [message.text for message in prompt.messages] == ["two"]


def test_who_answers() -> None:
    quiet, busy = quiet_snapshot(), busy_snapshot()
    assert default_model((), ()) is None
    assert default_model(quiet.models, quiet.instances) == "lmx/guide"
    assert default_model(busy.models, busy.instances) == QWEN, "the one used last"


def test_a_conversations_model_is_at_hand_unloaded_or_missing() -> None:
    snapshot = busy_snapshot()
    assert absence(QWEN, snapshot.models, snapshot.instances) is None
    assert absence(QWEN, snapshot.models, ()) == "unloaded"
    assert absence(QWEN, (), snapshot.instances) == "missing"


async def test_the_feed_gathers_tokens() -> None:
    """600 deltas at once become a handful of messages; the terminal event closes the last."""
    posted: list[Any] = []
    client = FakeClient(busy_snapshot(), answer_of("word " * 600, pieces=600))
    feed = Feed(client, posted.append, clock=asyncio.get_running_loop().time)
    await feed.answer(Conversation(tenant="tui", client="lmx tui").ask("x", QWEN, 0.0))
    batches = [message for message in posted if isinstance(message, EventsArrived)]
    assert len(batches) < 10
    events = [event for batch in batches for event in batch.events]
    assert isinstance(events[-1], Finished) and len(events) == len(client.answer)


async def test_an_answer_without_an_end_is_an_interruption() -> None:
    posted: list[Any] = []
    client = FakeClient(busy_snapshot(), answer_of("word")[:-1])
    await Feed(client, posted.append, clock=lambda: 0.0).answer(
        Conversation(tenant="tui", client="lmx tui").ask("x", QWEN, 0.0)
    )
    assert posted[-1].events[-1].error.message == "interrupted: connection lost"
