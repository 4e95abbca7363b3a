"""The parameter sheet: defaults beside the fields, faults at once, and a key that clears a field."""

from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from lmx_daemon.contract.admin.defaults import DefaultValue
from lmx_tui.app import LmxApp
from lmx_tui.screens.chat.sheet import ParameterSheet
from lmx_tui.screens.chat.sheet_fields import default_words, text_of, value_of
from tests.fake_client import FakeClient
from tests.tui.conftest import ask, running, until
from tests.tui.screens.chat.test_kept_chats import SECONDS, shown

Make = Callable[..., LmxApp]


async def opened(pilot: Pilot[None]) -> ParameterSheet:
    await pilot.press("f3", "ctrl+o")
    await until(pilot, lambda: isinstance(pilot.app.screen, ParameterSheet), SECONDS)
    sheet = pilot.app.screen
    assert isinstance(sheet, ParameterSheet)
    await shown(pilot, "0.6 (model)")
    return sheet


async def test_defaults_stand_beside_the_fields(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        sheet = await opened(pilot)
        await shown(pilot, "4096 (config.toml)")
        await shown(pilot, "1 (lmx) · above 0, up to 10")
        assert sheet.query_one("#temperature", Input).placeholder == "0.6"
        sheet.query_one("#preset", Input).value = "coder"
        await shown(pilot, "0.2 (preset)")
        sheet.query_one("#preset", Input).value = "nosuch"
        await shown(pilot, "there is no preset 'nosuch'")


async def test_wrong_value_is_named_at_once_and_a_key_clears_the_field(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        sheet = await opened(pilot)
        field = sheet.query_one("#temperature", Input)
        field.focus()
        await pilot.press(*"3")
        await shown(pilot, "temperature is 0 to 2, not '3'")
        assert field.has_class("-wrong")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: not field.has_class("-wrong"), SECONDS)
        await shown(pilot, "A field without a value has the one beside it")
        await pilot.press(*"0.7", "ctrl+o")
        await shown(pilot, "temp 0.7")
        await ask(pilot, "why")
        await until(pilot, lambda: client.requests_seen, SECONDS)
        assert client.requests_seen[0].sampling.temperature == 0.7


async def test_sheet_is_saved_as_a_preset(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        sheet = await opened(pilot)
        sheet.query_one("#temperature", Input).value = "0.3"
        sheet.query_one("#stop", Input).value = "END"
        await pilot.press("ctrl+n")
        await shown(pilot, "lmx preset set does the same.")
        await pilot.press(*"terse", "enter")
        await shown(pilot, "saved as preset terse")
        [(_, change)] = client.calls
        set_values = {name: value for name, value in change.values.items() if value is not None}
        assert change.name == "terse" and set_values == {"sampling.temperature": 0.3, "stop": ["END"]}
        assert sheet.query_one("#preset", Input).value == "terse"


async def test_preset_of_the_same_name_is_replaced_after_a_confirmation(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        sheet = await opened(pilot)
        sheet.query_one("#temperature", Input).value = "0.3"
        sheet.query_one("#preset", Input).value = "coder"
        await pilot.press("ctrl+n")
        await shown(pilot, "lmx preset set does the same.")
        await pilot.press("enter")
        await shown(pilot, "Replace the preset coder?")
        assert not client.calls
        await pilot.press("R")
        await until(pilot, lambda: client.calls, SECONDS)
        [(_, change)] = client.calls
        assert (change.values["sampling.temperature"], change.values["sampling.top_p"]) == (0.3, 0.9)


async def test_wrong_name_of_a_preset_is_refused(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await opened(pilot)
        await pilot.press("ctrl+n")
        await shown(pilot, "lmx preset set does the same.")
        await pilot.press(*"no/name", "enter")
        await shown(pilot, "'no/name' cannot be the name of a preset")
        assert not client.calls


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", " 0.7 ", 0.7),
        ("temperature", "", None),
        ("top_k", "40", 40),
        ("thinking", "Off", False),
        ("stop", "END, ,###", ("END", "###")),
        ("preset", " coder ", "coder"),
        ("max_tokens", "200", 200),
    ],
)
def test_value_of_a_field(name: str, text: str, value: object) -> None:
    assert value_of(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("top_p", "1.5", "top p is 0 to 1, not '1.5'"),
        ("top_k", "1.5", "top k is a whole number from 0, not '1.5'"),
        ("seed", "-1", "seed is a whole number from 0, not '-1'"),
        ("max_tokens", "0", "max tokens is a whole number from 1, not '0'"),
        ("thinking", "maybe", "thinking is on or off, not 'maybe'"),
        ("temperature", "nan", "temperature is 0 to 2, not 'nan'"),
        ("repetition_penalty", "0", "repetition penalty is above 0, up to 10, not '0'"),
    ],
)
def test_fault_of_a_field_names_what_is_right(name: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        value_of(name, text)


def test_words_beside_a_field_have_default_origin_and_range() -> None:
    assert default_words("top_p", DefaultValue(value=0.9, origin="preset")) == "0.9 (preset) · 0 to 1"
    assert default_words("thinking", DefaultValue(value=False, origin="settings")) == "off (config.toml) · on or off"
    assert default_words("seed", None) == "a whole number from 0"
    assert text_of("temperature", 1.0) == "1" and text_of("stop", ("a", "b")) == "a, b"
