"""The list of settings with values, origins and help, for `lmx config list` and the admin socket. Pure."""

from typing import Any

from lmx_daemon.contract.admin.config import ConfigRow
from lmx_daemon.settings.checks.values import plain
from lmx_daemon.settings.keys import NAME, Key, keys
from lmx_daemon.settings.layers import Layers
from lmx_daemon.settings.schema import Settings


def rows(layers: Layers, current: Settings) -> tuple[ConfigRow, ...]:
    """Return all keys with their values in force, which `current` holds; `layers` are the values read last."""
    found: list[ConfigRow] = []
    for key in keys():
        if key.named:
            found += _named(key, layers, current)
        else:
            found.append(_row(key, key.path, key.value_in(current), key.value_in(layers.settings), layers))
    return tuple(found)


def named_rows() -> tuple[ConfigRow, ...]:
    """Return the keys that a named table may have."""
    empty = Layers()
    return tuple(_row(key, key.path_in(NAME), None, None, empty) for key in keys() if key.named)


def _named(key: Key, layers: Layers, current: Settings) -> list[ConfigRow]:
    """Return the rows of one key in all tables of its section that set it."""
    tables = getattr(current, key.section)
    return [
        _row(key, path, getattr(tables[name], key.name), getattr(tables[name], key.name), layers)
        for name in tables
        if (path := key.path_in(name)) in layers.origins
    ]


def _row(key: Key, path: str, value: Any, given: Any, layers: Layers) -> ConfigRow:
    origin = layers.origin(path)
    waiting = key.reload == "restart" and given != value
    return ConfigRow(
        key=path,
        section=key.section,
        name=key.name,
        type=key.type,
        help=key.help,
        reload=key.reload,
        choices=key.choices,
        default=plain(key.default),
        value=None if key.secret else plain(value),
        secret=key.secret,
        is_set=value != key.default,
        source=origin.layer,
        place=origin.place,
        variable=key.variable,
        waiting=waiting,
        next=None if key.secret or not waiting else plain(given),
    )
