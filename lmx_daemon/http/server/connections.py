"""A bound on open connections, so that descriptors are left for workers, downloads and files.

A connection waits while it has no whole request: it has just been opened, is idle between two requests, or is still
sending one. At the bound, the connection that has waited longest is closed for a new one. All calls belong on the event
loop.
"""

from collections.abc import Callable
from typing import Protocol

ADMIN_CONNECTIONS = 256
"""Maximum number of connections to the admin socket."""
MAX_TURNED_AWAY = 32
"""Maximum number of refused connections that are open at once. Further ones are closed without an answer."""


class Closable(Protocol):
    """An open connection."""

    def abort(self) -> None: ...


class ConnectionLimit:
    """The open connections of one app, in the order in which they began to wait."""

    def __init__(self, most: Callable[[], int]) -> None:
        """Set the bound to what `most` returns at each call."""
        self._most = most
        self._open: set[Closable] = set()
        self._waiting: dict[Closable, None] = {}
        self._turned_away: set[Closable] = set()

    def admit(self, connection: Closable) -> bool:
        """Count a new connection, which waits. Return False if there is no place and no other connection waits."""
        while len(self._open) >= self._most():
            longest = next(iter(self._waiting), None)
            if longest is None:
                return False
            self.remove(longest)
            longest.abort()
        self._open.add(connection)
        self._waiting[connection] = None
        return True

    def turn_away(self, connection: Closable) -> bool:
        """Count a connection that was not admitted. Return whether it can be given an answer."""
        if len(self._turned_away) >= MAX_TURNED_AWAY:
            return False
        self._turned_away.add(connection)
        return True

    def serve(self, connection: Closable) -> None:
        """Note that a whole request has arrived: the connection no longer waits."""
        self._waiting.pop(connection, None)

    def wait(self, connection: Closable) -> None:
        """Note that the answer is complete: the connection waits from now on."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def remove(self, connection: Closable) -> None:
        """Forget a connection that has closed. Idempotent."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._turned_away.discard(connection)
