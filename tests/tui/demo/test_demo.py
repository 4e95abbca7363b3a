"""The scripted daemon of `lmx tui --demo` under the real app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from lmx_daemon.contract.errors import OutOfMemoryError, UnsupportedError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from lmx_tui.demo.answers import ANSWERS, answer_to, pieces
from lmx_tui.demo.catalog import GEMMA, OFFERS, QWEN_SMALL
from lmx_tui.demo.client import DemoClient
from lmx_tui.demo.machine import DemoMachine
from tests.tui.conftest import ask, screen_text, until

START = 1_800_000_000.0


class WallClock:
    """A wall clock that tests advance."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> WallClock:
    return WallClock()


@pytest.fixture
def demo(tmp_path: Path, wall: WallClock) -> DemoClient:
    home = Home(tmp_path / "home")
    home.make()
    return DemoClient(home, wall)


@asynccontextmanager
async def opened(demo: DemoClient) -> AsyncIterator[Pilot[None]]:
    async with LmxApp(demo, Settings()).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "Qwen3-32B" in screen_text(pilot.app))
        yield pilot
        await demo.close()


class TestScreens:
    async def test_models_lists_the_scripted_models_without_a_daemon(self, demo: DemoClient) -> None:
        async with opened(demo) as pilot:
            for name in ("guide", "Qwen3-8B", "gemma-3-27b"):
                assert name in screen_text(pilot.app)
            assert "retry" not in screen_text(pilot.app)

    async def test_each_screen_opens_without_an_error(self, demo: DemoClient) -> None:
        async with opened(demo) as pilot:
            for key, words in (("f4", "Requests"), ("f5", "POST /v1/"), ("f2", "Downloads")):
                await pilot.press(key)
                await until(pilot, lambda words=words: words in screen_text(pilot.app))
            await pilot.press("g", "s")
            await until(pilot, lambda: "server.port" in screen_text(pilot.app))
            assert not any(toast.severity == "error" for toast in pilot.app._notifications)

    async def test_a_chat_streams_the_fixed_text(self, demo: DemoClient, wall: WallClock) -> None:
        async with opened(demo) as pilot:
            await ask(pilot, "What is this?")
            await until(pilot, lambda: any(row.client == "lmx tui" for row in demo.machine.snapshot().requests))
            wall.now += 1.5
            await until(pilot, lambda: "demonstration" in screen_text(pilot.app))
            wall.now += 60.0
            await until(pilot, lambda: "opens the real one" in screen_text(pilot.app))
            chat = (await demo.chats())[0]
            answer = (await demo.chat(chat.id)).messages[-1]
            assert answer.text == ANSWERS[0]
            assert answer.state == "done"
            assert answer.figures is not None and answer.figures.rate

    async def test_a_stopped_answer_keeps_what_has_arrived(self, demo: DemoClient, wall: WallClock) -> None:
        async with opened(demo) as pilot:
            await ask(pilot, "What is this?")
            await until(pilot, lambda: any(row.client == "lmx tui" for row in demo.machine.snapshot().requests))
            wall.now += 1.0
            await until(pilot, lambda: "demonstration" in screen_text(pilot.app))
            await pilot.press("escape")
            await until(pilot, lambda: demo.machine.requests[-1].cancelled_at is not None)
            await until(pilot, lambda: "stopped" in screen_text(pilot.app))
            answer = (await demo.chat((await demo.chats())[0].id)).messages[-1]
            assert answer.state == "stopped"
            assert 0 < len(answer.text) < len(ANSWERS[0])

    async def test_a_pull_of_an_offer_puts_the_model_on_the_disk(self, demo: DemoClient, wall: WallClock) -> None:
        from lmx_daemon.contract.admin.library.pulls import PullRequest

        async with opened(demo) as pilot:
            await demo.cancel_pull("d1")
            await demo.pull(PullRequest(repo=OFFERS[0].id))
            wall.now += 120.0
            await until(pilot, lambda: OFFERS[0].id in demo.machine.models)
            await until(pilot, lambda: "Qwen3-4B" in screen_text(pilot.app))


class TestMachine:
    def test_the_time_before_the_start_fills_graphs_and_history(self) -> None:
        machine = DemoMachine(START)
        series = machine.snapshot().series
        assert len(series.memory) == len(series.decode) == 300
        assert max(series.decode) > 20
        assert len(machine.records) > 10

    def test_figures_change_with_the_time(self) -> None:
        machine = DemoMachine(START)
        before = machine.snapshot()
        machine.advance(START + 20)
        assert machine.snapshot().series.decode != before.series.decode
        assert machine.snapshot().downloads[0].done > before.downloads[0].done

    def test_the_same_time_gives_the_same_snapshot(self) -> None:
        one, other = DemoMachine(START), DemoMachine(START)
        other.advance(START + 5)
        one.advance(START + 2.5)
        one.advance(START + 5)
        assert one.snapshot() == other.snapshot()

    def test_a_load_that_exceeds_the_memory_is_refused(self) -> None:
        machine = DemoMachine(START)
        machine.load(GEMMA)
        machine.models["big"] = type(machine.models[GEMMA])(id="big", path="/", source="hub", size=90_000_000_000)
        with pytest.raises(OutOfMemoryError):
            machine.load("big")

    def test_an_unload_cancels_the_requests_of_the_model(self) -> None:
        machine = DemoMachine(START)
        request = machine.begin(QWEN_SMALL, "curl", "/v1/completions", 10, 0, 500)
        machine.unload(QWEN_SMALL)
        assert request.state(START) == "cancelled"
        assert QWEN_SMALL not in machine.loaded


class TestClient:
    async def test_a_call_outside_the_script_names_itself(self, demo: DemoClient) -> None:
        with pytest.raises(UnsupportedError, match="/admin/library/disk"):
            await demo.disk()

    async def test_settings_are_written_to_the_home_of_the_demonstration(self, demo: DemoClient) -> None:
        await demo.set_config("tui.theme", "paper")
        row = next(row for row in (await demo.config()).rows if row.key == "tui.theme")
        assert row.value == "paper"

    def test_pieces_join_to_the_text(self) -> None:
        for number in range(len(ANSWERS)):
            assert "".join(pieces(answer_to(number))) == answer_to(number)
