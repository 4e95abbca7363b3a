"""The model card on the Models screen: in the pane, in a dialog, for models of the Hub, and hostile cards."""

from collections.abc import Callable

import pytest

from lmx_daemon.contract.admin.library.hub import CardRequest, ModelCard
from lmx_daemon.contract.errors import HubError
from lmx_tui.app import LmxApp
from lmx_tui.screens.models.model_verbs import CardDialog
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models import card as card_module
from lmx_tui.widgets.models.card import MAX_CHARACTERS, CardView
from tests.fake_client import FakeClient
from tests.screen_states import QWEN
from tests.tui.conftest import running, screen_text, until

Make = Callable[..., LmxApp]


def asked(client: FakeClient) -> list[CardRequest]:
    return [request for name, request in client.calls if name == "card"]


async def test_card_replaces_the_details_until_it_is_closed(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        assert "m model card" in screen_text(app) and not asked(client)
        await pilot.press("m")
        await until(pilot, lambda: "Converted for MLX from the" in screen_text(app))
        text = screen_text(app)
        assert asked(client) == [CardRequest(id=QWEN)]
        assert "[image: logo]" in text and "(https://host.example/qwen3-8b)" in " ".join(text.split())
        assert "revision" not in text and isinstance(app.focused, CardView)
        for key in ("escape", "m"):
            await pilot.press(key)
            await until(pilot, lambda: "revision" in screen_text(app))
            assert isinstance(app.focused, Table) and not app.screen.query(CardView)
            await pilot.press("m")
            await until(pilot, lambda: "Converted for MLX from the" in screen_text(app))


async def test_card_follows_the_cursor(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "Converted for MLX" in screen_text(app))
        await pilot.press("tab")
        await until(pilot, lambda: isinstance(app.focused, Table))
        await pilot.press("j")
        await until(pilot, lambda: len(asked(client)) == 2)
        assert asked(client)[-1].id == "mlx-community/Qwen3-32B-4bit"
        await pilot.press("escape")
        await until(pilot, lambda: not app.screen.query(CardView))


async def test_card_is_scrolled_by_keys(make_app: Make, client: FakeClient) -> None:
    client.model_card = ModelCard(id="", text="\n\n".join(f"line {number}" for number in range(200)))
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "line 0" in screen_text(app))
        await pilot.press("j", "j", "j")
        await until(pilot, lambda: "line 0" not in screen_text(app))
        await pilot.press("G")
        await until(pilot, lambda: "line 199" in screen_text(app))


async def test_lines_are_whole_beside_the_scroll_bar(make_app: Make, client: FakeClient) -> None:
    client.model_card = ModelCard(id="", text="wörd " * 2000)
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: app.screen.query(CardView) and len(app.screen.query_one(CardView).lines) > 50)
        view = app.screen.query_one(CardView)
        assert view.show_vertical_scrollbar
        assert max(map(len, view.lines)) <= view.scrollable_content_region.width


async def test_card_is_a_dialog_in_a_narrow_terminal(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app, (80, 24)) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "Converted for MLX from the" in screen_text(app))
        assert isinstance(app.screen, CardDialog) and asked(client) == [CardRequest(id=QWEN)]
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)


async def test_card_closes_when_the_terminal_becomes_narrow(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "Converted for MLX" in screen_text(app))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not app.screen.query(CardView) and isinstance(app.focused, Table))


async def test_cards_of_the_hub_open_from_the_search_and_from_the_sheet(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "gemma-3-27b" in screen_text(app))
        await pilot.press("down", "m")
        await until(pilot, lambda: "Converted for MLX from the" in screen_text(app))
        assert asked(client) == [CardRequest(id="mlx-community/Qwen3-4B-4bit", hub=True)]
        await pilot.press("escape", "enter")
        await until(pilot, lambda: "lmx pull mlx-community/Qwen3-4B-4bit" in screen_text(app))
        await pilot.press("m")
        await until(pilot, lambda: len(asked(client)) == 2)
        assert asked(client)[1].hub


async def test_failure_is_one_line(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        client.error = HubError("cannot reach the \x1b[31mHub[/]", hint="check the network")
        await pilot.press("m")
        await until(pilot, lambda: "cannot reach the \\x1b[31mHub[/]. check the network" in screen_text(app))
        assert not app._notifications, "the failure is in the pane, not in a toast"


HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J text \x9b31m and \u202egnp.exe\u2066\n\n"
    "[click\x1b[31m](javascript:alert(1)) [home](https://h.example/\x1b]8;;x)\n\n"
    "&#x202e;&#27;[5m `code\x1b[0m` <script>alert(1)</script>\n\n[red]markup[/red] [@click=app.exit]x[/]\n"
)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
async def test_hostile_card_sends_no_control_to_the_terminal(
    make_app: Make, client: FakeClient, size: tuple[int, int]
) -> None:
    client.model_card = ModelCard(id="", text=HOSTILE)
    app = make_app()
    async with running(app, size) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "[red]markup[/red]" in screen_text(app))
        text = screen_text(app)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "␛]0;owned␇" in text
        for strip in app.screen._compositor.render_strips():
            assert not any(segment.style and segment.style.link for segment in strip)


@pytest.mark.parametrize(
    "text",
    ["[" * MAX_CHARACTERS, "|a" * 30_000, "word " * 13_000, "```python\n" + "([" * 9_000],
    ids=["brackets", "table", "words", "code"],
)
async def test_long_card_is_cut_and_drawn_outside_of_the_event_loop(
    make_app: Make, client: FakeClient, text: str
) -> None:
    client.model_card = ModelCard(id="", text=text, cut=True)
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: app.screen.query(CardView))
        view = app.screen.query_one(CardView)
        await until(pilot, lambda: "the card goes on" in " ".join(view.lines))


async def test_parser_that_fails_leaves_the_plain_text(
    make_app: Make, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(card_module.Painter):
        def strips(self, source: str, width: int) -> list[object]:  # type: ignore[override]
            raise AssertionError

    monkeypatch.setattr(card_module, "Painter", Failing)
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "## Use" in screen_text(app))
