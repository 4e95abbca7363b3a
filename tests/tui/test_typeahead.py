"""Keys that are typed faster than screens open."""

from collections.abc import Callable

from textual.events import Key

from lmx_tui.app import LmxApp
from lmx_tui.screens.models.pull_sheet import PullSheet
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import running, until

Make = Callable[..., LmxApp]


def type_at_once(app: LmxApp, *typed: str) -> None:
    """Post all keys before the first one is handled, as after a slow start."""
    for key in typed:
        app.post_message(Key(key, key if len(key) == 1 else None))


def pulled(client: FakeClient) -> list[object]:
    """Return the repositories that were pulled, in order."""
    return [call[1] for call in client.calls if call[0] == "pull"]


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
        await until(pilot, lambda: isinstance(pilot.app.screen, PullSheet) and pilot.app.focused is not None)
        await pilot.press("enter")
        await until(pilot, lambda: pulled(client) == ["one/two"] and len(pilot.app.screen_stack) == 1)
        type_at_once(pilot.app, "p", "escape", *"p5/6", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, PullSheet) and pilot.app.focused is not None)
        await pilot.press("enter")
        await until(pilot, lambda: pulled(client) == ["one/two", "5/6"] and len(pilot.app.screen_stack) == 1)
        type_at_once(pilot.app, "f2", "c", *"px")
        await until(pilot, lambda: pilot.app.current_mode == "chat")
        await until(pilot, lambda: pilot.app.screen.query_one(PromptInput).text == "px")
        assert pulled(client) == ["one/two", "5/6"]
