"""Fixtures: the real app over a FakeClient, with a clock that does not advance."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.screen_states import answer_of, busy_snapshot


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_terminal_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(busy_snapshot(), answer_of("Hello from **lmx**."))


@pytest.fixture
def make_app(client: FakeClient, clock: Clock) -> Callable[..., LmxApp]:
    def make(settings: Settings | None = None, **options: Any) -> LmxApp:
        options = {"clock": clock, "version": "0.0.0", "retries": (0.02,)} | options
        app = LmxApp(client, settings or Settings(), **options)
        app.NOTIFICATION_TIMEOUT = 600.0  # a toast has to stay visible on a slow machine
        return app

    return make


@asynccontextmanager
async def running(app: LmxApp, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """Run the app, with its first snapshot drawn."""
    async with app.run_test(size=size, notifications=True) as pilot:
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[None], rounds: int = 2) -> None:
    """Wait until pending messages are handled."""
    for _ in range(rounds):
        await pilot.pause()


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition. Fails with the text of the screen."""
    for _ in range(int(seconds / 0.01)):
        if true():
            await settled(pilot)
            return
        await pilot.pause(0.01)
    raise AssertionError(f"the condition did not become true; the screen shows:\n{screen_text(pilot.app)}")


def screen_text(app: Any) -> str:
    """Return the screen as lines of text."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


async def ask(pilot: Pilot[None], text: str = "why") -> None:
    """Send `text` on the Chat screen."""
    if pilot.app.current_mode != "chat":
        await pilot.press("f3")
        await settled(pilot)
    pilot.app.screen.query_one(PromptInput).insert(text)
    await pilot.press("enter")
