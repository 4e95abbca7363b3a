"""The app around the screens: keys, modes, help and sizes."""

from collections.abc import Callable

import pytest

from lmx_daemon.settings.schema import Settings, TuiSettings
from lmx_tui import keys
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.help import HelpDialog
from lmx_tui.screens.dialogs.questions import GoDialog
from lmx_tui.widgets.frame.topbar import ROOMY
from tests.fake_client import FakeClient
from tests.tui.conftest import Clock, running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_f_keys_and_g_switch_screens(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        for pressed, mode in (
            (["f4"], "monitor"),
            (["g", "m"], "models"),
            (["g", "o"], "monitor"),
            (["f5"], "logs"),
            (["g", "s"], "settings"),
            (["f3"], "chat"),
        ):
            await pilot.press(pressed[0])
            await settled(pilot)
            if len(pressed) > 1:
                assert isinstance(pilot.app.screen, GoDialog)
                await pilot.press(pressed[1])
            await until(pilot, lambda mode=mode: pilot.app.current_mode == mode)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (76, 20)])
async def test_top_bar_shows_screen_keys_and_quit(
    make_app: Make, client: FakeClient, clock: Clock, size: tuple[int, int]
) -> None:
    def bar() -> str:
        return screen_text(app).splitlines()[0]

    app = make_app(retries=(30.0,))
    async with running(app, size) as pilot:
        keys = ("f2 ", "f3 ", "f4 ", "f5 ", "") if size[0] >= ROOMY else ("",) * 5
        names = zip(keys, ("Models", "Chat", "Monitor", "Logs", "Settings"), strict=True)
        assert bar().startswith(" lmx  " + "  ".join(f"{key}{name}" for key, name in names))
        assert bar().endswith(" ^q Quit")
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
        await until(
            pilot, lambda: bar().startswith(" lmx  Models  Chat  Monitor  Logs  Settings ") and "^q Quit" in bar()
        )
        await pilot.click("TopBar", offset=(bar().index("Quit"), 0))
        await until(pilot, lambda: app._exit)


async def test_help_lists_the_keys_of_the_current_screen(make_app: Make) -> None:
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


async def test_keymap_setting_changes_a_key(make_app: Make) -> None:
    settings = Settings(tui=TuiSettings(keymap={"models.pull": "P", "app.monitor": "f9"}))
    async with running(make_app(settings)) as pilot:
        await pilot.press("p")
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("P")
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 2
        assert "f9 Monitor" in screen_text(pilot.app).splitlines()[0], "the top bar shows the changed key"
        await pilot.press("escape", "f9")
        await until(pilot, lambda: pilot.app.current_mode == "monitor")


def test_every_key_has_a_unique_id() -> None:
    every = [binding for group in keys.GROUPS.values() for binding in group]
    ids = [getattr(binding, "id", None) for binding in every]
    assert None not in ids
    assert len(set(ids)) == len(ids)


async def test_ctrl_q_quits(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        await pilot.press("ctrl+q")
        await settled(pilot)
        assert not app.is_running or app._exit


async def test_tiny_terminal_is_drawn_and_a_smaller_one_is_refused(make_app: Make) -> None:
    async with running(make_app(), (50, 14)) as pilot:
        text = screen_text(pilot.app)
        assert "● 26.5/96" in text and "Qwen3-8B-4bit" in text and "Models  5" not in text
        await pilot.resize_terminal(38, 9)
        await settled(pilot)
        assert "terminal too small (38x9), need 40x10" in screen_text(pilot.app)


async def test_hidden_screen_is_not_drawn(make_app: Make, client: FakeClient) -> None:
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
        assert calls, "it is drawn when it is shown again"
