"""The one source of settings: the values in force, and a signal when they change.

Parts of the daemon take the source, or a typed view of it such as `lambda: source.current.engine`, and read a value
where they use it. No part copies a value into its constructor. The source belongs to the event loop's thread; other
threads may read `current`, which is replaced as a whole.
"""

import logging
from collections.abc import Callable

import msgspec

from lmx_daemon.settings.keys import keys_by_path
from lmx_daemon.settings.schema import Settings

Subscriber = Callable[[Settings, Settings], None]
"""Function that is called with the settings before and after a change."""
LOGGER = logging.getLogger("lmx.settings")


class SettingsSource:
    """The settings in force. `check` raises an LmxError for a combination that must not take effect."""

    def __init__(self, current: Settings, check: Callable[[Settings], None] = lambda settings: None) -> None:
        """Raise the error of `check` for the first settings."""
        check(current)
        self._current = current
        self._check = check
        self._subscribers: list[Subscriber] = []
        self.waiting: tuple[str, ...] = ()
        """Keys whose newest values take effect at the next start."""
        self.fault = ""
        """Reason why the newest settings are not in force; empty if they are."""

    @property
    def current(self) -> Settings:
        """Frozen settings in force now."""
        return self._current

    def replace(self, new: Settings) -> tuple[str, ...]:
        """Put the hot keys of `new` in force, notify the subscribers, and return the keys that need a restart.

        A key that needs a restart keeps its value, so that `current` always has the values in force. Raises what
        the check raises; then nothing changes.
        """
        merged, waiting = merge_hot(self._current, new)
        self._check(merged)
        old, self._current = self._current, merged
        self.waiting, self.fault = waiting, ""
        if merged != old:
            for subscriber in list(self._subscribers):
                _notify(subscriber, old, merged)
        return waiting

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after each change of a value. Return the function that ends the subscription."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber) if subscriber in self._subscribers else None


def merge_hot(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return `new` with the values of `old` where a key needs a restart, and the paths of such keys that differ."""
    kept: dict[str, dict[str, object]] = {}
    for key in keys_by_path().values():
        before, after = key.value_in(old), key.value_in(new)
        if key.reload == "restart" and before != after:
            kept.setdefault(key.section, {})[key.name] = before
    sections = {name: msgspec.structs.replace(getattr(new, name), **values) for name, values in kept.items()}
    return msgspec.structs.replace(new, **sections), tuple(
        f"{section}.{name}" for section, values in kept.items() for name in values
    )


def _notify(subscriber: Subscriber, old: Settings, new: Settings) -> None:
    """Call a subscriber; an error of it must neither undo the change nor keep it from the other subscribers."""
    try:
        subscriber(old, new)
    except Exception:  # a boundary: the subscriber's error is logged
        LOGGER.exception("a subscriber to settings raised an error")
