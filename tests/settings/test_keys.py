"""Tests of the list of settings keys."""

from lmx_daemon.settings.keys import keys
from lmx_daemon.settings.schema import Settings


def test_every_key_of_every_section_has_a_help_sentence_and_a_reload_behaviour() -> None:
    found = keys()
    expected = [
        f"{section}.{name}"
        for section in Settings.__struct_fields__
        for name in type(getattr(Settings(), section)).__struct_fields__
    ]
    assert [key.path for key in found] == expected
    for key in found:
        assert key.help[0].isupper() and key.help.endswith("."), key.path
        assert key.reload in ("hot", "restart"), key.path
        assert key.default == getattr(getattr(Settings(), key.section), key.name)


def test_types_are_given_in_words() -> None:
    words = {key.path: key.type for key in keys()}
    assert words["server.port"] == "integer"
    assert words["server.stall_seconds"] == "number"
    assert words["server.api_key"] == "text"
    assert words["server.allowed_hosts"] == "list of texts"
    assert words["engine.warm_spare"] == "boolean"
    assert words["engine.memory"] == "text or integer"
    assert words["engine.wired"] == '"auto", "off" or integer'
    assert words["engine.context_length"] == "integer"
    assert words["tui.keymap"] == "table of texts"
