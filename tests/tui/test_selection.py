"""Selected text can be read in every theme."""

from collections.abc import Callable

import pytest
from rich.style import Style
from textual.color import Color
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Input

from lmx_tui.app import LmxApp
from lmx_tui.theme import contrast, selection_colors
from lmx_tui.widgets.chat.message_view import MessageView
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import ask, running, screen_text, settled, until

LEAST = 3.0


def ratio(style: Style) -> float:
    assert style.color is not None and style.bgcolor is not None
    return contrast(style.color.get_truecolor(), style.bgcolor.get_truecolor())


async def test_the_selection_contrasts_in_every_theme(make_app: Callable[..., LmxApp]) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        themes = pilot.app._theme_names()  # type: ignore[attr-defined]
        for theme in themes:
            pilot.app.theme = theme
            await pilot.pause()
            prompt = pilot.app.screen.query_one(PromptInput)
            found = {
                "screen": ratio(pilot.app.screen.get_component_rich_style("screen--selection")),
                "prompt": ratio(prompt.get_component_rich_style("text-area--selection")),
            }
            assert min(found.values()) >= LEAST, (theme, found)
        assert len(themes) > 15


async def test_a_filters_selection_contrasts(make_app: Callable[..., LmxApp]) -> None:
    async with running(make_app()) as pilot:
        for theme in pilot.app._theme_names():  # type: ignore[attr-defined]
            pilot.app.theme = theme
            await pilot.pause()
            style = pilot.app.screen.query_one("#filter", Input).get_component_rich_style("input--selection")
            assert ratio(style) >= LEAST, theme


async def test_a_selected_answer_is_drawn_readable(make_app: Callable[..., LmxApp], client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "Hello from" in screen_text(pilot.app))
        view = list(pilot.app.screen.query(MessageView))[-1]
        pilot.app.screen.selections = {view: Selection(Offset(0, 0), Offset(5, 0))}
        await settled(pilot)
        styles = [segment.style for segment in view.render_line(0).crop(0, 5) if segment.style is not None]
        assert styles and all(ratio(style) >= LEAST for style in styles)


@pytest.mark.parametrize("primary", ["#000000", "#777777", "#ffffff", "#ff0000", "#0000ff", "#808000"])
def test_any_primary_colour_gives_a_readable_selection(primary: str) -> None:
    colors = selection_colors(primary)
    front, back = (Color.parse(colors[f"screen-selection-{part}"]).rgb for part in ("foreground", "background"))
    assert contrast(front, back) >= 4.5
