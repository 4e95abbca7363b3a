"""TypeAheadApp: keys are handled one after the other, however fast they come.

Textual sends every key at once to the widget that has the focus now. Typed ahead, as after a slow start, those that
follow a key that opens a screen would go to the screen below: lost, or taken for its commands. So they wait in a line
until that key has been dealt with and the screen is there. Knows no screen and no widget of ours.
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

TRAVEL_SECONDS = 2.0
"""How long a key may be under way before the next one goes, whatever became of it."""
LOOK_SECONDS = 0.01
"""How often to look whether the next one may go."""

Typed = events.Key | events.Paste


@dataclass
class Travelled(Message):
    """Follows a key from where it was sent up to the app: when it arrives the key has been used, or has come back."""

    number: int
    second: bool = False


class TypeAheadApp(App[None]):
    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class=driver_class)
        self._held: deque[Typed] = deque()
        self._aim: Screen[object] | None = None
        """The screen that the key under way was sent to."""
        self._target: Widget | None = None
        """The widget of it."""
        self._number = 0
        self._sent_at = 0.0
        self._looking = False

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, Typed) or event.is_forwarded:
            await super().on_event(event)
        else:
            self._held.append(event)
            await self._send_held()

    async def _send_held(self) -> None:
        while self._held and self._may_send():
            await self._send(self._held.popleft())
        if self._held and not self._looking:
            self._looking = True
            self.set_timer(LOOK_SECONDS, self._look_again)

    async def _look_again(self) -> None:
        self._looking = False
        await self._send_held()

    def _may_send(self) -> bool:
        """Once the key under way has arrived, or another screen is on top: that one had its effect."""
        if self.screen is not self._aim or monotonic() - self._sent_at > TRAVEL_SECONDS:
            self._aim = None
        return self._aim is None and self.screen.is_mounted

    async def _send(self, event: Typed) -> None:
        target, aim = self.focused or self.screen, self.screen
        await super().on_event(event)
        if isinstance(target, Input | TextArea) and (isinstance(event, events.Paste) or event.is_printable):
            return  # text opens no screen, and there may be a lot of it
        self._aim, self._target, self._sent_at, self._number = aim, target, monotonic(), self._number + 1
        target.post_message(Travelled(self._number))

    @on(Travelled)
    async def _travelled(self, message: Travelled) -> None:
        """A second trip the same way lets what the key made the widget or its screen ask for overtake."""
        if message.number != self._number or self._aim is None or self._target is None:
            return
        if not message.second and self._target.post_message(Travelled(message.number, second=True)):
            return
        self._aim = None
        await self._send_held()
