"""TypeAheadApp: keys are handled one after the other, however fast they come.

Textual sends every key at once to the widget that has the focus now. Typed ahead, as after a slow start, those that
follow a key that opens a screen would go to the screen below: lost, or taken for its commands. So they wait in a line
until that key has been dealt with and the screen is there. Knows no screen and no widget of ours.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial

from textual import events, on
from textual.app import App
from textual.driver import Driver
from textual.message import Message
from textual.widgets import Input, TextArea

TRAVEL_SECONDS = 2.0
"""How long a key may be under way before the next one goes, whatever became of it."""
SCREEN_SECONDS = 0.01
"""How often to look whether a new screen is there, while keys wait for it."""

Typed = events.Key | events.Paste


class TypeAhead:
    """The line of those that wait, and which one is under way."""

    def __init__(self) -> None:
        self._held: deque[Typed] = deque()
        self._travelling = False
        self.number = 0
        """Of the one that was sent last."""

    @property
    def waiting(self) -> int:
        return len(self._held)

    def admits(self, typed: Typed, *, ready: bool) -> bool:
        """Whether it may go now; if not it is held. `ready`: there is a screen to send it to."""
        if not ready or self._travelling or self._held:
            self._held.append(typed)
            return False
        return True

    def next(self) -> Typed | None:
        """The one whose turn it is."""
        return self._held.popleft() if self._held and not self._travelling else None

    def departed(self) -> None:
        self._travelling = True
        self.number += 1

    def arrived(self, number: int | None = None) -> None:
        """The one under way has been dealt with; with a number, only if it is still that one."""
        if number in (None, self.number):
            self._travelling = False


@dataclass
class Travelled(Message):
    """Follows a key from where it was sent up to the app: when it arrives the key has been used, or has come back."""

    second: bool = False


class TypeAheadApp(App[None]):
    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class=driver_class)
        self._type_ahead = TypeAhead()

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, Typed) or event.is_forwarded:
            await super().on_event(event)
        elif self._type_ahead.admits(event, ready=self.screen.is_mounted):
            await self._send_typed(event)
        elif self._type_ahead.waiting == 1:
            self._await_arrival()
            await self._send_next()

    async def _send_typed(self, event: Typed) -> None:
        target = self.focused or self.screen
        await super().on_event(event)
        if isinstance(target, Input | TextArea) and (isinstance(event, events.Paste) or event.is_printable):
            return  # text opens no screen, and there may be a lot of it
        self._type_ahead.departed()
        target.post_message(Travelled())
        if self._type_ahead.waiting:
            self._await_arrival()

    def _await_arrival(self) -> None:
        """A key whose widget went away never arrives."""
        self.set_timer(TRAVEL_SECONDS, partial(self._arrived, self._type_ahead.number))

    @on(Travelled)
    async def _travelled(self, message: Travelled) -> None:
        """A second trip, from the screen, lets the requests that the key caused overtake."""
        if message.second or not self.screen.post_message(Travelled(second=True)):
            await self._arrived()

    async def _arrived(self, number: int | None = None) -> None:
        self._type_ahead.arrived(number)
        await self._send_next()

    async def _send_next(self) -> None:
        while self._type_ahead.waiting:
            if not self.screen.is_mounted:
                self.set_timer(SCREEN_SECONDS, self._send_next)
                return
            typed = self._type_ahead.next()
            if typed is None:
                return
            await self._send_typed(typed)
