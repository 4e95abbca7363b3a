"""The choice of a key by its dotted name, as a person types it: server.port, models.org/name.ttl. Pure."""

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.settings.checks.faults import nearest
from lmx_daemon.settings.keys import NAME, Key, keys, sections
from lmx_daemon.settings.positions import KeyPath


class ChosenKey(Frozen, frozen=True):
    """A key, and its path in the file."""

    key: Key
    path: KeyPath

    @property
    def dotted(self) -> str:
        """Name of the key as listings give it."""
        return self.key.path_in(self.path[1]) if self.key.named else self.key.path


def choose(text: str) -> ChosenKey:
    """Return the key that a text names. Raises ConfigError that names the nearest one."""
    section, _, rest = text.strip().partition(".")
    known = sections().get(section, {})
    if rest in known and not known[rest].named:
        return ChosenKey(key=known[rest], path=(section, rest))
    table, _, name = rest.rpartition(".")  # names of models contain points, keys do not
    if table and name in known and known[name].named:
        return ChosenKey(key=known[name], path=(section, _unquoted(table), name))
    raise _unknown(text)


def _unquoted(table: str) -> str:
    return table[1:-1] if len(table) > 1 and table[0] == table[-1] and table[0] in "\"'" else table


def _unknown(text: str) -> ConfigError:
    """Return the error of a name that is not a key."""
    section = text.partition(".")[0]
    owners = [key.path for key in keys() if key.name == text]
    inside = [key.path for key in keys() if key.section == section]
    if owners:
        hint = f"did you mean {' or '.join(owners)}?"
    elif inside:
        hint = nearest(text, inside) or f"keys of [{section}] are: {', '.join(sections()[section])}"
    else:
        hint = nearest(text, [key.path for key in keys()]) or "`lmx config list` lists all keys"
    return ConfigError(f"{text!r} is not a setting", hint=hint.replace(NAME, "ORG/NAME"))
