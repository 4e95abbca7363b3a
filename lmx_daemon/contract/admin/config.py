"""Structs of the admin socket for settings: the list, a change, and the result of reading the file again."""

from typing import Any

from lmx_daemon.contract.frozen import Frozen


class ConfigRow(Frozen, frozen=True):
    """A settings key with its value in force."""

    key: str
    """Dotted name: "server.port", `models."org/name".ttl`."""
    section: str
    name: str
    type: str
    """Type in words: "integer from 0 to 65535"."""
    help: str
    reload: str
    """"hot" if a change takes effect at once, "restart" at the daemon's next start, "tui" at that of the TUI."""
    choices: tuple[str, ...] = ()
    """Allowed texts of a choice; empty for any other type."""
    default: Any = None
    value: Any = None
    """Value in force; None if it is unset or secret."""
    secret: bool = False
    is_set: bool = False
    """Whether the value differs from the default, also for a secret key, whose values are not shown."""
    source: str = "default"
    """Layer that the value comes from: "default", "file", "environment" or "flag"."""
    place: str = ""
    """Line, variable or flag: "line 3", "LMX_SERVER_PORT", "--port"."""
    variable: str = ""
    """Environment variable that overrides the file."""
    waiting: bool = False
    """Whether another value is set, which takes effect at the next start of the daemon."""
    next: Any = None
    """Value after the next start, if one is waiting and not secret."""


class ConfigView(Frozen, frozen=True):
    """All settings of a daemon, or of a home without one."""

    file: str
    """Path of config.toml, which may not exist."""
    rows: tuple[ConfigRow, ...]
    """Every key, and the keys that are set in named tables such as [models."org/name"]."""
    named: tuple[ConfigRow, ...] = ()
    """Keys that a named table may have, with NAME in the place of its name."""
    fault: str = ""
    """Reason why the current file is not in force; empty if it is in force."""
    notes: tuple[str, ...] = ()
    """Variables that look like settings and are not."""


class ConfigSet(Frozen, frozen=True):
    """Request to set a key in the file, or to remove it."""

    key: str
    value: Any = None
    """Value, or a text as `lmx config set` accepts it; None removes the key."""


class ConfigReload(Frozen, frozen=True):
    """Result of reading the file again."""

    changed: tuple[str, ...] = ()
    """Keys whose new values are in force."""
    waiting: tuple[str, ...] = ()
    """Keys whose new values take effect at the next start of the daemon."""
    overridden: str = ""
    """Variable or flag that keeps the changed key at another value."""
