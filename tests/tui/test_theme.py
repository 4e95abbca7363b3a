"""Themes: their files, the picker, and readable selections."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.style import Style
from textual.color import Color
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Input

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.schema import Settings, TuiSettings
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs import Pick
from lmx_tui.theme import contrast, load_themes, read_theme, selection_colors, themes_folder
from lmx_tui.widgets.chat.message_view import MessageView
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_theme_picker_previews_and_escape_restores(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("ctrl+t")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Pick)
        await pilot.press("down")
        await settled(pilot)
        assert pilot.app.theme == "harbor"
        await pilot.press("escape")
        await settled(pilot)
        assert pilot.app.theme == "ember"
        await pilot.press("ctrl+t", "down", "down", "enter")
        await settled(pilot)
        assert pilot.app.theme == "paper"


async def test_unknown_theme_in_the_settings_is_reported(make_app: Make) -> None:
    async with running(make_app(Settings(tui=TuiSettings(theme="[b]none")))) as pilot:
        assert pilot.app.theme == "ember"
        assert "there is no theme '[b]none'" in screen_text(pilot.app)


async def test_every_offered_theme_draws_every_screen(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await ask(pilot)
        await pilot.press("ctrl+t")
        await settled(pilot)
        assert isinstance(app.screen, Pick)
        names = [value for value, _ in app.screen._options]
        await pilot.press("escape")
        assert {"ember", "harbor", "paper", "nord", "textual-light"} <= set(names)
        for number, name in enumerate(names):
            app.theme = name
            await pilot.press(("f2", "f3", "f4")[number % 3])
            await settled(pilot)
            assert "lmx" in screen_text(app), name
    async with running(make_app(Settings(tui=TuiSettings(theme="ansi-dark")))) as pilot:
        assert pilot.app.theme == "ember"


def test_built_in_themes_are_valid() -> None:
    themes = {theme.name: theme for theme in load_themes()}
    assert set(themes) >= {"ember", "harbor", "paper"}
    assert themes["ember"].dark and not themes["paper"].dark


def test_error_of_an_invalid_theme_names_file_and_field(tmp_path: Path) -> None:
    sound = (themes_folder() / "ember.toml").read_text()
    file = tmp_path / "mine.toml"
    for broken, word in (
        (sound.replace('primary = "#ffa62b"', 'primary = "orangeish"'), "primary"),
        (sound.replace('muted = "#8f8c88"\n', ""), "muted"),
        (sound + "\nodd = 1", "str"),
        ("name = [", "mine.toml"),
    ):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=word):
            read_theme(file)


LEAST = 3.0


def ratio(style: Style) -> float:
    assert style.color is not None and style.bgcolor is not None
    return contrast(style.color.get_truecolor(), style.bgcolor.get_truecolor())


async def test_selection_contrasts_in_every_theme(make_app: Callable[..., LmxApp]) -> None:
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


async def test_selection_in_the_filter_contrasts_in_every_theme(make_app: Callable[..., LmxApp]) -> None:
    async with running(make_app()) as pilot:
        for theme in pilot.app._theme_names():  # type: ignore[attr-defined]
            pilot.app.theme = theme
            await pilot.pause()
            style = pilot.app.screen.query_one("#filter", Input).get_component_rich_style("input--selection")
            assert ratio(style) >= LEAST, theme


async def test_selected_answer_is_readable(make_app: Callable[..., LmxApp], client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "Hello from" in screen_text(pilot.app))
        view = list(pilot.app.screen.query(MessageView))[-1]
        pilot.app.screen.selections = {view: Selection(Offset(0, 0), Offset(5, 0))}
        await settled(pilot)
        styles = [segment.style for segment in view.render_line(0).crop(0, 5) if segment.style is not None]
        assert styles and all(ratio(style) >= LEAST for style in styles)


@pytest.mark.parametrize("primary", ["#000000", "#777777", "#ffffff", "#ff0000", "#0000ff", "#808000"])
def test_selection_is_readable_for_any_primary_colour(primary: str) -> None:
    colors = selection_colors(primary)
    front, back = (Color.parse(colors[f"screen-selection-{part}"]).rgb for part in ("foreground", "background"))
    assert contrast(front, back) >= 4.5
