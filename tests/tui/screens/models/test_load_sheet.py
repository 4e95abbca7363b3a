"""The load sheet: the plan of a load, its options, the models it unloads, and the ways out of a refusal."""

from collections.abc import Callable

import msgspec
import pytest
from textual.widgets import Input, OptionList

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.models import Alternative, Verdict
from lmx_tui.app import LmxApp
from lmx_tui.screens.models.load_sheet import LoadSheet
from lmx_tui.widgets.models.load_options import load_command, load_request
from tests.fake_client import FakeClient
from tests.library_states import VERDICT
from tests.screen_states import INSTANCES
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]
GEMMA = "mlx-community/gemma-3-27b-it-qat-4bit"


def sized(request: LoadRequest, **changes: object) -> Verdict:
    """Return a plan with the sizes of `request`."""
    context, slots = request.context_length or 131_072, request.slots or 1
    plan = msgspec.structs.replace(VERDICT.plan, context=context, slots=slots)
    return msgspec.structs.replace(VERDICT, model=request.model, plan=plan, **changes)


def refused_above_32k(request: LoadRequest) -> Verdict:
    """Return a refusal with two ways out, or a plan that fits for short contexts."""
    if (request.context_length or 131_072) <= 32_768:
        return sized(request)
    ways = (Alternative(context=32_768, slots=1), Alternative(unload="i1", frees=7_000_000_000))
    error = ErrorBody(code="out_of_memory", message="does not fit", hint="lmx load --context 32768")
    return sized(request, outcome="refused", error=error, alternatives=ways)


def words(app: LmxApp) -> str:
    return " ".join(screen_text(app).replace("│", " ").split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_plan_follows_the_typed_sizes_and_enter_loads_with_them(
    make_app: Make, client: FakeClient, size: tuple[int, int]
) -> None:
    client.verdict_of = sized
    app = make_app()
    async with running(app, size) as pilot:
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: isinstance(app.screen, LoadSheet) and "computed" in words(app))
        assert "kv 128k" in words(app)
        assert f"lmx load {GEMMA}" in words(app)
        await pilot.press(*"16k", "tab", "4", "tab", *"30m", "tab", "space")
        await until(pilot, lambda: "kv 16k x4" in words(app))
        assert f"lmx load {GEMMA} --context 16384 --slots 4 --ttl 1800 --pin" in words(app)
        await pilot.press("enter")
        await until(pilot, lambda: client.loads)
        assert client.loads == [LoadRequest(model=GEMMA, context_length=16_384, slots=4, ttl=1800.0, pin=True)]


async def test_models_that_a_load_unloads_are_named_and_subtracted(make_app: Make, client: FakeClient) -> None:
    client.verdict_of = lambda request: sized(request, outcome="evicts", others=("i2",))
    app = make_app()
    async with running(app, (80, 24)) as pilot:
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: "unloads Qwen3-32B-4bit (idle 4m, frees 19.1 GB)" in words(app))
        assert "-19.1" in words(app) and "28.4" in words(app), "in use 26.5, less 19.1, and 21.0 of the plan"


async def test_refused_load_offers_the_ways_of_the_daemon(make_app: Make, client: FakeClient) -> None:
    client.verdict_of = refused_above_32k
    app = make_app()
    async with running(app, (80, 24)) as pilot:
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: "context 32k, 1 slot: fits" in words(app))
        assert "! does not fit" in words(app) and "frees 7.0 GB" in words(app)
        await pilot.press("enter")
        await settled(pilot)
        assert not client.loads and isinstance(app.focused, OptionList), "enter leads to the ways out"
        await pilot.press("enter")
        await until(pilot, lambda: "✓ fits" in words(app))
        assert app.screen.query_one("#context", Input).value == "32768"
        await pilot.press("enter")
        await until(pilot, lambda: client.loads)
        assert client.loads == [LoadRequest(model=GEMMA, context_length=32_768, slots=1)]


async def test_refused_load_can_unload_the_pinned_model_and_is_planned_again(
    make_app: Make, client: FakeClient
) -> None:
    client.verdict_of = refused_above_32k
    app = make_app()
    async with running(app, (80, 24)) as pilot:
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: "unload i1, pinned" in words(app))
        await pilot.press("enter", "down", "enter")
        await until(pilot, lambda: "requests finish first" in words(app))
        await pilot.press("U")
        await until(pilot, lambda: ("unload", "i1") in client.calls)
        client.verdict_of = sized
        client.change(instances=INSTANCES[1:])
        await until(pilot, lambda: "✓ fits" in words(app))
        assert isinstance(app.screen, LoadSheet)


async def test_wrong_field_is_named_and_nothing_is_loaded(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app, (80, 24)) as pilot:
        await pilot.press("j", "j", "enter", *"many", "enter")
        await until(pilot, lambda: "context is 'many', which is not a number from 1" in words(app))
        assert not client.loads and isinstance(app.screen, LoadSheet)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert not client.loads


async def test_model_in_memory_has_no_sheet(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: "c opens a chat with it, x unloads it" in words(app))
        assert len(app.screen_stack) == 1 and not client.loads


def test_request_and_command_of_typed_fields() -> None:
    request = load_request("a/odd name", "128k", " 2 ", "2h", pin=False)
    assert request == LoadRequest(model="a/odd name", context_length=131_072, slots=2, ttl=7200.0)
    assert load_command(request) == "lmx load 'a/odd name' --context 131072 --slots 2 --ttl 7200"
    assert load_request("a/b", "", "", "", pin=False) == LoadRequest(model="a/b")
    for fields in (("0", "", ""), ("9999999999", "", ""), ("", "x", ""), ("", "", "-1"), ("", "", "1w")):
        with pytest.raises(ValueError, match="write it as"):
            load_request("a/b", *fields, pin=False)
