"""Tests of the list of settings keys."""

from lmx_daemon.settings.keys import keys
from lmx_daemon.settings.schema import Settings


def test_every_key_of_every_section_has_a_help_sentence_and_a_reload_behaviour() -> None:
    found = keys()
    expected = [
        f"{section}.{name}"
        for section in Settings.__struct_fields__
        if not isinstance(getattr(Settings(), section), dict)
        for name in type(getattr(Settings(), section)).__struct_fields__
    ]
    assert [key.path for key in found if not key.named] == expected
    for key in found:
        assert key.help[0].isupper() and key.help.endswith("."), key.path
        assert key.reload in ("hot", "restart", "tui"), key.path
        assert key.named or key.default == key.value_in(Settings()), key.path


def test_types_are_given_in_words() -> None:
    words = {key.path: key.type for key in keys()}
    assert words["server.port"] == "integer from 0 to 65535"
    assert words["server.stall_seconds"] == "number above 0"
    assert words["server.api_key"] == "text"
    assert words["server.allowed_hosts"] == "list of texts"
    assert words["engine.warm_spare"] == "boolean"
    assert words["engine.memory"] == "text or integer of at least 1"
    assert words["engine.wired"] == '"auto", "off" or integer of at least 0'
    assert words["engine.context_length"] == "integer of at least 1"
    assert words["tui.keymap"] == "table of texts"


def test_each_key_outside_named_tables_has_a_variable() -> None:
    variables = {key.path: key.variable for key in keys()}
    assert variables["server.port"] == "LMX_SERVER_PORT"
    assert variables["server.api_key"] == "LMX_API_KEY"
    assert len(set(variables.values())) == len({key.path for key in keys() if not key.named}) + any(
        key.named for key in keys()
    )
