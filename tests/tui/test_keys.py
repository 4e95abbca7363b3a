"""The lists of keys: help shows each of them."""

from lmx_tui import keys
from lmx_tui.screens.help import LISTED


def test_help_lists_the_keys_of_every_group() -> None:
    lists = [value for value in vars(keys).values() if isinstance(value, list)]
    assert {binding.id.partition(".")[0] for bindings in lists for binding in bindings} <= LISTED
