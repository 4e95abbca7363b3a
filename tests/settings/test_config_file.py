"""Tests of config.toml: the README lists the true settings, and errors name the key and the file."""

import re
import tomllib
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.config_file import parse_config
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings

README = Path(__file__).parents[2] / "README.md"
LISTED = "[server]\nallowed_hosts = [\n1]\nx = 1"


def test_the_readme_lists_existing_settings_with_their_defaults() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert msgspec.convert(tomllib.loads(shown), Settings) == Settings()
    uncommented = re.sub(r"^# (?=\w+ = )", "", shown, flags=re.MULTILINE)
    msgspec.convert(tomllib.loads(uncommented), Settings)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[server]\nport = 'x'", 'line 2: server.port must be an integer from 0 to 65535, not "x"', "default, 1234"),
        ("[server]\n# a comment\n\nportt = 1", "line 4: server.portt is not a setting", "did you mean port?"),
        ("[serv]", "line 1: [serv] is not a setting", "did you mean [server]?"),
        ("port = 1", "line 1: port is not a setting", "belongs below [server]"),
        ("[engine]\ntheme = 'x'", "line 2: engine.theme is not a setting", "belongs below [tui]"),
        ("[engine]\nxyz = 'x'", "line 2: engine.xyz is not a setting", "keys of [engine] are: warm_spare, memory"),
        ("[server]\nport = 70000", "line 2: server.port must be an integer from 0 to 65535, not 70000", "1234"),
        ("[engine]\nhang_seconds = 0", "line 2: engine.hang_seconds must be a number above 0, not 0", "60.0"),
        ("[engine]\nhang_seconds = nan", "line 2: engine.hang_seconds must be a number above 0, not nan", "60.0"),
        ("[engine]\nmemory = '12 parsecs'", "line 2: engine.memory: '12 parsecs' is not an amount", ""),
        ("[tui]\nsymbols = 'x'", 'tui.symbols must be "ascii", "block", "braille" or "octant", not "x"', "braille"),
        ("server = 3", "line 1: server must be a table, not a number", "write [server] on a line of its own"),
        ("server = { port = 'x' }", "line 1: server.port must be an integer", "1234"),
        (LISTED, "line 2: server.allowed_hosts must be a list of texts, not [1] (1 more: line 4)", ""),
        ("port = = 1", "line 1, column 8: not TOML: invalid value", "quotes"),
        ("[server]\nport = 1\nport = 2", "line 3, the end of the file: not TOML: cannot overwrite", "there twice"),
        ("version = 2", "line 1: the file has format 2, and this version of lmx reads format 1", "upgrade lmx"),
        ('[models."a/b"]\ncontxt = 5', 'line 2: models."a/b".contxt is not a setting', "did you mean context?"),
        ('[models."a/b"]\ntop_p = 5', 'line 2: models."a/b".top_p must be a number from 0 to 1, not 5', ""),
        ('[models."a/b"]\ndraft_model = "x"', 'line 2: models."a/b".draft_model: this version of lmx has no spec', ""),
        ('[models."a/b"]\ntemplate = { messages = "x" }', "'messages' cannot be set, since lmx sets it itself", ""),
        ('[models]\nttl = 5', "line 2: models.ttl must be a table, not a number", "write [models.ttl] on a line"),
        ("version = 'x'", "line 1: version must be 1", "remove"),
    ],
)  # fmt: skip
def test_a_fault_names_the_line_the_key_and_what_would_be_right(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml") as raised:
        read_settings(Home(tmp_path))
    assert message in raised.value.message and raised.value.hint and hint in raised.value.hint


def test_the_value_of_a_secret_key_is_not_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\napi_key = 123456")
    with pytest.raises(ConfigError, match=r"line 2: server\.api_key must be a text") as raised:
        read_settings(Home(tmp_path))
    assert "123456" not in f"{raised.value.message} {raised.value.hint}"


def test_a_config_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"[server]\nhost = '\xff\xfe'")
    with pytest.raises(ConfigError, match=r"config\.toml, line 2: byte 0xff is not UTF-8"):
        read_settings(Home(tmp_path))


def test_a_config_of_the_present_format_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("version = 1\n[server]\nport = 9")
    assert read_settings(Home(tmp_path)).server.port == 9


WHOLE = """# my settings
version = 1
[server]
host = "127.0.0.1"   # here
port = 4000
allowed_hosts = ["a.example",
  "b.example"]
[engine]
memory = "75%"
hang_seconds = 3.5
[tui]
keymap = { "models.unload" = "U" }
"""


def test_a_config_truncated_at_any_byte_is_read_or_refused_with_its_line() -> None:
    content = WHOLE.encode()
    refused = 0
    for length in range(len(content)):
        try:
            parse_config(content[:length], Path("config.toml"))
        except ConfigError as error:
            assert re.match(r"config\.toml, line \d+", error.message) and error.hint, content[:length]
            refused += 1
    assert refused > len(content) / 2
    assert parse_config(content, Path("config.toml")).values["server"]["port"] == 4000


@given(st.binary(max_size=200) | st.text(alphabet="[]{}=\"'#\n.,\\ servport1", max_size=80).map(str.encode))
@settings(deadline=None)
def test_garbage_is_read_or_refused(content: bytes) -> None:
    with suppress(ConfigError):
        parse_config(content, Path("config.toml"))


@pytest.mark.parametrize("host", ["", " ", "http://0.0.0.0", "my box"])
def test_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.host: .* is no address"):
        parse_config(f'[server]\nhost = "{host}"'.encode(), Path("config.toml"))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "localhost", "box.example"])
def test_host_that_is_an_address_or_a_name_is_accepted(host: str) -> None:
    assert parse_config(f'[server]\nhost = "{host}"'.encode(), Path("config.toml"))
