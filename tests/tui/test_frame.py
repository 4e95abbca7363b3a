"""The frame: clicks on the key bar, the palette's verbs, keymaps, the way back, ctrl+c, ASCII, and kept choices."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Input

from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings, TuiSettings
from lmx_tui import keymap, keys
from lmx_tui.app import LmxApp
from lmx_tui.choices import Choices, ChoicesFile
from lmx_tui.palette import commands
from lmx_tui.terminal.ascii import PLAIN, has_utf8, plain
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


def key_bar(app: LmxApp) -> str:
    return screen_text(app).splitlines()[-1]


async def test_click_on_a_key_of_a_widget_runs_its_action(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        app.screen.query_one(PromptInput).insert("hello")
        await until(pilot, lambda: "Send" in key_bar(app))
        await pilot.click("KeyBar", offset=(key_bar(app).index("Send"), 0))
        await until(pilot, lambda: client.requests_seen)


async def test_palette_has_every_verb_of_every_screen(make_app: Make) -> None:
    app = make_app()
    async with running(app):
        titles = {command.title for command in commands(app, app.view, app._run_verb, lambda mode, action: True)}
        for mode in keys.SCREENS.values():
            for binding in keymap.verbs_of(mode):
                assert f"{mode.capitalize()}: {binding.description}" in titles


async def test_palette_runs_a_verb_of_another_screen(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        app._run_verb("monitor", "incidents")
        await until(pilot, lambda: type(app.screen).__name__ == "IncidentsDialog")
        assert app.current_mode == "monitor"


async def test_q_and_escape_lead_back_one_screen(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: app.current_mode == "monitor")
        await pilot.press("q")
        await until(pilot, lambda: app.current_mode == "models")
        await pilot.press("f4")
        await until(pilot, lambda: app.current_mode == "monitor")
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "models")
        await pilot.press("q")
        await until(pilot, lambda: "ctrl+q quits" in screen_text(app))


async def test_escape_clears_the_filter_before_it_leads_back(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f4", "f2", "slash", "q", "w", "enter")
        await until(pilot, lambda: "filter: qw" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "filter: qw" not in screen_text(app))
        assert app.current_mode == "models"
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "monitor")


async def test_ctrl_c_clears_the_draft_and_copies_a_selection(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        prompt = app.screen.query_one(PromptInput)
        prompt.insert("a long draft")
        prompt.select_all()
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.clipboard == "a long draft")
        assert prompt.text == "a long draft"
        prompt.move_cursor((0, 0))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: prompt.text == "")
        await pilot.press("f2", "slash", "x", "ctrl+c")
        await until(pilot, lambda: app.screen.query_one("#filter", Input).value == "")


async def test_second_g_goes_to_the_first_row(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        table = app.screen.query_one("#models-table")
        await pilot.press("G")
        await until(pilot, lambda: table.cursor_row > 0)  # type: ignore[attr-defined]
        await pilot.press("g", "g")
        await until(pilot, lambda: table.cursor_row == 0)  # type: ignore[attr-defined]


def test_keymap_faults_name_unknown_ids_and_clashes() -> None:
    assert keymap.faults({}) == []
    assert keymap.faults({"models.unload": "X"}) == []
    unknown = keymap.faults({"models.unlod": "X"})
    assert unknown == ["keymap: there is no action 'models.unlod'; did you mean 'models.unload'?"]
    assert keymap.faults({"models.unload": "p"}) == ["keymap: p is the key of both models.unload and models.pull"]
    assert keymap.faults({"models.unload": "f3"}) == ["keymap: f3 is the key of both models.unload and app.chat"]
    assert keymap.faults({"models.unload": "w"}) == [], "w belongs to another screen"
    assert keymap.faults({"models.pull": "x", "models.unload": "p"}) == [], "two keys that are exchanged do not clash"


def test_default_keys_do_not_clash() -> None:
    for identity, binding in keymap.bindings().items():
        for key in binding.key.split(","):
            assert not keymap.clashes_of(identity, key, {}), (identity, key)


async def test_keymap_faults_are_shown(make_app: Make) -> None:
    async with running(make_app(Settings(tui=TuiSettings(keymap={"models.nothing": "z"})))) as pilot:
        assert "there is no action 'models.nothing'" in screen_text(pilot.app)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "de_DE.utf8"}, True),
        ({"LC_CTYPE": "UTF-8"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
    ],
)
def test_character_set_of_the_locale(environment: dict[str, str], expected: bool) -> None:
    assert has_utf8(environment) is expected


def test_ascii_text_keeps_its_width() -> None:
    assert plain("╭─ █░ ●") == "+- #. *"
    assert plain("模型 é") == "???? ?"
    assert all(plain(character).isascii() for character in PLAIN)


async def test_screens_are_ascii_where_the_locale_is(make_app: Make) -> None:
    app = make_app(ascii_only=True)
    async with running(app) as pilot:
        for key in ("f2", "f3", "f4"):
            await pilot.press(key)
            await settled(pilot)
            for strip in app.screen._compositor.render_strips():
                text = "".join(
                    segment.text for segment in strip.apply_filter(app._filters[-1], app.screen.background_colors[1])
                )
                assert text.isascii()


async def test_choices_are_kept(make_app: Make, tmp_path: Path) -> None:
    home = Home(tmp_path)
    app = make_app(home=home)
    async with running(app) as pilot:
        await pilot.press("f4", "w")
        await until(pilot, lambda: ChoicesFile(home.choices).read() == Choices(screen="monitor", monitor_window=120))
    again = make_app(home=home)
    async with running(again):
        assert again.current_mode == "monitor"
        assert "· 2m" in screen_text(again)


def test_damaged_choices_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "tui.json"
    for content in ("not json", '{"screen": 3}', "[]"):
        file.write_text(content)
        assert ChoicesFile(file).read() == Choices()
    file.write_text('{"screen": "chat", "of another version": 1}')
    assert ChoicesFile(file).read().screen == "chat"


async def test_choices_of_a_newer_version_stay_and_are_named(make_app: Make, tmp_path: Path) -> None:
    home = Home(tmp_path)
    content = b'{"version":2,"screen":{"name":"chat"}}'
    home.choices.write_bytes(content)
    app = make_app(home=home)
    async with running(app) as pilot:
        await until(pilot, lambda: any("upgrade lmx" in toast.message for toast in app._notifications))
        await pilot.press("f4", "w")
        await settled(pilot)
    assert home.choices.read_bytes() == content


def test_choices_have_a_version(tmp_path: Path) -> None:
    file = tmp_path / "tui.json"
    ChoicesFile(file).write(Choices(screen="chat"))
    assert json.loads(file.read_text())["version"] == 1 and ChoicesFile(file).read().screen == "chat"
