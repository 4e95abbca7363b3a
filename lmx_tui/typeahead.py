"""TypeAhead: keys typed faster than a screen opens. Textual sends them to the screen below, where they would be lost.

It knows screens by identity only and sends nothing: the app asks it about each key, and types the held ones again.
"""

from weakref import WeakKeyDictionary

from textual.events import Key
from textual.screen import Screen


class TypeAhead:
    def __init__(self) -> None:
        self._aims: WeakKeyDictionary[Key, Screen[object]] = WeakKeyDictionary()
        """Key on its way -> the screen that it was sent to."""
        self._held: list[Key] = []

    def holds(self, key: Key, screen: Screen[object]) -> bool:
        """Whether the key has to wait for `screen`, the one on top now; a held key is kept here."""
        if key.is_forwarded:
            # It came back unused; when meanwhile another screen opened, it was meant for that one.
            early = self._aims.pop(key, screen) is not screen
        else:
            early = bool(self._held) or not screen.is_mounted
        if early:
            self._held.append(key)
        elif not key.is_forwarded:
            self._aims[key] = screen
        return early

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    def released(self) -> list[Key]:
        """The held keys, new and in order; none is held any more."""
        keys, self._held = self._held, []
        return [Key(key.key, key.character) for key in keys]
