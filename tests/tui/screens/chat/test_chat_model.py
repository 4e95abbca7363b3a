"""The choice of the model that answers in the Chat screen, and an absent model."""

from collections.abc import Callable

import msgspec
from textual.pilot import Pilot

from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.questions import Pick
from tests.fake_client import FakeClient
from tests.screen_states import NOW, QWEN, quiet_snapshot
from tests.tui.conftest import Clock, ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_guide_answers_when_no_model_is_loaded(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: client.requests_seen)
        assert client.requests_seen[0].model == "lmx/guide"


async def test_context_meter_follows_the_chosen_model(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: " 4.3k/40k" in screen_text(pilot.app))
        await pilot.press("f8", "down", "enter")
        await until(pilot, lambda: " ~4.3k/2k" in screen_text(pilot.app), 5.0)
        await pilot.press("f8", "down", "enter")
        await until(pilot, lambda: " 4.3k/40k" in screen_text(pilot.app))


async def test_chosen_model_answers(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        await pilot.press("f8", "down", "enter")
        await settled(pilot)
        await pilot.press("x", "enter")
        await until(pilot, lambda: client.requests_seen)
        assert client.requests_seen[0].model == "lmx/guide"


GUIDE = "lmx/guide"


async def answered(pilot: Pilot[None], client: FakeClient, clock: Clock) -> None:
    """Ask once, and advance the clock so that the next snapshot counts as later."""
    await ask(pilot, "first")
    await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
    clock.now += 1.0


def without(client: FakeClient, model: str) -> None:
    assert client._snapshot is not None
    client.change(instances=tuple(one for one in client._snapshot.instances if one.model != model))


async def test_use_of_another_model_by_another_client_does_not_change_the_model(
    make_app: Make, client: FakeClient, clock: Clock
) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, client, clock)
        assert client._snapshot is not None
        other = msgspec.structs.replace(client._snapshot.instances[0], id="g:1", model=GUIDE, used_at=NOW + 60)
        client.change(instances=(*client._snapshot.instances, other))
        await until(pilot, lambda: any(one.model == GUIDE for one in pilot.app.view.snapshot.instances))  # type: ignore[attr-defined]
        assert QWEN in screen_text(pilot.app)
        await ask(pilot, "second")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        await pilot.press("ctrl+n")
        await ask(pilot, "a new one")
        await until(pilot, lambda: len(client.requests_seen) == 3)
    assert [request.model for request in client.requests_seen] == [QWEN, QWEN, GUIDE]


async def test_unloaded_model_is_loaded_again_only_after_a_question(
    make_app: Make, client: FakeClient, clock: Clock
) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, client, clock)
        without(client, QWEN)
        await until(pilot, lambda: "is no longer loaded" in screen_text(pilot.app))
        await ask(pilot, "second")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        assert "load it again" in screen_text(pilot.app)
        await pilot.press("escape")
        await settled(pilot)
        assert len(client.requests_seen) == 1 and "second" in screen_text(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        await pilot.press("enter")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        assert client.requests_seen[1].model == QWEN


async def test_removed_model_can_only_be_replaced(make_app: Make, client: FakeClient, clock: Clock) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, client, clock)
        without(client, QWEN)
        assert client._snapshot is not None
        client.change(models=tuple(model for model in client._snapshot.models if model.id != QWEN))
        await until(pilot, lambda: "is no longer on this machine" in screen_text(pilot.app))
        await ask(pilot, "second")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        assert "load it again" not in screen_text(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: "Chat with" in screen_text(pilot.app))
        await pilot.press("down", "enter")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: len(client.requests_seen) == 2)
        assert client.requests_seen[1].model == GUIDE
