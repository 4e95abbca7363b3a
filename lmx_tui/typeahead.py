"""TypeAheadApp: handles keys strictly one after another, at any typing speed.

Textual sends each key at once to the widget that has the focus at that moment. When keys are typed ahead, as during a
slow start, the keys after one that opens a screen would reach the screen below and be lost or run its commands. This
app therefore queues keys until the previous key was handled and its screen is mounted. It depends on no lmx screen or
widget.
"""

from collections import deque
from dataclasses import dataclass
from time import monotonic

from textual import events, on
from textual.app import App
from textual.driver import Driver
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

KEY_SECONDS = 2.0
"""Time after which the next key is sent even if the previous one was not handled."""
CHECK_SECONDS = 0.01
"""Interval of the check whether the next key can be sent."""

Typed = events.Key | events.Paste


@dataclass
class KeyHandled(Message):
    """A marker that follows a key from its target up to the app; on its arrival the key was handled or ignored."""

    number: int
    second: bool = False


class TypeAheadApp(App[None]):
    """An app with a queue of keys."""

    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class=driver_class)
        self._held: deque[Typed] = deque()
        self._pending_screen: Screen[object] | None = None
        """Screen that the key in flight was sent to; None when no key is in flight."""
        self._target: Widget | None = None
        """Widget that the key in flight was sent to."""
        self._number = 0
        self._sent_at = 0.0
        self._checking = False

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, Typed) or event.is_forwarded:
            await super().on_event(event)
        else:
            self._held.append(event)
            await self._send_held()

    async def _send_held(self) -> None:
        while self._held and self._can_send():
            await self._send(self._held.popleft())
        if self._held and not self._checking:
            self._checking = True
            self.set_timer(CHECK_SECONDS, self._check_again)

    async def _check_again(self) -> None:
        self._checking = False
        await self._send_held()

    def _can_send(self) -> bool:
        """Return whether no key is in flight. A key that changed the top screen counts as handled."""
        if self.screen is not self._pending_screen or monotonic() - self._sent_at > KEY_SECONDS:
            self._pending_screen = None
        return self._pending_screen is None and self.screen.is_mounted

    async def _send(self, event: Typed) -> None:
        target, screen = self.focused or self.screen, self.screen
        await super().on_event(event)
        if isinstance(target, Input | TextArea) and (isinstance(event, events.Paste) or event.is_printable):
            return  # text opens no screen, and a paste can be long
        self._pending_screen, self._target, self._sent_at, self._number = screen, target, monotonic(), self._number + 1
        target.post_message(KeyHandled(self._number))

    @on(KeyHandled)
    async def _key_handled(self, message: KeyHandled) -> None:
        """Send the marker a second time, so that messages posted because of the key arrive before it."""
        if message.number != self._number or self._pending_screen is None or self._target is None:
            return
        if not message.second and self._target.post_message(KeyHandled(message.number, second=True)):
            return
        self._pending_screen = None
        await self._send_held()
