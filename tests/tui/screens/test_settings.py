"""The Settings screen: changes, undo, the keymap editor, API keys and presets."""

from collections.abc import Callable

from textual.widgets import Input

from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.key_dialog import KeyDialog
from lmx_tui.screens.dialogs.questions import AskText, Confirm, Pick
from lmx_tui.screens.dialogs.secret_dialog import SecretDialog
from lmx_tui.screens.settings import SettingsScreen
from tests.fake_client import FakeClient
from tests.tui.conftest import running, screen_text, until

Make = Callable[..., LmxApp]


async def opened(pilot: object, app: LmxApp) -> SettingsScreen:
    await pilot.press("g", "s")  # type: ignore[attr-defined]
    await until(pilot, lambda: "server.port" in screen_text(app))  # type: ignore[arg-type]
    assert isinstance(app.screen, SettingsScreen)
    return app.screen


def sets(client: FakeClient) -> list[object]:
    return [argument for name, argument in client.calls if name == "set_config"]


async def test_settings_show_value_help_and_source(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await opened(pilot, app)
        await pilot.press("j")
        await until(pilot, lambda: "Memory that lmx plans to use" in screen_text(app))
        text = screen_text(app)
        assert "file (line 3)" in text and "LMX_MEMORY_LIMIT" in text
        assert "set, not shown" in text, "a secret is not shown"


async def test_boolean_is_turned_over_and_undone(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await opened(pilot, app)
        await pilot.press("slash", *"failed", "enter")
        await until(pilot, lambda: "1 Settings  1" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: sets(client) == [("history.failed_requests", True)])
        await until(pilot, lambda: "u Undo" in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: sets(client)[1:] == [("history.failed_requests", None)])


async def test_choices_and_texts_are_asked_for(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await opened(pilot, app)
        await pilot.press("slash", *"symbols", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("down", "enter")
        await until(pilot, lambda: sets(client) == [("tui.symbols", "block")])
        await pilot.press("escape")
        await until(pilot, lambda: "filter:" not in screen_text(app))
        await pilot.press("slash", *"limit", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        assert app.screen.query_one(Input).value == "96GB"
        app.screen.query_one(Input).value = "50%"
        await pilot.press("enter")
        await until(pilot, lambda: sets(client)[1:] == [("memory.limit", "50%")])
        await pilot.press("u")
        await until(pilot, lambda: sets(client)[2:] == [("memory.limit", "96GB")])


async def test_keymap_editor_names_a_clash_and_applies_at_once(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await opened(pilot, app)
        await pilot.press("2", "slash", *"app.monitor", "enter")
        await until(pilot, lambda: "2 Keymap  1" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, KeyDialog))
        await pilot.press("f3")
        await until(pilot, lambda: "f3 is the key of app.chat" in screen_text(app))
        await pilot.press("f11")
        await until(pilot, lambda: sets(client) == [("tui.keymap", {"models.unload": "X", "app.monitor": "f11"})])
        await pilot.press("f11")
        await until(pilot, lambda: app.current_mode == "monitor")


async def test_api_key_is_created_shown_once_and_revoked(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await opened(pilot, app)
        await pilot.press("3")
        await until(pilot, lambda: "laptop" in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        app.screen.query_one(Input).value = "ci two"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SecretDialog))
        assert "lmx-k9-secret" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "ci two" in screen_text(app))
        assert "lmx-k9-secret" not in screen_text(app)
        await pilot.press("home", "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert ("revoke_key", "k3") not in client.calls, "Cancel has the focus"
        await pilot.press("x", "R")
        await until(pilot, lambda: ("revoke_key", "k3") in client.calls)


async def test_presets_are_listed_with_their_problems(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await opened(pilot, app)
        await pilot.press("slash", *"port", "enter", "4")
        await until(pilot, lambda: "temperature must be a number" in screen_text(app))
        assert "coder" in screen_text(app)
        await pilot.press("x", "R")
        await until(pilot, lambda: ("remove_preset", "coder") in client.calls)
