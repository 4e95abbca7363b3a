"""Tests of the layers of settings: default, file, environment, flag, and which of them a value comes from."""

from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.config_file import parse_config
from lmx_daemon.settings.layers import Layers, Origin, layered

PORT = "server.port"


def layers_of(text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Layers:
    given = {f"server.{name}": value for name, value in flags.items()}
    return layered(parse_config(text.encode(), Path("config.toml")), environ or {}, given)


def test_a_later_layer_wins_and_is_the_origin() -> None:
    file, variable = "[server]\nport = 1\n", {"LMX_SERVER_PORT": "2"}
    assert layers_of().origin(PORT) == Origin()
    for layers, port, origin in [
        (layers_of(), 1234, Origin()),
        (layers_of(file), 1, Origin(layer="file", place="line 2")),
        (layers_of(file, variable), 2, Origin(layer="environment", place="LMX_SERVER_PORT")),
        (layers_of(file, variable, port=3), 3, Origin(layer="flag", place="--port")),
    ]:
        assert layers.settings.server.port == port and layers.origin(PORT) == origin


def test_a_variable_is_read_by_the_type_of_its_key() -> None:
    found = layers_of(
        environ={
            "LMX_API_KEY": "12",
            "LMX_SERVER_ALLOWED_HOSTS": "a.example, b.example",
            "LMX_SERVER_ALLOWED_ORIGINS": '["https://a.example"]',
            "LMX_SERVER_MANAGE_OVER_TCP": "true",
            "LMX_ENGINE_MEMORY": "24 GB",
            "LMX_ENGINE_WIRED": "off",
            "LMX_ENGINE_HANG_SECONDS": "5",
            "LMX_TUI_KEYMAP": '{ "models.unload" = "U" }',
        }
    ).settings
    assert found.server.api_key == "12"
    assert found.server.allowed_hosts == ("a.example", "b.example")
    assert found.server.allowed_origins == ("https://a.example",)
    assert found.server.manage_over_tcp is True
    assert (found.engine.memory, found.engine.wired, found.engine.hang_seconds) == ("24 GB", "off", 5.0)
    assert found.tui.keymap == {"models.unload": "U"}


@pytest.mark.parametrize("text", ["x", "70000", "1.5", ""])
def test_a_wrong_variable_is_refused_by_its_name_and_an_empty_one_is_ignored(text: str) -> None:
    if not text:
        assert layers_of(environ={"LMX_SERVER_PORT": text}).settings.server.port == 1234
        return
    with pytest.raises(
        ConfigError, match=r"LMX_SERVER_PORT: server\.port must be an integer from 0 to 65535"
    ) as raised:
        layers_of(environ={"LMX_SERVER_PORT": text})
    assert raised.value.hint == "correct or unset LMX_SERVER_PORT"


def test_a_wrong_flag_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"--port: server\.port must be an integer from 0 to 65535, not 70000"):
        layers_of(port=70_000)


def test_a_variable_with_a_prefix_of_settings_that_names_no_key_is_noted() -> None:
    (note,) = layers_of(environ={"LMX_SERVER_PROT": "1", "LMX_HOME": "/x", "LMX_DEBUG": "1"}).notes
    assert note == "LMX_SERVER_PROT is not a setting; did you mean LMX_SERVER_PORT?"
