"""PromptInput: the field for a message. Enter sends it; at its edges, up and down go through earlier messages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from lmx_tui import keys
from lmx_tui.formatting import clean
from lmx_tui.widgets.chat.commands import completed

HISTORY = 200
"""Number of messages kept."""
PATH = re.compile(r"\s*(['\"]?(/|~/|\./|\.\./)|file://)[^\n]{1,1024}\s*$")
"""Form of a pasted text that can be the path of a file."""


class PromptInput(TextArea):
    """A text area with a history."""

    BINDINGS = keys.PROMPT
    DEFAULT_CSS = """
    PromptInput {
        height: auto; min-height: 1; max-height: 8; border: none; padding: 0 1; background: transparent;
        scrollbar-size-vertical: 1;
    }
    PromptInput:focus { border: none; background: transparent; }
    """

    @dataclass
    class Sent(Message):
        text: str

    @dataclass
    class Scrolled(Message):
        """A request to scroll the transcript by pages."""

        pages: int

    @dataclass
    class FileWanted(Message):
        """A request to choose a file, after an `@` at the beginning of a word."""

    @dataclass
    class Emptied(Message):
        """A backspace in an empty field."""

    @dataclass
    class Pasted(Message):
        """Pasted text that may be the path of a file."""

        text: str

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder=placeholder, soft_wrap=True, highlight_cursor_line=False, compact=True)
        self._history: list[str] = []
        """Messages of all chats, the oldest first."""
        self._sent: list[str] = []
        """Messages that were sent in this run."""
        self._place = 0
        """Position in the history; the position after the last message is the draft."""
        self._draft = ""

    async def _on_key(self, event: events.Key) -> None:
        """Leave enter to its binding, if it has one; TextArea would insert a line break."""
        active = self.screen.active_bindings.get(event.key)
        if active is not None and active.binding.id == "prompt.send":
            event.prevent_default()
        elif event.character == "@" and self._begins_word():
            event.prevent_default()
            event.stop()
            self.post_message(self.FileWanted())
        elif event.key == "backspace" and not self.text:
            self.post_message(self.Emptied())
        elif event.key == "tab" and completed(self.text) != self.text:
            event.prevent_default()
            event.stop()
            self.text = completed(self.text)
            self.move_cursor(self.document.end)

    def _begins_word(self) -> bool:
        row, column = self.cursor_location
        return column == 0 or self.document.get_line(row)[column - 1].isspace()

    async def _on_paste(self, event: events.Paste) -> None:
        """Remove terminal controls from pasted text before TextArea handles it. One line may be a path."""
        event.text = clean(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if PATH.match(event.text):
            event.prevent_default()
            event.stop()
            self.post_message(self.Pasted(event.text))

    def recall(self, texts: Sequence[str]) -> None:
        """Put earlier messages, the oldest first, before those of this run. The place in the history stays."""
        from_end = len(self._history) - self._place
        self._history = [*texts, *self._sent]
        self._drop_repeated()
        self._place = max(0, len(self._history) - from_end)

    def remember(self, text: str) -> None:
        """Make a message that was sent the newest of the history."""
        self._sent = [*self._sent, text][-HISTORY:]
        self._history.append(text)
        self._drop_repeated()
        self._place = len(self._history)

    def _drop_repeated(self) -> None:
        """Keep each message once, at its last place."""
        self._history = list(dict.fromkeys(reversed(self._history)))[:HISTORY][::-1]

    def action_send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self.text.strip("\n")))

    def action_newline(self) -> None:
        self.insert("\n")

    def action_scroll_transcript(self, pages: int) -> None:
        self.post_message(self.Scrolled(pages))

    def action_history(self, step: int) -> None:
        row, _ = self.cursor_location
        at_edge = row == 0 if step < 0 else row == self.document.line_count - 1
        place = self._place + step
        if not at_edge or not 0 <= place <= len(self._history):
            (self.action_cursor_up if step < 0 else self.action_cursor_down)()
            return
        if self._place == len(self._history):
            self._draft = self.text
        self._place = place
        self.text = self._draft if place == len(self._history) else self._history[place]
        self.move_cursor(self.document.end)
