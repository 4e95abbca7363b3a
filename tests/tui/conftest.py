"""The real App over a FakeClient, with a clock that stands still."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient, answer_of, busy_snapshot


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_terminal_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
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
        app.NOTIFICATION_TIMEOUT = 600.0  # a toast must outlast a machine that is slow
        return app

    return make


@asynccontextmanager
async def running(app: LmxApp, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """The app, its first snapshot drawn."""
    async with app.run_test(size=size, notifications=True) as pilot:
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[None], rounds: int = 2) -> None:
    """Until the messages under way have been handled."""
    for _ in range(rounds):
        await pilot.pause()


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 3.0) -> None:
    """Waits for a condition; fails with what the screen says."""
    for _ in range(int(seconds / 0.01)):
        if true():
            await settled(pilot)
            return
        await pilot.pause(0.01)
    raise AssertionError(f"it never came; the screen says:\n{screen_text(pilot.app)}")


def screen_text(app: Any) -> str:
    """The screen as lines of text."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


async def ask(pilot: Pilot[None], text: str = "why") -> None:
    """Goes to the chat and sends."""
    if pilot.app.current_mode != "chat":
        await pilot.press("f3")
        await settled(pilot)
    pilot.app.screen.query_one(PromptInput).insert(text)
    await pilot.press("enter")
