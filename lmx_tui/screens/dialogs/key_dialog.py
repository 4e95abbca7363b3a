"""KeyDialog: the next key that is pressed becomes the key of an action. A clash is named and asked about."""

from collections.abc import Mapping

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from lmx_tui import keymap
from lmx_tui.screens.dialogs.questions import Dialog

NEVER = frozenset({"escape"})
"""Keys that no action can have, since they close dialogs."""


class KeyDialog(Dialog[str | None]):
    """A dialog that returns the name of a key."""

    def __init__(self, identity: str, changed: Mapping[str, str]) -> None:
        super().__init__()
        self._identity, self._changed = identity, changed
        self._pressed = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = f"Key of {self._identity}"
            box.border_subtitle = "esc cancel"
            yield Static(Text("Press the new key."), classes="words", markup=False)

    def on_key(self, event: events.Key) -> None:
        """Take the key, or name the clash; the same key again takes it all the same."""
        event.stop()
        event.prevent_default()
        if not self.is_active:
            return
        if event.key in NEVER:
            self.reply(None)
            return
        clashes = keymap.clashes_of(self._identity, event.key, self._changed)
        if not clashes or event.key == self._pressed:
            self.reply(event.key)
            return
        self._pressed = event.key
        words = f"{event.key} is the key of {', '.join(clashes)}.\n\nPress {event.key} again to use it all the same."
        self.query_one(Static).update(Text(words))
