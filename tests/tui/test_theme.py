"""Themes: their files, the picker, and readable selections."""

import os
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from rich.style import Style
from textual.color import Color
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Input

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings, TuiSettings
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.terminal.terminal import ask, is_dark
from lmx_tui.theme import (
    contrast,
    for_rich,
    gradient,
    load_themes,
    read_theme,
    selection_colors,
    suiting,
    survive,
    themes_folder,
)
from lmx_tui.widgets.chat.message_view import MessageView
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import ask as ask_model
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_theme_picker_previews_and_escape_restores(make_app: Make, client: FakeClient) -> None:
    async with running(make_app(Settings(tui=TuiSettings(theme="ember")))) as pilot:
        await pilot.press("ctrl+t")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Pick)
        names = [value for value, _ in pilot.app.screen._options]
        below = names[names.index("ember") + 1]
        await pilot.press("down")
        await until(pilot, lambda: pilot.app.theme == below)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.theme == "ember")
        await pilot.press("ctrl+t", "down", "enter")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("set_config", ("tui.theme", below))], "it is kept in the settings"
        assert pilot.app.theme == below


async def test_unknown_theme_in_the_settings_is_reported(make_app: Make) -> None:
    async with running(make_app(Settings(tui=TuiSettings(theme="[b]none")))) as pilot:
        assert pilot.app.theme == "ember"
        assert "there is no theme '[b]none'" in screen_text(pilot.app)


async def test_every_offered_theme_draws_every_screen(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await ask_model(pilot)
        await pilot.press("ctrl+t")
        await settled(pilot)
        assert isinstance(app.screen, Pick)
        names = [value for value, _ in app.screen._options if value != "auto"]
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
    loaded, faults = load_themes()
    themes = {theme.name: theme for theme in loaded}
    assert not faults
    assert set(themes) >= {"ember", "harbor", "paper", "terminal"} and len(themes) >= 12
    assert themes["ember"].dark and not themes["paper"].dark
    assert sum(not theme.dark for theme in loaded) >= 4


def test_error_of_an_invalid_theme_names_file_and_field(tmp_path: Path) -> None:
    sound = (themes_folder() / "ember.toml").read_text()
    file = tmp_path / "mine.toml"
    for broken, word in (
        (sound.replace('primary = "#ffa62b"', 'primary = "orangeish"'), "primary"),
        (sound.replace('muted = "#8f8c88"\n', ""), "muted"),
        (sound + "\nodd = 1", "str"),
        (sound.replace('muted = "#8f8c88"', 'muted = "ansi_red"'), "muted"),
        ("name = [", "mine.toml"),
    ):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=word):
            read_theme(file)


def test_broken_files_of_the_user_are_named_and_skipped(tmp_path: Path) -> None:
    sound = (themes_folder() / "ember.toml").read_text()
    (tmp_path / "mine.toml").write_text(sound.replace('name = "ember"', 'name = "mine"'))
    (tmp_path / "broken.toml").write_text("name = [")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    (tmp_path / "folder.toml").mkdir()
    themes, faults = load_themes(tmp_path)
    assert "mine" in {theme.name for theme in themes}
    assert [fault.split(":")[0] for fault in faults] == [
        "theme binary.toml",
        "theme broken.toml",
        "theme folder.toml",
    ]


async def test_app_shows_a_theme_of_the_user_and_names_a_broken_one(make_app: Make, tmp_path: Path) -> None:
    sound = (themes_folder() / "ember.toml").read_text()
    home = Home(tmp_path)
    home.themes.mkdir()
    (home.themes / "mine.toml").write_text(sound.replace('name = "ember"', 'name = "mine"'))
    (home.themes / "broken.toml").write_text("name = [")
    async with running(make_app(Settings(tui=TuiSettings(theme="mine")), home=home)) as pilot:
        assert pilot.app.theme == "mine"
        assert "theme broken.toml" in screen_text(pilot.app)


@pytest.mark.parametrize(
    ("dark", "colors", "expected"),
    [
        (True, "truecolor", "ember"),
        (False, "truecolor", "paper"),
        (None, "256", "ember"),
        (False, "standard", "terminal"),
    ],
)
def test_auto_suits_the_terminal(dark: bool | None, colors: str, expected: str) -> None:
    assert suiting(dark, colors) == expected


async def test_auto_follows_the_terminal(make_app: Make) -> None:
    async with running(make_app(auto_theme="paper")) as pilot:
        assert pilot.app.theme == "paper"


PAIRS = {
    ("foreground", "background"): 4.5,
    ("foreground", "surface"): 4.5,
    ("foreground", "panel"): 4.0,
    ("foreground", "cursor-background"): 4.0,
    ("accent", "background"): 3.0,
    ("accent", "panel"): 2.5,
    ("accent", "cursor-background"): 2.5,
    ("muted", "background"): 2.0,
    ("success", "background"): 2.0,
    ("warning", "background"): 2.0,
    ("error", "background"): 2.0,
    ("secondary", "background"): 2.0,
    ("error", "cursor-background"): 1.8,
    ("success", "cursor-background"): 1.8,
    **{(f"model-{number}", "background"): 2.0 for number in (1, 2, 3, 4)},
}
"""(text, background) -> least contrast."""
SYSTEMS = {"truecolor": None, "256": ColorSystem.EIGHT_BIT, "standard": ColorSystem.STANDARD}


def seen(value: str, system: ColorSystem | None) -> tuple[int, int, int]:
    """Return a colour as a terminal of that color system shows it."""
    color = RichColor.parse(value)
    red, green, blue = (color if system is None else color.downgrade(system)).get_truecolor()
    return red, green, blue


@pytest.mark.parametrize("colors", SYSTEMS)
def test_texts_of_every_theme_contrast_in_every_color_system(colors: str) -> None:
    for theme in load_themes()[0]:
        if theme.ansi:
            continue
        names = survive(theme.to_color_system().generate() | theme.variables, colors)
        for (text, behind), least in PAIRS.items():
            found = contrast(seen(names[text], SYSTEMS[colors]), seen(names[behind], SYSTEMS[colors]))
            assert found >= least, (theme.name, text, behind, found)


def test_bars_keep_their_hue_in_256_colours() -> None:
    """A dark colour with a tint becomes a saturated one in the palette of 256 colours, such as navy or red."""
    for theme in load_themes()[0]:
        if theme.ansi or not theme.dark:
            continue
        names = theme.to_color_system().generate() | theme.variables
        for name in ("panel", "surface", "cursor-background"):
            red, green, blue = seen(names[name], ColorSystem.EIGHT_BIT)
            assert max(red, green, blue) - min(red, green, blue) <= 8, (theme.name, name)


def test_graph_of_the_terminal_theme_uses_its_colours() -> None:
    theme = next(theme for theme in load_themes()[0] if theme.name == "terminal")
    rows = gradient(for_rich(dict(theme.variables)), "memory", 6)
    assert [color.name for color in rows] == ["red", "red", "yellow", "yellow", "green", "green"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x1b]11;rgb:0000/0000/0000\x1b\\\x1b[?62;22c", True),
        (b"\x1b]11;rgb:ffff/ffff/ffff\x07\x1b[?1;2c", False),
        (b"\x1b]11;rgba:fa/f4/ee/ff\x07", False),
        (b"\x1b[?62;22c", None),
        (b"", None),
    ],
)
def test_answer_of_a_terminal(answer: bytes, expected: bool | None) -> None:
    assert is_dark(answer) is expected


def test_terminal_is_asked_and_restored() -> None:
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)

    def terminal() -> None:
        question = b""
        while not question.endswith(b"[c"):
            question += os.read(ours, 64)
        os.write(ours, b"\x1b]11;rgb:ffff/ffff/ffff\x07\x1b[?62c")

    thread = threading.Thread(target=terminal)
    thread.start()
    try:
        assert is_dark(ask(theirs, 30.0)) is False
        assert termios.tcgetattr(theirs) == before
    finally:
        thread.join(10.0)
        os.close(ours)
        os.close(theirs)


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
        await ask_model(pilot)
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
