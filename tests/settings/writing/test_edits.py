"""Tests of edits of config.toml: comments and order stay, and a text that cannot be edited is refused."""

import tomllib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.positions import lines_of
from lmx_daemon.settings.writing.edits import toml, with_value, without_value
from lmx_daemon.settings.writing.template import template

HOSTS = "[server]\nallowed_hosts = [\n'a', # ]\n]\n"
FILE = """# mine
[server]
host = "127.0.0.1"   # here
port = 4000

# about memory
[engine]
memory = "75%"
"""


def test_a_changed_value_keeps_the_comment_of_its_line_and_everything_else() -> None:
    assert with_value(FILE, ("server", "host"), "::1") == FILE.replace('"127.0.0.1"', '"::1"')


def test_a_new_key_follows_the_last_key_of_its_table_with_a_comment() -> None:
    edited = with_value(FILE, ("server", "max_queued"), 3, "# help\n")
    assert edited == FILE.replace("port = 4000\n", "port = 4000\n# help\nmax_queued = 3\n")


def test_a_key_of_a_new_table_is_placed_at_the_end() -> None:
    assert with_value(FILE, ("tui", "theme"), "harbor") == FILE + '\n[tui]\ntheme = "harbor"\n'
    named = with_value(FILE, ("models", "org/Qwen2.5", "ttl"), 5)
    assert named == FILE + '\n[models."org/Qwen2.5"]\nttl = 5\n'


def test_an_unset_key_and_the_comment_that_lmx_wrote_are_removed() -> None:
    edited = with_value(FILE, ("server", "max_queued"), 3, "# help\n")
    assert without_value(edited, ("server", "max_queued"), "# help\n") == FILE
    assert without_value(FILE, ("server", "port")) == FILE.replace("port = 4000\n", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server.host = 'x'\n", "server.host = 'x'\nserver.port = 5\n"),
        ("server = { host = 'x' }\n", "server = { host = 'x' , port = 5}\n"),
        ("[server]\r\nhost = 'x'\r\n", "[server]\r\nhost = 'x'\r\nport = 5\r\n"),
        ("[server]", "[server]\nport = 5\n"),
        (f"{HOSTS}[tui]\n", f"{HOSTS}port = 5\n[tui]\n"),
        ("", "[server]\nport = 5\n"),
    ],
)  # fmt: skip
def test_other_forms_of_a_table_are_edited(text: str, expected: str) -> None:
    edited = with_value(text, ("server", "port"), 5)
    assert edited.replace(" ", "") == expected.replace(" ", "")


def test_tables_and_lists_are_written_on_one_line() -> None:
    edited = with_value(FILE, ("router", "aliases"), {"a": ["x", "y"], "b*": "c"})
    assert edited.endswith('\n[router]\naliases = { a = ["x", "y"], "b*" = "c" }\n')
    again = with_value(edited, ("router", "aliases"), {"a": "z"})
    assert again.endswith('\n[router]\naliases = { a = "z" }\n')


KEYS = st.sampled_from([("server", "port"), ("server", "host"), ("engine", "memory"), ("models", "a/b.c", "ttl")])
LINES = st.sampled_from(
    ["# c\n", "\n", "[server]\n", "port = 1 # p\n", "[engine]\n", 'memory = """a\n[x]"""\n', '[models."a/b.c"]\n',
     "ttl = 3\n", "server.host = 'h'\n", "server = { port = 1 }\n", "[models.z]\n", "x = [1,\n # [\n2]\n"]
)  # fmt: skip
VALUES = st.sampled_from([1, 2.5, True, "text \" ' \\ \n", ["a", "b"], {"x.y": ["z"]}])


@given(st.lists(LINES, max_size=9), KEYS, VALUES)
@settings(deadline=None)
def test_an_edit_changes_one_key_or_is_refused(lines: list[str], path: tuple[str, ...], value: Any) -> None:
    text = "".join(lines)
    with suppress(tomllib.TOMLDecodeError, ConfigError, AttributeError, TypeError):
        tomllib.loads(text)
        edited = with_value(text, path, value, "# help\n")
        found: Any = tomllib.loads(edited)
        for name in path:
            found = found[name]
        assert found == value
        assert edited.count("# c\n") == text.count("# c\n") and edited.count("# p") == text.count("# p") - (
            path == ("server", "port") and "# p" in text and "# p" not in edited
        )


@pytest.mark.parametrize("value", [1, 2.5, False, 'a " b', "line\nline", ["a", "b"], {}, {"a b": {"c": [1]}}])
def test_values_are_written_as_toml(value: Any) -> None:
    assert tomllib.loads(f"value = {toml(value)}") == {"value": value}


def test_lines_are_those_of_the_keys() -> None:
    text = "# c\n[server]\nallowed_hosts = [\n\"a\", # ]\n'b']\nport = 1\n"
    text += '[models."a=b"]\n"t\\"x" = """\n[no]\n"""\nttl = 3'
    assert lines_of(text) == {
        ("server",): 2,
        ("server", "allowed_hosts"): 3,
        ("server", "port"): 6,
        ("models",): 7,
        ("models", "a=b"): 7,
        ("models", "a=b", 't"x'): 8,
        ("models", "a=b", "ttl"): 11,
    }


def test_the_template_sets_nothing() -> None:
    assert not any(tomllib.loads(template()).values())
    assert "# port = 1234\n" in template()
