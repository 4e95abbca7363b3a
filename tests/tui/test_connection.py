"""The connection to the daemon as the app shows it."""

from collections.abc import Callable

import msgspec

from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.errors import ProtocolMismatchError, StartupError
from lmx_tui.app import LmxApp
from tests.fake_client import FakeClient
from tests.screen_states import busy_snapshot, status
from tests.tui.conftest import Clock, running, screen_text, until

Make = Callable[..., LmxApp]


async def test_offline_panel_starts_a_daemon_on_enter(make_app: Make, client: FakeClient) -> None:
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
        assert "Pull" not in text, "starting is the only action"
        await pilot.press("enter")
        await until(pilot, lambda: "Qwen3-8B-4bit" in screen_text(pilot.app))
        assert len(started) == 2


async def test_start_error_stays_visible_between_connection_attempts(make_app: Make, client: FakeClient) -> None:
    client.up = False

    async def start() -> Status:
        raise StartupError("port 1234 is in use")

    async with running(make_app(start=start, retries=(0.01,))) as pilot:
        await until(pilot, lambda: client.watches > 2)
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


async def test_last_snapshot_is_shown_with_its_age_until_the_connection_is_back(
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


async def test_enter_starts_a_daemon_only_while_none_answers(make_app: Make, client: FakeClient) -> None:
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


async def test_draining_daemon_is_not_shown_as_offline(make_app: Make, client: FakeClient) -> None:
    async with running(make_app(retries=(30.0,))) as pilot:
        client.change(status=status(draining=True))
        await until(pilot, lambda: "stopping" in screen_text(pilot.app))
        watches = client.watches
        await until(pilot, lambda: client.watches > watches)
        assert "offline" not in screen_text(pilot.app)
        client.go_down()
        await until(pilot, lambda: "offline" in screen_text(pilot.app))


async def test_delay_between_connection_attempts_grows(make_app: Make, client: FakeClient, clock: Clock) -> None:
    client.up = False
    async with running(make_app(retries=(0.01, 0.02, 30.0))) as pilot:
        await until(pilot, lambda: "retry 30s" in screen_text(pilot.app))


async def test_protocol_mismatch_is_shown_without_a_dialog(make_app: Make, client: FakeClient) -> None:
    async def start() -> Status:
        raise ProtocolMismatchError("the daemon speaks protocol 2, this program 1", hint="lmx stop")

    client.up = False
    async with running(make_app(start=start, retries=(30.0,))) as pilot:
        await until(pilot, lambda: "the daemon speaks protocol 2" in screen_text(pilot.app))
        assert len(pilot.app.screen_stack) == 1


async def test_version_mismatch_is_shown_in_the_notice_line(make_app: Make) -> None:
    async with running(make_app(version="0.9.9")) as pilot:
        assert "daemon 0.0.0, this lmx 0.9.9" in screen_text(pilot.app)


async def test_unhealthy_daemon_is_marked_with_its_reason(make_app: Make, client: FakeClient) -> None:
    from lmx_daemon.contract.admin.snapshot import Health

    unhealthy = msgspec.structs.replace(busy_snapshot(), status=status(health=Health(ok=False, reason="hang")))
    client.show(unhealthy)
    async with running(make_app()) as pilot:
        assert "! local :1234" in screen_text(pilot.app)
        assert "\n ! hang" in screen_text(pilot.app), "the reason is shown"
