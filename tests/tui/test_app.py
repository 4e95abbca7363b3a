"""The app around the screens: connection, keys, themes, palette, sizes."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from textual.events import Key
from textual.widgets import Input

from lmx_daemon.contract.errors import ProtocolMismatchError, StartupError
from lmx_daemon.contract.pulls import Download
from lmx_daemon.contract.types import Snapshot, Status
from lmx_daemon.settings.schema import Settings, TuiSettings
from lmx_tui import keys
from lmx_tui.app import LmxApp
from lmx_tui.messages import PullChangeRequested
from lmx_tui.palette import pull_commands
from lmx_tui.screens.dialogs import GoDialog, Pick
from lmx_tui.screens.help import HelpDialog
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient, busy_snapshot, status
from tests.tui.conftest import Clock, ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_no_daemon_offers_to_start_one(make_app: Make, client: FakeClient) -> None:
    snapshot = busy_snapshot()
    client.up = False
    started: list[int] = []

    async def start() -> Status:
        started.append(1)
        if len(started) == 1:
            raise StartupError("port 1234 is in use [by lm-studio]", hint="lmx serve --port 1235")
        client.show(snapshot)
        return status()

    async with running(make_app(start=start, retries=(30.0,))) as pilot:
        await until(pilot, lambda: "port 1234 is in use [by lm-studio]" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "lmx serve --port 1235" in text and "start it now" in text and "○ offline" in text
        assert "Pull" not in text, "there is nothing to do but to start"
        await pilot.press("enter")
        await until(pilot, lambda: "Qwen3-8B-4bit" in screen_text(pilot.app))
        assert len(started) == 2


async def test_why_it_did_not_start_stays_while_it_is_looked_for(make_app: Make, client: FakeClient) -> None:
    client.up = False
    looked: list[int] = []
    watch = client.watch

    def watched() -> AsyncIterator[Snapshot]:
        looked.append(1)
        return watch()

    client.watch = watched  # type: ignore[method-assign]

    async def start() -> Status:
        raise StartupError("port 1234 is in use")

    async with running(make_app(start=start, retries=(0.01,))) as pilot:
        await until(pilot, lambda: len(looked) > 2)
        await pilot.pause()
        assert "port 1234 is in use" in screen_text(pilot.app)
        client.up = True
        await until(pilot, lambda: "Qwen3-8B-4bit" in screen_text(pilot.app))


async def test_first_paint_does_not_wait_for_the_daemon(make_app: Make, client: FakeClient) -> None:
    async def start() -> Status:
        await never.wait()
        return status()

    import asyncio

    never = asyncio.Event()
    async with running(make_app(start=start)) as pilot:
        text = screen_text(pilot.app)
        assert "connecting" in text and "finding the daemon, or starting one" in text
        assert pilot.app.focused is pilot.app.screen.query_one("#models-table")


async def test_keeps_the_last_state_with_its_age_and_comes_back(
    make_app: Make, client: FakeClient, clock: Clock
) -> None:
    snapshot = busy_snapshot()
    async with running(make_app(retries=(0.2,))) as pilot:
        client.go_down()
        await until(pilot, lambda: "offline" in screen_text(pilot.app))
        clock.now += 12
        await until(pilot, lambda: "data 12 s old" in screen_text(pilot.app))
        assert "Qwen3-8B-4bit" in screen_text(pilot.app)
        assert pilot.app.screen.has_class("-stale")
        client.show(snapshot)
        await until(pilot, lambda: "local :1234" in screen_text(pilot.app))
        assert not pilot.app.screen.has_class("-stale")


async def test_enter_starts_a_daemon_only_while_there_is_none(make_app: Make, client: FakeClient) -> None:
    started: list[int] = []

    async def start() -> Status:
        started.append(1)
        return status()

    async with running(make_app(start=start, retries=(30.0,))) as pilot:
        assert "⏎ Load" in screen_text(pilot.app)
        client.go_down()
        for key in ("f2", "f4"):
            await pilot.press(key)
            await until(pilot, lambda: "⏎ Start the daemon" in screen_text(pilot.app))
        before = len(started)
        await pilot.press("enter")
        await until(pilot, lambda: len(started) > before)
        assert not client.calls


async def test_a_daemon_that_is_stopping_is_not_offline_yet(make_app: Make, client: FakeClient) -> None:
    async with running(make_app(retries=(30.0,))) as pilot:
        client.change(status=status(draining=True))
        await until(pilot, lambda: "stopping" in screen_text(pilot.app))
        await pilot.pause(0.1)
        assert "offline" not in screen_text(pilot.app)
        client.go_down()
        await until(pilot, lambda: "offline" in screen_text(pilot.app))


async def test_backs_off_between_attempts(make_app: Make, client: FakeClient, clock: Clock) -> None:
    client.up = False
    async with running(make_app(retries=(0.01, 0.02, 30.0))) as pilot:
        await until(pilot, lambda: "retry 30s" in screen_text(pilot.app))


async def test_protocol_mismatch_is_one_line(make_app: Make, client: FakeClient) -> None:
    async def start() -> Status:
        raise ProtocolMismatchError("the daemon speaks protocol 2, this program 1", hint="lmx stop")

    client.up = False
    async with running(make_app(start=start, retries=(30.0,))) as pilot:
        await until(pilot, lambda: "the daemon speaks protocol 2" in screen_text(pilot.app))
        assert len(pilot.app.screen_stack) == 1


async def test_another_version_is_said_in_one_line(make_app: Make) -> None:
    async with running(make_app(version="0.9.9")) as pilot:
        assert "daemon 0.0.0, this lmx 0.9.9" in screen_text(pilot.app)


def type_at_once(app: LmxApp, *typed: str) -> None:
    """Keys that are all there before the first is handled, as after a slow start."""
    for key in typed:
        app.post_message(Key(key, key if len(key) == 1 else None))


async def test_keys_typed_before_the_first_screen_are_not_lost(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    type_at_once(app, "f3", *"hi")
    async with running(app) as pilot:
        await until(pilot, lambda: app.current_mode == "chat" and app.screen.query_one(PromptInput).text == "hi")


async def test_keys_typed_while_a_screen_opens_reach_it_in_order(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        type_at_once(pilot.app, "f3", "ctrl+p", *"load lmx", "escape", "f2")
        await until(pilot, lambda: pilot.app.current_mode == "models" and len(pilot.app.screen_stack) == 1)
        type_at_once(pilot.app, "p", *"one", "/", *"two", "enter")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("pull", "one/two")]
        type_at_once(pilot.app, *"p1/2", "enter", *"p3/4", "enter", "p", "escape", *"p5/6", "enter")
        await until(pilot, lambda: len(client.calls) == 4)
        assert [repo for _, repo in client.calls] == ["one/two", "1/2", "3/4", "5/6"]
        type_at_once(pilot.app, "f2", "c", *"px")
        await until(pilot, lambda: pilot.app.current_mode == "chat")
        await until(pilot, lambda: pilot.app.screen.query_one(PromptInput).text == "px")
        assert len(client.calls) == 4


async def test_switching_by_f_keys_and_by_g(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        for pressed, mode in ((["f4"], "monitor"), (["g", "m"], "models"), (["g", "o"], "monitor"), (["f3"], "chat")):
            await pilot.press(pressed[0])
            await settled(pilot)
            if len(pressed) > 1:
                assert isinstance(pilot.app.screen, GoDialog)
                await pilot.press(pressed[1])
            await until(pilot, lambda mode=mode: pilot.app.current_mode == mode)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (72, 20)])
async def test_the_top_bar_shows_how_to_switch_and_how_to_leave(
    make_app: Make, client: FakeClient, clock: Clock, size: tuple[int, int]
) -> None:
    def bar() -> str:
        return screen_text(app).splitlines()[0]

    app = make_app(retries=(30.0,))
    async with running(app, size) as pilot:
        assert bar().startswith(" lmx  f2 Models  f3 Chat  f4 Monitor ") and bar().endswith(" ^q Quit")
        await pilot.press("f3")
        await until(pilot, lambda: "esc Scroll" in screen_text(app))
        assert bar().endswith(" ^q Quit")
        await pilot.click("TopBar", offset=(bar().index("Monitor"), 0))
        await until(pilot, lambda: app.current_mode == "monitor")
        clock.now += 12
        client.go_down()
        await until(pilot, lambda: "offline" in bar())
        assert bar().endswith(" ^q Quit") and "retry 30s" in bar()
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: bar().startswith(" lmx  Models  Chat  Monitor ") and "^q Quit" in bar())
        await pilot.click("TopBar", offset=(bar().index("Quit"), 0))
        await until(pilot, lambda: app._exit)


async def test_help_lists_this_screens_keys(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("question_mark")
        await settled(pilot)
        assert isinstance(pilot.app.screen, HelpDialog)
        text = screen_text(pilot.app)
        assert "Unload the selected model" in text and "Quit; the daemon goes on" in text
        await pilot.press("escape", "f3")
        await settled(pilot)
        await pilot.press("f1")
        await settled(pilot)
        assert "Answer the last prompt again" in screen_text(pilot.app)
        assert "Unload the selected model" not in screen_text(pilot.app)


async def test_keymap_of_the_settings(make_app: Make) -> None:
    settings = Settings(tui=TuiSettings(keymap={"models.pull": "P", "app.monitor": "f9"}))
    async with running(make_app(settings)) as pilot:
        await pilot.press("p")
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("P")
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 2
        assert "f9 Monitor" in screen_text(pilot.app).splitlines()[0], "the top bar shows the key that it is"
        await pilot.press("escape", "f9")
        await until(pilot, lambda: pilot.app.current_mode == "monitor")


def test_every_key_has_an_id_of_its_own() -> None:
    every = [
        binding
        for group in (
            keys.APP,
            keys.MODELS,
            keys.FILTER,
            keys.TABLE,
            keys.PROMPT,
            keys.CHAT,
            keys.TRANSCRIPT,
            keys.MONITOR,
        )
        for binding in group
    ]
    ids = [getattr(binding, "id", None) for binding in every]
    assert None not in ids
    assert len(set(ids)) == len(ids)


async def test_theme_picker_previews_and_escape_takes_it_back(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("ctrl+t")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Pick)
        await pilot.press("down")
        await settled(pilot)
        assert pilot.app.theme == "harbor"
        await pilot.press("escape")
        await settled(pilot)
        assert pilot.app.theme == "ember"
        await pilot.press("ctrl+t", "down", "down", "enter")
        await settled(pilot)
        assert pilot.app.theme == "paper"


async def test_unknown_theme_in_the_settings_is_said(make_app: Make) -> None:
    async with running(make_app(Settings(tui=TuiSettings(theme="[b]none")))) as pilot:
        assert pilot.app.theme == "ember"
        assert "there is no theme '[b]none'" in screen_text(pilot.app)


async def test_every_theme_that_is_offered_draws_every_screen(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await ask(pilot)
        await pilot.press("ctrl+t")
        await settled(pilot)
        assert isinstance(app.screen, Pick)
        names = [value for value, _ in app.screen._options]
        await pilot.press("escape")
        assert {"ember", "harbor", "paper", "nord", "textual-light"} <= set(names)
        for number, name in enumerate(names):
            app.theme = name
            await pilot.press(("f2", "f3", "f4")[number % 3])
            await settled(pilot)
            assert "lmx" in screen_text(app), name
    async with running(make_app(Settings(tui=TuiSettings(theme="ansi-dark")))) as pilot:
        assert pilot.app.theme == "ember"


async def test_palette_offers_our_commands(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("ctrl+p")
        await settled(pilot)
        pilot.app.screen.query_one(Input).value = "load lmx/guide"
        await until(pilot, lambda: "Load lmx/guide" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("load", "lmx/guide")]


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("downloading", ["pause", "cancel"]),
        ("queued", ["pause", "cancel"]),
        ("paused", ["resume", "cancel"]),
        ("failed", ["resume", "cancel"]),
        ("done", []),
    ],
)
def test_what_the_palette_offers_for_a_pull(state: Any, offered: list[str]) -> None:
    found = [title.rpartition(" ")[2] for title, _, _ in pull_commands(Download(id="d", repo="a/b", state=state))]
    assert found == offered


async def test_the_first_command_of_the_palette_does_no_harm(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "Download of mlx-community/gpt-oss-120b-MXFP4: cancel" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        await settled(pilot)
        assert not client.calls


async def test_the_palette_pauses_a_pull(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        for verb in ("pause", "resume", "cancel"):
            pilot.app.post_message(PullChangeRequested(verb, "d1"))
        await until(pilot, lambda: len(client.calls) == 3)
        assert client.calls == [("pause_pull", "d1"), ("resume_pull", "d1"), ("cancel_pull", "d1")]


async def test_ctrl_q_leaves(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        await pilot.press("ctrl+q")
        await settled(pilot)
        assert not app.is_running or app._exit


async def test_tiny_and_too_small(make_app: Make) -> None:
    async with running(make_app(), (50, 14)) as pilot:
        text = screen_text(pilot.app)
        assert "● 26.5/96" in text and "Qwen3-8B-4bit" in text and "Models  5" not in text
        await pilot.resize_terminal(38, 9)
        await settled(pilot)
        assert "terminal too small (38x9), need 40x10" in screen_text(pilot.app)


async def test_a_hidden_screen_is_not_drawn(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4", "f2")
        await settled(pilot)
        monitor = pilot.app._screens["monitor"]
        calls: list[object] = []
        monitor.show = calls.append  # type: ignore[method-assign]
        client.change(taken_at=1.0)
        await settled(pilot)
        assert not calls
        await pilot.press("f4")
        await settled(pilot)
        assert calls, "it is brought up to date when it comes back"


async def test_unhealthy_daemon_shows_a_mark(make_app: Make, client: FakeClient) -> None:
    from lmx_daemon.contract.types import Health

    unwell = msgspec.structs.replace(busy_snapshot(), status=status(health=Health(ok=False, reason="hang")))
    client.show(unwell)
    async with running(make_app()) as pilot:
        assert "! local :1234" in screen_text(pilot.app)
        assert "\n ! hang" in screen_text(pilot.app), "and why"
