"""The welcome of a first run: its choices, its keys, and the silence towards the Hub."""

from collections.abc import Callable

import msgspec
import pytest

from lmx_daemon.contract.admin.library.hub import RecommendRequest
from lmx_daemon.contract.admin.library.pulls import Download
from lmx_tui.app import LmxApp
from tests.fake_client import FakeClient
from tests.library_states import CHOICES
from tests.screen_states import busy_snapshot, quiet_snapshot
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]
CHOICE = CHOICES[0].id


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(quiet_snapshot())


def words(app: LmxApp) -> str:
    return " ".join(screen_text(app).replace("│", " ").split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
async def test_first_run_shows_choices_with_approximate_sizes(
    make_app: Make, client: FakeClient, size: tuple[int, int]
) -> None:
    app = make_app()
    async with running(app, size) as pilot:
        line = "1 Qwen3-8B-4bit 8.2B · ~4.6 GB everyday work: thinks when asked to, calls tools"
        await until(pilot, lambda: line in words(app))
        await until(pilot, lambda: "~ sizes are approximate: lmx has not asked the Hub" in words(app))
        assert "gpt-oss" not in words(app), "only what leaves room"
        assert client.recommends == [RecommendRequest(every=True, ask_hub=False)] and not client.calls
        assert "1 Pull and chat" in screen_text(app).splitlines()[-1]


async def test_one_key_pulls_a_choice_and_opens_the_chat_with_it(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await until(pilot, lambda: "Welcome to lmx" in screen_text(app))
        await pilot.press("3")
        await settled(pilot)
        assert not client.calls, "there are two choices"
        await pilot.press("1")
        await until(pilot, lambda: ("pull", CHOICE) in client.calls)
        download = Download(id="d9", repo=CHOICE, state="downloading")
        client.change(downloads=(download,))
        await until(pilot, lambda: "Qwen3-8B-4bit downloading" in words(app))
        client.change(models=busy_snapshot().models, downloads=())
        await until(pilot, lambda: app.current_mode == "chat")
        assert "Qwen3-8B-4bit" in screen_text(app)


async def test_welcome_ends_with_the_first_model_and_its_keys_do_nothing(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await until(pilot, lambda: "Welcome to lmx" in screen_text(app))
        client.show(busy_snapshot())
        await until(pilot, lambda: "Welcome to lmx" not in screen_text(app))
        await pilot.press("1")
        await settled(pilot)
        assert not client.calls and "Pull and chat" not in screen_text(app)
        client.show(quiet_snapshot())
        await until(pilot, lambda: "Welcome to lmx" in screen_text(app))
        assert len(client.recommends) == 1, "the choices are asked for once"


async def test_machine_without_room_for_any_choice_is_named(make_app: Make, client: FakeClient) -> None:
    client.choices = ()
    app = make_app()
    async with running(app) as pilot:
        await until(pilot, lambda: "None of lmx's choices fits in 12.0 GB" in words(app))


async def test_choices_do_not_depend_on_the_memory_that_is_free_now(make_app: Make, client: FakeClient) -> None:
    client.choices = tuple(msgspec.structs.replace(choice, fit="no") for choice in CHOICES)
    app = make_app()
    async with running(app) as pilot:
        await until(pilot, lambda: "1 Qwen3-8B-4bit" in words(app) and "gpt-oss" not in words(app))


async def test_disk_with_models_asks_for_no_choices(make_app: Make, client: FakeClient) -> None:
    client.show(busy_snapshot())
    async with running(make_app()) as pilot:
        await settled(pilot, 5)
        assert not client.recommends
