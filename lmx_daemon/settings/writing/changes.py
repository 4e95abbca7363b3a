"""Changes of settings: which keys differ, in words, and the edit of the file that sets one key. Pure."""

from typing import Any

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.checks.faults import shown
from lmx_daemon.settings.checks.validation import check_value
from lmx_daemon.settings.checks.values import plain, value_of
from lmx_daemon.settings.choice import ChosenKey
from lmx_daemon.settings.keys import keys, keys_by_path
from lmx_daemon.settings.schema import Settings
from lmx_daemon.settings.writing.edits import commented, is_set, with_value, without_value


def changed_keys(old: Settings, new: Settings) -> tuple[str, ...]:
    """Return the dotted names of the keys whose values differ."""
    found: list[str] = []
    for key in keys():
        if not key.named:
            if key.value_in(old) != key.value_in(new):
                found.append(key.path)
            continue
        before, after = getattr(old, key.section), getattr(new, key.section)
        for name in {**before, **after}:
            if getattr(before.get(name), key.name, None) != getattr(after.get(name), key.name, None):
                found.append(key.path_in(name))
    return tuple(found)


def described(path: str, settings: Settings) -> str:
    """Return the new value of a key as a line for the log; a secret one is not in it."""
    key = keys_by_path().get(path)
    if key is None or key.secret:
        return f"{path} has changed"
    value = key.value_in(settings)
    return f"{path} is unset now" if value is None else f"{path} is {shown(value)} now"


def typed(choice: ChosenKey, given: Any) -> Any:
    """Return a value for a key: a text is read as a person types it. Raises ConfigError."""
    key = choice.key
    value, fault = (value_of if isinstance(given, str) else check_value)(key, choice.path, given)
    if fault is None:
        return value
    restored = f"`lmx config unset {quoted(choice.dotted)}` restores the default"
    raise ConfigError(fault.message, hint=restored + ("" if key.default is None else f", {shown(key.default)}"))


def edited(choice: ChosenKey, value: Any, text: str) -> str:
    """Return the text of a file with a key set to a typed value, or without it for None. Raises ConfigError."""
    if value is not None:
        return with_value(text, choice.path, plain(value), commented(choice.key.help))
    if not is_set(text, choice.path):
        return text
    return without_value(text, choice.path, commented(choice.key.help))


def quoted(name: str) -> str:
    """Return a dotted name, quoted for a shell."""
    return f"'{name}'" if '"' in name else name
