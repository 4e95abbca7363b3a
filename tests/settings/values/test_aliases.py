"""Tests of the checks of aliases."""

from itertools import pairwise
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.config_file import parse_config
from lmx_daemon.settings.values.aliases import check_aliases, cycle_in


def test_cycle_is_named_in_the_order_of_the_lists() -> None:
    aliases = {"a": "b", "b": ("x", "c"), "c": "a", "d": "a"}
    found = cycle_in(aliases)
    assert found[0] == found[-1] and len(found) == 4
    follows = {"a": "b", "b": "c", "c": "a"}
    assert all(follows[one] == other for one, other in pairwise(found))


def test_alias_of_itself_is_a_cycle() -> None:
    assert cycle_in({"a": ("org/model", "a")}) == ["a", "a"]


def test_pattern_is_no_part_of_a_cycle() -> None:
    check_aliases({"gpt-*": "code", "code": ("gpt-oss-20b", "gpt-4o")})


def test_settings_with_a_cycle_are_refused_by_its_names() -> None:
    text = b'[router.aliases]\na = "b"\nb = ["a"]'
    with pytest.raises(ConfigError, match=r"line 1: router\.aliases: aliases form a cycle: (a -> b -> a|b -> a -> b)"):
        parse_config(text, Path("config.toml"))


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ({"": "x"}, "cannot be a name"),
        ({" a": "x"}, "cannot be a name"),
        ({"a": "x\n"}, "cannot be a name"),
        ({"a": "x" * 201}, "cannot be a name"),
        ({"a": ()}, "lists no model"),
        ({"preset:a": "x"}, "presets"),
        ({"a": "gpt-*"}, "is a pattern"),
    ],
)
def test_names_that_no_request_can_contain_are_refused(aliases: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_aliases(aliases)  # type: ignore[arg-type]
